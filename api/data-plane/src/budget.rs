//! So much of something at once and so much a minute, for each of many, without a table of them.
//!
//! Each is counted in two places, as in [`admission`](crate::admission): another one would have to
//! share both to be counted with it. A place holds when its budget is whole again: what is taken
//! moves that into the future, and what lies too far in the future is refused.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::admission::Row;

const MINUTE_NS: u64 = 60_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// The budgets of all.
pub(crate) struct Budget {
    began: Instant,
    /// For each place, when its budget is whole again, in nanoseconds since the beginning.
    rows: [Row<AtomicU64>; 2],
    /// What one takes from the budget, in nanoseconds until it is there again.
    each_ns: u64,
    /// What the budget has beside the one that is asked for, in nanoseconds.
    rest_ns: u64,
}

impl Budget {
    /// Of so many at once, and so many a minute in the long run; at least one of each.
    pub(crate) fn new(at_once_max: usize, per_minute_max: usize) -> Self {
        let number = |limit: usize| u64::try_from(limit).unwrap_or(u64::MAX).max(1);
        let each_ns = MINUTE_NS / number(per_minute_max);
        let rest_ns = each_ns.saturating_mul(number(at_once_max) - 1);
        Self { began: Instant::now(), rows: [Row::new(), Row::new()], each_ns, rest_ns }
    }

    /// Takes one from the budget of this one, if there is one.
    pub(crate) fn take(&self, whose: impl Hash) -> bool {
        let now_ns = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.take_at(whose, now_ns)
    }

    /// After how long there is one more, in seconds.
    pub(crate) fn each_s(&self) -> u64 {
        self.each_ns.div_ceil(SECOND_NS)
    }

    fn take_at(&self, whose: impl Hash, now_ns: u64) -> bool {
        let places = self.rows.each_ref().map(|row| row.of(&whose));
        let [one, other] = places.map(|place| place.load(Ordering::Relaxed));
        if one.min(other).saturating_sub(now_ns) > self.rest_ns {
            return false;
        }
        for place in places {
            let later = |whole_at: u64| Some(whole_at.max(now_ns).saturating_add(self.each_ns));
            // The closure always has a value.
            let _before = place.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
        }
        true
    }
}

/// What of an address stands for who is there: who has one IPv6 address has a /64 of them.
pub(crate) fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = SECOND_NS;

    fn taken(budget: &Budget, whose: u32, now_ns: u64, calls: usize) -> usize {
        (0..calls).filter(|_| budget.take_at(whose, now_ns)).count()
    }

    #[test]
    fn so_many_at_once_and_so_many_a_minute() {
        let budget = Budget::new(50, 120);
        assert_eq!(taken(&budget, 1, 0, 10_000), 50);
        assert_eq!(taken(&budget, 1, SECOND / 4, 10_000), 0, "not before it is there");
        assert_eq!(taken(&budget, 1, 10 * SECOND, 10_000), 20);
        assert_eq!(taken(&budget, 1, 1_000 * SECOND, 10_000), 50, "no more is saved up");
        let hour: usize = (0..3_600).map(|second| taken(&budget, 2, second * SECOND, 1_000)).sum();
        assert!((7_200..=7_250).contains(&hour), "{hour}");
    }

    #[test]
    fn a_storm_takes_nothing_from_others_budgets() {
        let budget = Budget::new(5, 1);
        assert_eq!(taken(&budget, 1, 0, 100_000), 5);
        for other in 2..500 {
            assert_eq!(taken(&budget, other, 0, 1), 1, "{other}");
        }
    }

    #[test]
    fn the_widest_limits_bound_nothing_and_the_narrowest_let_one_pass() {
        let all = Budget::new(usize::MAX, usize::MAX);
        assert_eq!(taken(&all, 1, 0, 10_000), 10_000);
        for narrow in [Budget::new(1, 1), Budget::new(0, 0)] {
            assert_eq!(taken(&narrow, 1, 0, 10_000), 1);
        }
    }

    #[test]
    fn a_network_of_addresses_is_one_site() {
        let site_of = |text: &str| site(text.parse().unwrap());
        assert_eq!(site_of("2001:db8:1:2::1"), site_of("2001:db8:1:2:ffff::9"));
        assert_ne!(site_of("2001:db8:1:2::1"), site_of("2001:db8:1:3::1"));
        assert_ne!(site_of("192.0.2.1"), site_of("192.0.2.2"));
        assert_eq!(site_of("::ffff:192.0.2.1"), site_of("192.0.2.1"));
    }
}
