//! From a decision to a durable change that everybody sees.

use std::sync::Arc;

use casemate_store_port::{Change, CommitError, Committed};
use futures_channel::oneshot;
use futures_util::lock::{Mutex, OwnedMutexGuard};

use crate::Hsm;
use crate::state::Applied;

/// How often a decision is made anew when another writer was faster. Writers of one partition take
/// turns, so only other partitions can be.
const ATTEMPTS_MAX: u32 = 32;

/// Number of turnstiles: writers of different keys rarely share one.
const TURNSTILES: usize = 64;

/// A decided change, not yet stored.
pub(crate) struct Attempt<T> {
    pub(crate) change: Change,
    pub(crate) applied: Vec<Applied>,
    pub(crate) result: T,
}

/// Why a change was not stored.
#[derive(Debug, thiserror::Error)]
pub enum CommitRefusal {
    /// Other writers were faster, every time.
    #[error("too many changes of the same record at once")]
    Contended,
    /// The change may or may not have been stored.
    #[error("the store gave no answer, the outcome of the change is unknown")]
    Unknown,
    /// The store takes no changes; nothing was changed.
    #[error("the store takes no changes")]
    Store(#[source] Arc<CommitError>),
}

/// Lets writers of the same record through one after the other.
pub(crate) struct Turnstiles(Vec<Arc<Mutex<()>>>);

impl Turnstiles {
    pub(crate) fn new() -> Self {
        Self((0..TURNSTILES).map(|_| Arc::default()).collect())
    }

    async fn pass(&self, name: &str) -> OwnedMutexGuard<()> {
        let hash = name
            .bytes()
            .fold(5381_usize, |hash, byte| hash.wrapping_mul(33).wrapping_add(usize::from(byte)));
        let chosen = hash % self.0.len();
        let turnstile = self.0.get(chosen).expect("the remainder is within the length");
        Arc::clone(turnstile).lock_owned().await
    }
}

impl Hsm {
    /// Decides, stores, applies; decides again when the record had changed meanwhile.
    pub(crate) async fn attempt<T, E>(
        self: &Arc<Self>,
        turnstile: &str,
        mut decide: impl FnMut() -> Result<Attempt<T>, E>,
    ) -> Result<T, E>
    where
        E: From<CommitRefusal>,
    {
        let mut turn = self.turnstiles.pass(turnstile).await;
        for _ in 0..ATTEMPTS_MAX {
            let Attempt { change, applied, result } = decide()?;
            if change.writes.is_empty() {
                return Ok(result);
            }
            let (outcome, kept) = self.commit(change, applied, turn).await;
            turn = kept;
            match outcome {
                Ok(Committed::Done(_)) => return Ok(result),
                Ok(Committed::Lost) => {}
                Err(refusal) => return Err(refusal.into()),
            }
        }
        Err(CommitRefusal::Contended.into())
    }

    /// Runs to its end even if the caller is dropped: a change that became durable is applied,
    /// and the turn is kept until then.
    async fn commit(
        self: &Arc<Self>,
        change: Change,
        applied: Vec<Applied>,
        turn: OwnedMutexGuard<()>,
    ) -> (Result<Committed, CommitRefusal>, OwnedMutexGuard<()>) {
        let (tell, told) = oneshot::channel();
        let hsm = Arc::clone(self);
        self.spawn.spawn(Box::pin(async move {
            let outcome = hsm.store.commit(change).await;
            if let Ok(Committed::Done(generation)) = outcome {
                let mut state = hsm.state.write();
                for one in applied {
                    state.apply(one, generation);
                }
                hsm.rights_revision
                    .store(state.rights_revision, std::sync::atomic::Ordering::Release);
            }
            // The receiver may be gone: then nobody wants to know.
            let _ = tell.send((outcome, turn));
        }));
        match told.await {
            Ok((Ok(committed), turn)) => (Ok(committed), turn),
            Ok((Err(error), turn)) => (Err(refusal(error)), turn),
            Err(oneshot::Canceled) => {
                let turn = self.turnstiles.pass("").await;
                (Err(CommitRefusal::Unknown), turn)
            }
        }
    }
}

fn refusal(error: CommitError) -> CommitRefusal {
    if matches!(error, CommitError::Unknown(_)) {
        tracing::error!(%error, "the outcome of a change is unknown");
        return CommitRefusal::Unknown;
    }
    CommitRefusal::Store(Arc::new(error))
}
