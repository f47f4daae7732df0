//! Reading role assignments: each caller is shown what it may see.

use std::sync::Arc;

use uuid::Uuid;

use super::authorize::allowing;
use super::{Assignment, Permit, Scope, Within, act};
use crate::Hsm;

/// Which assignments a list shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssignmentsFilter {
    /// Those made at the scope asked for, `atScope()`.
    AtScope,
    /// Those of one principal: at the scope, above it and below it.
    Principal(Uuid),
    /// No filter: those made at the scope.
    All,
}

impl Hsm {
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

    /// The assignments at the permit's scope, or of a principal around it, oldest first: those
    /// that the caller may read where they are made.
    pub fn assignments(
        &self,
        permit: &Permit<Within<act::RoleAssignmentsRead>>,
        filter: AssignmentsFilter,
    ) -> Vec<Arc<Assignment>> {
        let state = self.state.read();
        let may_read = |scope: &Scope| {
            allowing::<act::RoleAssignmentsRead>(&state, permit.principal(), scope).is_some()
        };
        let meant = |assignment: &Assignment| match filter {
            AssignmentsFilter::AtScope | AssignmentsFilter::All => {
                &assignment.scope == permit.scope()
            }
            AssignmentsFilter::Principal(id) => {
                assignment.principal == id && assignment.scope.overlaps(permit.scope())
            }
        };
        let all = state.assignments.values().map(|(assignment, _)| assignment);
        let shown = all.filter(|one| meant(one) && may_read(&one.scope));
        let mut found: Vec<_> = shown.cloned().collect();
        found.sort_by_key(|assignment| (assignment.created, assignment.name));
        found
    }
}
