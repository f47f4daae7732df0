//! The proof that somebody may do something.

use std::marker::PhantomData;
use std::sync::Arc;

use super::{Assignment, DataAction, Principal, Role, Scope};

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
///
/// Neither can one for a list, which part of what it shows is enough for:
///
/// ```compile_fail
/// use casemate_hsm::rbac::{Permit, Within, act};
/// fn needs_read(_: &Permit<act::KeysRead>) {}
/// fn misuse(list: &Permit<Within<act::KeysRead>>) {
///     needs_read(list);
/// }
/// ```
pub struct Permit<A: DataAction> {
    pub(super) principal: Arc<Principal>,
    pub(super) scope: Scope,
    pub(super) by: AllowedBy,
    pub(super) action: PhantomData<A>,
}

/// What allows a call.
#[derive(Clone, Debug)]
pub struct AllowedBy {
    /// The assignment.
    pub assignment: Arc<Assignment>,
    /// The role that it gives.
    pub role: Role,
    /// The revision of the rights at which it was found.
    pub revision: u64,
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

    /// What allowed it when it was given.
    pub fn by(&self) -> &AllowedBy {
        &self.by
    }

    /// The revision of the rights at which it was given.
    pub fn revision(&self) -> u64 {
        self.by.revision
    }

    /// The same permit, for work that outlives the borrow.
    pub(crate) fn duplicate(&self) -> Self {
        Self {
            principal: Arc::clone(&self.principal),
            scope: self.scope.clone(),
            by: self.by.clone(),
            action: PhantomData,
        }
    }
}
