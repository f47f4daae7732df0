//! When a schedule runs.

use super::record::{Held, Progress};
use super::settings::Plan;
use crate::UnixSeconds;

/// After the first failure, in seconds; then twice as long each time.
const RETRY_S: i64 = 60;

/// The longest time after a failure, in seconds; never longer than from one run to the next.
const RETRY_S_MAX: i64 = 3_600;

/// After a removal that failed, in seconds; then twice as long each time.
const REMOVAL_RETRY_S: i64 = 3_600;

/// The longest time after a removal that failed, in seconds.
const REMOVAL_RETRY_S_MAX: i64 = 86_400;

/// When the next run is due; `None` while none will be.
///
/// A run that was missed is due until it is made, and made once: the next is reckoned from it. A
/// clock that was set back makes one more.
pub(super) fn next_run(plan: &Plan, progress: &Progress, now: UnixSeconds) -> Option<UnixSeconds> {
    if !plan.enabled || progress.running.is_some() {
        return None;
    }
    let Some(last) = progress.last_run.filter(|last| *last <= now && !progress.asked) else {
        return Some(now);
    };
    let regular = next_slot(plan, last);
    let again = progress.last_failure.as_ref().filter(|_| progress.failures > 0).map(|failure| {
        let most = RETRY_S_MAX.min(i64::from(plan.every_minutes) * 60);
        failure.at.0.saturating_add(doubled(RETRY_S, progress.failures, most))
    });
    Some(UnixSeconds(again.map_or(regular, |again| again.min(regular))))
}

/// When a removal may be tried, after those that failed. Those of one thing alone do not count,
/// unless there were very many.
pub(super) fn next_removal(progress: &Progress) -> UnixSeconds {
    let tries = progress.removal_failures.saturating_sub(progress.passed_over);
    let failure = progress.removal_failure.as_ref().filter(|_| tries > 0);
    failure.map_or(UnixSeconds(i64::MIN), |failure| after_removal(failure.at, tries))
}

/// When something may be tried again that the target did not let go.
pub(super) fn next_try(held: Option<&Held>) -> UnixSeconds {
    held.map_or(UnixSeconds(i64::MIN), |held| after_removal(held.at, held.tries))
}

fn after_removal(at: UnixSeconds, tries: u32) -> UnixSeconds {
    UnixSeconds(at.0.saturating_add(doubled(REMOVAL_RETRY_S, tries, REMOVAL_RETRY_S_MAX)))
}

/// The beginning of the first span after this time.
fn next_slot(plan: &Plan, after: UnixSeconds) -> i64 {
    let every = i64::from(plan.every_minutes) * 60;
    let offset = i64::from(plan.offset_minutes) * 60;
    let spans = after.0.saturating_sub(offset).div_euclid(every.max(1));
    spans.saturating_add(1).saturating_mul(every).saturating_add(offset)
}

fn doubled(first: i64, times: u32, most: i64) -> i64 {
    let doublings = times.saturating_sub(1).min(32);
    first.saturating_mul(1 << doublings).min(most)
}

#[cfg(test)]
mod tests {
    use super::super::record::ScheduleFailure;
    use super::*;

    /// 2026-11-25 00:00 UTC.
    const MIDNIGHT: i64 = 1_795_564_800;
    const HOUR: i64 = 3_600;

    const NIGHTLY: Plan = Plan {
        every_minutes: 1_440,
        offset_minutes: 150,
        full_every: 7,
        keep_days: 30,
        keep_last: 2,
        enabled: true,
    };

    fn after(last: i64) -> Progress {
        Progress { last_run: Some(UnixSeconds(last)), ..Progress::default() }
    }

    fn next(progress: &Progress, now: i64) -> Option<i64> {
        next_run(&NIGHTLY, progress, UnixSeconds(now)).map(|at| at.0)
    }

    fn failed(failures: u32, at: i64) -> Progress {
        let (code, message) = (String::new(), String::new());
        let last_failure = Some(ScheduleFailure { at: UnixSeconds(at), code, message });
        Progress { failures, last_failure, ..after(at) }
    }

    #[test]
    fn it_runs_at_its_own_time_of_the_day() {
        assert_eq!(MIDNIGHT % 86_400, 0);
        let due = MIDNIGHT + 2 * HOUR + HOUR / 2;
        assert_eq!(next(&after(MIDNIGHT), MIDNIGHT), Some(due));
        assert_eq!(next(&after(due - 1), due - 1), Some(due));
        assert_eq!(next(&after(due), due), Some(due + 24 * HOUR));
        assert_eq!(next(&after(due + 5 * HOUR), due + 5 * HOUR), Some(due + 24 * HOUR));
        assert_eq!(next(&after(-1), 0), Some(2 * HOUR + HOUR / 2), "before 1970 too");
    }

