//! What of a schedule's sets goes, and what the next one rests on.
//!
//! A chain is a full backup and the increments after it, up to the next full one. It is kept or
//! removed as a whole.

use std::ops::Range;

use super::record::SetRecord;
use super::settings::Plan;
use crate::UnixSeconds;

const SECONDS_A_DAY: i64 = 86_400;

/// The chains among the sets, oldest first.
pub(super) fn chains(sets: &[SetRecord]) -> Vec<Range<usize>> {
    let mut chains: Vec<Range<usize>> = Vec::new();
    for (at, set) in sets.iter().enumerate() {
        match chains.last_mut().filter(|_| set.increment) {
            Some(chain) => chain.end = at + 1,
            None => chains.push(at..at + 1),
        }
    }
    chains
}

/// The set that the next one is made on; none if a full backup is to be made.
pub(super) fn base<'a>(plan: &Plan, sets: &'a [SetRecord]) -> Option<&'a SetRecord> {
    let length = chains(sets).last().map_or(0, ExactSizeIterator::len);
    let newest = sets.last().filter(|set| !set.going)?;
    let most = usize::try_from(plan.full_every).unwrap_or(usize::MAX);
    (length < most).then_some(newest)
}

/// The chain of which the next set is removed: one of which some were removed already, or else the
/// oldest that need not be kept.
pub(super) fn to_remove(plan: &Plan, sets: &[SetRecord], now: UnixSeconds) -> Option<Range<usize>> {
    let chains = chains(sets);
    let begun = |chain: &&Range<usize>| {
        sets.get((*chain).clone()).into_iter().flatten().any(|set| set.going)
    };
    if let Some(chain) = chains.iter().find(begun) {
        return Some(chain.clone());
    }
    let kept = usize::try_from(plan.keep_last).unwrap_or(usize::MAX);
    let old = chains.get(..chains.len().saturating_sub(kept)).unwrap_or_default();
    let lasts = i64::from(plan.keep_days) * SECONDS_A_DAY;
    let is_due = |chain: &&Range<usize>| {
        let newest = sets.get((*chain).clone()).and_then(<[SetRecord]>::last);
        newest.is_some_and(|newest| now.0.saturating_sub(newest.made.0) >= lasts)
    };
    old.iter().find(is_due).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = SECONDS_A_DAY;
    const PLAN: Plan = Plan {
        every_minutes: 1_440,
        offset_minutes: 0,
        full_every: 3,
        keep_days: 10,
        keep_last: 2,
        enabled: true,
    };

    /// Sets made a day apart; `F` is a full backup, `i` an increment, `f` and `j` the same on their
    /// way out.
    fn sets(kinds: &str) -> Vec<SetRecord> {
        let set = |(day, kind): (usize, char)| SetRecord {
            folder: format!("d{day}"),
            made: UnixSeconds(i64::try_from(day).unwrap() * DAY),
            increment: matches!(kind, 'i' | 'j'),
            parts: 1,
            going: matches!(kind, 'f' | 'j'),
        };
        kinds.chars().enumerate().map(set).collect()
    }

    fn goes(kinds: &str, plan: Plan, now: i64) -> Option<Range<usize>> {
        to_remove(&plan, &sets(kinds), UnixSeconds(now))
    }

    #[test]
    fn a_chain_begins_with_each_full_backup() {
        assert!(chains(&[]).is_empty());
        assert_eq!(chains(&sets("FiiFFii")), [0..3, 3..4, 4..7]);
        assert_eq!(chains(&sets("iiF")), [0..2, 2..3], "the beginning was forgotten");
    }

    #[test]
    fn every_so_many_th_set_is_a_full_backup() {
        let base = |kinds: &str, plan: Plan| {
            let sets = sets(kinds);
            super::base(&plan, &sets).map(|set| set.folder.clone())
        };
        assert_eq!(base("", PLAN), None);
        assert_eq!(base("F", PLAN).as_deref(), Some("d0"));
        assert_eq!(base("Fi", PLAN).as_deref(), Some("d1"));
        assert_eq!(base("Fii", PLAN), None);
        assert_eq!(base("FiiF", PLAN).as_deref(), Some("d3"));
        assert_eq!(base("FFi", PLAN).as_deref(), Some("d2"));
        assert_eq!(base("F", Plan { full_every: 1, ..PLAN }), None);
        assert_eq!(base("Fiii", Plan { full_every: 2, ..PLAN }), None, "it was lowered");
        assert_eq!(base("Ff", PLAN), None, "nothing rests on what goes");
    }

    #[test]
    fn the_newest_chains_are_kept_however_old_they_are() {
        assert_eq!(goes("", PLAN, i64::MAX), None);
        assert_eq!(goes("FiiFii", PLAN, i64::MAX), None);
        assert_eq!(goes("FiiFiiF", PLAN, i64::MAX), Some(0..3));
        let one = Plan { keep_days: 0, keep_last: 1, ..PLAN };
        assert_eq!(goes("Fii", one, i64::MAX), None, "never the last");
        assert_eq!(goes("FiiF", one, 0), None, "a clock that was set back");
        assert_eq!(goes("FiiF", one, 3 * DAY), Some(0..3));
    }

    #[test]
    fn a_chain_is_kept_for_its_days_from_its_newest_set_on() {
        assert_eq!(goes("FiiFiiF", PLAN, 12 * DAY - 1), None);
        assert_eq!(goes("FiiFiiF", PLAN, 12 * DAY), Some(0..3), "the oldest first");
        assert_eq!(goes("FiFiiF", PLAN, 12 * DAY - 1), Some(0..2));
        let many = Plan { keep_last: 100, ..PLAN };
        assert_eq!(goes("FFFFF", many, i64::MAX), None);
    }

    #[test]
    fn what_was_begun_is_finished_before_another_chain_goes() {
        assert_eq!(goes("FiiFfF", PLAN, 0), Some(4..5));
        assert_eq!(goes("fjFiiFii", PLAN, 0), Some(0..2));
        assert_eq!(goes("fFiiFii", PLAN, i64::MAX), Some(0..1));
    }
}
