//! The built-in roles: ids and data actions of the original, as its role definitions showed them
//! (recorded definitions win over the published matrix where they differ).

use uuid::{Uuid, uuid};

use super::definition::is_named;
use super::{Action, ActionSet};

/// A built-in role.
#[derive(Debug)]
pub struct BuiltInRole {
    /// The role definition's name.
    pub id: Uuid,
    /// The role's name, as people write it.
    pub name: &'static str,
    /// What it is for.
    pub description: &'static str,
    /// The data actions that it allows.
    pub actions: ActionSet,
    /// Control actions, carried in `actions` of the definition; they allow nothing here.
    pub control_actions: &'static [&'static str],
}

/// The id of the Administrator role.
pub const ADMINISTRATOR: Uuid = uuid!("a290e904-7015-4bba-90c8-60543313cdb4");

/// The id of the Crypto Auditor role.
pub(super) const AUDITOR: Uuid = uuid!("2c18b078-7c48-4d3a-af88-5a3a1b3f82b3");

use Action as A;

/// All built-in roles.
pub const BUILT_IN_ROLES: &[BuiltInRole] = &[
    BuiltInRole {
        id: ADMINISTRATOR,
        name: "Managed HSM Administrator",
        description: "Manages role assignments, settings, the security domain, full backup and \
                      restore.",
        actions: ActionSet::of(&[
            A::RoleAssignmentsRead,
            A::RoleAssignmentsWrite,
            A::RoleAssignmentsDelete,
            A::RoleDefinitionsRead,
            A::RoleDefinitionsWrite,
            A::RoleDefinitionsDelete,
            A::SecurityDomainDownload,
            A::SecurityDomainDownloadRead,
            A::SecurityDomainUpload,
            A::SecurityDomainUploadRead,
            A::SecurityDomainTransferKeyRead,
            A::BackupStart,
            A::BackupStatus,
            A::RestoreStart,
            A::RestoreStatus,
            A::SettingsRead,
            A::SettingsWrite,
        ]),
        control_actions: &[],
    },
    BuiltInRole {
        id: uuid!("515eb02d-2335-4d2d-92f2-b1cbdf9c3778"),
        name: "Managed HSM Crypto Officer",
        description: "Manages role assignments, purges and recovers deleted keys, exports keys.",
        actions: ActionSet::of(&[
            A::RoleAssignmentsRead,
            A::RoleAssignmentsWrite,
            A::RoleAssignmentsDelete,
            A::RoleDefinitionsRead,
            A::RoleDefinitionsWrite,
            A::RoleDefinitionsDelete,
            A::DeletedKeysRead,
            A::DeletedKeysRecover,
            A::DeletedKeysPurge,
            A::KeysExport,
        ]),
        control_actions: &[],
    },
    BuiltInRole {
        id: uuid!("21dbd100-6940-42c2-9190-5d6cb909625b"),
        name: "Managed HSM Crypto User",
        description: "Does everything with keys but purge, recover and export.",
        actions: ActionSet::of(&[
            A::RoleDefinitionsRead,
            A::RoleAssignmentsRead,
            A::KeysRead,
            A::KeysWrite,
            A::KeysCreate,
            A::KeysDelete,
            A::KeysRotate,
            A::KeysImport,
            A::KeysRelease,
            A::KeysBackup,
            A::KeysRestore,
            A::KeysEncrypt,
            A::KeysDecrypt,
            A::KeysWrap,
            A::KeysUnwrap,
            A::KeysSign,
            A::KeysVerify,
            A::KeysDerive,
            A::Rng,
        ]),
        control_actions: &[],
    },
    BuiltInRole {
        id: uuid!("4bd23610-cdcf-4971-bdee-bdc562cc28e4"),
        name: "Managed HSM Policy Administrator",
        description: "Manages role assignments and definitions.",
        actions: ActionSet::of(&[
            A::RoleDefinitionsRead,
            A::RoleDefinitionsWrite,
            A::RoleDefinitionsDelete,
            A::RoleAssignmentsRead,
            A::RoleAssignmentsWrite,
            A::RoleAssignmentsDelete,
        ]),
        control_actions: &[],
    },
    BuiltInRole {
        id: AUDITOR,
        name: "Managed HSM Crypto Auditor",
        description: "Reads keys, deleted keys, role assignments and definitions, settings.",
        actions: ActionSet::of(&[
            A::RoleAssignmentsRead,
            A::RoleDefinitionsRead,
            A::KeysRead,
            A::DeletedKeysRead,
            A::SettingsRead,
        ]),
        control_actions: &[],
    },
    BuiltInRole {
        id: uuid!("33413926-3206-4cdd-b39a-83574fe37a17"),
        name: "Managed HSM Crypto Service Encryption User",
        description: "Reads keys, wraps and unwraps: for services that encrypt data at rest.",
        actions: ActionSet::of(&[A::KeysRead, A::KeysWrap, A::KeysUnwrap]),
        control_actions: &[],
    },
    BuiltInRole {
        id: uuid!("21dbd100-6940-42c2-9190-5d6cb909625c"),
        name: "Managed HSM Crypto Service Release User",
        description: "Releases keys to trusted execution environments.",
        actions: ActionSet::of(&[A::KeysRelease]),
        control_actions: &[],
    },
    BuiltInRole {
        id: uuid!("7b127d3c-77bd-4e3e-bbe0-dbb8971fa7f8"),
        name: "Managed HSM Backup User",
        description: "Backs up the whole HSM and single keys.",
        actions: ActionSet::of(&[A::BackupStart, A::BackupStatus, A::KeysBackup]),
        control_actions: &[],
    },
    BuiltInRole {
        id: uuid!("6efe6056-5259-49d2-8b3d-d3d73544b20b"),
        name: "Managed HSM Restore User",
        description: "Restores the whole HSM and single keys.",
        actions: ActionSet::of(&[A::RestoreStart, A::RestoreStatus, A::KeysRestore]),
        control_actions: &[],
    },
    BuiltInRole {
        id: uuid!("770fd66c-6266-4643-9d4e-b616870898d5"),
        name: "Managed HSM ARM User",
        description: "Creates and reads keys through the control plane, where that is allowed.",
        actions: ActionSet::of(&[]),
        control_actions: &[
            "Microsoft.KeyVault/managedHsm/keys/createIfNotExists",
            "Microsoft.KeyVault/managedHsm/keys/read/action",
        ],
    },
];

/// The built-in role of this id.
pub fn built_in_role(id: Uuid) -> Option<&'static BuiltInRole> {
    BUILT_IN_ROLES.iter().find(|role| role.id == id)
}

/// The built-in role of this name, compared as all names of roles are.
pub fn built_in_role_named(name: &str) -> Option<&'static BuiltInRole> {
    BUILT_IN_ROLES.iter().find(|role| is_named(role.name, name))
}
