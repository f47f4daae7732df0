//! What of a schedule's sets goes, and what the next one rests on.
//!
//! A chain is a full backup and the increments after it, up to the next full one. It is kept or
//! removed as a whole.

use std::ops::Range;

use super::record::{Held, SetRecord};
use super::settings::Plan;
use super::when::next_try;
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

/// The set that is removed next: the newest of a chain of which some were removed already, or else
/// of the oldest that need not be kept. One that the target did not let go waits for its time, and
/// then for those that were tried less often.
pub(super) fn to_remove<'a>(
    plan: &Plan,
    sets: &'a [SetRecord],
    now: UnixSeconds,
) -> Option<&'a SetRecord> {
    let chains = chains(sets);
    let kept = usize::try_from(plan.keep_last).unwrap_or(usize::MAX);
    let old = chains.len().saturating_sub(kept);
    let lasts = i64::from(plan.keep_days) * SECONDS_A_DAY;
    let goes = chains.into_iter().enumerate().filter_map(|(at, chain)| {
        let chain = sets.get(chain)?;
        let newest = chain.last()?;
        let is_begun = chain.iter().any(|set| set.going);
        let is_due = at < old && now.0.saturating_sub(newest.made.0) >= lasts;
        let may_go = next_try(newest.held.as_ref()) <= now;
        ((is_begun || is_due) && may_go).then(|| ((tries(newest.held.as_ref()), !is_begun), newest))
    });
    goes.min_by_key(|(order, _)| *order).map(|(_, newest)| newest)
}

/// How often something was tried that the target did not let go.
pub(super) fn tries(held: Option<&Held>) -> u32 {
    held.map_or(0, |held| held.tries)
}

/// Notes that the chain of a set goes.
pub(super) fn mark_chain(sets: &mut [SetRecord], folder: &str) {
    let mut chains = chains(sets).into_iter();
    let holds = |chain: &Range<usize>| {
        sets.get(chain.clone()).into_iter().flatten().any(|set| set.folder == folder)
    };
    if let Some(chain) = chains.find(holds) {
        sets.get_mut(chain).into_iter().flatten().for_each(|set| set.going = true);
    }
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
            held: None,
        };
        kinds.chars().enumerate().map(set).collect()
    }

    /// The chain that goes.
    fn goes(kinds: &str, plan: Plan, now: i64) -> Option<Range<usize>> {
        let mut sets = sets(kinds);
        let chosen = to_remove(&plan, &sets, UnixSeconds(now))?.folder.clone();
        let chain = chains(&sets)
            .into_iter()
            .find(|chain| sets[chain.clone()].last().unwrap().folder == chosen);
        let chain = chain.expect("it is the newest of its chain");
        let before: Vec<bool> = sets.iter().map(|set| set.going).collect();
        mark_chain(&mut sets, &chosen);
        for (at, set) in sets.iter().enumerate() {
            assert_eq!(set.going, before[at] || chain.contains(&at), "{at}");
        }
        Some(chain)
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
    fn what_the_target_keeps_waits_and_holds_up_no_other() {
        let mut sets = sets("FiFFF");
        let keep = Plan { keep_last: 1, ..PLAN };
        let hold = |set: &mut SetRecord, tries| {
            set.going = true;
            set.held = Some(Held { tries, at: UnixSeconds(100 * DAY) });
        };
        let next = |sets: &[SetRecord], now: i64| {
            to_remove(&keep, sets, UnixSeconds(now)).map(|set| set.folder.clone())
        };
        let first = 100 * DAY;
        assert_eq!(next(&sets, first).as_deref(), Some("d1"));
        hold(&mut sets[1], 1);
        assert_eq!(next(&sets, first).as_deref(), Some("d2"), "the next is not held up");
        hold(&mut sets[2], 2);
        assert_eq!(next(&sets, first).as_deref(), Some("d3"));
        hold(&mut sets[3], 2);
        assert_eq!(next(&sets, first), None, "each waits, and the newest is kept");
        assert_eq!(next(&sets, first + 3_600).as_deref(), Some("d1"), "after its hour");
        assert_eq!(next(&sets, first + 7_200).as_deref(), Some("d1"), "what was tried less often");
        hold(&mut sets[1], 3);
        assert_eq!(next(&sets, first + 14_400).as_deref(), Some("d2"), "and then the oldest");
    }

    #[test]
    fn what_was_begun_is_finished_before_another_chain_goes() {
        assert_eq!(goes("FiiFfF", PLAN, 0), Some(4..5));
        assert_eq!(goes("fjFiiFii", PLAN, 0), Some(0..2));
        assert_eq!(goes("fFiiFii", PLAN, i64::MAX), Some(0..1));
    }
}
