//! Restore a key from its backup: all versions, under their own ids, or nothing.
//!
//! A key whose versions fit one transaction is restored by that. A longer one is stored as a key
//! that is being purged until its last version is there: invisible, its name taken. Interrupted, it
//! is taken away as an interrupted purge is finished.
//!
//! Invariant: a key that is seen has all the versions of its backup, and each opens at its place.

use std::collections::HashSet;
use std::sync::Arc;

use casemate_audit::Recorded;
use casemate_engine_port::{EngineError, WrappedMaterial};
use casemate_store_port::{Change, Condition, Write};
use parking_lot::Mutex;
use uuid::Uuid;

use super::KeyView;
use super::find::key_of;
use crate::backup::{BackupError, KeyBackup, KeyContent};
use crate::commit::{Attempt, CommitRefusal};
use crate::handles::place;
use crate::rbac::{DataAction, Permit, Within, act};
use crate::records::{self, GcmRecord, KeyRecord, Life};
use crate::security_domain::under_present_key;
use crate::state::{Applied, State};
use crate::{Hsm, KeyName, PoolFailure};

/// Writes of versions and their counts in one transaction, beside the key's own record.
const WRITES_PER_BATCH: usize = 48;

/// Bytes of versions in one transaction.
const BYTES_PER_BATCH: usize = 512 * 1024;

