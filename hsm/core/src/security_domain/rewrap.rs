//! After a new epoch began: key material is wrapped anew, and every other record is brought
//! forward, while the HSM serves. What is done is seen in the records themselves, so it goes on
//! wherever it was cut off, and there is nothing to remember.
//!
//! Invariant: the epoch before is left only when no record is sealed and no material wrapped under
//! it any more.

use std::sync::Arc;

use casemate_engine_port::{EngineError, WrappedMaterial};
use casemate_store_port::{Change, Condition, ForwardError, Write};
use futures_util::future::join_all;

use crate::backup::KeyContent;
use crate::commit::{Attempt, CommitRefusal};
use crate::handles::place;
use crate::records::VersionRecord;
use crate::state::Applied;
use crate::{Hsm, records};

/// Keys whose material is wrapped anew at the same time: their changes share transactions.
const KEYS_AT_ONCE: usize = 32;
/// Versions of one key in one change.
const VERSIONS_AT_ONCE: usize = 16;

/// How much is left of a change of the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Records that are sealed under the epoch before.
    pub records: usize,
    /// Of so many.
    pub of: u64,
}

/// Why it does not go on; to be tried again.
#[derive(Debug, thiserror::Error)]
pub enum RewrapFailure {
    /// Not stored.
    #[error(transparent)]
    Commit(#[from] CommitRefusal),
    /// Not brought forward.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// Material that does not open.
    #[error("material of the key '{key}' does not open, so it cannot be wrapped anew")]
    Engine {
        /// Which key, in lower case.
        key: String,
        /// Why.
        #[source]
        cause: EngineError,
    },
}

impl Hsm {
    /// How much is sealed under the epoch before.
    pub fn left_behind(&self) -> Left {
        Left { records: self.store.behind(), of: self.store.records() }
    }

    /// Wraps all key material anew that is not under the present epoch, and brings every record
    /// forward. When it returns, nothing is left under the epoch before.
    ///
    /// # Errors
    /// When the store or the engine does not go along; what was done stays done.
    pub async fn bring_forward(self: &Arc<Self>) -> Result<(), RewrapFailure> {
        loop {
            let wrapped = self.rewrap_all().await?;
            let mut left = usize::MAX;
            while left > 0 {
                let _turn = self.alone("security-domain").await?;
                left = self.store.bring_forward().await?;
            }
            // A change that was decided before its version was wrapped anew is lost and decided
            // again; so one round that finds nothing is the last.
            if wrapped == 0 && self.store.behind() == 0 {
                return Ok(());
            }
        }
    }

    /// The same key with its material under the present key. What no key opens stays as it is: one
    /// broken version keeps no other from being backed up or restored.
    pub(crate) fn under_present_key(
        &self,
        mut content: KeyContent,
    ) -> Result<KeyContent, EngineError> {
        if self.engine.rewraps() {
            let name = content.key.name.clone();
            for version in &mut content.versions {
                let wrapped = WrappedMaterial(std::mem::take(&mut version.wrapped));
                let place = place(&name, version.id);
                let again = match self.engine.rewrap(version.spec, &wrapped, &place) {
                    Err(EngineError::NotAuthentic) => None,
                    done => done?,
                };
                version.wrapped = again.unwrap_or(wrapped).0;
            }
        }
        Ok(content)
    }

    /// Wraps anew what is not under the present key, and says how much that was.
    async fn rewrap_all(self: &Arc<Self>) -> Result<usize, RewrapFailure> {
        let keys: Vec<String> = self.state.read().keys.keys().cloned().collect();
        let mut wrapped = 0;
        for some in keys.chunks(KEYS_AT_ONCE) {
            for one in join_all(some.iter().map(|key| self.rewrap_key(key))).await {
                wrapped += one?;
            }
        }
        Ok(wrapped)
    }

    async fn rewrap_key(self: &Arc<Self>, key: &str) -> Result<usize, RewrapFailure> {
        let mut wrapped = 0;
        loop {
            let some = self.attempt(key, || self.rewrap_some(key)).await?;
            wrapped += some;
            if some == 0 {
                return Ok(wrapped);
            }
        }
    }

    fn rewrap_some(&self, key: &str) -> Result<Attempt<usize>, RewrapFailure> {
        let state = self.state.read();
        let (mut change, mut applied) = (Change::default(), Vec::new());
        let Some(entry) = state.keys.get(key) else {
            return Ok(Attempt { change, applied, result: 0 });
        };
        let name = &entry.record.name;
        for version in &entry.versions {
            if applied.len() == VERSIONS_AT_ONCE {
                break;
            }
            let record = &version.record;
            let failed = |cause| RewrapFailure::Engine { key: key.to_owned(), cause };
            let wrapped = WrappedMaterial(record.wrapped.clone());
            let again = self.engine.rewrap(record.spec, &wrapped, &place(name, record.id));
            let Some(again) = again.map_err(failed)? else { continue };
            let record = VersionRecord { wrapped: again.0, ..record.clone() };
            let path = records::version_path(name, record.id);
            change.expect.push((path.clone(), Condition::At(version.generation)));
            change.writes.push(Write::Put(path, records::encode(&record)));
            applied.push(Applied::Version { key: key.to_owned(), record: Box::new(record) });
        }
        let result = applied.len();
        Ok(Attempt { change, applied, result })
    }
}
