//! Destroy a deleted key for good.
//!
//! The first transaction makes the key invisible and beyond recovery; the role assignments made at
//! its scope and its versions follow in batches that fit a transaction, its own record goes last. A
//! purge that was interrupted is finished later: the record says so itself.

use std::sync::Arc;

use casemate_audit::Recorded;
use casemate_store_port::{Change, Condition, Write};

use super::FindRefusal;
use super::find::{deleted, key_of};
use crate::commit::{Attempt, CommitRefusal};
use crate::rbac::{Assignment, Permit, Scope, act};
use crate::records::{self, KeyRecord, Life};
use crate::state::{Applied, State};
use crate::{Hsm, KeyName, UnixSeconds, VersionId};

/// Versions removed in one transaction: two writes each, and room for the key's own record.
const VERSIONS_PER_BATCH: usize = 24;

/// Role assignments removed in one transaction.
const ASSIGNMENTS_PER_BATCH: usize = 48;

/// Why a key was not purged.
#[derive(Debug, thiserror::Error)]
pub enum PurgeRefusal {
    /// There is no such deleted key.
    #[error(transparent)]
    Find(#[from] FindRefusal),
    /// Purge protection holds until the retention ends.
    #[error("the HSM has purge protection: the key is purged when its retention ends")]
    Protected {
        /// When that is.
        purge_at: UnixSeconds,
    },
    /// The retention has not ended.
    #[error("the retention of the key has not ended")]
    NotDue,
    /// Not stored.
    #[error(transparent)]
    Commit(#[from] CommitRefusal),
}

impl Hsm {
    /// Purges the permit's deleted key. Says which role assignments went with it.
    pub async fn purge_key(
        self: &Arc<Self>,
        permit: &Permit<act::DeletedKeysPurge>,
        _intent: &Recorded,
    ) -> Result<Vec<Arc<Assignment>>, PurgeRefusal> {
        let name = key_of(permit.scope());
        let protected = self.settings().purge_protection;
        self.attempt_by(permit, name.folded(), || {
            self.decide_purge(name, |purge_at| match protected {
                true => Err(PurgeRefusal::Protected { purge_at }),
                false => Ok(()),
            })
        })
        .await?;
        // It has begun, and the key is beyond recovery: from here on it is the service's own.
        self.finish_purge(name).await
    }

    /// The deleted keys whose retention has ended, and those whose purge was interrupted.
    pub fn due_for_purge(&self) -> Vec<KeyName> {
        let now = self.now();
        let state = self.state.read();
        // One that is being restored only looks like one that is being purged.
        let restoring = |record: &KeyRecord| self.restoring.has(&record.name);
        let due = |record: &KeyRecord| match record.life {
            Life::Live => false,
            Life::Deleted { purge_at, .. } => purge_at <= now,
            Life::Purging => true,
        };
        let keys = state.keys.values().map(|key| &key.record);
        keys.filter(|record| due(record) && !restoring(record))
            .map(|record| record.name.clone())
            .collect()
    }

    /// Purges a key on the service's own behalf, because its retention has ended or its purge was
    /// interrupted; refused otherwise.
    pub async fn purge_due_key(
        self: &Arc<Self>,
        _intent: &Recorded,
        name: &KeyName,
    ) -> Result<Vec<Arc<Assignment>>, PurgeRefusal> {
        let purging = |state: &State| {
            let key = state.keys.get(name.folded());
            key.is_some_and(|key| key.record.life == Life::Purging)
        };
        if !purging(&self.state.read()) {
            let now = self.now();
            self.attempt(name.folded(), || {
                self.decide_purge(name, |purge_at| match purge_at <= now {
                    true => Ok(()),
                    false => Err(PurgeRefusal::NotDue),
                })
            })
            .await?;
        }
        self.finish_purge(name).await
    }

    /// The change that begins a purge.
    fn decide_purge(
        &self,
        name: &KeyName,
        allowed: impl Fn(UnixSeconds) -> Result<(), PurgeRefusal>,
    ) -> Result<Attempt<()>, PurgeRefusal> {
        let state = self.state.read();
        let key = deleted(&state, name)?;
        if let Life::Deleted { purge_at, .. } = key.record.life {
            allowed(purge_at)?;
        }
        let record = KeyRecord { life: Life::Purging, ..KeyRecord::clone(&key.record) };
        let path = records::key_path(name);
        Ok(Attempt {
            change: Change {
                expect: vec![(path.clone(), Condition::At(key.generation))],
                writes: vec![Write::Put(path, records::encode(&record))],
            },
            applied: vec![Applied::Key(Arc::new(record))],
            result: (),
        })
    }

    pub(super) async fn finish_purge(
        self: &Arc<Self>,
        name: &KeyName,
    ) -> Result<Vec<Arc<Assignment>>, PurgeRefusal> {
        let mut all = Vec::new();
        loop {
            let removed = self
                .attempt(name.folded(), || {
                    let state = self.state.read();
                    Ok::<_, PurgeRefusal>(match self.restoring.has(name) {
                        true => finished(),
                        false => next_batch(&state, name),
                    })
                })
                .await?;
            match removed {
                Some(removed) => all.extend(removed),
                None => return Ok(all),
            }
        }
    }
}

/// Somebody else has finished it: an empty change commits nothing.
fn finished() -> Attempt<Option<Vec<Arc<Assignment>>>> {
    Attempt { change: Change::default(), applied: Vec::new(), result: None }
}

/// The next records to remove; the result says which role assignments are among them, and is none
/// where they are the last.
fn next_batch(state: &State, name: &KeyName) -> Attempt<Option<Vec<Arc<Assignment>>>> {
    let purging = state.keys.get(name.folded()).filter(|key| key.record.life == Life::Purging);
    let Some(key) = purging else {
        return finished();
    };
    let path = records::key_path(name);
    let expect = vec![(path.clone(), Condition::At(key.generation))];
    let scope = Scope::Key(name.clone());
    let at_key = state.assignments.values().map(|(one, _)| one).filter(|one| one.scope == scope);
    let left: Vec<_> = at_key.take(ASSIGNMENTS_PER_BATCH).cloned().collect();
    if !left.is_empty() {
        let gone = |one: &Arc<Assignment>| Write::Delete(records::assignment_path(one.name));
        let writes = left.iter().map(gone).collect();
        let applied = left.iter().map(|one| Applied::AssignmentGone(one.name)).collect();
        return Attempt { change: Change { expect, writes }, applied, result: Some(left) };
    }
    let (batch, rest) = match key.record.versions.split_at_checked(VERSIONS_PER_BATCH) {
        Some((batch, rest)) => (batch, rest),
        None => (key.record.versions.as_slice(), [].as_slice()),
    };
    let mut writes: Vec<Write> = batch.iter().flat_map(|id| gone(name, *id)).collect();
    if rest.is_empty() {
        writes.push(Write::Delete(path));
        let applied = vec![Applied::KeyGone(name.folded().to_owned())];
        return Attempt { change: Change { expect, writes }, applied, result: None };
    }
    let record = KeyRecord { versions: rest.to_vec(), ..KeyRecord::clone(&key.record) };
    writes.push(Write::Put(path, records::encode(&record)));
    let applied = vec![Applied::Key(Arc::new(record))];
    Attempt { change: Change { expect, writes }, applied, result: Some(Vec::new()) }
}

fn gone(name: &KeyName, id: VersionId) -> [Write; 2] {
    [Write::Delete(records::version_path(name, id)), Write::Delete(records::gcm_path(name, id))]
}
