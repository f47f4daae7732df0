//! The question "may they?", asked with exactly the action that follows.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use casemate_store_port::{Condition, Path};
use uuid::Uuid;

use super::{Action, Assignment, DataAction, Permit, Scope};
use crate::state::State;
use crate::{Hsm, records};

/// Somebody whose token was believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Object id.
    pub id: Uuid,
    /// Object ids of the groups that the token names.
    pub groups: Vec<Uuid>,
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

impl Hsm {
    /// Gives a permit, if an assignment allows the action at the scope.
    pub fn authorize<A: DataAction>(
        &self,
        principal: &Arc<Principal>,
        scope: Scope,
    ) -> Result<Permit<A>, NotAuthorized> {
        let state = self.state.read();
        let Some(assignment) = allowing::<A>(&state, principal, &scope) else {
            return Err(NotAuthorized { action: A::ACTION, scope });
        };
        Ok(Permit {
            principal: Arc::clone(principal),
            scope,
            assignment: Arc::clone(assignment),
            revision: state.rights_revision,
            action: PhantomData,
        })
    }

    /// Whether the permit still stands. Asked again before an act that has waited, and before its
    /// answer leaves: a removal that has answered is final.
    pub fn still_authorized<A: DataAction>(&self, permit: &Permit<A>) -> Result<(), NotAuthorized> {
        if self.rights_revision.load(Ordering::Acquire) == permit.revision() {
            return Ok(());
        }
        let state = self.state.read();
        match allowing::<A>(&state, permit.principal(), permit.scope()) {
            Some(_) => Ok(()),
            None => Err(NotAuthorized { action: A::ACTION, scope: permit.scope().clone() }),
        }
    }

    /// What must hold in the store for the permit to stand: that an assignment which allows the
    /// action, found anew, is as it was.
    pub(crate) fn standing<A: DataAction>(
        &self,
        permit: &Permit<A>,
    ) -> Result<(Path, Condition), NotAuthorized> {
        let state = self.state.read();
        let assignment = allowing::<A>(&state, permit.principal(), permit.scope());
        let held = assignment.and_then(|assignment| state.assignments.get(&assignment.name));
        let Some((assignment, generation)) = held else {
            return Err(NotAuthorized { action: A::ACTION, scope: permit.scope().clone() });
        };
        Ok((records::assignment_path(assignment.name), Condition::At(*generation)))
    }
}

pub(super) fn allowing<'a, A: DataAction>(
    state: &'a State,
    principal: &Principal,
    scope: &Scope,
) -> Option<&'a Arc<Assignment>> {
    std::iter::once(&principal.id)
        .chain(&principal.groups)
        .filter_map(|id| state.assignments_by_principal.get(id))
        .flatten()
        .find(|held| held.role.actions.covers(A::SET) && held.assignment.scope.covers(scope))
        .map(|held| &held.assignment)
}
