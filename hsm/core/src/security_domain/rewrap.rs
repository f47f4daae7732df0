//! After a new epoch began: key material is wrapped anew, and every other record is brought
//! forward, while the HSM serves. What is done is seen in the records themselves, so it goes on
//! wherever it was cut off, and there is nothing to remember.
//!
//! The engine is asked on the pool and with no lock held: a token takes its time, and may be away.
//!
//! Invariant: the epoch before is left only when no record is sealed and no material wrapped under
//! it any more.

use std::sync::Arc;

use casemate_engine_port::{Engine, EngineError, Place, WrappedMaterial};
use casemate_store_port::{Change, Condition, ForwardError, Write};
use futures_util::future::join_all;
use uuid::Uuid;

use crate::backup::KeyContent;
use crate::commit::{Attempt, CommitRefusal};
use crate::handles::place;
use crate::records::VersionRecord;
use crate::state::Applied;
use crate::{Hsm, PoolFailure, VersionId, records};

/// Keys whose material is wrapped anew at the same time: their changes share transactions.
const KEYS_AT_ONCE: usize = 32;
/// Versions that are wrapped anew before any of them is stored: a few kilobytes each.
const VERSIONS_AT_ONCE: usize = 64;
/// Versions of one key in one change.
const VERSIONS_PER_CHANGE: usize = 16;
/// Versions in a row that an engine cannot be reached for, after which it is not asked for more.
const AWAY_MAX: usize = 8;

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
    /// Material that the engine did not wrap anew. All other was, unless the engine is away.
    #[error("material of the key '{key}', version {version}, could not be wrapped anew")]
    Engine {
        /// Which key, in lower case.
        key: String,
        /// Which version.
        version: VersionId,
        /// Why.
        #[source]
        cause: EngineError,
    },
    /// The wrapping keys of forgotten epochs are still in the token.
    #[error("what the engine keeps of forgotten epochs could not be destroyed")]
    Forget(#[source] EngineError),
    /// The pool has too much to do.
    #[error(transparent)]
    Pool(#[from] PoolFailure),
}

/// One version's material, wrapped anew.
struct Again {
    id: VersionId,
    before: Vec<u8>,
    wrapped: Vec<u8>,
}

/// What was wrapped anew of some keys.
struct Anew {
    /// Versions by key, in lower case.
    versions: Vec<(String, Vec<Again>)>,
    /// Where to go on.
    rest: Option<Cursor>,
    failures: Failures,
}

/// What the engine did not wrap anew.
#[derive(Default)]
struct Failures {
    first: Option<RewrapFailure>,
    /// Whether it is of no use to ask for more.
    is_away: bool,
}

impl Failures {
    fn add(&mut self, later: Self) {
        self.is_away |= later.is_away;
        self.first = self.first.take().or(later.first);
    }
}

/// Where among some keys and their versions to go on.
#[derive(Clone, Copy, Default)]
struct Cursor {
    key: usize,
    version: usize,
}

impl Hsm {
    /// How much is sealed under the epoch before.
    pub fn left_behind(&self) -> Left {
        Left { records: self.store.behind(), of: self.store.records() }
    }

    /// Wraps all key material anew that is not under the present epoch, and brings every record
    /// forward. When it returns, nothing is left under the epoch before.
    ///
    /// Material that opens under no key stays as it is and is told of in the log: it was of no use
    /// before, and keeps no other under the old secret.
    ///
    /// # Errors
    /// When the store or the engine does not go along; what was done stays done, and what the
    /// engine fails at for one version it has done for all others.
    pub async fn bring_forward(self: &Arc<Self>) -> Result<(), RewrapFailure> {
        loop {
            let (wrapped, failures) = self.rewrap_all().await?;
            let mut left = usize::MAX;
            while left > 0 {
                let _turn = self.alone("security-domain").await?;
                left = self.store.bring_forward().await?;
            }
            if let Some(failure) = failures.first {
                return Err(failure);
            }
            // A change that was decided before its version was wrapped anew is lost and decided
            // again; so one round that finds nothing is the last.
            if wrapped == 0 && self.store.behind() == 0 {
                return Ok(());
            }
        }
    }

    /// Has the engine destroy, for good, what it keeps of epochs before this one.
    ///
    /// # Errors
    /// When the engine does not go along; to be tried again.
    pub async fn forget_material_before(self: &Arc<Self>, epoch: u32) -> Result<(), RewrapFailure> {
        let engine = Arc::clone(&self.engine);
        let done = self.on_pool(Uuid::nil(), move || engine.forget_before(epoch));
        done.await?.map_err(RewrapFailure::Forget)
    }

    /// Wraps anew what is not under the present key, and says how much that was, and what failed.
    async fn rewrap_all(self: &Arc<Self>) -> Result<(usize, Failures), RewrapFailure> {
        let keys: Vec<String> = self.state.read().keys.keys().cloned().collect();
        let (mut wrapped, mut failures) = (0, Failures::default());
        for some in keys.chunks(KEYS_AT_ONCE) {
            let some: Arc<[String]> = some.into();
            let mut next = Some(Cursor::default());
            while let Some(from) = next {
                let (hsm, keys) = (Arc::clone(self), Arc::clone(&some));
                let done = self.on_pool(Uuid::nil(), move || hsm.wrapped_anew(&keys, from));
                let anew = done.await?;
                next = anew.rest;
                failures.add(anew.failures);
                let versions = anew.versions.iter();
                let stored = versions.map(|(key, versions)| self.store_anew(key, versions));
                for one in join_all(stored).await {
                    wrapped += one?;
                }
                if failures.is_away {
                    return Ok((wrapped, failures));
                }
            }
        }
        Ok((wrapped, failures))
    }

    /// Material of these keys that is not under the present key, wrapped anew and not stored yet.
    fn wrapped_anew(&self, keys: &[String], from: Cursor) -> Anew {
        let mut anew = Anew { versions: Vec::new(), rest: None, failures: Failures::default() };
        let (mut count, mut away) = (0, 0);
        for (at, key) in keys.iter().enumerate().skip(from.key) {
            let first = if at == from.key { from.version } else { 0 };
            let mut versions = Vec::new();
            for version in first.. {
                if count == VERSIONS_AT_ONCE {
                    anew.rest = Some(Cursor { key: at, version });
                    break;
                }
                let Some((place, record)) = self.version_at(key, version) else { break };
                let wrapped = WrappedMaterial(record.wrapped);
                let again = self.engine.rewrap(record.spec, &wrapped, &place);
                away = if let Err(EngineError::Unavailable(_)) = &again { away + 1 } else { 0 };
                match again {
                    Ok(None) => {}
                    Ok(Some(again)) => {
                        count += 1;
                        versions.push(Again { id: record.id, before: wrapped.0, wrapped: again.0 });
                    }
                    Err(cause) => {
                        let first = not_anew(key, record.id, cause);
                        anew.failures.add(Failures { first, is_away: away == AWAY_MAX });
                    }
                }
                if anew.failures.is_away {
                    break;
                }
            }
            anew.versions.push((key.clone(), versions));
            if anew.rest.is_some() || anew.failures.is_away {
                break;
            }
        }
        anew
    }

    /// A version of a key, by its place among them.
    fn version_at(&self, key: &str, at: usize) -> Option<(Place, VersionRecord)> {
        let state = self.state.read();
        let entry = state.keys.get(key)?;
        let record = entry.versions.get(at)?.record.clone();
        Some((place(&entry.record.name, record.id), record))
    }

    /// Stores what was wrapped anew of a key, and says how much that was.
    async fn store_anew(
        self: &Arc<Self>,
        key: &str,
        anew: &[Again],
    ) -> Result<usize, RewrapFailure> {
        let mut stored = 0;
        for some in anew.chunks(VERSIONS_PER_CHANGE) {
            let done: Result<usize, CommitRefusal> =
                self.attempt(key, || Ok(self.change_of(key, some))).await;
            stored += done?;
        }
        Ok(stored)
    }

    /// What else of a version was changed meanwhile stays. One whose material is another by now is
    /// left out: it is seen in the next round.
    fn change_of(&self, key: &str, anew: &[Again]) -> Attempt<usize> {
        let state = self.state.read();
        let (mut change, mut applied) = (Change::default(), Vec::new());
        if let Some(entry) = state.keys.get(key) {
            for again in anew {
                let found = entry.versions.iter().find(|version| version.record.id == again.id);
                let Some(version) = found.filter(|found| found.record.wrapped == again.before)
                else {
                    continue;
                };
                let record =
                    VersionRecord { wrapped: again.wrapped.clone(), ..version.record.clone() };
                let path = records::version_path(&entry.record.name, record.id);
                change.expect.push((path.clone(), Condition::At(version.generation)));
                change.writes.push(Write::Put(path, records::encode(&record)));
                applied.push(Applied::Version { key: key.to_owned(), record: Box::new(record) });
            }
        }
        let result = applied.len();
        Attempt { change, applied, result }
    }
}

/// The same key with its material under the present key. What no key opens stays as it is: one
/// broken version keeps no other from being backed up or restored. Blocks while the engine works.
pub(crate) fn under_present_key(
    engine: &dyn Engine,
    content: &KeyContent,
) -> Result<KeyContent, EngineError> {
    let mut content = content.clone();
    for version in &mut content.versions {
        let wrapped = WrappedMaterial(std::mem::take(&mut version.wrapped));
        let place = place(&content.key.name, version.id);
        let again = match engine.rewrap(version.spec, &wrapped, &place) {
            Err(EngineError::NotAuthentic) => None,
            done => done?,
        };
        version.wrapped = again.unwrap_or(wrapped).0;
    }
    Ok(content)
}

/// What it means that a version was not wrapped anew. One that opens under no key is of no use
/// under the old secret either: that is told, and is no failure.
fn not_anew(key: &str, version: VersionId, cause: EngineError) -> Option<RewrapFailure> {
    if let EngineError::NotAuthentic = cause {
        tracing::warn!(
            key,
            %version,
            "this version's material opens under no key and stays as it is; restore the key from \
             a backup"
        );
        return None;
    }
    Some(RewrapFailure::Engine { key: key.to_owned(), version, cause })
}
