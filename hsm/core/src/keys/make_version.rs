//! What creation and import share: a new version, perhaps of a new key.

use std::sync::Arc;

use casemate_engine_port::{EngineError, KeySpec, NewMaterial};
use casemate_store_port::{Change, Condition, Write};

use super::attributes::{AttributesRefusal, NewAttributes, Tags, check_key_ops, check_window};
use super::find::key_of;
use super::{KeyOp, KeyView};
use crate::commit::{Attempt, CommitRefusal};
use crate::rbac::{DataAction, Permit};
use crate::records::{self, KeyRecord, Life, VersionRecord};
use crate::state::{Applied, State};
use crate::{Hsm, HsmLimits, KeyName, UnixSeconds, VersionId};

/// Why a version cannot be added under a name.
#[derive(Debug, thiserror::Error)]
pub(super) enum NameRefusal {
    #[error("the key '{0}' is deleted and can be recovered")]
    Deleted(KeyName),
    #[error("the key '{0}' is being purged")]
    BeingPurged(KeyName),
    #[error("the key '{0}' has {1} versions, the most a key can have")]
    TooManyVersions(KeyName, usize),
    #[error("the HSM holds as many keys as it can")]
    TooManyKeys,
    #[error(transparent)]
    Commit(#[from] CommitRefusal),
}

/// What a new version is to be, apart from its material.
pub(super) struct Wanted {
    pub(super) key_ops: Option<Vec<KeyOp>>,
    pub(super) attributes: NewAttributes,
    pub(super) tags: Tags,
}

impl Wanted {
    /// Whether a key of this kind can be like that.
    pub(super) fn check(&self, spec: KeySpec) -> Result<(), AttributesRefusal> {
        check_window(self.attributes.not_before, self.attributes.expires)?;
        match &self.key_ops {
            Some(ops) => check_key_ops(spec, ops).map(drop),
            None => Ok(()),
        }
    }

    fn record(
        self,
        id: VersionId,
        material: NewMaterial,
        now: UnixSeconds,
    ) -> Result<VersionRecord, AttributesRefusal> {
        let key_ops = match &self.key_ops {
            Some(ops) => check_key_ops(material.spec, ops)?,
            None => KeyOp::defaults(material.spec),
        };
        Ok(VersionRecord {
            id,
            spec: material.spec,
            public: material.public.into(),
            wrapped: material.wrapped.0,
            key_ops,
            enabled: self.attributes.enabled.unwrap_or(true),
            not_before: self.attributes.not_before,
            expires: self.attributes.expires,
            created: now,
            updated: now,
            tags: self.tags.into_map(),
        })
    }
}

impl Hsm {
    /// Whether a version may be added under the name: asked before the costly material is made.
    pub(super) fn check_name(&self, name: &KeyName) -> Result<(), NameRefusal> {
        decide_key(&self.state.read(), name, None, self.limits, self.now()).map(drop)
    }

    /// A random version id.
    pub(super) fn new_version_id(&self) -> Result<VersionId, EngineError> {
        let mut bytes = [0; 16];
        self.engine.random(&mut bytes)?;
        Ok(VersionId::from_bytes(bytes))
    }

    /// Stores the material as the newest version of the permit's key.
    pub(super) async fn add_version<A, E>(
        self: &Arc<Self>,
        permit: &Permit<A>,
        id: VersionId,
        material: NewMaterial,
        wanted: Wanted,
    ) -> Result<KeyView, E>
    where
        A: DataAction,
        E: From<NameRefusal> + From<AttributesRefusal> + From<CommitRefusal>,
    {
        let now = self.now();
        let name = key_of(permit.scope());
        let version = wanted.record(id, material, now)?;
        let version_path = records::version_path(name, id);
        let version_bytes = records::encode(&version);
        self.attempt_by(permit, name.folded(), || {
            let (key, condition) =
                decide_key(&self.state.read(), name, Some(id), self.limits, now)?;
            let key_path = records::key_path(name);
            let view = self.view_records(&key, &version);
            let bytes = records::encode(&key);
            Ok(Attempt {
                change: Change {
                    expect: vec![
                        (key_path.clone(), condition),
                        (version_path.clone(), Condition::Absent),
                    ],
                    writes: vec![
                        Write::Put(key_path, bytes),
                        Write::Put(version_path.clone(), version_bytes.clone()),
                    ],
                },
                applied: vec![
                    Applied::Key(Arc::new(key)),
                    Applied::Version {
                        key: name.folded().to_owned(),
                        record: Box::new(version.clone()),
                    },
                ],
                result: view,
            })
        })
        .await
    }
}

/// The key's record with the version added, and what must hold when it is stored.
fn decide_key(
    state: &State,
    name: &KeyName,
    added: Option<VersionId>,
    limits: HsmLimits,
    now: UnixSeconds,
) -> Result<(KeyRecord, Condition), NameRefusal> {
    let Some(entry) = state.keys.get(name.folded()) else {
        if state.keys.len() >= limits.keys_max {
            return Err(NameRefusal::TooManyKeys);
        }
        let versions = added.into_iter().collect();
        let record = KeyRecord { name: name.clone(), created: now, versions, life: Life::Live };
        return Ok((record, Condition::Absent));
    };
    match entry.record.life {
        Life::Live => {}
        Life::Deleted { .. } => return Err(NameRefusal::Deleted(entry.record.name.clone())),
        Life::Purging => return Err(NameRefusal::BeingPurged(entry.record.name.clone())),
    }
    let versions_max = limits.versions_max;
    if entry.record.versions.len() >= versions_max {
        return Err(NameRefusal::TooManyVersions(entry.record.name.clone(), versions_max));
    }
    let mut record = KeyRecord::clone(&entry.record);
    record.versions.extend(added);
    Ok((record, Condition::At(entry.generation)))
}
