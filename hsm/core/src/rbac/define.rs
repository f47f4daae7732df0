//! Write and delete role definitions. A definition is written at `/` only; a change of it takes
//! effect at once for everybody who holds the role.

use std::sync::Arc;

use casemate_audit::Recorded;
use casemate_store_port::{Change, Condition, Generation, Path, Write};
use uuid::Uuid;

use super::definition::is_named;
use super::definition::{Definition, NewDefinition, Role};
use super::duties::{Together, would_hold_together};
use super::look::Look;
use super::power::{Power, power_of};
use super::roles::{BUILT_IN_ROLES, built_in_role};
use super::{Action, ActionSet, Permit, Principal, Scope, Within, act};
use crate::commit::{Attempt, CommitRefusal};
use crate::records;
use crate::settings::{ESCALATION, SEPARATION, Separation};
use crate::state::{Applied, State};
use crate::{Hsm, UnixSeconds};

/// A definition that was written, and what is worth saying about it.
#[derive(Debug)]
pub struct Defined {
    /// The definition.
    pub definition: Arc<Definition>,
    /// What it was before.
    pub before: Option<Arc<Definition>>,
    /// Whether it gave its writer more than before.
    pub to_oneself: bool,
    /// Duties that somebody who holds the role now holds together.
    pub together: Option<Together>,
}

/// Why a definition was not written.
#[derive(Debug, thiserror::Error)]
pub enum DefineRefusal {
    /// Not at `/`.
    #[error("role definitions are written and deleted at '/' only")]
    NotAtRoot,
    /// The id or the name of a built-in role.
    #[error("the id is that of a built-in role, or the name is or looks like that of one")]
    BuiltIn,
    /// Another role has the name.
    #[error("the role definition {0} has this name already, or one that looks like it")]
    NameTaken(Uuid),
    /// Assignments of a deleted role of this id are still there.
    #[error("{0} assignments of a deleted role with this id are left, and would revive")]
    WouldRevive(usize),
    /// Only an Administrator changes who may do this.
    #[error("only a Managed HSM Administrator may give or take {} by a definition", .0.name())]
    Reserved(Action),
    /// Only an Administrator gives itself more.
    #[error("only a Managed HSM Administrator may add to a role that it holds itself")]
    ToOneself,
    /// Only an Administrator gives itself more, and this may be a role of the writer's group.
    #[error(
        "only a Managed HSM Administrator may add to a role that its own group holds, and not all \
         groups of the caller are known"
    )]
    MaybeToOneself,
    /// The setting keeps these duties apart.
    #[error("{0}, which this HSM's settings keep apart")]
    KeptApart(Together),
    /// The HSM holds as many definitions as it can.
    #[error("the HSM holds {0} role definitions, the most it can")]
    TooMany(usize),
    /// Not stored.
    #[error(transparent)]
    Commit(#[from] CommitRefusal),
}

/// Why a definition was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteDefinitionRefusal {
    /// Not at `/`.
    #[error("role definitions are written and deleted at '/' only")]
    NotAtRoot,
    /// A built-in role.
    #[error("built-in roles cannot be deleted")]
    BuiltIn,
    /// No such definition.
    #[error("there is no such role definition")]
    NotFound,
    /// Only an Administrator takes this away.
    #[error("only a Managed HSM Administrator may take {} by deleting a definition", .0.name())]
    Reserved(Action),
    /// Not stored.
    #[error(transparent)]
    Commit(#[from] CommitRefusal),
}

