//! Role assignments: grant, read, take away.

use std::sync::Arc;

use casemate_audit::Recorded;
use casemate_store_port::{Change, Condition, Generation, Path, Write};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::duties::{Together, would_hold_together};
use super::power::{Power, power_of};
use super::roles::ADMINISTRATOR;
use super::{Action, Permit, Principal, Role, Scope, act};
use crate::commit::{Attempt, CommitRefusal};
use crate::records;
use crate::settings::{ESCALATION, SEPARATION, Separation};
use crate::state::{Applied, State};
use crate::{Hsm, UnixSeconds};

/// Into how many shares the room for assignments is cut.
const SHARES: usize = 10;

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
    /// Whether all groups of the granter are known: a token can say that there are too many.
    pub groups_known: bool,
}

/// A role that was granted, and what is worth saying about it.
#[derive(Debug)]
pub struct Granted {
    /// The assignment.
    pub assignment: Arc<Assignment>,
    /// Whether the granter gave it to itself, or to a group that its token lists.
    pub to_oneself: bool,
    /// The duties that the principal now holds together.
    pub together: Option<Together>,
}

/// Why a role was not granted.
#[derive(Debug, thiserror::Error)]
pub enum AssignRefusal {
    /// Nobody has this id, and nobody ever will.
    #[error("the principal 00000000-0000-0000-0000-000000000000 is nobody")]
    Nobody,
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
        role: String,
        /// The first of its reserved actions.
        action: Action,
    },
    /// Only an Administrator grants roles to itself.
    #[error("only a Managed HSM Administrator may grant a role to itself or to its own group")]
    ToOneself,
    /// Only an Administrator grants roles to itself, and this may be a group of the granter's.
    #[error(
        "only a Managed HSM Administrator may grant a role to its own group, and not all groups of \
         the caller are known"
    )]
    MaybeToOneself,
    /// The setting keeps these duties apart.
    #[error("{0}, which this HSM's settings keep apart")]
    KeptApart(Together),
    /// The HSM holds as many assignments as it can.
    #[error("the HSM holds {0} role assignments, the most it can")]
    TooMany(usize),
    /// The rest is kept for Administrators.
    #[error("the HSM holds {0} role assignments, and the rest is kept for Administrators")]
    RestIsKept(usize),
    /// Below the scope at which the granter may grant there are as many as its share.
    #[error("{scope} holds {share} role assignments, the most that who may assign there can make")]
    ShareIsUsed {
        /// That scope.
        scope: Scope,
        /// How many.
        share: usize,
    },
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
    /// Who takes it away would administer the HSM no longer.
    #[error(
        "who takes away Managed HSM Administrator at '/' must hold it by another assignment, so \
         that the HSM is left with an Administrator who is known to be there"
    )]
    OwnAdministrator,
    /// Only an Administrator takes this role away.
    #[error("only a Managed HSM Administrator may take away the role '{role}'")]
    ReservedRole {
        /// The role.
        role: String,
    },
    /// Not stored.
    #[error(transparent)]
    Commit(#[from] CommitRefusal),
}

/// What a decision rests on: it holds only as long as these records are as they were.
type Rests = Vec<(Path, Condition)>;

