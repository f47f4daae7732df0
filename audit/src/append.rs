//! Waiting for a record to be durable.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::TrailError;

/// The proof that a record is durable. There is no constructor outside this crate.
///
/// ```compile_fail
/// let forged = casemate_audit::Recorded { sequence: 1 };
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct Recorded {
    sequence: u64,
}

impl Recorded {
    /// The record's number in its trail.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// A record that was read from a trail when it was opened, and synced since.
    pub(crate) fn read_back(sequence: u64) -> Self {
        Self { sequence }
    }
}

/// A record on its way to the disk. It is on its way whether or not this is awaited; only the
/// answer says that it arrived.
#[derive(Debug)]
#[must_use = "the record is durable only when this has answered"]
pub struct Append {
    on_its_way: Result<Ticket, TrailError>,
}

#[derive(Debug)]
struct Ticket {
    sequence: u64,
    batch: Arc<Batch>,
    place: Option<usize>,
}

/// The records of one sync, and who waits for them.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    outcome: OnceLock<Result<(), TrailError>>,
    waiting: Mutex<Vec<Waker>>,
}

impl Append {
    pub(crate) fn refused(error: TrailError) -> Self {
        Self { on_its_way: Err(error) }
    }

    /// A record that nobody keeps: what the benchmark compares with.
    #[cfg(feature = "no-records")]
    pub(crate) fn dropped() -> Self {
        static DONE: std::sync::LazyLock<Arc<Batch>> = std::sync::LazyLock::new(|| {
            let batch = Batch::default();
            batch.finish(Ok(()));
            Arc::new(batch)
        });
        Self::queued(0, Arc::clone(&DONE))
    }

    pub(crate) fn queued(sequence: u64, batch: Arc<Batch>) -> Self {
        Self { on_its_way: Ok(Ticket { sequence, batch, place: None }) }
    }
}

impl Future for Append {
    type Output = Result<Recorded, TrailError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.on_its_way {
            Err(error) => Poll::Ready(Err(error.clone())),
            Ok(ticket) => {
                let sequence = ticket.sequence;
                ticket
                    .batch
                    .poll(&mut ticket.place, cx.waker())
                    .map(|outcome| outcome.map(|()| Recorded { sequence }))
            }
        }
    }
}

impl Batch {
    /// Says what became of the batch and wakes all who wait for it, in one sweep.
    pub(crate) fn finish(&self, outcome: Result<(), TrailError>) {
        let first = self.outcome.set(outcome).is_ok();
        debug_assert!(first, "a batch is finished once");
        let waiting = std::mem::take(&mut *self.waiting.lock());
        waiting.into_iter().for_each(Waker::wake);
    }

    fn poll(&self, place: &mut Option<usize>, waker: &Waker) -> Poll<Result<(), TrailError>> {
        if let Some(outcome) = self.outcome.get() {
            return Poll::Ready(outcome.clone());
        }
        let mut waiting = self.waiting.lock();
        // The outcome is set before the list is emptied: without one, the list is still read.
        if let Some(outcome) = self.outcome.get() {
            return Poll::Ready(outcome.clone());
        }
        match place.and_then(|place| waiting.get_mut(place)) {
            Some(held) => held.clone_from(waker),
            None => {
                *place = Some(waiting.len());
                waiting.push(waker.clone());
            }
        }
        Poll::Pending
    }
}