impl Hsm {
    /// Writes a role definition: a new one, or another content for one that is there.
    pub async fn write_definition(
        self: &Arc<Self>,
        permit: &Permit<act::RoleDefinitionsWrite>,
        _intent: &Recorded,
        request: NewDefinition,
    ) -> Result<Defined, DefineRefusal> {
        if *permit.scope() != Scope::Root {
            return Err(DefineRefusal::NotAtRoot);
        }
        let now = self.clock.now();
        self.attempt_by(permit, "rbac", || {
            let state = self.state.read();
            let escalation = self.settings().escalation;
            let rules = Rules {
                writer: permit.principal(),
                power: power_of(&state, escalation, permit.principal()),
                separation: self.settings().separation,
                definitions_max: self.limits.definitions_max,
            };
            let (defined, mut expect) = decide_write(&state, &rules, &request, now)?;
            expect.push(self.setting_stands(&state, SEPARATION));
            expect.push(self.setting_stands(&state, ESCALATION));
            let definition = Arc::clone(&defined.definition);
            let path = records::definition_path(definition.id);
            Ok(Attempt {
                change: Change {
                    expect,
                    writes: vec![Write::Put(path, records::encode(definition.as_ref()))],
                },
                applied: vec![Applied::Definition(definition)],
                result: defined,
            })
        })
        .await
    }

    /// Deletes a role definition. Its assignments stay and allow nothing any more.
    pub async fn delete_definition(
        self: &Arc<Self>,
        permit: &Permit<act::RoleDefinitionsDelete>,
        _intent: &Recorded,
        id: Uuid,
    ) -> Result<Arc<Definition>, DeleteDefinitionRefusal> {
        if *permit.scope() != Scope::Root {
            return Err(DeleteDefinitionRefusal::NotAtRoot);
        }
        self.attempt_by(permit, "rbac", || {
            let state = self.state.read();
            let power = power_of(&state, self.settings().escalation, permit.principal());
            let (definition, mut expect) = decide_delete(&state, &power, id)?;
            expect.push(self.setting_stands(&state, ESCALATION));
            let writes = vec![Write::Delete(records::definition_path(id))];
            Ok(Attempt {
                change: Change { expect, writes },
                applied: vec![Applied::DefinitionGone(id)],
                result: definition,
            })
        })
        .await
    }

    /// A role by its id. Definitions are the same at every scope.
    pub fn definition(
        &self,
        _permit: &Permit<Within<act::RoleDefinitionsRead>>,
        id: Uuid,
    ) -> Option<Role> {
        match self.state.read().role(id) {
            Role::Gone(_) => None,
            role => Some(role),
        }
    }

    /// The roles: the built-in ones, then the others, oldest first.
    pub fn definitions(&self, _permit: &Permit<Within<act::RoleDefinitionsRead>>) -> Vec<Role> {
        let state = self.state.read();
        let mut custom: Vec<_> = state.definitions.values().map(|(one, _)| one).collect();
        custom.sort_by_key(|definition| (definition.created, definition.id));
        let custom = custom.into_iter().map(|one| Role::Custom(Arc::clone(one)));
        BUILT_IN_ROLES.iter().map(Role::BuiltIn).chain(custom).collect()
    }
}

/// By which rules a definition is decided.
struct Rules<'a> {
    writer: &'a Principal,
    power: Power,
    separation: Separation,
    definitions_max: usize,
}

type Rests = Vec<(Path, Condition)>;

fn decide_write(
    state: &State,
    rules: &Rules<'_>,
    request: &NewDefinition,
    now: UnixSeconds,
) -> Result<(Defined, Rests), DefineRefusal> {
    let id = request.id;
    let present = state.definitions.get(&id);
    refuse_taken(state, request)?;
    if present.is_none() {
        refuse_new(state, rules, id)?;
    }
    let definition = Definition {
        id,
        role_name: request.role_name.clone(),
        description: request.description.clone(),
        permissions: request.permissions.clone().into_vec(),
        created: present.map_or(now, |(old, _)| old.created),
        updated: now,
    };
    let (old, mut rests) = as_it_was(id, present);
    let new = definition.actions();
    let added = new.without(old);
    let changed = added.and(old.without(new));
    let to_oneself = !added.is_empty() && holds(state, rules.writer, id);
    let is_held = || state.assignments.values().any(|(one, _)| one.role == id);
    let maybe_to_oneself = to_oneself || (!request.groups_known && !added.is_empty() && is_held());
    let reserved = changed.reserved();
    if reserved.is_some() || maybe_to_oneself {
        match (&rules.power, reserved) {
            (Power::Administrator(stands), _) => rests.push(stands.clone()),
            (Power::AsInTheOriginal, _) => {}
            (Power::Limited, Some(action)) => return Err(DefineRefusal::Reserved(action)),
            (Power::Limited, None) if to_oneself => return Err(DefineRefusal::ToOneself),
            (Power::Limited, None) => return Err(DefineRefusal::MaybeToOneself),
        }
    }
    let together = duties_of_holders(state, id, added);
    if let (Some(together), Separation::Refuse) = (together, rules.separation) {
        return Err(DefineRefusal::KeptApart(together));
    }
    let before = present.map(|(old, _)| Arc::clone(old));
    Ok((Defined { definition: Arc::new(definition), before, to_oneself, together }, rests))
}

