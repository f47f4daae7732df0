//! When to sync: at once for a caller who is alone, in larger batches when many call.
//!
//! A sync costs the processor the same for one record as for fifty. So while the last batches were
//! larger than one, the writer waits until as many records wait again, but never longer than a
//! bound that grows with their number and stays far below what a person or a client notices.

use std::time::{Duration, Instant};

/// A larger batch than this saves nothing worth waiting for.
const ENOUGH_MAX: usize = 48;
/// The wait's bound for each record expected, counted from the start of the last sync.
const WAIT_PER_RECORD: Duration = Duration::from_millis(1);
/// The bound of the bound.
const WAIT_MAX: Duration = Duration::from_millis(5);

/// The sizes and times of the last batches, as far as they matter for the next.
pub(crate) struct Pace {
    /// How many records the next batch is expected to hold: the largest of late, slowly forgotten.
    expected: usize,
    last_began: Instant,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self { expected: 1, last_began: now }
    }

    /// How many waiting records are enough to begin.
    pub(crate) fn enough(&self) -> usize {
        self.expected.min(ENOUGH_MAX)
    }

    /// When to begin whatever waits.
    pub(crate) fn deadline(&self) -> Instant {
        let records = u32::try_from(self.enough()).unwrap_or(u32::MAX);
        self.last_began + WAIT_PER_RECORD.saturating_mul(records).min(WAIT_MAX)
    }

    /// Notes that a batch of so many records begins to be written.
    pub(crate) fn begins(&mut self, records: usize, now: Instant) {
        let remembered = self.expected - self.expected.div_ceil(8);
        self.expected = records.max(remembered).max(1);
        self.last_began = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_never_waits() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        for _ in 0..3 {
            assert_eq!(pace.enough(), 1);
            pace.begins(1, now);
        }
    }

    #[test]
    fn many_callers_wait_for_each_other_within_the_bound() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        pace.begins(3, now);
        assert_eq!(pace.deadline(), now + Duration::from_millis(3));
        pace.begins(8, now);
        assert_eq!(pace.enough(), 8);
        assert_eq!(pace.deadline(), now + WAIT_MAX);
        pace.begins(1_000, now);
        assert_eq!(pace.enough(), ENOUGH_MAX);
        assert_eq!(pace.deadline(), now + WAIT_MAX);
    }

    #[test]
    fn a_burst_is_forgotten() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        pace.begins(64, now);
        for _ in 0..64 {
            pace.begins(1, now);
        }
        assert_eq!(pace.enough(), 1);
    }
}
