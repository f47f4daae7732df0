//! The one thread that writes: takes all waiting lines at once, syncs, answers all their callers.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use crate::TrailError;
use crate::append::Batch;
use crate::file::{TrailFile, WriteFailure};
use crate::pace::Pace;
use crate::trail::Shared;

/// A buffer grown beyond this by a burst is given back, in bytes.
const BUFFER_BYTES_KEPT: usize = 1 << 20;

/// Starts the thread; it ends when nothing more is taken and nothing waits.
pub(crate) fn start(shared: Arc<Shared>, file: TrailFile) -> io::Result<JoinHandle<()>> {
    let run = move || run(&shared, file);
    std::thread::Builder::new().name("audit".to_owned()).spawn(run)
}

/// What the writer takes at once.
struct Taken {
    lines: Vec<u8>,
    batch: Arc<Batch>,
    /// The number of its first line.
    first: u64,
    /// The number after its last line's.
    next: u64,
}

fn run(shared: &Shared, mut file: TrailFile) {
    let mut spare = Vec::new();
    let mut first = shared.state.lock().next_sequence;
    let mut pace = Pace::new(Instant::now());
    while let Some(taken) = take(shared, spare, first, &mut pace) {
        match file.write(taken.first, &taken.lines) {
            Ok(()) => {
                first = taken.next;
                taken.batch.finish(Ok(()));
            }
            Err(failure) => fail(shared, &taken, failure),
        }
        spare = taken.lines;
        spare.clear();
        spare.shrink_to(BUFFER_BYTES_KEPT);
    }
    // The lines are durable; zeros that stay behind are cut off at the next start.
    let _unneeded = file.trim();
}

/// Waits for lines. `None` when there are none and none will come.
fn take(shared: &Shared, spare: Vec<u8>, first: u64, pace: &mut Pace) -> Option<Taken> {
    let mut state = shared.state.lock();
    while state.pending.is_empty() {
        if state.refused.is_some() {
            return None;
        }
        state.wake_at = 1;
        shared.work.wait(&mut state);
    }
    // Who closes the trail waits for nobody.
    while state.waiting < pace.enough() && state.refused.is_none() {
        state.wake_at = pace.enough();
        if shared.work.wait_until(&mut state, pace.deadline()).timed_out() {
            break;
        }
    }
    state.wake_at = usize::MAX;
    pace.begins(std::mem::take(&mut state.waiting), Instant::now());
    let lines = std::mem::replace(&mut state.pending, spare);
    let batch = std::mem::take(&mut state.batch);
    Some(Taken { lines, batch, first, next: state.next_sequence })
}

/// Refuses the records that were being written and those in line behind them, whose numbers would
/// leave a gap. The numbers are given anew.
fn fail(shared: &Shared, taken: &Taken, failure: WriteFailure) {
    let dir = shared.dir.clone();
    let (error, lasting) = match failure {
        WriteFailure::Full(source) => (TrailError::Full { dir, source: source.into() }, false),
        WriteFailure::Broken(source) => (TrailError::Failed { dir, source: source.into() }, true),
    };
    let behind = {
        let mut state = shared.state.lock();
        state.pending.clear();
        state.waiting = 0;
        state.next_sequence = taken.first;
        if lasting {
            state.refused.get_or_insert_with(|| error.clone());
        }
        std::mem::take(&mut state.batch)
    };
    taken.batch.finish(Err(error.clone()));
    behind.finish(Err(error));
}
