//! Counts for monitoring: answers by operation and status with their latency, uses by algorithm,
//! the wait for the audit. No key, no caller and nothing else that a request could choose is a
//! label: operations, statuses and algorithms are words of this program, so the counts are bounded.
//!
//! Counting is a few relaxed additions; no lock, no allocation once a word was seen.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use casemate_audit::{Append, Recorded, TrailError};
use casemate_trace::step;

/// Upper bounds of the buckets of times, in microseconds. What took longer is counted beyond them.
pub const BOUNDS_US: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];

/// The statuses that are counted each for itself. Any other is counted as 0.
const STATUSES: [u16; 19] =
    [0, 200, 201, 202, 204, 400, 401, 403, 404, 405, 408, 409, 413, 414, 421, 429, 500, 502, 503];

/// Most words of one kind.
const WORDS_MAX: usize = 128;

/// What is counted where there are more words than that.
const OTHER: &str = "Other";

/// Times by how long they were.
#[derive(Default)]
pub struct Histogram {
    counts: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

/// What a histogram shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Times {
    /// How many fell into each bucket, and in the end how many beyond them.
    pub counts: [u64; BOUNDS_US.len() + 1],
    /// All times together, in microseconds.
    pub sum_us: u64,
}

/// The answers of one operation with one status.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The operation, as the audit names it.
    pub operation: &'static str,
    /// The status; 0 stands for all that are not counted for themselves.
    pub status: u16,
    /// How long they took.
    pub times: Times,
}

/// The counts of one data plane.
#[derive(Default)]
pub struct Meter {
    answers: Words<[Histogram; STATUSES.len()]>,
    algorithms: Words<AtomicU64>,
    audit: Histogram,
    audit_waiting: AtomicU64,
}

// === impl Histogram ===

impl Histogram {
    /// Counts a time.
    pub fn note(&self, time: Duration) {
        let time_us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < time_us);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(time_us, Ordering::Relaxed);
    }

    /// What was counted.
    pub fn times(&self) -> Times {
        let counts = std::array::from_fn(|at| {
            self.counts.get(at).map_or(0, |count| count.load(Ordering::Relaxed))
        });
        Times { counts, sum_us: self.sum_us.load(Ordering::Relaxed) }
    }
}

impl Times {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

// === impl Meter ===

impl Meter {
    /// Counts an answer. An algorithm is counted only if the answer is a success.
    pub(crate) fn answered(
        &self,
        operation: &'static str,
        algorithm: &'static str,
        status: u16,
        took: Duration,
    ) {
        let at = STATUSES.iter().position(|known| *known == status).unwrap_or_default();
        if let Some(of_status) = self.answers.of(operation).get(at) {
            of_status.note(took);
        }
        if !algorithm.is_empty() && (200..300).contains(&status) {
            self.algorithms.of(algorithm).fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until the audit trail has taken a record, and counts how long.
    pub(crate) async fn audited(&self, append: Append) -> Result<Recorded, TrailError> {
        let _waits = Waits::begin(&self.audit_waiting);
        let mut step = step("audit_append");
        let begun = Instant::now();
        let recorded = append.await;
        self.audit.note(begun.elapsed());
        match &recorded {
            Ok(recorded) => step.note("casemate.audit.seq", recorded.sequence()),
            Err(_) => step.fail(),
        }
        recorded
    }

    /// The answers so far, those that there are.
    pub fn answers(&self) -> Vec<Answered> {
        let mut found = Vec::new();
        for (operation, of_operation) in self.answers.all() {
            for (status, of_status) in STATUSES.iter().zip(of_operation) {
                let times = of_status.times();
                if times.count() > 0 {
                    found.push(Answered { operation, status: *status, times });
                }
            }
        }
        found
    }

    /// How often each algorithm was used with success.
    pub fn algorithms(&self) -> Vec<(&'static str, u64)> {
        let all = self.algorithms.all();
        all.map(|(name, count)| (name, count.load(Ordering::Relaxed))).collect()
    }

    /// How long records took to become durable, and how many wait for it now.
    pub fn audit(&self) -> (Times, u64) {
        (self.audit.times(), self.audit_waiting.load(Ordering::Relaxed))
    }
}

/// One who waits; counted until it is dropped, also if its request is given up.
struct Waits<'a>(&'a AtomicU64);

impl<'a> Waits<'a> {
    fn begin(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts by word: a hash table that only grows, found in without a lock.
struct Words<T> {
    slots: Box<[OnceLock<(&'static str, T)>]>,
    other: T,
}

impl<T: Default> Default for Words<T> {
    fn default() -> Self {
        let slots = std::iter::repeat_with(OnceLock::new).take(WORDS_MAX).collect();
        Self { slots, other: T::default() }
    }
}

impl<T: Default> Words<T> {
    fn of(&self, word: &'static str) -> &T {
        let (before, from) = self.slots.split_at(hash(word) % self.slots.len().max(1));
        for slot in from.iter().chain(before) {
            let (here, counts) = slot.get_or_init(|| (word, T::default()));
            if *here == word {
                return counts;
            }
        }
        &self.other
    }

    fn all(&self) -> impl Iterator<Item = (&'static str, &T)> {
        let words = self.slots.iter().filter_map(|slot| slot.get());
        words.map(|(word, counts)| (*word, counts)).chain([(OTHER, &self.other)])
    }
}

fn hash(word: &str) -> usize {
    let step = |hash: usize, byte: u8| (hash ^ usize::from(byte)).wrapping_mul(0x0100_0193);
    word.bytes().fold(0x811c_9dc5, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn answers_are_counted_by_operation_and_status() {
        let meter = Meter::default();
        meter.answered("KeySign", "ES256", 200, MS);
        meter.answered("KeySign", "ES256", 200, MS);
        meter.answered("KeySign", "ES256", 403, MS);
        meter.answered("KeyGet", "", 599, 20_000 * MS);
        let mut answers = meter.answers();
        answers.sort_by_key(|one| (one.operation, one.status));
        let shown: Vec<_> =
            answers.iter().map(|one| (one.operation, one.status, one.times.count())).collect();
        assert_eq!(shown, [("KeyGet", 0, 1), ("KeySign", 200, 2), ("KeySign", 403, 1)]);
        assert_eq!(answers[0].times.counts.last(), Some(&1), "beyond all bounds");
        assert_eq!(answers[1].times.counts[1], 2, "a bound belongs to its bucket");
        assert_eq!(answers[1].times.sum_us, 2_000);
        let algorithms = meter.algorithms();
        assert!(algorithms.contains(&("ES256", 2)), "{algorithms:?}: refusals count for none");
    }

    #[test]
    fn words_beyond_the_bound_are_counted_together() {
        let meter = Meter::default();
        for number in 0..2 * WORDS_MAX {
            let word: &'static str = Box::leak(format!("Word{number}").into_boxed_str());
            meter.answered(word, word, 200, MS);
            meter.answered(word, word, 200, MS);
        }
        let answers = meter.answers();
        assert_eq!(answers.len(), WORDS_MAX + 1);
        let of = |word: &str| {
            let of_word = answers.iter().filter(|one| one.operation == word);
            of_word.map(|one| one.times.count()).sum::<u64>()
        };
        assert_eq!(of(OTHER), 2 * u64::try_from(WORDS_MAX).unwrap());
        assert!(answers.iter().all(|one| one.operation == OTHER || one.times.count() == 2));
    }

    #[test]
    fn many_threads_lose_no_count() {
        let meter = Meter::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        meter.answered("KeySign", "ES256", 200, MS);
                    }
                });
            }
        });
        assert_eq!(meter.answers()[0].times.count(), 40_000);
    }
}