/// Why a key was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreRefusal {
    /// The backup is none for this HSM.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// There is a key of this name.
    #[error("there is a key '{0}' already; a backup does not overwrite: delete and purge it first")]
    NameIsTaken(KeyName),
    /// The name belongs to a deleted key.
    #[error("the key '{0}' is deleted and can be recovered; recover or purge it first")]
    NameIsDeleted(KeyName),
    /// The name belongs to a key that is being purged or restored.
    #[error("the key '{0}' is being purged or restored; try again when that is done")]
    NameIsBusy(KeyName),
    /// The HSM holds as many keys as it can.
    #[error("the HSM holds as many keys as it can")]
    TooManyKeys,
    /// The engine cannot hold such keys.
    #[error("the engine '{engine}' does not hold a key of the backup's type and size")]
    Unsupported {
        /// The engine.
        engine: &'static str,
    },
    /// Too much costly work is waiting.
    #[error(transparent)]
    Pool(#[from] PoolFailure),
    /// Not stored.
    #[error(transparent)]
    Commit(#[from] CommitRefusal),
    /// Key material of the backup does not open.
    #[error("key material of the backup does not open in this HSM's engine")]
    Engine(#[from] EngineError),
}

/// Names of keys that are being restored in several transactions.
#[derive(Default)]
pub(crate) struct Restoring(Arc<Mutex<HashSet<String>>>);

/// A name on that list, taken off when dropped.
struct UnderWay {
    list: Arc<Mutex<HashSet<String>>>,
    name: String,
}

impl Restoring {
    /// Whether the key is being restored: then nobody else finishes what looks like a purge.
    pub(crate) fn has(&self, name: &KeyName) -> bool {
        self.0.lock().contains(name.folded())
    }

    fn enter(&self, name: &KeyName) -> Option<UnderWay> {
        let name = name.folded().to_owned();
        let is_new = self.0.lock().insert(name.clone());
        is_new.then(|| UnderWay { list: Arc::clone(&self.0), name })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.list.lock().remove(&self.name);
    }
}

/// The writes of one transaction, and what they show.
struct Batch {
    writes: Vec<Write>,
    applied: Vec<Applied>,
    bytes: usize,
}

impl Hsm {
    /// Opens a key's backup, for somebody who may restore some keys. Which key it is of shows only
    /// now, so whether they may restore that one is asked next.
    pub fn open_key_backup(
        &self,
        _permit: &Permit<Within<act::KeysRestore>>,
        bytes: &[u8],
    ) -> Result<KeyBackup, BackupError> {
        KeyBackup::open(&*self.backup_cipher, bytes)
    }

    /// Restores the permit's key.
    pub async fn restore_key(
        self: &Arc<Self>,
        permit: &Permit<act::KeysRestore>,
        _intent: &Recorded,
        backup: KeyBackup,
    ) -> Result<KeyView, RestoreRefusal> {
        if backup.name() != key_of(permit.scope()) {
            return Err(BackupError::OtherKey.into());
        }
        self.restore_content(permit, backup.into_content()).await
    }

    /// Restores a key on the behalf of somebody who may, from whatever kind of backup.
    pub(crate) async fn restore_content<A: DataAction>(
        self: &Arc<Self>,
        permit: &Permit<A>,
        content: KeyContent,
    ) -> Result<KeyView, RestoreRefusal> {
        let name = &content.key.name;
        let under_way = self.restoring.enter(name);
        let under_way = under_way.ok_or_else(|| RestoreRefusal::NameIsBusy(name.clone()))?;
        free(&self.state.read(), name, self.limits.keys_max)?;
        let content = self.opened_here(permit.principal().id, content).await?;
        let name = &content.key.name;
        let done = self.store_restored(permit, &content).await;
        drop(under_way);
        if let Err(Interrupted { refusal, has_begun }) = done {
            // What cannot be taken back now is at the next look for due purges.
            if has_begun && let Err(error) = self.finish_purge(name).await {
                tracing::warn!(key = %name, %error, "an interrupted restore is taken back later");
            }
            return Err(refusal);
        }
        let newest = content.versions.last().ok_or(BackupError::Content)?;
        Ok(self.view_records(&content.key, newest))
    }

    /// The same key under the present key, if the engine holds such keys and opens each version at
    /// its place. A token may be slow or away: it is asked on the pool, and last.
    async fn opened_here(
        &self,
        caller: Uuid,
        content: KeyContent,
    ) -> Result<KeyContent, RestoreRefusal> {
        if !content.versions.iter().all(|version| self.engine.supports(version.spec)) {
            return Err(RestoreRefusal::Unsupported { engine: self.engine.name() });
        }
        let engine = Arc::clone(&self.engine);
        let opened = self.on_pool(caller, move || {
            let content = under_present_key(&*engine, &content)?;
            for version in &content.versions {
                let wrapped = WrappedMaterial(version.wrapped.clone());
                let place = place(&content.key.name, version.id);
                drop(engine.open(version.spec, &wrapped, &place)?);
            }
            Ok::<_, EngineError>(content)
        });
        Ok(opened.await??)
    }

    async fn store_restored<A: DataAction>(
        self: &Arc<Self>,
        permit: &Permit<A>,
        content: &KeyContent,
    ) -> Result<(), Interrupted> {
        let name = &content.key.name;
        let batches = batches(content);
        let last = batches.len() - 1;
        for (at, batch) in batches.iter().enumerate() {
            let life = if at == last { Life::Live } else { Life::Purging };
            let record = Arc::new(KeyRecord { life, ..content.key.clone() });
            let stored = self.attempt_by(permit, name.folded(), || {
                let condition = match at {
                    0 => free(&self.state.read(), name, self.limits.keys_max)?,
                    _ => begun(&self.state.read(), name)?,
                };
                Ok(batch.attempt(&record, condition))
            });
            let interrupted = |refusal| Interrupted { refusal, has_begun: at > 0 };
            stored.await.map_err(interrupted)?;
        }
        Ok(())
    }
}

/// A restore that did not come to its end.
struct Interrupted {
    refusal: RestoreRefusal,
    /// Some of it is stored.
    has_begun: bool,
}

impl Batch {
    fn attempt(&self, record: &Arc<KeyRecord>, condition: Condition) -> Attempt<()> {
        let path = records::key_path(&record.name);
        let mut writes = vec![Write::Put(path.clone(), records::encode(&**record))];
        writes.extend(self.writes.iter().cloned());
        let mut applied = vec![Applied::Key(Arc::clone(record))];
        applied.extend(self.applied.iter().cloned());
        let change = Change { expect: vec![(path, condition)], writes };
        Attempt { change, applied, result: () }
    }
}

/// Whether the name is free: what must then hold when the key is stored.
fn free(state: &State, name: &KeyName, keys_max: usize) -> Result<Condition, RestoreRefusal> {
    let Some(entry) = state.keys.get(name.folded()) else {
        if state.keys.len() >= keys_max {
            return Err(RestoreRefusal::TooManyKeys);
        }
        return Ok(Condition::Absent);
    };
    let name = entry.record.name.clone();
    Err(match entry.record.life {
        Life::Live => RestoreRefusal::NameIsTaken(name),
        Life::Deleted { .. } => RestoreRefusal::NameIsDeleted(name),
        Life::Purging => RestoreRefusal::NameIsBusy(name),
    })
}

/// The key as the last transaction left it.
fn begun(state: &State, name: &KeyName) -> Result<Condition, RestoreRefusal> {
    let key = state.keys.get(name.folded()).filter(|key| key.record.life == Life::Purging);
    let key = key.ok_or_else(|| RestoreRefusal::NameIsBusy(name.clone()))?;
    Ok(Condition::At(key.generation))
}

/// The versions in batches that fit a transaction; at least one.
fn batches(content: &KeyContent) -> Vec<Batch> {
    let name = &content.key.name;
    let mut batches: Vec<Batch> = Vec::new();
    for (version, count) in content.versions.iter().zip(content.counts_of_a_copy()) {
        let bytes = records::encode(version);
        let fits = |batch: &&mut Batch| {
            batch.writes.len() + 2 <= WRITES_PER_BATCH
                && batch.bytes + bytes.len() <= BYTES_PER_BATCH
        };
        let batch = match batches.last_mut().filter(fits) {
            Some(batch) => batch,
            None => {
                batches.push(Batch { writes: Vec::new(), applied: Vec::new(), bytes: 0 });
                batches.last_mut().expect("one was pushed just now")
            }
        };
        let key = name.folded().to_owned();
        batch.bytes += bytes.len();
        batch.writes.push(Write::Put(records::version_path(name, version.id), bytes));
        let record = Box::new(version.clone());
        batch.applied.push(Applied::Version { key: key.clone(), record });
        if let Some(reserved) = count {
            let path = records::gcm_path(name, version.id);
            batch.writes.push(Write::Put(path, records::encode(&GcmRecord { reserved })));
            let version = version.id;
            batch.applied.push(Applied::Gcm { key, version, reserved, granted: 0 });
        }
    }
    batches
}
