//! Change a version's attributes, operations and tags. Its material never changes.

use std::sync::Arc;

use casemate_audit::Recorded;
use casemate_store_port::{Change, Condition, Write};

use super::attributes::{AttributesRefusal, NewAttributes, Tags, check_key_ops, check_window};
use super::find::{key_of, live_version};
use super::{FindRefusal, KeyOp, KeyView, Selector};
use crate::commit::{Attempt, CommitRefusal};
use crate::rbac::{Permit, act};
use crate::records::{self, VersionRecord};
use crate::state::Applied;
use crate::{Hsm, UnixSeconds};

/// What is to change; what is absent stays as it is.
#[derive(Clone, Debug)]
pub struct UpdateKey {
    /// Which version.
    pub version: Selector,
    /// Permitted operations, replacing all.
    pub key_ops: Option<Vec<KeyOp>>,
    /// Attributes.
    pub attributes: NewAttributes,
    /// Tags, replacing all.
    pub tags: Option<Tags>,
}

/// Why a version was not changed.
#[derive(Debug, thiserror::Error)]
pub enum UpdateRefusal {
    /// There is none.
    #[error(transparent)]
    Find(#[from] FindRefusal),
    /// Attributes, operations or tags are wrong.
    #[error(transparent)]
    Attributes(#[from] AttributesRefusal),
    /// Not stored.
    #[error(transparent)]
    Commit(#[from] CommitRefusal),
}

impl Hsm {
    /// Changes a version of the permit's key. When this has answered, a disabled version does
    /// nothing any more.
    pub async fn update_key(
        self: &Arc<Self>,
        permit: &Permit<act::KeysWrite>,
        _intent: &Recorded,
        request: UpdateKey,
    ) -> Result<KeyView, UpdateRefusal> {
        let name = key_of(permit.scope());
        let now = self.now();
        let view = self
            .attempt_by(permit, name.folded(), || {
                let state = self.state.read();
                let (key, version) = live_version(&state, name, request.version)?;
                let changed = decide(&version.record, &request, now)?;
                let key_path = records::key_path(name);
                let path = records::version_path(name, changed.id);
                let view = self.view_records(&key.record, &changed);
                Ok::<_, UpdateRefusal>(Attempt {
                    change: Change {
                        // The key's own record too: a deletion must not pass unnoticed.
                        expect: vec![
                            (key_path, Condition::At(key.generation)),
                            (path.clone(), Condition::At(version.generation)),
                        ],
                        writes: vec![Write::Put(path, records::encode(&changed))],
                    },
                    applied: vec![Applied::Version {
                        key: name.folded().to_owned(),
                        record: Box::new(changed),
                    }],
                    result: view,
                })
            })
            .await?;
        if !view.item.enabled {
            self.handles.forget(view.key.version);
        }
        Ok(view)
    }
}

fn decide(
    current: &VersionRecord,
    request: &UpdateKey,
    now: UnixSeconds,
) -> Result<VersionRecord, AttributesRefusal> {
    let mut changed = current.clone();
    let attributes = request.attributes;
    changed.not_before = attributes.not_before.or(current.not_before);
    changed.expires = attributes.expires.or(current.expires);
    check_window(changed.not_before, changed.expires)?;
    if let Some(enabled) = attributes.enabled {
        changed.enabled = enabled;
    }
    if let Some(ops) = &request.key_ops {
        changed.key_ops = check_key_ops(current.spec, ops)?;
    }
    if let Some(tags) = &request.tags {
        changed.tags = tags.clone().into_map();
    }
    changed.updated = now;
    Ok(changed)
}
