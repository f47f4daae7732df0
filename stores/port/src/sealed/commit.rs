//! Commits a change: waits in the queue and drives the transaction under way.

use std::sync::Arc;

use futures_channel::oneshot;
use futures_util::FutureExt;

use crate::sealed::batch::{Answer, Plain, Then, Waiting, claim, cost, draft};
use crate::sealed::{Inner, Work};
use crate::{BoxFuture, Change, CipherError, Committed, Generation, SealedStore, StoreError};

/// Most changes that wait at the same time.
pub const QUEUE_CHANGES_MAX: usize = 4096;

/// Why a change was not done, or why nobody knows.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// Over [`crate::CHANGE_WRITES_MAX`] or [`crate::CHANGE_BYTES_MAX`], a path written twice, or
    /// the head written. Nothing was written; the caller is at fault.
    #[error("the change is over the limit, writes a path twice or writes the head")]
    BadChange,
    /// [`QUEUE_CHANGES_MAX`] changes wait already. Nothing was written.
    #[error("too many changes are waiting")]
    Busy,
    /// No space left. Nothing was written.
    #[error("no space left in the store at {place}")]
    Full {
        /// The file system or store that is full.
        place: String,
    },
    /// The store failed. Nothing was written.
    #[error("the store did not take the change")]
    Unavailable(#[source] Arc<StoreError>),
    /// The record could not be sealed. Nothing was written.
    #[error("the change could not be sealed")]
    Cipher(#[source] CipherError),
    /// Somebody else wrote the head. Nothing was written; everything after this is `Stopped`.
    #[error("the head was moved by somebody else")]
    HeadMoved,
    /// The change may or may not have happened; everything after this is `Stopped`.
    #[error("nobody knows whether the change was written")]
    Unknown(#[source] Arc<StoreError>),
    /// An earlier change ended so that memory and store may differ: open the store anew.
    #[error("the sealed store has stopped and must be opened anew")]
    Stopped,
}

impl SealedStore {
    /// Does a change; durable when it returns [`Committed::Done`]. Concurrent changes share a
    /// transaction; one whose conditions fail is [`Committed::Lost`] and disturbs no other.
    ///
    /// Dropped before its transaction began, the change never happens; dropped later, it happens
    /// or not, as others or the next call drive the transaction to its end.
    pub async fn commit(&self, change: Change) -> Result<Committed, CommitError> {
        self.commit_then(change, |_| ()).await
    }

    /// The same; `then` is called once the change is durable: in the order of the changes, and
    /// before anybody is answered who could know of a later one. It must be short, and must not
    /// call the store.
    pub async fn commit_then(
        &self,
        change: Change,
        then: impl FnOnce(Generation) + Send + Sync + 'static,
    ) -> Result<Committed, CommitError> {
        self.commit_kept(Plain(change), Vec::new(), Box::new(then)).await
    }

    /// The same; writes keep these generations.
    pub(super) async fn commit_kept(
        &self,
        change: Plain,
        kept: Vec<Generation>,
        then: Then,
    ) -> Result<Committed, CommitError> {
        cost(&change.0).ok_or(CommitError::BadChange)?;
        let mut answer = self.enqueue(change, kept, then)?;
        loop {
            // A sender that was dropped without an answer: its turn panicked.
            if let Some(answer) = answer.try_recv().map_err(|_| CommitError::Stopped)? {
                return answer;
            }
            self.work().await;
        }
    }

    fn enqueue(
        &self,
        change: Plain,
        kept: Vec<Generation>,
        then: Then,
    ) -> Result<oneshot::Receiver<Result<Committed, CommitError>>, CommitError> {
        if self.inner.state.lock().stopped {
            return Err(CommitError::Stopped);
        }
        let mut queue = self.inner.queue.lock();
        if queue.len() >= QUEUE_CHANGES_MAX {
            return Err(CommitError::Busy);
        }
        let (sender, receiver) = oneshot::channel();
        queue.push_back(Waiting { change, kept, answer: Answer { sender, then } });
        Ok(receiver)
    }

    /// The turn under way, or a new one.
    fn work(&self) -> Work {
        let mut slot = self.work.lock();
        match &*slot {
            Some(work) if work.peek().is_none() => work.clone(),
            _ => {
                let turn: BoxFuture<'static, ()> = Box::pin(Arc::clone(&self.inner).turn());
                slot.insert(turn.shared()).clone()
            }
        }
    }
}

impl Inner {
    /// One transaction: a claim where one is due, else as many waiting changes as fit.
    async fn turn(self: Arc<Self>) {
        let Some(batch) = self.next_batch() else { return };
        let outcome = self.store.commit(batch.transaction).await;
        self.settle(batch.promise, outcome).await;
    }

    fn next_batch(&self) -> Option<crate::sealed::batch::Batch> {
        let mut state = self.state.lock();
        if state.stopped {
            self.refuse_all(&CommitError::Stopped);
            return None;
        }
        // Taken out whole, so that nobody waits for the queue's lock while records are sealed.
        let mut waiting = std::mem::take(&mut *self.queue.lock());
        waiting.retain(|waiting| !waiting.answer.is_canceled());
        let batch = if waiting.is_empty() {
            None
        } else if state.claimed {
            draft(&self.sealer, &mut state, &mut waiting)
        } else {
            match claim(&self.sealer, &state) {
                Ok(batch) => Some(batch),
                Err(error) => {
                    for waiting in waiting.drain(..) {
                        waiting.answer.send(Err(error.clone()));
                    }
                    None
                }
            }
        };
        let mut queue = self.queue.lock();
        waiting.append(&mut queue);
        *queue = waiting;
        batch
    }

    /// Answers everything that waits with this error.
    pub(super) fn refuse_all(&self, error: &CommitError) {
        for waiting in std::mem::take(&mut *self.queue.lock()) {
            waiting.answer.send(Err(error.clone()));
        }
    }
}
