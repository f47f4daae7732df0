//! The question "may they?", asked with exactly the action that follows.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use casemate_store_port::{Condition, Path};
use uuid::Uuid;

use super::{Action, AllowedBy, Assignment, DataAction, Permit, Scope};
use crate::state::{Held, State};
use crate::{Hsm, records};

/// Somebody whose token was believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Object id.
    pub id: Uuid,
    /// Object ids of the groups that the token names, or that its issuer was asked for.
    pub groups: Vec<Uuid>,
}

impl Principal {
    /// Every id under which it can hold a role: its own, then its groups'.
    pub(crate) fn ids(&self) -> impl Iterator<Item = Uuid> {
        std::iter::once(self.id).chain(self.groups.iter().copied())
    }

    /// Whether the id is its own or one of its groups'.
    pub(crate) fn is_or_is_in(&self, id: Uuid) -> bool {
        self.ids().any(|own| own == id)
    }
}

/// Nobody gave them that right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Not authorized to access {} on {scope}", action.name())]
pub struct NotAuthorized {
    /// What was asked for.
    pub action: Action,
    /// Where.
    pub scope: Scope,
}

impl NotAuthorized {
    /// What a permit was for, which has fallen.
    pub fn of<A: DataAction>(permit: &Permit<A>) -> Self {
        Self::at::<A>(permit.scope())
    }

    fn at<A: DataAction>(scope: &Scope) -> Self {
        Self { action: A::ACTION, scope: scope.clone() }
    }
}

impl Hsm {
    /// Gives a permit, if an assignment allows the action at the scope.
    pub fn authorize<A: DataAction>(
        &self,
        principal: &Arc<Principal>,
        scope: Scope,
    ) -> Result<Permit<A>, NotAuthorized> {
        let state = self.state.read();
        let Some(held) = allowing::<A>(&state, principal, &scope) else {
            return Err(NotAuthorized::at::<A>(&scope));
        };
        let by = allowed_by(&state, held);
        Ok(Permit { principal: Arc::clone(principal), scope, by, action: PhantomData })
    }

    /// Whether the permit still stands. Asked again before an act that has waited: a removal that
    /// has answered is final.
    pub fn still_authorized<A: DataAction>(&self, permit: &Permit<A>) -> Result<(), NotAuthorized> {
        if self.rights_revision.load(Ordering::Acquire) == permit.revision() {
            return Ok(());
        }
        let state = self.state.read();
        match allowing::<A>(&state, permit.principal(), permit.scope()) {
            Some(_) => Ok(()),
            None => Err(NotAuthorized::of(permit)),
        }
    }

    /// Finds anew what allows the permit, and does something while no change of rights can become
    /// visible: what is put in line in the audit trail meanwhile stands there before the outcome of
    /// any removal that it does not know of. It must be short, and must not call the HSM.
    pub fn while_authorized<A: DataAction, T>(
        &self,
        permit: &Permit<A>,
        act: impl FnOnce(&AllowedBy) -> T,
    ) -> Result<T, NotAuthorized> {
        let state = self.state.read();
        let held = allowing::<A>(&state, permit.principal(), permit.scope());
        let held = held.ok_or_else(|| NotAuthorized::of(permit))?;
        Ok(act(&allowed_by(&state, held)))
    }

    /// Whether this very assignment still allows what the permit is for.
    pub fn still_allowed_by<A: DataAction>(&self, permit: &Permit<A>, by: &AllowedBy) -> bool {
        if self.rights_revision.load(Ordering::Acquire) == by.revision {
            return true;
        }
        let state = self.state.read();
        let held = state.assignments_by_principal.get(&by.assignment.principal);
        let mut held = held.into_iter().flatten();
        held.any(|held| {
            held.assignment.name == by.assignment.name && held.allows::<A>(permit.scope())
        })
    }

    /// What must hold in the store for the permit to stand: that an assignment which allows the
    /// action, found anew, is as it was, and so the definition of its role.
    pub(crate) fn standing<A: DataAction>(
        &self,
        permit: &Permit<A>,
    ) -> Result<Vec<(Path, Condition)>, NotAuthorized> {
        let state = self.state.read();
        let held = allowing::<A>(&state, permit.principal(), permit.scope());
        let assignment = held.and_then(|held| state.assignments.get(&held.assignment.name));
        let Some((assignment, generation)) = assignment else {
            return Err(NotAuthorized::of(permit));
        };
        let mut stands =
            vec![(records::assignment_path(assignment.name), Condition::At(*generation))];
        if let Some((definition, generation)) = state.definitions.get(&assignment.role) {
            stands.push((records::definition_path(definition.id), Condition::At(*generation)));
        }
        Ok(stands)
    }
}

fn allowed_by(state: &State, held: &Held) -> AllowedBy {
    let assignment: Arc<Assignment> = Arc::clone(&held.assignment);
    AllowedBy { assignment, role: held.role.clone(), revision: state.rights_revision }
}

/// The first role that allows the action at the scope; for a list, at some part of it.
pub(super) fn allowing<'a, A: DataAction>(
    state: &'a State,
    principal: &Principal,
    scope: &Scope,
) -> Option<&'a Held> {
    principal
        .ids()
        .filter_map(|id| state.assignments_by_principal.get(&id))
        .flatten()
        .find(|held| held.allows::<A>(scope))
}

impl Held {
    pub(super) fn allows<A: DataAction>(&self, scope: &Scope) -> bool {
        let own = &self.assignment.scope;
        self.actions.covers(A::SET) && (own.covers(scope) || (A::WITHIN && scope.covers(own)))
    }
}
