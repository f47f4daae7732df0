//! Counting bursts in bounded memory, so that nobody can have forgotten what is counted of
//! another: each rule has a table of its own, a line of it is one caller's, and what a caller does
//! with many keys pushes out what is counted of his own keys alone.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use casemate_audit_sinks::Burst;

/// Callers that one rule remembers; beyond, the one that was quiet longest is forgotten. It takes
/// as many principals of the identity provider to push one out.
pub(crate) const CALLERS_MAX: usize = 4_096;

/// Keys that are counted for themselves, of one caller. What he does with others counts for him.
pub(crate) const KEYS_OF_CALLER_MAX: usize = 8;

/// What one rule has counted.
#[derive(Default)]
pub(crate) struct Table {
    callers: HashMap<String, OfCaller>,
}

/// What was counted of one caller.
#[derive(Default)]
struct OfCaller {
    all: Seen,
    keys: HashMap<String, Seen>,
}

/// Who or what has had so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Burster {
    /// A caller, whatever it was about.
    Caller,
    /// A caller with this one key.
    CallerWithKey,
}

#[derive(Default)]
struct Seen {
    /// When, in seconds; as many as the rule counts.
    at: VecDeque<i64>,
    /// No further alert before this time.
    quiet_until: i64,
}

/// What came of noting one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Noted {
    /// There are not enough yet.
    Counted,
    /// There are enough, and somebody is to be told.
    Told,
    /// Somebody was told of it a short time ago.
    Quiet,
}

/// When a rule tells.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Threshold {
    pub(crate) burst: Burst,
    pub(crate) quiet_seconds: u32,
}

impl Table {
    /// Notes one more of this caller at this time, with the key that it was about; who has had so
    /// many, if somebody is to be told.
    ///
    /// What was told of one key does not count for the caller as well.
    pub(crate) fn note(
        &mut self,
        caller: &str,
        key: Option<&str>,
        now: i64,
        threshold: Threshold,
    ) -> Option<Burster> {
        let of = self.of(caller);
        if let Some(seen) = key.and_then(|key| of.key(key, now)) {
            match seen.note(now, threshold) {
                Noted::Told => {
                    of.all.at.clear();
                    return Some(Burster::CallerWithKey);
                }
                Noted::Quiet => return None,
                Noted::Counted => {}
            }
        }
        (of.all.note(now, threshold) == Noted::Told).then_some(Burster::Caller)
    }

    fn of(&mut self, caller: &str) -> &mut OfCaller {
        let is_known = self.callers.contains_key(caller);
        if !is_known && self.callers.len() >= CALLERS_MAX {
            forget_quietest(&mut self.callers, |of| of.last());
        }
        self.callers.entry(caller.to_owned()).or_default()
    }

    #[cfg(test)]
    pub(crate) fn size(&self) -> (usize, usize) {
        let keys = self.callers.values().map(|of| of.keys.len()).max();
        (self.callers.len(), keys.unwrap_or_default())
    }
}

impl OfCaller {
    /// What was counted with this key; none while all the places are taken by keys of which
    /// somebody was told a short time ago. So a caller is told of a bounded number of times.
    fn key(&mut self, key: &str, now: i64) -> Option<&mut Seen> {
        if !self.keys.contains_key(key) && self.keys.len() >= KEYS_OF_CALLER_MAX {
            if self.keys.values().all(|seen| now < seen.quiet_until) {
                return None;
            }
            forget_quietest(&mut self.keys, |seen| {
                if now < seen.quiet_until { i64::MAX } else { seen.last() }
            });
        }
        Some(self.keys.entry(key.to_owned()).or_default())
    }

    fn last(&self) -> i64 {
        let keys = self.keys.values().map(Seen::last).max();
        self.all.last().max(keys.unwrap_or(i64::MIN))
    }
}

impl Seen {
    fn note(&mut self, now: i64, Threshold { burst, quiet_seconds }: Threshold) -> Noted {
        let wanted = usize::try_from(burst.count).unwrap_or(usize::MAX).max(1);
        self.at.push_back(now);
        if self.at.len() > wanted {
            self.at.pop_front();
        }
        if now < self.quiet_until {
            return Noted::Quiet;
        }
        let oldest = self.at.front().copied().unwrap_or(now);
        let within = i64::from(burst.within_seconds);
        if self.at.len() < wanted || now.saturating_sub(oldest) > within {
            return Noted::Counted;
        }
        self.quiet_until = now.saturating_add(i64::from(quiet_seconds));
        self.at.clear();
        Noted::Told
    }

    fn last(&self) -> i64 {
        self.at.back().copied().unwrap_or(i64::MIN).max(self.quiet_until)
    }
}

fn forget_quietest<K: Clone + Eq + Hash, V>(map: &mut HashMap<K, V>, last: impl Fn(&V) -> i64) {
    let quietest = map.iter().min_by_key(|(_, value)| last(value));
    if let Some(quietest) = quietest.map(|(key, _)| key.clone()) {
        map.remove(&quietest);
    }
}
