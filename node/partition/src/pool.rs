//! Threads for costly operations, which yield to those that serve connections.
//!
//! As many as there are cores, each of the lowest priority: measured, cheap requests then answer
//! as fast as without them. The queue is bounded; what does not fit is refused at once.
//!
//! To leave a worker and come back costs more than a tenth of an RSA-2048 signature. So costly
//! operations leave it only while cheap requests come. At other times they stay, one at a time on
//! each worker: a cheap request then waits for few of them, and those after it have their way free.

use std::collections::VecDeque;
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
use parking_lot::{Condvar, Mutex};
use tokio::sync::Semaphore;

/// The lowest priority there is.
const NICENESS: i32 = 19;
/// Requests under way per thread that serves, from which on middling jobs leave it.
const REQUESTS_PER_WORKER: usize = 2;
/// For so long after a cheap request, more of them are expected.
const CHEAP_EXPECTED: Duration = Duration::from_millis(250);

type Job = Box<dyn FnOnce() + Send>;

/// The threads' queue.
pub(crate) struct NicedPool {
    queue: Mutex<VecDeque<Job>>,
    queue_max: usize,
    work: Condvar,
    load: Arc<Load>,
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// How much is being asked of the threads that serve connections.
pub(crate) struct Load {
    requests: AtomicUsize,
    workers: usize,
    busy_from: usize,
    begun: Instant,
    /// Until when cheap requests are expected, in milliseconds from `begun`.
    cheap_until: AtomicU64,
}

/// One request under way.
pub(crate) struct UnderWay<'a>(&'a Load);

impl NicedPool {
    /// Starts the threads. They live as long as the process.
    pub(crate) fn start(
        threads: usize,
        queue_max: usize,
        load: Arc<Load>,
    ) -> io::Result<Arc<Self>> {
        let queue = Mutex::new(VecDeque::new());
        let turns = Arc::new(Semaphore::new(load.workers));
        let (work, waiting) = (Condvar::new(), AtomicUsize::new(0));
        let pool = Arc::new(Self { queue, queue_max, work, load, turns, waiting });
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
            let job = self.next();
            // Who waits for it sees that it gave no answer; the other jobs go on.
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!("a costly operation panicked");
            }
        }
    }

    fn next(&self) -> Job {
        let mut queue = self.queue.lock();
        loop {
            if let Some(job) = queue.pop_front() {
                return job;
            }
            self.work.wait(&mut queue);
        }
    }
}

impl Pool for NicedPool {
    fn run(&self, job: Job) -> Result<(), PoolBusy> {
        let mut queue = self.queue.lock();
        if queue.len() >= self.queue_max {
            return Err(PoolBusy);
        }
        queue.push_back(job);
        drop(queue);
        self.work.notify_one();
        Ok(())
    }

    fn takes(&self, cost: Cost) -> bool {
        match cost {
            Cost::Inline => {
                self.load.cheap();
                false
            }
            Cost::PoolUnderLoad => self.load.is_busy() && self.load.others_would_wait(),
            Cost::Pool => self.load.others_would_wait(),
        }
    }

    fn turn(&self) -> BoxFuture<'_, Result<Turn, PoolBusy>> {
        Box::pin(async move {
            let _waits = Waits::begin(&self.waiting, self.queue_max)?;
            let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| PoolBusy)?;
            Ok::<Turn, _>(Box::new(turn))
        })
    }
}

/// One who waits for a turn; counted until it is dropped.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn begin(count: &'a AtomicUsize, waiting_max: usize) -> Result<Self, PoolBusy> {
        let waits = Self(count);
        let before = count.fetch_add(1, Ordering::Relaxed);
        if before < waiting_max { Ok(waits) } else { Err(PoolBusy) }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
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

    #[test]
    fn a_full_queue_refuses_and_a_panic_stops_nobody() {
        let pool = NicedPool::start(1, 2, Load::new(1)).unwrap();
        let (started, has_started) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let hold = move || {
            started.send(()).unwrap();
            released.recv().unwrap();
            panic!("as a job may");
        };
        pool.run(Box::new(hold)).unwrap();
        has_started.recv().unwrap();
        let (done, is_done) = mpsc::channel();
        for number in 0..2 {
            let done = done.clone();
            pool.run(Box::new(move || done.send(number).unwrap())).unwrap();
        }
        assert!(pool.run(Box::new(|| ())).is_err());
        release.send(()).unwrap();
        assert_eq!([is_done.recv().unwrap(), is_done.recv().unwrap()], [0, 1]);
        assert!(pool.run(Box::new(|| ())).is_ok());
    }

    #[tokio::test]
    async fn turns_are_as_many_as_workers_and_few_wait_for_them() {
        let pool = NicedPool::start(1, 1, Load::new(1)).unwrap();
        let first = pool.turn().await.unwrap();
        let mut second = std::pin::pin!(pool.turn());
        let moment = Duration::from_millis(10);
        assert!(tokio::time::timeout(moment, &mut second).await.is_err());
        assert!(pool.turn().await.is_err(), "one waits already");
        drop(first);
        let _second = second.await.unwrap();
    }

    #[test]
    fn costly_work_leaves_a_worker_only_when_others_would_wait() {
        let load = Load::new(1);
        let pool = NicedPool::start(1, 1, Arc::clone(&load)).unwrap();
        let leave = || [Cost::PoolUnderLoad, Cost::Pool].map(|cost| pool.takes(cost));
        let held: Vec<_> = (0..3).map(|_| load.request()).collect();
        assert_eq!(leave(), [false, false]);
        assert!(!pool.takes(Cost::Inline));
        assert_eq!(leave(), [true, true]);
        drop(held);
        assert_eq!(leave(), [false, true]);
        load.cheap_until.store(0, Ordering::Relaxed);
        assert_eq!(leave(), [false, false]);
    }
}
