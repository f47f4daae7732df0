//! What stands before a change, so that the record of the change can say what it was about. What is
//! found here decides nothing.

use std::sync::Arc;

use uuid::Uuid;

use super::{Assignment, Definition, Permit, Role, Scope, act};
use crate::{Hsm, KeyName};

impl Hsm {
    /// The role that is to be granted; [`Role::Gone`] if there is none.
    pub fn role_to_grant(&self, _permit: &Permit<act::RoleAssignmentsWrite>, id: Uuid) -> Role {
        self.state.read().role(id)
    }

    /// The assignment that is to be taken away, with its role.
    pub fn assignment_to_delete(
        &self,
        permit: &Permit<act::RoleAssignmentsDelete>,
        name: Uuid,
    ) -> Option<(Arc<Assignment>, Role)> {
        let state = self.state.read();
        let (assignment, _) = state.assignments.get(&name)?;
        let found = (Arc::clone(assignment), state.role(assignment.role));
        (&assignment.scope == permit.scope()).then_some(found)
    }

    /// The definition that is to be written anew.
    pub fn definition_to_write(
        &self,
        _permit: &Permit<act::RoleDefinitionsWrite>,
        id: Uuid,
    ) -> Option<Arc<Definition>> {
        self.definition_before(id)
    }

    /// The definition that is to be deleted.
    pub fn definition_to_delete(
        &self,
        _permit: &Permit<act::RoleDefinitionsDelete>,
        id: Uuid,
    ) -> Option<Arc<Definition>> {
        self.definition_before(id)
    }

    fn definition_before(&self, id: Uuid) -> Option<Arc<Definition>> {
        self.state.read().definitions.get(&id).map(|(definition, _)| Arc::clone(definition))
    }

    /// The assignments that go with a key when it is purged: those made at its scope.
    pub fn assignments_of_key(&self, name: &KeyName) -> Vec<Arc<Assignment>> {
        let scope = Scope::Key(name.clone());
        let state = self.state.read();
        let all = state.assignments.values().map(|(assignment, _)| assignment);
        let mut found: Vec<_> = all.filter(|one| one.scope == scope).cloned().collect();
        found.sort_by_key(|assignment| (assignment.created, assignment.name));
        found
    }
}
