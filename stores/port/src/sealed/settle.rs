//! Finds out what became of a transaction, and answers those who wait for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::sealed::Inner;
use crate::sealed::batch::Promise;
use crate::sealed::head::head_path;
use crate::{CommitError, Committed, Entry, Outcome, Revision, StoreError};

enum Verdict {
    Happened(Revision),
    /// Nothing was written, and the store may be asked again.
    Refused(CommitError),
    /// Memory and store may differ from now on.
    Stop(CommitError),
}

impl Inner {
    pub(super) async fn settle(&self, promise: Promise, outcome: Result<Outcome, StoreError>) {
        let verdict = match outcome {
            Ok(Outcome::Committed(revision)) => Verdict::Happened(revision),
            Ok(Outcome::Lost) => Verdict::Stop(CommitError::HeadMoved),
            Err(cause @ StoreError::Unknown(_)) => self.resolve(&promise, cause).await,
            Err(StoreError::Full { place }) => Verdict::Refused(CommitError::Full { place }),
            Err(cause @ StoreError::Damaged(_)) => {
                Verdict::Stop(CommitError::Unavailable(Arc::new(cause)))
            }
            Err(cause @ (StoreError::Unavailable(_) | StoreError::BadTransaction)) => {
                Verdict::Refused(CommitError::Unavailable(Arc::new(cause)))
            }
        };
        match verdict {
            Verdict::Happened(revision) => self.happened(promise, revision),
            Verdict::Refused(error) => self.failed(promise, &error),
            Verdict::Stop(error) => {
                self.state.lock().stopped = true;
                self.failed(promise, &error);
            }
        }
    }

    /// Reads the head after an answer that never came. It never writes.
    async fn resolve(&self, promise: &Promise, cause: StoreError) -> Verdict {
        let before = self.state.lock().head_revision;
        let cause = Arc::new(cause);
        match self.store.read(&head_path()).await {
            // Sealing is randomised: nobody else has written these very bytes.
            Ok(Some(Entry { value, revision, .. })) if value == promise.head_value => {
                Verdict::Happened(revision)
            }
            Ok(Some(Entry { revision, .. })) if revision == before => {
                Verdict::Refused(CommitError::Unavailable(cause))
            }
            Ok(_) | Err(_) => Verdict::Stop(CommitError::Unknown(cause)),
        }
    }

    fn happened(&self, promise: Promise, revision: Revision) {
        let Promise { members, head, effects, .. } = promise;
        {
            let mut state = self.state.lock();
            // A watch may have been faster than the answer: then it is applied already.
            if head.sequence > state.head.sequence {
                state.advance(head, revision, effects);
                self.sequence.store(state.head.sequence, Ordering::Release);
            }
            state.claimed = true;
        }
        for (answer, generation) in members {
            answer.send(Ok(Committed::Done(generation)));
        }
    }

    fn failed(&self, promise: Promise, error: &CommitError) {
        if promise.members.is_empty() {
            // A claim: those who made it necessary are still waiting.
            self.refuse_all(error);
        }
        for (answer, _) in promise.members {
            answer.send(Err(error.clone()));
        }
    }
}
