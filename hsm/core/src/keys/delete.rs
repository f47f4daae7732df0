//! Soft-delete a key with all its versions.

use std::sync::Arc;

use casemate_audit::Recorded;
use casemate_store_port::{Change, Condition, Write};

use super::find::{key_of, live, newest};
use super::{FindRefusal, KeyView};
use crate::commit::{Attempt, CommitRefusal};
use crate::rbac::{Permit, act};
use crate::records::{self, KeyRecord, Life};
use crate::state::Applied;
use crate::{Hsm, UnixSeconds};

/// Why a key was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteRefusal {
    /// There is none.
    #[error(transparent)]
    Find(#[from] FindRefusal),
    /// Not stored.
    #[error(transparent)]
    Commit(#[from] CommitRefusal),
}

impl Hsm {
    /// Deletes the permit's key. When this has answered, no version of it does anything any more;
    /// until its purge it can be recovered.
    pub async fn delete_key(
        self: &Arc<Self>,
        permit: &Permit<act::KeysDelete>,
        _intent: &Recorded,
    ) -> Result<KeyView, DeleteRefusal> {
        let name = key_of(permit.scope());
        let at = self.now();
        let purge_at = at.plus_days(self.settings().retention_days.days());
        let (view, versions) = self
            .attempt_by(permit, name.folded(), || {
                let state = self.state.read();
                let key = live(&state, name)?;
                let record = decide(&key.record, at, purge_at);
                let path = records::key_path(name);
                let view = self.view_records(&record, &newest(key).record);
                let versions = record.versions.clone();
                Ok::<_, DeleteRefusal>(Attempt {
                    change: Change {
                        expect: vec![(path.clone(), Condition::At(key.generation))],
                        writes: vec![Write::Put(path, records::encode(&record))],
                    },
                    applied: vec![Applied::Key(Arc::new(record))],
                    result: (view, versions),
                })
            })
            .await?;
        for version in versions {
            self.handles.forget(version);
        }
        Ok(view)
    }
}

fn decide(current: &KeyRecord, at: UnixSeconds, purge_at: UnixSeconds) -> KeyRecord {
    KeyRecord { life: Life::Deleted { at, purge_at }, ..current.clone() }
}
