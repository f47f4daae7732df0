//! Why somebody may do something, or what is missing.

use std::sync::Arc;

use super::authorize::allowing;
use super::roles::AUDITOR;
use super::{
    ADMINISTRATOR, Action, ActionSet, Assignment, BUILT_IN_ROLES, BuiltInRole, Permit, Principal,
    Role, Scope, act,
};
use crate::Hsm;
use crate::state::{Held, State};

/// What is to be explained: whether the principal may do the action at the permit's scope.
#[derive(Clone, Debug)]
pub struct Question {
    /// Who. Its groups are those that the asker names: the HSM knows of groups from tokens alone.
    pub principal: Principal,
    /// What.
    pub action: Action,
}

/// The answer.
#[derive(Debug)]
pub struct Explanation {
    /// The assignments that allow it, each with its role. None: it is not allowed.
    pub allowed_by: Vec<(Arc<Assignment>, Role)>,
    /// The assignments of the principal that allow the action at other scopes only, as far as the
    /// asker may read assignments there.
    pub elsewhere: Vec<(Arc<Assignment>, Role)>,
    /// What would allow it, if nothing does.
    pub missing: Option<MissingRole>,
}

/// The nearest role that is missing.
#[derive(Clone, Debug)]
pub struct MissingRole {
    /// The role.
    pub role: &'static BuiltInRole,
    /// Where it is missing.
    pub scope: Scope,
    /// Whether only an Administrator grants it when escalation is strict.
    pub is_reserved: bool,
}

/// Why nothing is explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainRefusal {
    /// Not for them.
    #[error("explanations are for holders of Managed HSM Administrator or Crypto Auditor at {0}")]
    NotForThem(Scope),
}

impl Hsm {
    /// Explains whether the principal may do the action at the permit's scope.
    pub fn explain(
        &self,
        permit: &Permit<act::RoleAssignmentsRead>,
        question: &Question,
    ) -> Result<Explanation, ExplainRefusal> {
        let state = self.state.read();
        let scope = permit.scope();
        let may_ask = |held: &Held| {
            [ADMINISTRATOR, AUDITOR].contains(&held.assignment.role)
                && held.assignment.scope.covers(scope)
        };
        if !held_by(&state, permit.principal()).any(may_ask) {
            return Err(ExplainRefusal::NotForThem(scope.clone()));
        }
        let may_read = |at: &Scope| {
            allowing::<act::RoleAssignmentsRead>(&state, permit.principal(), at).is_some()
        };
        Ok(decide(&state, question, scope, may_read))
    }
}

fn held_by<'a>(state: &'a State, principal: &'a Principal) -> impl Iterator<Item = &'a Held> {
    principal.ids().filter_map(|id| state.assignments_by_principal.get(&id)).flatten()
}

/// What the asker may not read counts for nothing, not even for what is nearest.
fn decide(
    state: &State,
    question: &Question,
    scope: &Scope,
    may_read: impl Fn(&Scope) -> bool,
) -> Explanation {
    let action = ActionSet::of(&[question.action]);
    let able = held_by(state, &question.principal).filter(|held| held.actions.covers(action));
    let (here, elsewhere): (Vec<_>, Vec<_>) =
        able.partition(|held| held.assignment.scope.covers(scope));
    let elsewhere: Vec<_> =
        elsewhere.into_iter().filter(|held| may_read(&held.assignment.scope)).collect();
    let shown = |held: Vec<&Held>| {
        let one = |held: &Held| (Arc::clone(&held.assignment), held.role.clone());
        held.into_iter().map(one).collect::<Vec<_>>()
    };
    let missing = match here.is_empty() {
        true => nearest(question.action, &elsewhere),
        false => None,
    };
    let missing = missing.map(|role| MissingRole {
        role,
        scope: scope.clone(),
        is_reserved: role.actions.reserved().is_some(),
    });
    Explanation { allowed_by: shown(here), elsewhere: shown(elsewhere), missing }
}

/// A role that the principal holds elsewhere is nearest; else the one that allows least beside.
fn nearest(action: Action, elsewhere: &[&Held]) -> Option<&'static BuiltInRole> {
    let held = elsewhere.iter().find_map(|held| match held.role {
        Role::BuiltIn(role) => Some(role),
        Role::Custom(_) | Role::Gone(_) => None,
    });
    let able = BUILT_IN_ROLES.iter().filter(|role| role.actions.contains(action));
    held.or_else(|| able.min_by_key(|role| role.actions.iter().count()))
}
