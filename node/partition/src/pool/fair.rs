//! Who is next: work that waits, shared out by caller.
//!
//! Each caller has a lane. The lane that has had the least time is served next, whatever number of
//! jobs the others have waiting: so a storm by one caller delays another by the job that runs now
//! and one of the storm's, not by all of it. What a job takes is not known before it has ended, so
//! it is charged then. A lane that has been idle begins at the present: nobody saves up time.
//!
//! A queue and its lanes are bounded; who has too much waiting is refused, and only he. The HSM's
//! own work, of the nil caller, is bounded by its lane alone: no storm ends a backup or a rotation.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use casemate_hsm::PoolBusy;
use uuid::Uuid;

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Of all callers together.
    pub(crate) all_max: usize,
    /// Of one caller.
    pub(crate) caller_max: usize,
}

/// Waiting work by caller.
pub(crate) struct FairQueue<T> {
    bounds: Bounds,
    lanes: HashMap<Uuid, Lane<T>>,
    /// The lanes in which something waits, by their time and then by who came first.
    ready: BTreeSet<Ready>,
    waiting: usize,
    /// The time of the lane that was served last, in microseconds: where a new lane begins.
    present_us: u64,
    arrivals: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ready {
    time_us: u64,
    arrival: u64,
    caller: Uuid,
}

struct Lane<T> {
    waiting: VecDeque<T>,
    /// What this caller's work has taken, as far as it counts against the others.
    time_us: u64,
    running: usize,
    ready: Option<Ready>,
}

impl<T> FairQueue<T> {
    /// Nothing waits.
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            lanes: HashMap::new(),
            ready: BTreeSet::new(),
            waiting: 0,
            present_us: 0,
            arrivals: 0,
        }
    }

    /// How much waits.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Lets something wait.
    pub(crate) fn push(&mut self, caller: Uuid, item: T) -> Result<(), PoolBusy> {
        let of_caller = self.lanes.get(&caller).map_or(0, |lane| lane.waiting.len());
        let is_full = self.waiting >= self.bounds.all_max && !caller.is_nil();
        if of_caller >= self.bounds.caller_max || is_full {
            return Err(PoolBusy);
        }
        self.waiting += 1;
        self.lane(caller).waiting.push_back(item);
        self.make_ready(caller);
        Ok(())
    }

    /// Takes what is next; it counts as running until [`FairQueue::ended`].
    pub(crate) fn pop(&mut self) -> Option<(Uuid, T)> {
        let next = self.ready.pop_first()?;
        let caller = next.caller;
        self.present_us = self.present_us.max(next.time_us);
        let lane = self.lane(caller);
        lane.ready = None;
        let item = lane.waiting.pop_front()?;
        lane.running += 1;
        self.waiting -= 1;
        self.make_ready(caller);
        Some((caller, item))
    }

    /// Something began without having waited.
    pub(crate) fn began(&mut self, caller: Uuid) {
        self.lane(caller).running += 1;
    }

    /// Something ended that ran for so long.
    pub(crate) fn ended(&mut self, caller: Uuid, took: Duration) {
        let Some(lane) = self.lanes.get_mut(&caller) else { return };
        lane.running = lane.running.saturating_sub(1);
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        lane.time_us = lane.time_us.saturating_add(took_us.max(1));
        if lane.running == 0 && lane.waiting.is_empty() {
            self.lanes.remove(&caller);
            return;
        }
        if let Some(old) = lane.ready.take() {
            self.ready.remove(&old);
        }
        self.make_ready(caller);
    }

    fn lane(&mut self, caller: Uuid) -> &mut Lane<T> {
        let time_us = self.present_us;
        let new = || Lane { waiting: VecDeque::new(), time_us, running: 0, ready: None };
        self.lanes.entry(caller).or_insert_with(new)
    }

    fn make_ready(&mut self, caller: Uuid) {
        let Some(lane) = self.lanes.get_mut(&caller) else { return };
        if lane.ready.is_some() || lane.waiting.is_empty() {
            return;
        }
        let ready = Ready { time_us: lane.time_us, arrival: self.arrivals, caller };
        self.arrivals += 1;
        lane.ready = Some(ready);
        self.ready.insert(ready);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORM: Uuid = Uuid::from_u128(1);
    const OTHER: Uuid = Uuid::from_u128(2);

    #[test]
    fn callers_do_not_keep_the_hsm_from_its_own_work() {
        let mut queue = FairQueue::new(Bounds { all_max: 3, caller_max: 2 });
        for item in 0..2 {
            queue.push(STORM, item).unwrap();
        }
        queue.push(OTHER, 2).unwrap();
        assert!(queue.push(Uuid::from_u128(3), 3).is_err(), "the control: all is full");
        queue.push(Uuid::nil(), 4).unwrap();
        queue.push(Uuid::nil(), 5).unwrap();
        assert!(queue.push(Uuid::nil(), 6).is_err(), "its own lane is bounded, too");
        assert_eq!(queue.waiting(), 5);
        let served: Vec<u32> = std::iter::from_fn(|| queue.pop()).map(|(_, item)| item).collect();
        assert_eq!(served.len(), 5);
    }
    const THIRD: Uuid = Uuid::from_u128(3);
    const MS: Duration = Duration::from_millis(1);

    fn queue(all_max: usize, caller_max: usize) -> FairQueue<u32> {
        FairQueue::new(Bounds { all_max, caller_max })
    }

    /// One worker that takes and ends the next, each caller's jobs taking so long.
    fn work(queue: &mut FairQueue<u32>, took: impl Fn(Uuid) -> Duration) -> Option<Uuid> {
        let (caller, _) = queue.pop()?;
        queue.ended(caller, took(caller));
        Some(caller)
    }

    #[test]
    fn one_job_of_another_waits_for_no_storm() {
        let mut queue = queue(1000, 1000);
        for job in 0..500 {
            queue.push(STORM, job).unwrap();
        }
        work(&mut queue, |_| 4 * MS);
        queue.push(OTHER, 0).unwrap();
        let next: Vec<_> = (0..2).filter_map(|_| work(&mut queue, |_| 4 * MS)).collect();
        assert!(next.contains(&OTHER), "{next:?}");
    }

    #[test]
    fn time_is_shared_not_turns() {
        let mut queue = queue(10_000, 10_000);
        for job in 0..1000 {
            queue.push(STORM, job).unwrap();
            queue.push(OTHER, job).unwrap();
        }
        let took = |caller| if caller == STORM { 100 * MS } else { 2 * MS };
        let mut spent = HashMap::new();
        for _ in 0..500 {
            let caller = work(&mut queue, took).unwrap();
            *spent.entry(caller).or_insert(Duration::ZERO) += took(caller);
        }
        assert!(spent[&OTHER] + 200 * MS >= spent[&STORM], "{spent:?}");
        assert!(spent[&STORM] + 200 * MS >= spent[&OTHER], "{spent:?}");
    }

    #[test]
    fn callers_with_equal_jobs_take_turns_while_they_run() {
        let mut queue = queue(100, 100);
        for caller in [STORM, STORM, STORM, OTHER, OTHER, THIRD] {
            queue.push(caller, 0).unwrap();
        }
        // Three workers take at once; nothing has ended yet.
        let taken: Vec<_> = (0..3).map(|_| queue.pop().unwrap().0).collect();
        assert_eq!(taken, [STORM, OTHER, THIRD]);
    }

    #[test]
    fn only_who_has_too_much_waiting_is_refused() {
        let mut queue = queue(10, 4);
        for job in 0..4 {
            queue.push(STORM, job).unwrap();
        }
        assert!(queue.push(STORM, 4).is_err());
        queue.push(OTHER, 0).unwrap();
        assert_eq!(queue.waiting(), 5);
        // What runs does not wait.
        queue.pop().unwrap();
        assert!(queue.push(STORM, 4).is_ok());
        for job in 0..3 {
            queue.push(OTHER, job).unwrap();
        }
        queue.push(THIRD, 0).unwrap();
        queue.push(THIRD, 1).unwrap();
        assert!(queue.push(THIRD, 2).is_err(), "all together have too much");
    }

    #[test]
    fn a_caller_of_old_neither_saves_time_nor_owes_it() {
        let mut queue = queue(100, 100);
        queue.push(STORM, 0).unwrap();
        work(&mut queue, |_| 1000 * MS);
        for _ in 0..10 {
            queue.push(OTHER, 0).unwrap();
        }
        for _ in 0..5 {
            work(&mut queue, |_| 10 * MS);
        }
        // It comes anew and is served in its turn, not for 1000 ms, and not before all others.
        for _ in 0..3 {
            queue.push(STORM, 0).unwrap();
        }
        let next: Vec<_> = (0..4).filter_map(|_| work(&mut queue, |_| 10 * MS)).collect();
        assert_eq!(next.iter().filter(|caller| **caller == STORM).count(), 2, "{next:?}");
    }

    #[test]
    fn nothing_is_lost_and_nothing_stays() {
        let mut queue = queue(1000, 1000);
        let mut seed = 7_u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed >> 33
        };
        let (mut pushed, mut running, mut popped) = (0, Vec::new(), 0);
        for _ in 0..10_000 {
            let caller = Uuid::from_u128(u128::from(random() % 5));
            match random() % 4 {
                0 | 1 => pushed += u32::from(queue.push(caller, 0).is_ok()),
                2 => {
                    if let Some((caller, _)) = queue.pop() {
                        popped += 1;
                        running.push(caller);
                    }
                }
                _ => {
                    if let Some(caller) = running.pop() {
                        queue.ended(caller, Duration::from_micros(random() % 1000));
                    }
                }
            }
        }
        while let Some((caller, _)) = queue.pop() {
            popped += 1;
            running.push(caller);
        }
        for caller in running {
            queue.ended(caller, MS);
        }
        assert_eq!((popped, queue.waiting()), (pushed, 0));
        assert!(queue.lanes.is_empty() && queue.ready.is_empty());
    }
}