impl Hsm {
    /// Grants a role at the permit's scope.
    pub async fn assign_role(
        self: &Arc<Self>,
        permit: &Permit<act::RoleAssignmentsWrite>,
        _intent: &Recorded,
        request: NewAssignment,
    ) -> Result<Granted, AssignRefusal> {
        let now = self.clock.now();
        let scope = permit.scope().clone();
        self.attempt_by(permit, "rbac", || {
            let state = self.state.read();
            let escalation = self.settings().escalation;
            let rules = Rules {
                granter: permit.principal(),
                granted_at: &permit.by().assignment.scope,
                power: power_of(&state, escalation, permit.principal()),
                separation: self.settings().separation,
                assignments_max: self.limits.assignments_max,
            };
            let (granted, mut expect) = decide_assign(&state, &rules, &scope, &request, now)?;
            let assignment = Arc::clone(&granted.assignment);
            let path = records::assignment_path(assignment.name);
            expect.push((path.clone(), Condition::Absent));
            expect.push(self.setting_stands(&state, SEPARATION));
            expect.push(self.setting_stands(&state, ESCALATION));
            Ok(Attempt {
                change: Change {
                    expect,
                    writes: vec![Write::Put(path, records::encode(assignment.as_ref()))],
                },
                applied: vec![Applied::Assignment(assignment)],
                result: granted,
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
            let power = power_of(&state, self.settings().escalation, permit.principal());
            let deleter = Deleter { principal: permit.principal(), power };
            let (assignment, mut expect) = decide_delete(&state, &deleter, permit.scope(), name)?;
            expect.push(self.setting_stands(&state, ESCALATION));
            Ok(Attempt {
                change: Change {
                    expect,
                    writes: vec![Write::Delete(records::assignment_path(name))],
                },
                applied: vec![Applied::AssignmentGone(name)],
                result: assignment,
            })
        })
        .await
    }
}

/// By which rules a grant is decided.
struct Rules<'a> {
    granter: &'a Principal,
    /// The scope of the assignment by which it may grant.
    granted_at: &'a Scope,
    power: Power,
    separation: Separation,
    assignments_max: usize,
}

fn decide_assign(
    state: &State,
    rules: &Rules<'_>,
    scope: &Scope,
    request: &NewAssignment,
    now: UnixSeconds,
) -> Result<(Granted, Rests), AssignRefusal> {
    if request.principal.is_nil() {
        return Err(AssignRefusal::Nobody);
    }
    let (role, mut rests) = existing(state, request.role)?;
    let to_oneself = rules.granter.is_or_is_in(request.principal);
    let maybe_to_oneself = to_oneself || !request.groups_known;
    let reserved = role.actions().reserved();
    if reserved.is_some() || maybe_to_oneself {
        match (&rules.power, reserved) {
            (Power::Administrator(stands), _) => rests.push(stands.clone()),
            (Power::AsInTheOriginal, _) => {}
            (Power::Limited, Some(action)) => {
                let role = role.name().to_owned();
                return Err(AssignRefusal::ReservedRole { role, action });
            }
            (Power::Limited, None) if to_oneself => return Err(AssignRefusal::ToOneself),
            (Power::Limited, None) => return Err(AssignRefusal::MaybeToOneself),
        }
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
    refuse_crowd(state, rules)?;
    let together = would_hold_together(state, request.principal, scope, role.actions());
    if let (Some(together), Separation::Refuse) = (together, rules.separation) {
        return Err(AssignRefusal::KeptApart(together));
    }
    let assignment = Arc::new(Assignment {
        name: request.name,
        scope: scope.clone(),
        role: request.role,
        principal: request.principal,
        created: now,
    });
    Ok((Granted { assignment, to_oneself, together }, rests))
}

/// Nobody fills the HSM for the others: who may assign at some keys only has a share of all
/// assignments there, and the last share of all is for Administrators, who can mend things.
fn refuse_crowd(state: &State, rules: &Rules<'_>) -> Result<(), AssignRefusal> {
    let (all, most) = (state.assignments.len(), rules.assignments_max);
    if all >= most {
        return Err(AssignRefusal::TooMany(most));
    }
    if matches!(rules.power, Power::Administrator(_)) {
        return Ok(());
    }
    let share = most.div_ceil(SHARES);
    if all >= most - share {
        return Err(AssignRefusal::RestIsKept(all));
    }
    let scope = rules.granted_at;
    if matches!(scope, Scope::Root | Scope::Keys) {
        return Ok(());
    }
    let below = state.assignments.values().filter(|(one, _)| scope.covers(&one.scope)).count();
    if below >= share {
        return Err(AssignRefusal::ShareIsUsed { scope: scope.clone(), share });
    }
    Ok(())
}

/// The role, and that its definition is as it was.
fn existing(state: &State, id: Uuid) -> Result<(Role, Rests), AssignRefusal> {
    if let Some(role) = Role::built_in(id) {
        return Ok((role, Vec::new()));
    }
    let (definition, generation) =
        state.definitions.get(&id).ok_or(AssignRefusal::RoleNotFound(id))?;
    let stands = (records::definition_path(id), Condition::At(*generation));
    Ok((Role::Custom(Arc::clone(definition)), vec![stands]))
}

/// Who takes an assignment away.
struct Deleter<'a> {
    principal: &'a Principal,
    power: Power,
}

fn decide_delete(
    state: &State,
    deleter: &Deleter<'_>,
    scope: &Scope,
    name: Uuid,
) -> Result<(Arc<Assignment>, Rests), DeleteAssignmentRefusal> {
    let (assignment, generation) = state
        .assignments
        .get(&name)
        .filter(|(assignment, _)| &assignment.scope == scope)
        .ok_or(DeleteAssignmentRefusal::NotFound)?;
    let mut rests = vec![(records::assignment_path(name), Condition::At(*generation))];
    let role = state.role(assignment.role);
    if role.actions().reserved().is_some() {
        match &deleter.power {
            // Its own assignment is among the conditions already.
            Power::Administrator((path, _)) if *path == records::assignment_path(name) => {}
            Power::Administrator(stands) => rests.push(stands.clone()),
            Power::AsInTheOriginal => {}
            Power::Limited => {
                let role = role.name().to_owned();
                return Err(DeleteAssignmentRefusal::ReservedRole { role });
            }
        }
    }
    if administers(assignment) {
        // Another one must stay, in the store itself: of two that go at once, one stays.
        let (other, generation) = who_stays(state, deleter, name)?;
        let stays = (records::assignment_path(other), Condition::At(generation));
        if !rests.contains(&stays) {
            rests.push(stays);
        }
    }
    Ok((Arc::clone(assignment), rests))
}

/// Whoever it is made to: whether a principal is a group, and whether somebody is in it, is not
/// known here.
pub(crate) fn administers(assignment: &Assignment) -> bool {
    assignment.role == ADMINISTRATOR && assignment.scope == Scope::Root
}

/// The assignment by which the HSM is administered when this one is gone: the deleter's own. Of any
/// other, nobody knows here whether its principal exists; the deleter has just shown that it does.
/// Where the HSM does as the original does, whoever may take rights away may give them too, and any
/// other will do.
fn who_stays(
    state: &State,
    deleter: &Deleter<'_>,
    gone: Uuid,
) -> Result<(Uuid, Generation), DeleteAssignmentRefusal> {
    let stays = |one: &Assignment| one.name != gone && administers(one) && !one.principal.is_nil();
    let mut others = state.assignments.values().filter(|(one, _)| stays(one));
    let own = others.clone().find(|(one, _)| deleter.principal.is_or_is_in(one.principal));
    let any = others.next().ok_or(DeleteAssignmentRefusal::LastAdministrator)?;
    let (stays, generation) = match (own, &deleter.power) {
        (Some(own), _) => own,
        (None, Power::AsInTheOriginal) => any,
        (None, Power::Administrator(_) | Power::Limited) => {
            return Err(DeleteAssignmentRefusal::OwnAdministrator);
        }
    };
    Ok((stays.name, *generation))
}
