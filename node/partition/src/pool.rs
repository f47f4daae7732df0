//! Threads for costly operations, which yield to those that serve connections.
//!
//! As many as there are cores, each of the lowest priority: measured, cheap requests then answer
//! as fast as without them. The queue is bounded, altogether and for each caller, and shared out by
//! caller; what does not fit is refused at once.
//!
//! To leave a worker and come back costs more than a tenth of an RSA-2048 signature. So costly
//! operations leave it only while cheap requests come, or while several callers have costly ones:
//! those that stay are taken as they arrived, and one caller's storm would be everybody's queue. At
//! other times they stay, one at a time on each worker: a cheap request then waits for few of them,
//! and those after it have their way free.

mod fair;
mod turns;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::Builder;
use std::time::{Duration, Instant};

use casemate_engine_port::Cost;
use casemate_harden::nice_current_thread;
use casemate_hsm::{Pool, PoolBusy, Turn};
use casemate_store_port::BoxFuture;
use casemate_trace::{current, enter, step};
use parking_lot::{Condvar, Mutex};
use uuid::Uuid;

pub(crate) use fair::Bounds;

use fair::FairQueue;
use turns::Turns;

/// The lowest priority there is.
const NICENESS: i32 = 19;
/// Requests under way per thread that serves, from which on middling jobs leave it.
const REQUESTS_PER_WORKER: usize = 2;
/// For so long after a cheap request, more of them are expected.
const CHEAP_EXPECTED: Duration = Duration::from_millis(250);
/// For so long after two callers had costly operations, both are expected to have more. Longer than
/// above, so that a caller who asks now and then finds the fair queue and not the other's storm.
const CONTEST_EXPECTED: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

/// The threads' queue.
pub(crate) struct NicedPool {
    queue: Mutex<FairQueue<Job>>,
    work: Condvar,
    load: Arc<Load>,
    turns: Arc<Turns>,
    refused: AtomicU64,
    ended: AtomicU64,
}

/// How much is being asked of the threads that serve connections.
pub(crate) struct Load {
    requests: AtomicUsize,
    workers: usize,
    busy_from: usize,
    begun: Instant,
    /// Until when cheap requests are expected, in milliseconds from `begun`.
    cheap_until: AtomicU64,
    /// Who had the last costly operation, folded; 0 if nobody had.
    costly_caller: AtomicU64,
    /// Until when several callers are expected to have some, in milliseconds from `begun`.
    contest_until: AtomicU64,
}

/// One request under way.
pub(crate) struct UnderWay<'a>(&'a Load);

impl NicedPool {
    /// Starts the threads. They live as long as the process.
    pub(crate) fn start(threads: usize, bounds: Bounds, load: Arc<Load>) -> io::Result<Arc<Self>> {
        let queue = Mutex::new(FairQueue::new(bounds));
        let turns = Turns::new(load.workers, bounds);
        let (work, refused, ended) = (Condvar::new(), AtomicU64::new(0), AtomicU64::new(0));
        let pool = Arc::new(Self { queue, work, load, turns, refused, ended });
        for _ in 0..threads.max(1) {
            let pool = Arc::clone(&pool);
            Builder::new().name("pool".to_owned()).spawn(move || pool.work())?;
        }
        Ok(pool)
    }

    fn work(&self) {
        if let Err(error) = nice_current_thread(NICENESS) {
            tracing::warn!(%error, "costly operations run at the priority of all others");
        }
        loop {
            let (caller, job) = self.next();
            let begun = Instant::now();
            // Who waits for it sees that it gave no answer; the other jobs go on.
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!("a costly operation panicked");
            }
            self.queue.lock().ended(caller, begun.elapsed());
            self.ended.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn next(&self) -> (Uuid, Job) {
        let mut queue = self.queue.lock();
        loop {
            if let Some(next) = queue.pop() {
                return next;
            }
            self.work.wait(&mut queue);
        }
    }

    /// Counts for monitoring.
    pub(crate) fn counts(&self) -> PoolCounts {
        PoolCounts {
            queued: self.queue.lock().waiting(),
            waiting_for_turn: self.turns.waiting(),
            refused: self.refused.load(Ordering::Relaxed),
            ended: self.ended.load(Ordering::Relaxed),
        }
    }

    fn counted<T>(&self, done: Result<T, PoolBusy>) -> Result<T, PoolBusy> {
        if done.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        done
    }
}

/// What the pool has to do and has done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolCounts {
    /// Jobs that wait for a thread.
    pub(crate) queued: usize,
    /// Requests that wait for a turn on their worker.
    pub(crate) waiting_for_turn: usize,
    /// Refused since the start, because too much waited.
    pub(crate) refused: u64,
    /// Jobs that the threads have ended since the start.
    pub(crate) ended: u64,
}

impl Pool for NicedPool {
    fn run(&self, caller: Uuid, job: Job) -> Result<(), PoolBusy> {
        let job = traced(job);
        let pushed = self.queue.lock().push(caller, job);
        self.counted(pushed)?;
        self.work.notify_one();
        Ok(())
    }

    fn takes(&self, caller: Uuid, cost: Cost) -> bool {
        match cost {
            Cost::Inline => {
                self.load.cheap();
                false
            }
            Cost::PoolUnderLoad => self.load.is_busy() && self.load.others_would_wait(),
            Cost::Pool => self.load.is_contested(caller) || self.load.others_would_wait(),
        }
    }

