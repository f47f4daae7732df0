//! Role assignments: grant, read, take away.

use std::sync::Arc;

use casemate_audit::Recorded;
use casemate_store_port::{Change, Condition, Path, Write};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::authorize::allowing;
use super::roles::{ADMINISTRATOR, built_in_role};
use super::{Action, BuiltInRole, Permit, Principal, Scope, act};
use crate::commit::{Attempt, CommitRefusal};
use crate::records;
use crate::settings::{ESCALATION, Escalation};
use crate::state::{Applied, State};
use crate::{Hsm, UnixSeconds};

/// Most assignments in one HSM.
const ASSIGNMENTS_MAX: usize = 20_000;

/// A role, held by a principal, at a scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Its name, chosen by who made it.
    pub name: Uuid,
    /// Where it holds.
    pub scope: Scope,
    /// The role definition.
    pub role: Uuid,
    /// Who holds it: a user, an application, a managed identity or a group.
    pub principal: Uuid,
    /// When it was made.
    pub created: UnixSeconds,
}

/// What is to be granted.
#[derive(Clone, Debug)]
pub struct NewAssignment {
    /// The assignment's name.
    pub name: Uuid,
    /// The role definition.
    pub role: Uuid,
    /// Who shall hold it.
    pub principal: Uuid,
}

/// Which assignments a list shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssignmentsFilter {
    /// Those made at the scope asked for, `atScope()`.
    AtScope,
    /// Those of one principal, at the scope, and above it where the caller may read them.
    Principal(Uuid),
    /// No filter.
    All,
}

/// Why a role was not granted.
#[derive(Debug, thiserror::Error)]
pub enum AssignRefusal {
    /// No such role.
    #[error("there is no role definition {0}")]
    RoleNotFound(Uuid),
    /// The name is taken.
    #[error("the role assignment {0} exists already")]
    NameTaken(Uuid),
    /// The same role, principal and scope are assigned already.
    #[error("the principal holds this role at this scope already, by the assignment {0}")]
    Duplicate(Uuid),
    /// Only an Administrator grants this role.
    #[error(
        "only a Managed HSM Administrator may grant the role '{role}', which allows {}",
        action.name()
    )]
    ReservedRole {
        /// The role.
        role: &'static str,
        /// The first of its reserved actions.
        action: Action,
    },
    /// The HSM holds as many assignments as it can.
    #[error("the HSM holds {ASSIGNMENTS_MAX} role assignments, the most it can")]
    TooMany,
    /// Not stored.
    #[error(transparent)]
    Commit(#[from] CommitRefusal),
}

/// Why an assignment was not taken away.
#[derive(Debug, thiserror::Error)]
pub enum DeleteAssignmentRefusal {
    /// No such assignment at the scope.
    #[error("there is no such role assignment at this scope")]
    NotFound,
    /// Nobody would be left to administer the HSM.
    #[error("this is the last assignment of Managed HSM Administrator at '/'")]
    LastAdministrator,
    /// Only an Administrator takes this role away.
    #[error("only a Managed HSM Administrator may take away the role '{role}'")]
    ReservedRole {
        /// The role.
        role: &'static str,
    },
    /// Not stored.
    #[error(transparent)]
    Commit(#[from] CommitRefusal),
}

impl Hsm {
    /// Grants a role at the permit's scope.
    pub async fn assign_role(
        self: &Arc<Self>,
        permit: &Permit<act::RoleAssignmentsWrite>,
        _intent: &Recorded,
        request: NewAssignment,
    ) -> Result<Arc<Assignment>, AssignRefusal> {
        let now = self.clock.now();
        let scope = permit.scope().clone();
        self.attempt_by(permit, "rbac", || {
            let state = self.state.read();
            let decided = decide_assign(
                &state,
                self.settings().escalation,
                permit.principal(),
                &scope,
                &request,
                now,
            )?;
            let path = records::assignment_path(decided.name);
            let assignment = Arc::new(decided);
            Ok(Attempt {
                change: Change {
                    expect: vec![
                        (path.clone(), Condition::Absent),
                        self.setting_stands(&state, ESCALATION),
                    ],
                    writes: vec![Write::Put(path, records::encode(assignment.as_ref()))],
                },
                applied: vec![Applied::Assignment(Arc::clone(&assignment))],
                result: assignment,
            })
        })
        .await
    }

    /// Takes a role away. When this has answered, nobody acts by the assignment any more.
    pub async fn delete_assignment(
        self: &Arc<Self>,
        permit: &Permit<act::RoleAssignmentsDelete>,
        _intent: &Recorded,
        name: Uuid,
    ) -> Result<Arc<Assignment>, DeleteAssignmentRefusal> {
        self.attempt_by(permit, "rbac", || {
            let state = self.state.read();
            let (assignment, generation) = decide_delete(
                &state,
                self.settings().escalation,
                permit.principal(),
                permit.scope(),
                name,
            )?;
            let path: Path = records::assignment_path(name);
            Ok(Attempt {
                change: Change {
                    expect: vec![
                        (path.clone(), Condition::At(generation)),
                        self.setting_stands(&state, ESCALATION),
                    ],
                    writes: vec![Write::Delete(path)],
                },
                applied: vec![Applied::AssignmentGone(name)],
                result: assignment,
            })
        })
        .await
    }