    #[test]
    fn the_first_run_and_one_that_is_asked_for_are_due_at_once() {
        assert_eq!(next(&Progress::default(), MIDNIGHT), Some(MIDNIGHT));
        let asked = Progress { asked: true, ..after(MIDNIGHT) };
        assert_eq!(next(&asked, MIDNIGHT + 1), Some(MIDNIGHT + 1));
        let asked = Progress { asked: true, ..failed(9, MIDNIGHT) };
        assert_eq!(next(&asked, MIDNIGHT + 1), Some(MIDNIGHT + 1), "whatever failed before");
    }

    #[test]
    fn runs_that_were_missed_are_made_once() {
        let due = MIDNIGHT + 2 * HOUR + HOUR / 2;
        let now = due + 9 * 24 * HOUR + HOUR;
        assert_eq!(next(&after(MIDNIGHT), now), Some(due), "it is due, for nine days");
        assert_eq!(next(&after(now), now), Some(due + 10 * 24 * HOUR), "and once");
    }

    #[test]
    fn a_clock_that_was_set_back_makes_one_run_more() {
        let far = MIDNIGHT + 100 * 365 * 24 * HOUR;
        assert_eq!(next(&after(far), MIDNIGHT), Some(MIDNIGHT));
        assert_eq!(next(&failed(30, far), MIDNIGHT), Some(MIDNIGHT));
        assert!(next(&after(MIDNIGHT), MIDNIGHT).unwrap() > MIDNIGHT);
    }

    #[test]
    fn a_failure_is_tried_again_ever_more_slowly_and_at_each_regular_time() {
        let waits: Vec<i64> =
            (1..=9).map(|n| next(&failed(n, MIDNIGHT), MIDNIGHT).unwrap() - MIDNIGHT).collect();
        assert_eq!(waits, [60, 120, 240, 480, 960, 1_920, 3_600, 3_600, 3_600]);
        assert_eq!(next(&failed(u32::MAX, MIDNIGHT), MIDNIGHT), Some(MIDNIGHT + HOUR));
        let due = MIDNIGHT + 2 * HOUR + HOUR / 2;
        assert_eq!(next(&failed(9, due - 60), due - 60), Some(due));
        let often = Plan { every_minutes: 5, offset_minutes: 0, ..NIGHTLY };
        let next = next_run(&often, &failed(9, MIDNIGHT + 1), UnixSeconds(MIDNIGHT + 1));
        assert_eq!(next, Some(UnixSeconds(MIDNIGHT + 300)));
        let long_ago = Progress { failures: 0, ..failed(9, MIDNIGHT) };
        assert!(super::next_run(&NIGHTLY, &long_ago, UnixSeconds(MIDNIGHT)).unwrap().0 == due);
    }

    #[test]
    fn nothing_is_due_while_it_is_disabled_or_runs() {
        let disabled = Plan { enabled: false, ..NIGHTLY };
        assert_eq!(next_run(&disabled, &Progress::default(), UnixSeconds(MIDNIGHT)), None);
        let asked = Progress { asked: true, ..Progress::default() };
        assert_eq!(next_run(&disabled, &asked, UnixSeconds(MIDNIGHT)), None);
        let job = crate::backup::JobId::parse(&"0".repeat(32)).unwrap();
        let (folder, started) = (String::new(), UnixSeconds(MIDNIGHT));
        let running = Some(super::super::record::Running { job, folder, started });
        assert_eq!(next(&Progress { running, ..asked }, MIDNIGHT), None);
    }

    #[test]
    fn a_removal_that_failed_is_tried_again_ever_more_slowly() {
        assert_eq!(next_removal(&Progress::default()).0, i64::MIN);
        let of = |removal_failures| {
            let removal_failure = failed(1, MIDNIGHT).last_failure;
            let progress = Progress { removal_failures, removal_failure, ..Progress::default() };
            next_removal(&progress).0
        };
        assert_eq!(of(0), i64::MIN, "one was done since");
        let waits: Vec<i64> = (1..=7).map(|n| (of(n) - MIDNIGHT) / HOUR).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 24, 24]);
        let held = |tries| Held { tries, at: UnixSeconds(MIDNIGHT) };
        let waits: Vec<i64> =
            (1..=6).map(|n| (next_try(Some(&held(n))).0 - MIDNIGHT) / HOUR).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 24]);
        assert_eq!(next_try(None).0, i64::MIN);
    }
}
