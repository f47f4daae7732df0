//! The proof that somebody may do something.

use std::marker::PhantomData;
use std::sync::Arc;

use super::{Assignment, DataAction, Principal, Scope};

/// One principal may do action `A` at one scope, by one assignment.
///
/// There is no constructor but [`Hsm::authorize`](crate::Hsm::authorize). An act takes the permit
/// of exactly its action, and acts on the key of the permit's scope: neither a permit for another
/// action nor another key's can be handed to it by mistake.
///
/// ```compile_fail
/// use casemate_hsm::rbac::{Permit, act};
/// fn forge() -> Permit<act::KeysSign> {
///     Permit { }
/// }
/// ```
///
/// ```compile_fail
/// use casemate_hsm::rbac::{Permit, act};
/// fn needs_sign(_: &Permit<act::KeysSign>) {}
/// fn misuse(read: &Permit<act::KeysRead>) {
///     needs_sign(read);
/// }
/// ```
pub struct Permit<A: DataAction> {
    pub(super) principal: Arc<Principal>,
    pub(super) scope: Scope,
    pub(super) assignment: Arc<Assignment>,
    pub(super) revision: u64,
    pub(super) action: PhantomData<A>,
}

impl<A: DataAction> Permit<A> {
    /// Who may.
    pub fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }

    /// Where.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// By which assignment.
    pub fn assignment(&self) -> &Assignment {
        &self.assignment
    }

    /// The revision of the rights at which it was given.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The same permit, for work that outlives the borrow.
    pub(crate) fn duplicate(&self) -> Self {
        Self {
            principal: Arc::clone(&self.principal),
            scope: self.scope.clone(),
            assignment: Arc::clone(&self.assignment),
            revision: self.revision,
            action: PhantomData,
        }
    }
}
