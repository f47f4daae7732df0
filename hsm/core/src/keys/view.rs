//! Keys as callers see them.

use std::collections::BTreeMap;

use casemate_engine_port::{KeySpec, PublicPart};

use super::KeyOp;
use crate::records::{KeyRecord, Life, PublicRecord, VersionRecord};
use crate::state::{KeyEntry, VersionEntry};
use crate::{Hsm, KeyName, UnixSeconds, VersionId};

/// One version of a key, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRef {
    /// The key.
    pub name: KeyName,
    /// The version.
    pub version: VersionId,
}

/// A version as it is shown: a key bundle.
#[derive(Clone, Debug)]
pub struct KeyView {
    /// Which version of which key.
    pub key: KeyRef,
    /// Type and size.
    pub spec: KeySpec,
    /// Public part.
    pub public: PublicPart,
    /// Permitted operations.
    pub key_ops: Vec<KeyOp>,
    /// Attributes, tags and deletion.
    pub item: KeyItem,
}

/// A key or version as lists show it.
#[derive(Clone, Debug)]
pub struct KeyItem {
    /// Name of the key.
    pub name: KeyName,
    /// The version; none in lists of keys.
    pub version: Option<VersionId>,
    /// Type and size.
    pub spec: KeySpec,
    /// Whether the version may be used at all.
    pub enabled: bool,
    /// Not to be used before.
    pub not_before: Option<UnixSeconds>,
    /// Not to be used from then on.
    pub expires: Option<UnixSeconds>,
    /// When it was made.
    pub created: UnixSeconds,
    /// When its attributes, operations or tags last changed.
    pub updated: UnixSeconds,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Days from deletion to purge.
    pub recoverable_days: u32,
    /// What a deletion leaves possible.
    pub recovery_level: RecoveryLevel,
    /// If the key is deleted: since when, until when.
    pub deletion: Option<Deletion>,
}

/// The dates of a deleted key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// When it was deleted.
    pub at: UnixSeconds,
    /// When the service purges it.
    pub purge_at: UnixSeconds,
}

/// What a deletion leaves possible (Key Vault REST API, DeletionRecoveryLevel).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryLevel {
    /// Whether the retention is shorter than 90 days.
    pub customized: bool,
    /// Whether a deleted key can be purged before its retention ends.
    pub purgeable: bool,
}

impl RecoveryLevel {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match (self.customized, self.purgeable) {
            (false, true) => "Recoverable+Purgeable",
            (false, false) => "Recoverable",
            (true, true) => "CustomizedRecoverable+Purgeable",
            (true, false) => "CustomizedRecoverable",
        }
    }
}

/// Retention in days from which on it is not a customized one.
const RETENTION_DAYS_FULL: u32 = 90;

impl Hsm {
    /// What a deletion leaves possible here.
    pub fn recovery_level(&self) -> RecoveryLevel {
        RecoveryLevel {
            customized: self.settings().retention_days.days() < RETENTION_DAYS_FULL,
            purgeable: !self.settings().purge_protection,
        }
    }

    pub(super) fn view(&self, key: &KeyEntry, version: &VersionEntry) -> KeyView {
        self.view_records(&key.record, &version.record)
    }

    pub(super) fn view_records(&self, key: &KeyRecord, version: &VersionRecord) -> KeyView {
        KeyView {
            key: KeyRef { name: key.name.clone(), version: version.id },
            spec: version.spec,
            public: public(&version.public),
            key_ops: version.key_ops.clone(),
            item: self.item(key, version, Some(version.id)),
        }
    }

    pub(super) fn item(
        &self,
        key: &KeyRecord,
        version: &VersionRecord,
        shown: Option<VersionId>,
    ) -> KeyItem {
        let deletion = match key.life {
            Life::Deleted { at, purge_at } => Some(Deletion { at, purge_at }),
            Life::Live | Life::Purging => None,
        };
        KeyItem {
            name: key.name.clone(),
            version: shown,
            spec: version.spec,
            enabled: version.enabled,
            not_before: version.not_before,
            expires: version.expires,
            created: version.created,
            updated: version.updated,
            tags: version.tags.clone(),
            recoverable_days: self.settings().retention_days.days(),
            recovery_level: self.recovery_level(),
            deletion,
        }
    }
}

/// The public part of a stored version.
pub(crate) fn public(record: &PublicRecord) -> PublicPart {
    match record {
        PublicRecord::Rsa { n, e } => PublicPart::Rsa { n: n.clone(), e: e.clone() },
        PublicRecord::Ec { x, y } => PublicPart::Ec { x: x.clone(), y: y.clone() },
        PublicRecord::Oct => PublicPart::Oct,
    }
}
