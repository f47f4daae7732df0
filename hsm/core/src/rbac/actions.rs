//! The data actions: what a role can allow.
//!
//! The names are those that the original's role definitions carry, oddities of their endings
//! included (`/keys/create` has no `/action`).

use std::marker::PhantomData;

/// Prefix of every data action.
const PREFIX: &str = "Microsoft.KeyVault/managedHsm";

macro_rules! actions {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// A data action.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Action { $($(#[$doc])* $variant,)+ }

        impl Action {
            /// All actions, in order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name without the common prefix.
            pub const fn short_name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

actions! {
    /// Read keys, their versions and public parts.
    KeysRead = "/keys/read/action",
    /// Change attributes, operations and tags.
    KeysWrite = "/keys/write/action",
    /// Create keys and versions.
    KeysCreate = "/keys/create",
    /// Soft-delete keys.
    KeysDelete = "/keys/delete",
    /// Make a new version by policy.
    KeysRotate = "/keys/rotate/action",
    /// Import keys.
    KeysImport = "/keys/import/action",
    /// Release keys to attested environments.
    KeysRelease = "/keys/release/action",
    /// Export keys.
    KeysExport = "/keys/export/action",
    /// Back up single keys.
    KeysBackup = "/keys/backup/action",
    /// Restore single keys.
    KeysRestore = "/keys/restore/action",
    /// Encrypt.
    KeysEncrypt = "/keys/encrypt/action",
    /// Decrypt.
    KeysDecrypt = "/keys/decrypt/action",
    /// Wrap keys.
    KeysWrap = "/keys/wrap/action",
    /// Unwrap keys.
    KeysUnwrap = "/keys/unwrap/action",
    /// Sign.
    KeysSign = "/keys/sign/action",
    /// Verify signatures.
    KeysVerify = "/keys/verify/action",
    /// Derive keys.
    KeysDerive = "/keys/derive/action",
    /// Read deleted keys.
    DeletedKeysRead = "/keys/deletedKeys/read/action",
    /// Recover deleted keys.
    DeletedKeysRecover = "/keys/deletedKeys/recover/action",
    /// Purge deleted keys.
    DeletedKeysPurge = "/keys/deletedKeys/delete",
    /// Read role assignments.
    RoleAssignmentsRead = "/roleAssignments/read/action",
    /// Grant roles.
    RoleAssignmentsWrite = "/roleAssignments/write/action",
    /// Take roles away.
    RoleAssignmentsDelete = "/roleAssignments/delete/action",
    /// Read role definitions.
    RoleDefinitionsRead = "/roleDefinitions/read/action",
    /// Write role definitions.
    RoleDefinitionsWrite = "/roleDefinitions/write/action",
    /// Delete role definitions.
    RoleDefinitionsDelete = "/roleDefinitions/delete/action",
    /// Download the security domain.
    SecurityDomainDownload = "/securitydomain/download/action",
    /// Follow a download of the security domain.
    SecurityDomainDownloadRead = "/securitydomain/download/read",
    /// Upload a security domain.
    SecurityDomainUpload = "/securitydomain/upload/action",
    /// Follow an upload of the security domain.
    SecurityDomainUploadRead = "/securitydomain/upload/read",
    /// Read the exchange key of a recovery.
    SecurityDomainTransferKeyRead = "/securitydomain/transferkey/read",
    /// Start a full backup.
    BackupStart = "/backup/start/action",
    /// Follow a full backup.
    BackupStatus = "/backup/status/action",
    /// Start a full restore.
    RestoreStart = "/restore/start/action",
    /// Follow a full restore.
    RestoreStatus = "/restore/status/action",
    /// Draw random bytes.
    Rng = "/rng/action",
    /// Read settings. Ours: the original names no action for it.
    SettingsRead = "/settings/read/action",
    /// Change settings. Ours, as above.
    SettingsWrite = "/settings/write/action",
}

impl Action {
    /// The name on the wire.
    pub fn name(self) -> String {
        format!("{PREFIX}{}", self.short_name())
    }

    /// The action of this name, compared without case; its common prefix may be left out.
    pub fn parse(name: &str) -> Option<Self> {
        let bare = match name.split_at_checked(PREFIX.len()) {
            Some((prefix, short)) if prefix.eq_ignore_ascii_case(PREFIX) => {
                short.strip_prefix('/')?
            }
            _ => name.strip_prefix('/').unwrap_or(name),
        };
        let is = |action: &&Self| {
            let own = action.short_name().strip_prefix('/');
            own.is_some_and(|own| own.eq_ignore_ascii_case(bare))
        };
        Self::ALL.iter().find(is).copied()
    }

    /// Whether a role that allows this may be granted by an Administrator alone, when escalation
    /// is strict: changing rights or settings, the security domain, full backup and restore.
    pub fn is_reserved(self) -> bool {
        matches!(
            self,
            Self::RoleAssignmentsWrite
                | Self::RoleAssignmentsDelete
                | Self::RoleDefinitionsWrite
                | Self::RoleDefinitionsDelete
                | Self::SecurityDomainDownload
                | Self::SecurityDomainDownloadRead
                | Self::SecurityDomainUpload
                | Self::SecurityDomainUploadRead
                | Self::SecurityDomainTransferKeyRead
                | Self::BackupStart
                | Self::BackupStatus
                | Self::RestoreStart
                | Self::RestoreStatus
                | Self::SettingsWrite
        )
    }

    const fn bit(self) -> u64 {
        let mut index = 0;
        let mut bit = 1;
        while index < Self::ALL.len() {
            // Comparison of discriminants, which a constant function cannot do by `==`.
            if matches_same(Self::ALL[index], self) {
                return bit;
            }
            index += 1;
            bit <<= 1;
        }
        0
    }
}

const fn matches_same(a: Action, b: Action) -> bool {
    let (a, b) = (a.short_name().as_bytes(), b.short_name().as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut index = 0;
    while index < a.len() {
        if a[index] != b[index] {
            return false;
        }
        index += 1;
    }
    true
}

/// A set of actions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ActionSet(u64);

impl ActionSet {
    /// The set of these actions.
    pub const fn of(actions: &[Action]) -> Self {
        let mut bits = 0;
        let mut index = 0;
        while index < actions.len() {
            bits |= actions[index].bit();
            index += 1;
        }
        Self(bits)
    }

    /// Whether the action is in the set whose bit was computed by [`ActionSet::of`].
    pub const fn covers(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the action is in the set.
    pub fn contains(self, action: Action) -> bool {
        self.covers(Self(action.bit()))
    }

    /// Those of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that the other does not hold.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the sets share an action.
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether it holds none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The first reserved action of the set, if it holds one.
    pub fn reserved(self) -> Option<Action> {
        self.iter().find(|action| action.is_reserved())
    }

    /// The actions in the set.
    pub fn iter(self) -> impl Iterator<Item = Action> {
        Action::ALL.iter().copied().filter(move |action| self.contains(*action))
    }
}

/// An action as a type, so that a permit for one act does not fit another.
pub trait DataAction: Send + Sync + 'static {
    /// The action.
    const ACTION: Action;
    /// Its set of one, computed by the compiler.
    const SET: ActionSet = ActionSet::of(&[Self::ACTION]);
    /// Whether it is enough to be allowed the action somewhere below the scope: so it is with
    /// lists, which then show that part.
    const WITHIN: bool = false;
}

/// An action for a list: allowed at the scope, or for some part of what is below it.
#[derive(Debug)]
pub struct Within<A>(PhantomData<A>);

impl<A: DataAction> DataAction for Within<A> {
    const ACTION: Action = A::ACTION;
    const WITHIN: bool = true;
}

macro_rules! markers {
    ($($variant:ident,)+) => {
        /// One type for each action that an act demands.
        pub mod act {
            $(
                #[doc = concat!("[`Action::", stringify!($variant), "`](super::Action) as a type.")]
                #[derive(Debug)]
                pub struct $variant;
                impl super::DataAction for $variant {
                    const ACTION: super::Action = super::Action::$variant;
                }
            )+
        }
    };
}

markers! {
    KeysRead, KeysWrite, KeysCreate, KeysDelete, KeysImport, KeysEncrypt, KeysDecrypt, KeysWrap,
    KeysUnwrap, KeysSign, KeysVerify, DeletedKeysRead, DeletedKeysRecover, DeletedKeysPurge,
    RoleAssignmentsRead, RoleAssignmentsWrite, RoleAssignmentsDelete, RoleDefinitionsRead,
    RoleDefinitionsWrite, RoleDefinitionsDelete, SecurityDomainDownload,
    SecurityDomainDownloadRead, SecurityDomainUpload, SecurityDomainUploadRead,
    SecurityDomainTransferKeyRead, Rng, SettingsRead, SettingsWrite, KeysBackup, KeysRestore,
    BackupStart, BackupStatus, RestoreStart, RestoreStatus,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_has_its_own_bit_and_name() {
        let all = ActionSet::of(Action::ALL);
        assert_eq!(all.iter().count(), Action::ALL.len());
        let mut names: Vec<_> = Action::ALL.iter().map(|action| action.name()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), Action::ALL.len());
        assert!(!ActionSet::of(&[Action::KeysRead]).contains(Action::KeysWrite));
    }

    #[test]
    fn names_are_read_in_any_case_with_or_without_their_prefix() {
        for action in Action::ALL {
            let name = action.name();
            for text in
                [&name, &name.to_uppercase(), action.short_name(), &name[PREFIX.len() + 1..]]
            {
                assert_eq!(Action::parse(text), Some(*action), "{text}");
            }
        }
        for bad in [
            "",
            "/",
            "*",
            "Microsoft.KeyVault/managedHsm/*",
            "Microsoft.KeyVault/managedHsm/keys/*",
            "Microsoft.KeyVault/managedHsm",
            "Microsoft.KeyVault/vaults/keys/read/action",
            "keys/read",
            "keys/create/action",
            "//keys/create",
            "Microsoft.KeyVault/managedHsmkeys/create",
        ] {
            assert_eq!(Action::parse(bad), None, "{bad}");
        }
    }
}
