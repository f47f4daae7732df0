//! From a decision to a durable change that everybody sees.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use casemate_store_port::{Change, CommitError, Committed};
use futures_channel::oneshot;
use futures_util::lock::{Mutex, OwnedMutexGuard};

use crate::Hsm;
use crate::rbac::{DataAction, NotAuthorized, Permit};
use crate::state::Applied;

/// How often a decision is made anew when another writer was faster: one that changed the rights
/// the decision rests on, or another partition. Each time its change gets a moment to be seen.
const ATTEMPTS_MAX: u32 = 256;

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
    /// The permit fell before the change was stored; nothing was changed.
    #[error(transparent)]
    NotAuthorized(#[from] NotAuthorized),
    /// Other writers were faster, every time.
    #[error("too many changes of the same record at once")]
    Contended,
    /// The change may or may not have been stored.
    #[error("the store gave no answer, the outcome of the change is unknown")]
    Unknown,
    /// A full restore is under way; nothing was changed.
    #[error("a full restore is under way")]
    Restoring,
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

/// Whether changes are refused, because the HSM is being replaced as a whole.
#[derive(Default)]
pub(crate) struct QuietFlag(Arc<AtomicBool>);

impl QuietFlag {
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// No change is under way and none begins, until this is dropped.
pub(crate) struct Quiet(Arc<AtomicBool>);

impl Drop for Quiet {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Hsm {
    /// Refuses changes from now on, and waits until those under way have ended: each holds a
    /// turnstile, and asks behind it.
    pub(crate) async fn quiet(&self) -> Quiet {
        self.quiet.0.store(true, Ordering::SeqCst);
        let quiet = Quiet(Arc::clone(&self.quiet.0));
        for turnstile in &self.turnstiles.0 {
            drop(turnstile.lock().await);
        }
        quiet
    }

    /// Holds the turnstile of this name: no change that passes it is under way, and no full restore
    /// begins.
    pub(crate) async fn alone(&self, name: &str) -> Result<OwnedMutexGuard<()>, CommitRefusal> {
        let turn = self.turnstiles.pass(name).await;
        if self.quiet.is_set() { Err(CommitRefusal::Restoring) } else { Ok(turn) }
    }

    /// The same as [`Hsm::attempt`], on somebody's behalf: the change is stored only together with
    /// the condition that the assignment which allows it still stands, and its role's definition.
    /// So no change follows a removal that was stored before it, however long the change had
    /// waited.
    pub(crate) async fn attempt_by<A, T, E>(
        self: &Arc<Self>,
        permit: &Permit<A>,
        turnstile: &str,
        mut decide: impl FnMut() -> Result<Attempt<T>, E>,
    ) -> Result<T, E>
    where
        A: DataAction,
        E: From<CommitRefusal>,
    {
        self.attempt(turnstile, || {
            let stands = self.standing(permit).map_err(CommitRefusal::from)?;
            let mut attempt = decide()?;
            let expect = &mut attempt.change.expect;
            for (path, condition) in stands {
                if !expect.iter().any(|(expected, _)| *expected == path) {
                    expect.push((path, condition));
                }
            }
            Ok(attempt)
        })
        .await
    }

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
        if self.quiet.is_set() {
            return Err(CommitRefusal::Restoring.into());
        }
        for _ in 0..ATTEMPTS_MAX {
            let Attempt { change, applied, result } = decide()?;
            if change.writes.is_empty() {
                return Ok(result);
            }
            let (outcome, kept) = self.commit(change, applied, turn).await;
            turn = kept;
            match outcome {
                Ok(Committed::Done(_)) => return Ok(result),
                Ok(Committed::Lost) => give_way().await,
                Err(refusal) => return Err(refusal.into()),
            }
        }
        Err(CommitRefusal::Contended.into())
    }

    /// Runs to its end even if the caller is dropped: a change that became durable is applied, in
    /// the store's order, so that who sees a change sees all that went before. The turn is kept
    /// until then.
    async fn commit(
        self: &Arc<Self>,
        change: Change,
        applied: Vec<Applied>,
        turn: OwnedMutexGuard<()>,
    ) -> (Result<Committed, CommitRefusal>, OwnedMutexGuard<()>) {
        let (tell, told) = oneshot::channel();
        let hsm = Arc::clone(self);
        self.spawn.spawn(Box::pin(async move {
            let sees = Arc::clone(&hsm);
            let apply = move |generation| {
                let mut state = sees.state.write();
                let is_of_settings = applied.iter().any(|one| matches!(one, Applied::Setting(..)));
                for one in applied {
                    state.apply(one, generation);
                }
                if is_of_settings {
                    sees.put_settings(&state);
                }
                sees.rights_revision.store(state.rights_revision, Ordering::Release);
            };
            let outcome = hsm.store.commit_then(change, apply).await;
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

/// Lets other tasks run once.
async fn give_way() {
    let mut gave = false;
    poll_fn(|context| {
        if std::mem::replace(&mut gave, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn refusal(error: CommitError) -> CommitRefusal {
    if matches!(error, CommitError::Unknown(_)) {
        tracing::error!(%error, "the outcome of a change is unknown");
        return CommitRefusal::Unknown;
    }
    CommitRefusal::Store(Arc::new(error))
}
