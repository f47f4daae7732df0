//! Turns for costly work that stays on its worker: a few at a time, given by caller as
//! [`super::fair`] says.

use std::sync::Arc;
use std::time::Instant;

use casemate_hsm::PoolBusy;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::fair::{Bounds, FairQueue};

/// The turns there are.
pub(crate) struct Turns(Mutex<State>);

struct State {
    free: usize,
    queue: FairQueue<oneshot::Sender<OwnTurn>>,
}

/// One turn; passed on when it is dropped.
pub(crate) struct OwnTurn {
    turns: Arc<Turns>,
    caller: Uuid,
    since: Instant,
}

impl Turns {
    /// So many at a time.
    pub(crate) fn new(free: usize, bounds: Bounds) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { free, queue: FairQueue::new(bounds) })))
    }

    /// How many wait for one.
    pub(crate) fn waiting(&self) -> usize {
        self.0.lock().queue.waiting()
    }

    /// A turn, when it is this caller's.
    pub(crate) async fn take(self: &Arc<Self>, caller: Uuid) -> Result<OwnTurn, PoolBusy> {
        let given = {
            let mut state = self.0.lock();
            if state.free > 0 {
                state.free -= 1;
                state.queue.began(caller);
                None
            } else {
                let (give, given) = oneshot::channel();
                state.queue.push(caller, give)?;
                Some(given)
            }
        };
        match given {
            None => Ok(OwnTurn { turns: Arc::clone(self), caller, since: Instant::now() }),
            // Whoever holds a turn passes it on, so the wait ends.
            Some(given) => given.await.map_err(|_| PoolBusy),
        }
    }

    /// Takes a turn back and gives it to the next who still waits.
    fn pass_on(self: &Arc<Self>, from: Uuid, since: Instant) {
        let next = {
            let mut state = self.0.lock();
            state.queue.ended(from, since.elapsed());
            loop {
                match state.queue.pop() {
                    // Nobody asks for it any more.
                    Some((caller, give)) if give.is_closed() => {
                        state.queue.ended(caller, std::time::Duration::ZERO);
                    }
                    Some(next) => break Some(next),
                    None => {
                        state.free += 1;
                        break None;
                    }
                }
            }
        };
        // Outside the lock: a receiver that goes just now drops the turn, which comes back here.
        if let Some((caller, give)) = next {
            let turn = OwnTurn { turns: Arc::clone(self), caller, since: Instant::now() };
            let _gone = give.send(turn);
        }
    }
}

impl Drop for OwnTurn {
    fn drop(&mut self) {
        self.turns.pass_on(self.caller, self.since);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const STORM: Uuid = Uuid::from_u128(1);
    const OTHER: Uuid = Uuid::from_u128(2);
    const MOMENT: Duration = Duration::from_millis(20);

    fn turns(free: usize, caller_max: usize) -> Arc<Turns> {
        Turns::new(free, Bounds { all_max: 100, caller_max })
    }

    #[tokio::test]
    async fn another_caller_does_not_wait_for_all_of_a_storm() {
        let turns = turns(1, 100);
        let held = turns.take(STORM).await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = Vec::new();
        for caller in std::iter::repeat_n(STORM, 20).chain([OTHER]) {
            let (waits, order) = (Arc::clone(&turns), Arc::clone(&order));
            waiting.push(tokio::spawn(async move {
                let _turn = waits.take(caller).await.unwrap();
                order.lock().push(caller);
            }));
            tokio::task::yield_now().await;
        }
        assert_eq!(turns.waiting(), 21);
        tokio::time::sleep(Duration::from_millis(5)).await;
        drop(held);
        for one in waiting {
            one.await.unwrap();
        }
        let at = order.lock().iter().position(|caller| *caller == OTHER).unwrap();
        assert!(at <= 1, "it came {at} after the storm");
        assert_eq!(turns.waiting(), 0);
    }

    #[tokio::test]
    async fn who_no_longer_waits_keeps_no_turn() {
        let turns = turns(1, 100);
        let held = turns.take(STORM).await.unwrap();
        for _ in 0..10 {
            assert!(timeout(MOMENT, turns.take(STORM)).await.is_err());
        }
        drop(held);
        let one = timeout(MOMENT, turns.take(OTHER)).await.unwrap().unwrap();
        assert!(timeout(MOMENT, turns.take(OTHER)).await.is_err(), "there is only one");
        drop(one);
    }

    #[tokio::test]
    async fn a_caller_with_too_much_waiting_is_refused_and_no_other() {
        let turns = turns(1, 2);
        let _held = turns.take(STORM).await.unwrap();
        let mut waiting = Vec::new();
        for _ in 0..2 {
            let turns = Arc::clone(&turns);
            waiting.push(tokio::spawn(async move { turns.take(STORM).await.is_ok() }));
        }
        tokio::time::sleep(MOMENT).await;
        assert!(turns.take(STORM).await.is_err());
        assert!(timeout(MOMENT, turns.take(OTHER)).await.is_err(), "it waits, not refused");
    }
}