/// The id and the name must be no other role's.
fn refuse_taken(state: &State, request: &NewDefinition) -> Result<(), DefineRefusal> {
    let name = request.role_name.as_str();
    let look = Look::of(name);
    let is_like =
        |other: &str| !name.is_empty() && (is_named(other, name) || look.is_like(&Look::of(other)));
    let built_in = BUILT_IN_ROLES.iter().any(|role| is_like(role.name));
    if built_in || built_in_role(request.id).is_some() {
        return Err(DefineRefusal::BuiltIn);
    }
    let mut others = state.definitions.values().map(|(other, _)| other);
    match others.find(|other| other.id != request.id && is_like(other.role_name.as_str())) {
        Some(other) => Err(DefineRefusal::NameTaken(other.id)),
        None => Ok(()),
    }
}

/// What a definition that is not there yet must not do.
fn refuse_new(state: &State, rules: &Rules<'_>, id: Uuid) -> Result<(), DefineRefusal> {
    let left = state.assignments.values().filter(|(one, _)| one.role == id).count();
    if left > 0 {
        return Err(DefineRefusal::WouldRevive(left));
    }
    if state.definitions.len() >= rules.definitions_max {
        return Err(DefineRefusal::TooMany(rules.definitions_max));
    }
    Ok(())
}

fn as_it_was(id: Uuid, present: Option<&(Arc<Definition>, Generation)>) -> (ActionSet, Rests) {
    let path = records::definition_path(id);
    match present {
        Some((old, generation)) => (old.actions(), vec![(path, Condition::At(*generation))]),
        None => (ActionSet::default(), vec![(path, Condition::Absent)]),
    }
}

/// Whether the principal holds the role anywhere, itself or through a group.
fn holds(state: &State, principal: &Principal, role: Uuid) -> bool {
    let held = principal.ids().filter_map(|id| state.assignments_by_principal.get(&id)).flatten();
    held.into_iter().any(|held| held.assignment.role == role)
}

/// The first duties that somebody who holds the role would hold together by what it gains.
fn duties_of_holders(state: &State, role: Uuid, added: ActionSet) -> Option<Together> {
    if added.is_empty() {
        return None;
    }
    let mut holders = state.assignments.values().filter(|(one, _)| one.role == role);
    holders.find_map(|(one, _)| would_hold_together(state, one.principal, &one.scope, added))
}

fn decide_delete(
    state: &State,
    power: &Power,
    id: Uuid,
) -> Result<(Arc<Definition>, Rests), DeleteDefinitionRefusal> {
    if built_in_role(id).is_some() {
        return Err(DeleteDefinitionRefusal::BuiltIn);
    }
    let present = state.definitions.get(&id);
    let (definition, generation) = present.ok_or(DeleteDefinitionRefusal::NotFound)?;
    let mut rests = vec![(records::definition_path(id), Condition::At(*generation))];
    if let Some(action) = definition.actions().reserved() {
        match power {
            Power::Administrator(stands) => rests.push(stands.clone()),
            Power::AsInTheOriginal => {}
            Power::Limited => return Err(DeleteDefinitionRefusal::Reserved(action)),
        }
    }
    Ok((Arc::clone(definition), rests))
}
