//! Which requests are traced: a share of all, and those whose callers wish it, up to a rate.

use std::sync::atomic::{AtomicU64, Ordering};

/// A ratio of all, in parts per million.
pub const RATIO_PPM_ALL: u32 = 1_000_000;
/// Highest rate of traced requests for callers' wishes, per second.
pub const PER_SECOND_MAX: u32 = 1_000;

const SECOND_US: u64 = 1_000_000;

/// Which requests are traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// So many of a million requests whose callers say nothing about it.
    pub ratio_ppm: u32,
    /// So many of those whose callers wish it, per second.
    pub callers_per_second: u32,
}

impl Sampling {
    /// A draw below this is traced; `u64::MAX` stands for all.
    pub(crate) fn threshold(self) -> u64 {
        if self.ratio_ppm >= RATIO_PPM_ALL {
            return u64::MAX;
        }
        u64::MAX / u64::from(RATIO_PPM_ALL) * u64::from(self.ratio_ppm)
    }
}

/// A rate over time: after a quiet second as much as a second allows may come at once.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    per_second: AtomicU64,
    /// When all that was let through would have come at an even pace, in µs of the asker's time.
    even_us: AtomicU64,
}

impl Rate {
    pub(crate) fn set(&self, per_second: u32) {
        self.per_second.store(u64::from(per_second.min(PER_SECOND_MAX)), Ordering::Relaxed);
    }

    /// Whether one more may pass at this time, which is then counted.
    pub(crate) fn lets_pass(&self, now_us: u64) -> bool {
        let Some(interval) = SECOND_US.checked_div(self.per_second.load(Ordering::Relaxed)) else {
            return false;
        };
        let next = |even: u64| {
            let even = even.max(now_us) + interval;
            (even <= now_us + SECOND_US).then_some(even)
        };
        self.even_us.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_a_share_of_all_draws() {
        let threshold = |ratio_ppm| Sampling { ratio_ppm, callers_per_second: 0 }.threshold();
        assert_eq!(threshold(0), 0);
        assert_eq!(threshold(RATIO_PPM_ALL), u64::MAX);
        assert_eq!(threshold(u32::MAX), u64::MAX);
        let half = threshold(RATIO_PPM_ALL / 2);
        assert!(half.abs_diff(u64::MAX / 2) < u64::MAX / 100_000, "{half}");
    }

    #[test]
    fn a_rate_lets_so_many_pass_and_no_more() {
        let rate = Rate::default();
        assert!(!rate.lets_pass(0), "nothing is set");
        rate.set(10);
        let count = |rate: &Rate, now_us| (0..1_000).filter(|_| rate.lets_pass(now_us)).count();
        assert_eq!(count(&rate, 5_000_000), 10, "a second's worth at once");
        assert_eq!(count(&rate, 5_000_001), 0);
        assert_eq!(count(&rate, 5_100_000), 1);
        assert_eq!(count(&rate, 5_150_000), 0);
        assert_eq!(count(&rate, 60_000_000), 10, "what was not used is not saved up");
        rate.set(0);
        assert_eq!(count(&rate, 100_000_000), 0);
        rate.set(u32::MAX);
        assert_eq!(count(&rate, 200_000_000), 1_000);
        let steady = (0..10_000).filter(|at| rate.lets_pass(300_000_000 + at * 100)).count();
        assert!((1_000..=2_000).contains(&steady), "one second at ten times the rate: {steady}");
    }
}
