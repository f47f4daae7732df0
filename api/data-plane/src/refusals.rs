//! How many refusals of one caller are recorded one by one.
//!
//! Who holds a token and no role is refused as often as he likes, and each refusal is a record: he
//! would fill the disk of the audit log. So refusals before any permit was given have a budget for
//! each caller. Beyond it they are answered with 429 and counted; records say that this has begun,
//! who it was, how many there were and of what, so nothing goes unnoticed. What a permit was given
//! for, and whatever came of it, is recorded in any case.
//!
//! Invariant: nothing is counted before it is in the log that it is.
//!
//! Only those beyond their budgets are remembered, up to a number.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use casemate_token::Caller;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::budget::Budget;

/// Callers whose refusals are counted each for himself; those of others are counted together.
pub(crate) const COUNTED_CALLERS_MAX: usize = 1_024;

/// The longest time that a caller is told to wait, in seconds.
const RETRY_S_MAX: u64 = 60;

/// The budgets of all callers, and what is beyond them.
pub(crate) struct Refusals {
    budget: Budget,
    counted: AtomicU64,
    overdrawn: Mutex<HashMap<Whose, Overdrawn>>,
}

/// What a call was refused for. Each has a budget of its own, so that none takes away another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    /// The caller's: what he asked for, or that he has no right to it.
    OfCaller,
    /// His token was cut off: who stole it may be another.
    CutOff,
    /// The HSM's: it is restored, overloaded, or cannot find out who he is.
    OfHsm,
}

/// Whose refusals are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Whose {
    /// Those of one caller, for one kind of fault.
    One(Uuid, Fault),
    /// Those of callers who are too many to be told apart, for one kind of fault.
    Others(Fault),
}

/// What was counted of a caller since the last record of it.
struct Overdrawn {
    count: u64,
    /// Of which operations.
    of: BTreeMap<&'static str, u64>,
    since: Instant,
    /// It is in the log that counting has begun. Before that nothing is counted.
    marked: bool,
    /// Who it was, and where the first call came from.
    who: Option<(Arc<Caller>, IpAddr)>,
}

/// What is to be done about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recording {
    /// It is recorded.
    Each,
    /// It is recorded, as the first of those that will be counted once that is in the log.
    Begins(Whose),
    /// It is counted.
    Counted,
}

/// What there is to record of refusals that were counted.
pub(crate) struct Sum {
    pub(crate) count: u64,
    pub(crate) of: BTreeMap<&'static str, u64>,
    pub(crate) since: Instant,
    pub(crate) who: Option<(Arc<Caller>, IpAddr)>,
}

/// More refusals than are recorded one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more calls of the caller were refused than are recorded one by one")]
pub(crate) struct TooManyRefused {
    /// When one more is recorded, in seconds.
    pub(crate) retry_s: u16,
}

impl Refusals {
    /// For so many at once, and so many a minute in the long run.
    pub(crate) fn new(at_once_max: usize, per_minute_max: usize) -> Self {
        Self {
            budget: Budget::new(at_once_max, per_minute_max),
            counted: 0.into(),
            overdrawn: Mutex::default(),
        }
    }

    /// Takes a refusal of this caller from his budget for it.
    pub(crate) fn take(
        &self,
        (caller, peer): (&Arc<Caller>, IpAddr),
        fault: Fault,
        operation: &'static str,
    ) -> Recording {
        if self.budget.take((caller.object_id, fault)) {
            return Recording::Each;
        }
        let mut overdrawn = self.overdrawn.lock();
        let one = Whose::One(caller.object_id, fault);
        let is_told_apart = overdrawn.contains_key(&one) || overdrawn.len() < COUNTED_CALLERS_MAX;
        let whose = if is_told_apart { one } else { Whose::Others(fault) };
        let known = overdrawn.entry(whose).or_insert_with(|| Overdrawn {
            count: 0,
            of: BTreeMap::new(),
            since: Instant::now(),
            marked: false,
            who: is_told_apart.then(|| (Arc::clone(caller), peer)),
        });
        if !known.marked {
            return Recording::Begins(whose);
        }
        known.count = known.count.saturating_add(1);
        let of = known.of.entry(operation).or_default();
        *of = of.saturating_add(1);
        self.counted.fetch_add(1, Ordering::Relaxed);
        Recording::Counted
    }

    /// It is in the log that those of these are counted, or it could not be put there: then nothing
    /// is counted, and the next one tries again. Whether this is the first that says so.
    pub(crate) fn begun(&self, whose: Whose, is_in_the_log: bool) -> bool {
        let mut overdrawn = self.overdrawn.lock();
        let Some(known) = overdrawn.get_mut(&whose).filter(|known| !known.marked) else {
            return false;
        };
        known.marked = is_in_the_log;
        if !is_in_the_log {
            overdrawn.remove(&whose);
        }
        is_in_the_log
    }

    /// What was counted since the last time, to be recorded; none, and it is forgotten, if nothing
    /// was.
    pub(crate) fn sum(&self, whose: Whose) -> Option<Sum> {
        let mut overdrawn = self.overdrawn.lock();
        let known = overdrawn.get_mut(&whose).filter(|known| known.marked)?;
        if known.count == 0 {
            overdrawn.remove(&whose);
            return None;
        }
        let (count, of) = (std::mem::take(&mut known.count), std::mem::take(&mut known.of));
        let since = std::mem::replace(&mut known.since, Instant::now());
        Some(Sum { count, of, since, who: known.who.clone() })
    }

