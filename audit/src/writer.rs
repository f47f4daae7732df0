//! The one thread that writes: takes all waiting lines at once, syncs, answers all their callers;
//! then hashes the lines, and signs a checkpoint when one is due.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::append::Batch;
use crate::file::WriteFailure;
use crate::log::{CHECKPOINT_INTERVAL, Log};
use crate::pace::Pace;
use crate::trail::Shared;
use crate::usage::Told;
use crate::{Anchor, TrailError, space};

/// A buffer grown beyond this by a burst is given back, in bytes.
const BUFFER_BYTES_KEPT: usize = 1 << 20;

/// How often the space and the file's place are looked at while records come.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// And while none come.
const IDLE_INTERVAL: Duration = Duration::from_secs(2);

/// Starts the thread; it ends when nothing more is taken and nothing waits.
pub(crate) fn start(shared: Arc<Shared>, log: Log) -> io::Result<JoinHandle<()>> {
    let run = move || run(&shared, log);
    std::thread::Builder::new().name("audit".to_owned()).spawn(run)
}

/// What the writer does next.
enum Next {
    /// Writes what it took.
    Write(Taken),
    /// Looks around: nothing came for a while.
    Look,
    /// Ends.
    End,
}

/// What the writer takes at once.
struct Taken {
    lines: Vec<u8>,
    batch: Arc<Batch>,
    /// The number of its first line.
    first: u64,
    /// The number after its last line's.
    next: u64,
    /// The uses among them.
    told: Vec<Told>,
}

fn run(shared: &Shared, mut log: Log) {
    let mut spare = Vec::new();
    let mut first = shared.state.lock().next_sequence;
    let mut pace = Pace::new(Instant::now());
    let mut looked_at = Instant::now();
    look(shared, &log);
    publish(shared, &mut log);
    loop {
        match take(shared, &mut spare, first, &mut pace, patience(&log)) {
            Next::Write(taken) => {
                match log.write(taken.first, &taken.lines) {
                    Ok(()) => {
                        first = taken.next;
                        shared.durable.store(first - 1, Ordering::Release);
                        taken.batch.finish(Ok(()));
                        log.account(&taken.lines);
                        count(shared, &taken);
                    }
                    Err(failure) => fail(shared, &taken, &log, failure),
                }
                spare = taken.lines;
                spare.clear();
                spare.shrink_to(BUFFER_BYTES_KEPT);
            }
            Next::Look => {}
            Next::End => break,
        }
        let now = Instant::now();
        if now.duration_since(looked_at) >= LOOK_INTERVAL {
            looked_at = now;
            look(shared, &log);
        }
        if log.is_due(now) {
            publish(shared, &mut log);
        }
    }
    if log.owes() {
        publish(shared, &mut log);
    }
    // The lines are durable; zeros that stay behind are cut off at the next start.
    let _unneeded = log.file.trim();
}

/// Counts the uses, if the index is right behind these lines and nobody has it: whoever follows the
/// log does it otherwise.
fn count(shared: &Shared, taken: &Taken) {
    let Some(mut index) = shared.usage.try_lock() else { return };
    if let Some(index) = index.as_mut().filter(|index| index.covered() + 1 == taken.first) {
        index.see_told(&taken.lines, &taken.told, taken.next - 1);
    }
}

/// How long to wait for lines before looking around.
fn patience(log: &Log) -> Duration {
    if log.owes() {
        CHECKPOINT_INTERVAL.saturating_sub(log.signed_at.elapsed()).max(LOOK_INTERVAL)
    } else {
        IDLE_INTERVAL
    }
}

/// Whether there is space for new work, and the file is where it should be.
fn look(shared: &Shared, log: &Log) {
    if !log.file.is_in_place() {
        shared.refuse(TrailError::Removed { file: log.file.path() });
    }
    let (was_low, reserve) = {
        let state = shared.state.lock();
        (state.low, state.reserve_bytes)
    };
    if let Some(low) = space::is_low(&shared.dir, reserve, was_low) {
        shared.state.lock().low = low;
    }
}

/// Signs what is durable, unless the file is not what it should be.
fn publish(shared: &Shared, log: &mut Log) {
    if !log.file.is_in_place() {
        return;
    }
    match log.publish() {
        Ok(head) => {
            let mut state = shared.state.lock();
            let open_from = state.intents.open_from(head.size);
            state.published = Some(Anchor { head, open_from });
        }
        // Tried again in a second.
        Err(WriteFailure::Full(_)) => shared.state.lock().low = true,
        Err(failure) => {
            let (error, _) = told(shared, log, failure);
            shared.refuse(error);
        }
    }
}

/// Waits for lines, but no longer than `patience`.
fn take(
    shared: &Shared,
    spare: &mut Vec<u8>,
    first: u64,
    pace: &mut Pace,
    patience: Duration,
) -> Next {
    let mut state = shared.state.lock();
    let until = Instant::now() + patience;
    while state.pending.is_empty() {
        if state.refused.is_some() {
            return Next::End;
        }
        state.wake_at = 1;
        if shared.work.wait_until(&mut state, until).timed_out() && state.pending.is_empty() {
            state.wake_at = usize::MAX;
            return Next::Look;
        }
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
    let lines = std::mem::replace(&mut state.pending, std::mem::take(spare));
    let batch = std::mem::take(&mut state.batch);
    let told = std::mem::take(&mut state.told);
    Next::Write(Taken { lines, batch, first, next: state.next_sequence, told })
}

/// Refuses the records that were being written and those in line behind them, whose numbers would
/// leave a gap. The numbers are given anew.
fn fail(shared: &Shared, taken: &Taken, log: &Log, failure: WriteFailure) {
    let (error, lasting) = told(shared, log, failure);
    let behind = {
        let mut state = shared.state.lock();
        state.pending.clear();
        state.told.clear();
        state.waiting = 0;
        state.next_sequence = taken.first;
        state.intents.forget_from(taken.first);
        if lasting {
            state.refused.get_or_insert_with(|| error.clone());
        }
        std::mem::take(&mut state.batch)
    };
    taken.batch.finish(Err(error.clone()));
    behind.finish(Err(error));
}

/// The failure for those who wait, and whether it lasts.
fn told(shared: &Shared, log: &Log, failure: WriteFailure) -> (TrailError, bool) {
    let dir = shared.state.lock().shown_dir.clone();
    match failure {
        WriteFailure::Full(source) => (TrailError::Full { dir, source: source.into() }, false),
        WriteFailure::Broken(source) => (TrailError::Failed { dir, source: source.into() }, true),
        WriteFailure::Gone => (TrailError::Removed { file: log.file.path() }, true),
    }
}
