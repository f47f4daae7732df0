//! Which duties one principal should not hold together.
//!
//! The roles of the original keep three duties apart: the Administrator and the Officer decide who
//! may do what, the Officer destroys, the Administrator holds the security domain; the Crypto User
//! uses keys and does none of it. Who held both could use a key, and give, take or destroy the
//! rights and the traces that stand against it. What counts are the data actions, so that roles
//! somebody wrote are judged like the built-in ones.

use std::fmt;
use std::sync::Arc;

use casemate_store_port::Generation;
use uuid::Uuid;

use super::{Action as A, ActionSet, Assignment, Definition, Scope};
use crate::state::{Applied, State};

/// A duty that is kept apart from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Using keys: encrypting, decrypting, wrapping, unwrapping, signing, deriving, releasing.
    UseKeys,
    /// Deciding who may do what: writing and deleting role assignments and definitions.
    ManageRights,
    /// Purging keys.
    PurgeKeys,
    /// Holding the HSM as a whole: the security domain, and full restore.
    HoldTheDomain,
}

impl Duty {
    const fn actions(self) -> ActionSet {
        match self {
            Self::UseKeys => ActionSet::of(&[
                A::KeysEncrypt,
                A::KeysDecrypt,
                A::KeysWrap,
                A::KeysUnwrap,
                A::KeysSign,
                A::KeysDerive,
                A::KeysRelease,
            ]),
            Self::ManageRights => ActionSet::of(&[
                A::RoleAssignmentsWrite,
                A::RoleAssignmentsDelete,
                A::RoleDefinitionsWrite,
                A::RoleDefinitionsDelete,
            ]),
            Self::PurgeKeys => ActionSet::of(&[A::DeletedKeysPurge]),
            Self::HoldTheDomain => ActionSet::of(&[
                A::SecurityDomainDownload,
                A::SecurityDomainUpload,
                A::RestoreStart,
            ]),
        }
    }
}

impl fmt::Display for Duty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UseKeys => "using keys",
            Self::ManageRights => "managing rights",
            Self::PurgeKeys => "purging keys",
            Self::HoldTheDomain => "holding the security domain",
        })
    }
}

/// Two duties in one hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Together {
    /// Whose hand.
    pub principal: Uuid,
    /// The other duty than using keys.
    pub duty: Duty,
}

impl fmt::Display for Together {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { principal, duty } = self;
        let used = Duty::UseKeys;
        write!(f, "the principal {principal} would hold two duties together: {used} and {duty}")
    }
}

/// The duty that does not go together with using keys, if the actions hold both.
pub(crate) fn together(actions: ActionSet) -> Option<Duty> {
    if !actions.meets(Duty::UseKeys.actions()) {
        return None;
    }
    let apart = [Duty::ManageRights, Duty::PurgeKeys, Duty::HoldTheDomain];
    apart.into_iter().find(|duty| actions.meets(duty.actions()))
}

/// Whether a principal that is given these actions at a scope would by them hold two duties
/// together. Only what is assigned to the principal itself is seen: who is in which group, only
/// tokens say.
pub(super) fn would_hold_together(
    state: &State,
    principal: Uuid,
    scope: &Scope,
    given: ActionSet,
) -> Option<Together> {
    let held = state.assignments_by_principal.get(&principal).into_iter().flatten();
    let here = held.filter(|held| held.assignment.scope.overlaps(scope));
    let all = here.map(|held| held.actions).fold(given, ActionSet::and);
    let duty = together(all)?;
    let adds = given.meets(Duty::UseKeys.actions().and(duty.actions()));
    adds.then_some(Together { principal, duty })
}

/// The duty that somebody would hold beside using keys, if these were all roles and assignments.
pub(crate) fn kept_together(
    definitions: &[Definition],
    assignments: &[Assignment],
) -> Option<Duty> {
    let mut state = State::default();
    for definition in definitions {
        state.apply(Applied::Definition(Arc::new(definition.clone())), Generation(0));
    }
    for assignment in assignments {
        state.apply(Applied::Assignment(Arc::new(assignment.clone())), Generation(0));
    }
    assignments.iter().find_map(|one| {
        let given = state.role(one.role).actions();
        would_hold_together(&state, one.principal, &one.scope, given).map(|found| found.duty)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rbac::{BUILT_IN_ROLES, built_in_role_named};

    fn role(name: &str) -> ActionSet {
        built_in_role_named(&format!("Managed HSM {name}")).unwrap().actions
    }

    #[test]
    fn no_built_in_role_holds_two_duties() {
        for role in BUILT_IN_ROLES {
            assert_eq!(together(role.actions), None, "{}", role.name);
        }
    }

    #[test]
    fn users_of_keys_neither_govern_nor_destroy() {
        for (other, duty) in [
            ("Administrator", Duty::ManageRights),
            ("Crypto Officer", Duty::ManageRights),
            ("Policy Administrator", Duty::ManageRights),
            ("Restore User", Duty::HoldTheDomain),
        ] {
            for user in
                ["Crypto User", "Crypto Service Encryption User", "Crypto Service Release User"]
            {
                assert_eq!(together(role(user).and(role(other))), Some(duty), "{user}, {other}");
            }
        }
        let purge = ActionSet::of(&[A::DeletedKeysPurge]);
        assert_eq!(together(role("Crypto User").and(purge)), Some(Duty::PurgeKeys));
    }

    #[test]
    fn what_is_not_kept_apart_goes_together() {
        for (one, other) in [
            ("Administrator", "Crypto Officer"),
            ("Crypto User", "Crypto Auditor"),
            ("Crypto Auditor", "Administrator"),
            ("Crypto User", "Backup User"),
        ] {
            assert_eq!(together(role(one).and(role(other))), None, "{one}, {other}");
        }
    }
}