    /// Counts again what could not be recorded.
    pub(crate) fn put_back(&self, whose: Whose, sum: Sum) {
        let mut overdrawn = self.overdrawn.lock();
        let known = overdrawn.entry(whose).or_insert(Overdrawn {
            count: 0,
            of: BTreeMap::new(),
            since: sum.since,
            marked: true,
            who: sum.who,
        });
        known.count = known.count.saturating_add(sum.count);
        for (operation, count) in sum.of {
            let of = known.of.entry(operation).or_default();
            *of = of.saturating_add(count);
        }
        known.since = known.since.min(sum.since);
    }

    /// Whose refusals are being counted.
    pub(crate) fn all(&self) -> Vec<Whose> {
        self.overdrawn.lock().keys().copied().collect()
    }

    /// What a caller is told whose refusals are counted.
    pub(crate) fn too_many(&self) -> TooManyRefused {
        let seconds = self.budget.each_s().clamp(1, RETRY_S_MAX);
        TooManyRefused { retry_s: u16::try_from(seconds).unwrap_or(1) }
    }

    /// How many were counted instead of recorded since the start.
    pub(crate) fn counted(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_refused_is_told_when_one_more_is_recorded() {
        assert_eq!(Refusals::new(1, 1).too_many().retry_s, 60);
        assert_eq!(Refusals::new(0, 0).too_many().retry_s, 60);
        assert_eq!(Refusals::new(1, 20).too_many().retry_s, 3);
        assert_eq!(Refusals::new(1, 1_000_000).too_many().retry_s, 1, "never at once");
    }

    const FAULT: Fault = Fault::OfCaller;

    fn peer() -> IpAddr {
        IpAddr::from([192, 0, 2, 1])
    }

    fn take(refusals: &Refusals, caller: &Arc<Caller>) -> Recording {
        refusals.take((caller, peer()), FAULT, "KeyGet")
    }

    #[test]
    fn what_is_counted_is_told_once_and_comes_again_if_it_could_not_be() {
        let refusals = Refusals::new(1, 1);
        let one = caller(7);
        let whose = Whose::One(one.object_id, FAULT);
        assert_eq!(take(&refusals, &one), Recording::Each);
        assert_eq!(take(&refusals, &one), Recording::Begins(whose));
        assert!(refusals.begun(whose, true));
        assert!((0..10).all(|_| take(&refusals, &one) == Recording::Counted));
        assert_eq!((refusals.counted(), refusals.all()), (10, vec![whose]));
        let sum = refusals.sum(whose).unwrap();
        assert_eq!((sum.count, sum.who.as_ref().unwrap().1), (10, peer()));
        assert_eq!(sum.of, BTreeMap::from([("KeyGet", 10)]));
        refusals.put_back(whose, sum);
        refusals.take((&one, peer()), FAULT, "KeySign");
        let sum = refusals.sum(whose).unwrap();
        assert_eq!((sum.count, sum.of), (11, BTreeMap::from([("KeyGet", 10), ("KeySign", 1)])));
        assert!(refusals.sum(whose).is_none(), "nothing new");
        assert!(refusals.all().is_empty(), "and it is forgotten");
        assert_eq!(take(&refusals, &one), Recording::Begins(whose), "then it begins anew");
    }

    #[test]
    fn nothing_is_counted_before_it_is_in_the_log_that_it_is() {
        let refusals = Refusals::new(1, 1);
        let one = caller(7);
        let whose = Whose::One(one.object_id, FAULT);
        take(&refusals, &one);
        for _ in 0..10 {
            assert_eq!(take(&refusals, &one), Recording::Begins(whose));
            assert!(!refusals.begun(whose, false), "the disk is full");
            assert!(refusals.all().is_empty() && refusals.sum(whose).is_none());
        }
        assert_eq!([(); 2].map(|()| take(&refusals, &one)), [Recording::Begins(whose); 2]);
        assert!(refusals.begun(whose, true), "the first of two that came together");
        assert!(!refusals.begun(whose, true) && !refusals.begun(whose, false));
        assert_eq!(take(&refusals, &one), Recording::Counted);
        assert_eq!(refusals.sum(whose).unwrap().count, 1);
    }

    #[test]
    fn no_fault_takes_away_anothers_budget() {
        let refusals = Refusals::new(3, 1);
        let one = caller(7);
        for fault in [Fault::CutOff, Fault::OfHsm, Fault::OfCaller] {
            let taken = [(); 4].map(|()| refusals.take((&one, peer()), fault, "KeyGet"));
            let begins = Recording::Begins(Whose::One(one.object_id, fault));
            assert_eq!(taken, [Recording::Each, Recording::Each, Recording::Each, begins]);
        }
    }

    #[test]
    fn callers_beyond_the_number_are_counted_together() {
        let refusals = Refusals::new(1, 1);
        let callers = u128::try_from(COUNTED_CALLERS_MAX).unwrap() * 2;
        for id in 0..callers {
            for _ in 0..3 {
                if let Recording::Begins(whose) = take(&refusals, &caller(id)) {
                    refusals.begun(whose, true);
                }
            }
        }
        assert!(refusals.all().len() <= COUNTED_CALLERS_MAX + 1);
        let others = refusals.sum(Whose::Others(FAULT)).unwrap();
        assert!(others.who.is_none() && others.count > 1_000, "{}", others.count);
    }

    fn caller(id: u128) -> Arc<Caller> {
        Arc::new(Caller {
            issuer: Arc::from("https://login.example"),
            object_id: Uuid::from_u128(id),
            tenant: Uuid::nil(),
            app_id: None,
            upn: None,
            groups: Vec::new(),
            groups_overage: false,
            token_id: String::new(),
            not_before: 0,
            issued_at: 0,
            expires_at: 0,
        })
    }
}