    fn turn(&self, caller: Uuid) -> BoxFuture<'_, Result<Turn, PoolBusy>> {
        Box::pin(async move {
            let waiting = step("queue");
            let turn = self.counted(self.turns.take(caller).await)?;
            waiting.end();
            Ok::<Turn, _>(Box::new(turn))
        })
    }
}

/// The same job; of a traced request, its wait is a step and what it does belongs to the request.
fn traced(job: Job) -> Job {
    let Some(trace) = current() else { return job };
    let waiting = step("queue");
    Box::new(move || {
        waiting.end();
        let _entered = enter(Some(&trace));
        job();
    })
}

impl Load {
    /// For this many threads that serve.
    pub(crate) fn new(workers: usize) -> Arc<Self> {
        let busy_from = workers.saturating_mul(REQUESTS_PER_WORKER);
        Arc::new(Self {
            requests: AtomicUsize::new(0),
            workers: workers.max(1),
            busy_from,
            begun: Instant::now(),
            cheap_until: AtomicU64::new(0),
            costly_caller: AtomicU64::new(0),
            contest_until: AtomicU64::new(0),
        })
    }

    /// Counts a request until the result is dropped.
    pub(crate) fn request(&self) -> UnderWay<'_> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        UnderWay(self)
    }

    fn is_busy(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > self.busy_from
    }

    fn cheap(&self) {
        let until = millis(self.begun.elapsed() + CHEAP_EXPECTED);
        self.cheap_until.store(until, Ordering::Relaxed);
    }

    /// Told of a costly operation; answers whether other callers have some as well.
    fn is_contested(&self, caller: Uuid) -> bool {
        let now = self.begun.elapsed();
        let (high, low) = caller.as_u64_pair();
        let folded = (high ^ low).max(1);
        let last = self.costly_caller.load(Ordering::Relaxed);
        if last != folded {
            self.costly_caller.store(folded, Ordering::Relaxed);
            if last != 0 {
                let until = millis(now + CONTEST_EXPECTED);
                self.contest_until.store(until, Ordering::Relaxed);
            }
        }
        millis(now) < self.contest_until.load(Ordering::Relaxed)
    }

    fn others_would_wait(&self) -> bool {
        millis(self.begun.elapsed()) < self.cheap_until.load(Ordering::Relaxed)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const CALLER: Uuid = Uuid::from_u128(1);

    fn bounds(max: usize) -> Bounds {
        Bounds { all_max: max, caller_max: max }
    }

    #[test]
    fn a_full_queue_refuses_and_a_panic_stops_nobody() {
        let pool = NicedPool::start(1, bounds(2), Load::new(1)).unwrap();
        let (started, has_started) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let hold = move || {
            started.send(()).unwrap();
            released.recv().unwrap();
            panic!("as a job may");
        };
        pool.run(CALLER, Box::new(hold)).unwrap();
        has_started.recv().unwrap();
        let (done, is_done) = mpsc::channel();
        for number in 0..2 {
            let done = done.clone();
            pool.run(CALLER, Box::new(move || done.send(number).unwrap())).unwrap();
        }
        assert!(pool.run(CALLER, Box::new(|| ())).is_err());
        release.send(()).unwrap();
        assert_eq!([is_done.recv().unwrap(), is_done.recv().unwrap()], [0, 1]);
        assert!(pool.run(CALLER, Box::new(|| ())).is_ok());
    }

    #[tokio::test]
    async fn turns_are_as_many_as_workers_and_few_wait_for_them() {
        let pool = NicedPool::start(1, bounds(1), Load::new(1)).unwrap();
        let first = pool.turn(CALLER).await.unwrap();
        let mut second = std::pin::pin!(pool.turn(CALLER));
        let moment = Duration::from_millis(10);
        assert!(tokio::time::timeout(moment, &mut second).await.is_err());
        assert!(pool.turn(CALLER).await.is_err(), "one waits already");
        drop(first);
        let _second = second.await.unwrap();
    }

    #[test]
    fn costly_work_leaves_a_worker_only_when_others_would_wait() {
        let load = Load::new(1);
        let pool = NicedPool::start(1, bounds(1), Arc::clone(&load)).unwrap();
        let leave = || [Cost::PoolUnderLoad, Cost::Pool].map(|cost| pool.takes(CALLER, cost));
        let held: Vec<_> = (0..3).map(|_| load.request()).collect();
        assert_eq!(leave(), [false, false]);
        assert!(!pool.takes(CALLER, Cost::Inline));
        assert_eq!(leave(), [true, true]);
        drop(held);
        assert_eq!(leave(), [false, true]);
        load.cheap_until.store(0, Ordering::Relaxed);
        assert_eq!(leave(), [false, false]);
    }

    #[test]
    fn costly_work_of_several_callers_goes_where_it_is_shared_out() {
        let load = Load::new(1);
        let pool = NicedPool::start(1, bounds(1), Arc::clone(&load)).unwrap();
        let leaves = |caller| pool.takes(Uuid::from_u128(caller), Cost::Pool);
        assert_eq!([1, 1, 1].map(leaves), [false; 3], "one alone stays");
        assert_eq!([2, 1, 2, 2, 2].map(leaves), [true; 5]);
        load.contest_until.store(0, Ordering::Relaxed);
        assert_eq!([2, 2].map(leaves), [false; 2], "alone again");
        assert!(leaves(3));
    }
}
