//! Bring a deleted key back.

use std::sync::Arc;

use casemate_audit::Recorded;
use casemate_store_port::{Change, Condition, Write};

use super::find::{deleted, key_of, newest};
use super::{FindRefusal, KeyView};
use crate::Hsm;
use crate::commit::{Attempt, CommitRefusal};
use crate::rbac::{Permit, act};
use crate::records::{self, KeyRecord, Life};
use crate::state::Applied;

/// Why a key was not recovered.
#[derive(Debug, thiserror::Error)]
pub enum RecoverRefusal {
    /// There is no such deleted key.
    #[error(transparent)]
    Find(#[from] FindRefusal),
    /// Not stored.
    #[error(transparent)]
    Commit(#[from] CommitRefusal),
}

impl Hsm {
    /// Recovers the permit's key with all its versions.
    pub async fn recover_key(
        self: &Arc<Self>,
        permit: &Permit<act::DeletedKeysRecover>,
        _intent: &Recorded,
    ) -> Result<KeyView, RecoverRefusal> {
        let name = key_of(permit.scope());
        self.attempt_by(permit, name.folded(), || {
            let state = self.state.read();
            let key = deleted(&state, name)?;
            let record = KeyRecord { life: Life::Live, ..KeyRecord::clone(&key.record) };
            let path = records::key_path(name);
            let view = self.view_records(&record, &newest(key).record);
            Ok(Attempt {
                change: Change {
                    expect: vec![(path.clone(), Condition::At(key.generation))],
                    writes: vec![Write::Put(path, records::encode(&record))],
                },
                applied: vec![Applied::Key(Arc::new(record))],
                result: view,
            })
        })
        .await
    }
}