    /// One assignment made at the permit's scope.
    pub fn assignment(
        &self,
        permit: &Permit<act::RoleAssignmentsRead>,
        name: Uuid,
    ) -> Option<Arc<Assignment>> {
        let state = self.state.read();
        let (assignment, _) = state.assignments.get(&name)?;
        (&assignment.scope == permit.scope()).then(|| Arc::clone(assignment))
    }

    /// The assignments at the permit's scope, oldest first.
    pub fn assignments(
        &self,
        permit: &Permit<act::RoleAssignmentsRead>,
        filter: AssignmentsFilter,
    ) -> Vec<Arc<Assignment>> {
        let state = self.state.read();
        // What is assigned above the scope is for those who may read it there.
        let may_read = |scope: &Scope| {
            scope == permit.scope()
                || allowing::<act::RoleAssignmentsRead>(&state, permit.principal(), scope).is_some()
        };
        let shown = |assignment: &Assignment| match filter {
            AssignmentsFilter::AtScope | AssignmentsFilter::All => {
                &assignment.scope == permit.scope()
            }
            AssignmentsFilter::Principal(id) => {
                assignment.principal == id
                    && assignment.scope.covers(permit.scope())
                    && may_read(&assignment.scope)
            }
        };
        let all = state.assignments.values().map(|(assignment, _)| assignment);
        let mut found: Vec<_> = all.filter(|assignment| shown(assignment)).cloned().collect();
        found.sort_by_key(|assignment| (assignment.created, assignment.name));
        found
    }
}

fn decide_assign(
    state: &State,
    escalation: Escalation,
    granter: &Principal,
    scope: &Scope,
    request: &NewAssignment,
    now: UnixSeconds,
) -> Result<Assignment, AssignRefusal> {
    let role = built_in_role(request.role).ok_or(AssignRefusal::RoleNotFound(request.role))?;
    if let Some(action) = reserved(role)
        && escalation == Escalation::Strict
        && !is_administrator(state, granter)
    {
        return Err(AssignRefusal::ReservedRole { role: role.name, action });
    }
    if state.assignments.contains_key(&request.name) {
        return Err(AssignRefusal::NameTaken(request.name));
    }
    let held = state.assignments_by_principal.get(&request.principal).into_iter().flatten();
    let twin = held
        .map(|held| &held.assignment)
        .find(|held| held.role == request.role && &held.scope == scope);
    if let Some(twin) = twin {
        return Err(AssignRefusal::Duplicate(twin.name));
    }
    if state.assignments.len() >= ASSIGNMENTS_MAX {
        return Err(AssignRefusal::TooMany);
    }
    Ok(Assignment {
        name: request.name,
        scope: scope.clone(),
        role: request.role,
        principal: request.principal,
        created: now,
    })
}

fn decide_delete(
    state: &State,
    escalation: Escalation,
    remover: &Principal,
    scope: &Scope,
    name: Uuid,
) -> Result<(Arc<Assignment>, casemate_store_port::Generation), DeleteAssignmentRefusal> {
    let (assignment, generation) = state
        .assignments
        .get(&name)
        .filter(|(assignment, _)| &assignment.scope == scope)
        .ok_or(DeleteAssignmentRefusal::NotFound)?;
    if let Some(role) = built_in_role(assignment.role)
        && reserved(role).is_some()
        && escalation == Escalation::Strict
        && !is_administrator(state, remover)
    {
        return Err(DeleteAssignmentRefusal::ReservedRole { role: role.name });
    }
    let administers = |assignment: &Assignment| {
        assignment.role == ADMINISTRATOR && assignment.scope == Scope::Root
    };
    let others = state.assignments.values().filter(|(other, _)| administers(other)).count();
    if administers(assignment) && others == 1 {
        return Err(DeleteAssignmentRefusal::LastAdministrator);
    }
    Ok((Arc::clone(assignment), *generation))
}

fn reserved(role: &BuiltInRole) -> Option<Action> {
    role.actions.iter().find(|action| action.is_reserved())
}

/// Whether they hold Administrator at `/`, themselves or through a group.
fn is_administrator(state: &State, principal: &Principal) -> bool {
    std::iter::once(&principal.id)
        .chain(&principal.groups)
        .filter_map(|id| state.assignments_by_principal.get(id))
        .flatten()
        .any(|held| held.assignment.role == ADMINISTRATOR && held.assignment.scope == Scope::Root)
}
