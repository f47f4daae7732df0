//! What is stored of a schedule, and what is shown of it.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::retention::chains;
use super::settings::{Plan, ScheduleName};
use super::{Making, when};
use crate::UnixSeconds;
use crate::backup::{JobId, Target};

/// Most sets that are remembered: what a target does not let go is forgotten beyond it.
const SETS_MAX: usize = 3_000;

/// Most removals in a row that the target refuses before the others have to wait, too: it may let
/// nothing go at all.
const PASSED_OVER_MAX: u32 = 16;

/// Most folders of unfinished runs that are remembered.
const LEFT_MAX: usize = 100;

/// A schedule with its progress. It holds what opens the target: not printable.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct ScheduleRecord {
    pub(super) name: ScheduleName,
    #[serde(with = "serde_bytes")]
    pub(super) making: Making,
    pub(super) uri: String,
    pub(super) token: String,
    /// Whether the HSM's managed identity opens the target, in place of a token.
    #[serde(default)]
    pub(super) by_identity: bool,
    pub(super) plan: Plan,
    pub(super) set_at: UnixSeconds,
    pub(super) set_by: Uuid,
    pub(super) progress: Progress,
}

/// How far a schedule is.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Progress {
    /// The run that is under way, and its folder.
    pub(super) running: Option<Running>,
    /// Somebody asked for a run now.
    pub(super) asked: bool,
    /// When a run began last.
    pub(super) last_run: Option<UnixSeconds>,
    /// When a backup was made last.
    pub(super) last_success: Option<UnixSeconds>,
    /// Runs that failed since.
    pub(super) failures: u32,
    /// The last one that did, whatever came after it.
    pub(super) last_failure: Option<ScheduleFailure>,
    /// Removals that failed since one was done.
    pub(super) removal_failures: u32,
    /// Those of them that were of one thing alone, and hold up nothing else.
    #[serde(default)]
    pub(super) passed_over: u32,
    pub(super) removal_failure: Option<ScheduleFailure>,
    /// The sets that lie there, oldest first.
    pub(super) sets: Vec<SetRecord>,
    /// Folders of runs that came to no end: what they put is no backup.
    #[serde(default)]
    pub(super) leftovers: Vec<Leftover>,
    /// Sets and folders that lie there and are remembered no longer.
    pub(super) forgotten: u64,
}

/// A run that is under way.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Running {
    pub(super) job: JobId,
    pub(super) folder: String,
    pub(super) started: UnixSeconds,
}

/// A set that a run has made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SetRecord {
    pub(super) folder: String,
    pub(super) made: UnixSeconds,
    /// Whether it rests on the set before it in the list.
    pub(super) increment: bool,
    pub(super) parts: u32,
    /// It is being removed, and no backup any more.
    pub(super) going: bool,
    /// The target does not let it go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) held: Option<Held>,
}

/// A folder that a run was to fill which came to no end. What lies in it may be another's: the
/// run's is what was sealed for its job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Leftover {
    pub(super) folder: String,
    pub(super) job: JobId,
    /// The target does not let it go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) held: Option<Held>,
}

impl Leftover {
    pub(super) fn new(folder: String, job: JobId) -> Self {
        Self { folder, job, held: None }
    }
}

/// That a target did not let something go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    /// How often it was tried.
    pub(super) tries: u32,
    /// When, the last time.
    pub(super) at: UnixSeconds,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleFailure {
    /// When.
    pub at: UnixSeconds,
    /// The code, for programs.
    pub code: String,
    /// What was wrong, and what to do.
    pub message: String,
}

/// A schedule, as it is shown: without what opens its target.
#[derive(Clone, Debug)]
pub struct ScheduleView {
    /// Its name.
    pub name: ScheduleName,
    /// The address of its target.
    pub uri: String,
    /// Whether the HSM's managed identity opens it.
    pub by_identity: bool,
    /// When it runs, and what is kept.
    pub plan: Plan,
    /// When it was set to that.
    pub set_at: UnixSeconds,
    /// By whom.
    pub set_by: Uuid,
    /// How far it is.
    pub status: ScheduleStatus,
}

/// How far a schedule is.
#[derive(Clone, Debug)]
pub struct ScheduleStatus {
    /// The job that is under way for it.
    pub running: Option<JobId>,
    /// When a run began last.
    pub last_run: Option<UnixSeconds>,
    /// When a backup was made last.
    pub last_success: Option<UnixSeconds>,
    /// The folder of the newest set.
    pub last_folder: Option<String>,
    /// When the next run is due; one in the past is waited for.
    pub next_run: Option<UnixSeconds>,
    /// Runs that failed since a backup was made.
    pub failures: u32,
    /// The last that failed.
    pub last_failure: Option<ScheduleFailure>,
    /// Sets that are remembered.
    pub sets: usize,
    /// The chains that they make.
    pub chains: usize,
    /// Folders of unfinished runs that are yet to be removed.
    pub unfinished: usize,
    /// Sets and such folders that the target does not let go.
    pub kept: usize,
    /// Sets and folders that lie there and are remembered no longer.
    pub forgotten: u64,
    /// Why the last removal failed, until one is done and the target keeps nothing else.
    pub removal_failure: Option<ScheduleFailure>,
}

/// What is measured of a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleFacts {
    /// Its name.
    pub name: ScheduleName,
    /// Whether it runs.
    pub enabled: bool,
    /// Seconds from one run to the next.
    pub every_s: u64,
    /// Seconds since the last backup that was made; where there is none, since it was set.
    pub age_s: u64,
    /// Runs that failed since a backup was made.
    pub failures: u32,
    /// Removals that failed since one was done.
    pub removal_failures: u32,
    /// Sets that are remembered.
    pub sets: usize,
}

impl ScheduleRecord {
    /// Its name.
    pub(crate) fn name(&self) -> &ScheduleName {
        &self.name
    }

    pub(super) fn target(&self) -> Option<Target> {
        if self.by_identity {
            return Target::with_identity(&self.uri).ok();
        }
        Target::new(&self.uri, &self.token).ok()
    }

    /// As it is shown at this time.
    pub(super) fn view(&self, now: UnixSeconds) -> ScheduleView {
        let progress = &self.progress;
        let in_place = |set: &&SetRecord| !set.going;
        ScheduleView {
            name: self.name.clone(),
            uri: self.uri.clone(),
            by_identity: self.by_identity,
            plan: self.plan,
            set_at: self.set_at,
            set_by: self.set_by,
            status: ScheduleStatus {
                running: progress.running.as_ref().map(|running| running.job.clone()),
                last_run: progress.last_run,
                last_success: progress.last_success,
                last_folder: progress.sets.iter().rev().find(in_place).map(|it| it.folder.clone()),
                next_run: when::next_run(&self.plan, progress, now),
                failures: progress.failures,
                last_failure: progress.last_failure.clone(),
                sets: progress.sets.len(),
                chains: chains(&progress.sets).len(),
                unfinished: progress.leftovers.len(),
                kept: progress.kept(),
                forgotten: progress.forgotten,
                removal_failure: progress.removal_failure.clone(),
            },
        }
    }

    /// What is measured of it at this time.
    pub(super) fn facts(&self, now: UnixSeconds) -> ScheduleFacts {
        let progress = &self.progress;
        let since = progress.last_success.unwrap_or(self.set_at);
        ScheduleFacts {
            name: self.name.clone(),
            enabled: self.plan.enabled,
            every_s: u64::from(self.plan.every_minutes) * 60,
            age_s: u64::try_from(now.0.saturating_sub(since.0)).unwrap_or_default(),
            failures: progress.failures,
            removal_failures: progress.removal_failures,
            sets: progress.sets.len(),
        }
    }
}

impl Progress {
    /// A set was made.
    pub(super) fn add(&mut self, set: SetRecord) {
        self.last_success = Some(set.made);
        self.failures = 0;
        self.sets.push(set);
        // Whole chains, so that none that is remembered rests on one that is not.
        while self.sets.len() > SETS_MAX {
            let oldest = chains(&self.sets).first().map_or(1, |chain| chain.end);
            self.sets.drain(..oldest);
            self.forgotten += u64::try_from(oldest).unwrap_or_default();
        }
    }

    /// A run came to no end.
    pub(super) fn leave(&mut self, leftover: Leftover) {
        self.leftovers.push(leftover);
        if self.leftovers.len() > LEFT_MAX {
            self.leftovers.remove(0);
            self.forgotten += 1;
        }
    }

    /// How much the target does not let go.
    pub(super) fn kept(&self) -> usize {
        let sets = self.sets.iter().filter(|set| set.held.is_some());
        sets.count() + self.leftovers.iter().filter(|left| left.held.is_some()).count()
    }

    /// A removal was done.
    pub(super) fn removed(&mut self, folder: &str) {
        self.leftovers.retain(|left| left.folder != folder);
        self.sets.retain(|set| set.folder != folder);
        (self.removal_failures, self.passed_over) = (0, 0);
        if self.kept() == 0 {
            self.removal_failure = None;
        }
    }

    /// A removal failed; `is_of_one`: the target does not let that go, which says nothing of
    /// others.
    pub(super) fn not_removed(&mut self, folder: &str, is_of_one: bool, failure: ScheduleFailure) {
        self.removal_failures = self.removal_failures.saturating_add(1);
        if is_of_one {
            self.passed_over = (self.passed_over + 1).min(PASSED_OVER_MAX);
            let at = failure.at;
            let again = |held: &Option<Held>| {
                let tries = held.as_ref().map_or(0, |held| held.tries).saturating_add(1);
                Some(Held { tries, at })
            };
            for left in self.leftovers.iter_mut().filter(|left| left.folder == folder) {
                left.held = again(&left.held);
            }
            for set in self.sets.iter_mut().filter(|set| set.folder == folder) {
                set.held = again(&set.held);
            }
        }
        self.removal_failure = Some(failure);
    }

    /// A run failed.
    pub(super) fn fail(&mut self, failure: ScheduleFailure) {
        self.failures = self.failures.saturating_add(1);
        self.last_failure = Some(failure);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_what_can_be_listed_whole_chains_are_forgotten_and_counted() {
        let mut progress = Progress::default();
        let of = |at: usize| SetRecord {
            folder: format!("f{at}"),
            made: UnixSeconds(0),
            increment: !at.is_multiple_of(7),
            parts: 1,
            going: false,
            held: None,
        };
        for at in 0..=SETS_MAX {
            progress.add(of(at));
        }
        assert_eq!((progress.sets.len(), progress.forgotten), (SETS_MAX + 1 - 7, 7));
        assert_eq!(progress.sets.first().unwrap().folder, "f7");
        for at in 0..=LEFT_MAX {
            let job = JobId::parse(&"0".repeat(32)).unwrap();
            progress.leave(Leftover::new(format!("l{at}"), job));
        }
        assert_eq!((progress.leftovers.len(), progress.forgotten), (LEFT_MAX, 8));
        assert_eq!(progress.leftovers.first().unwrap().folder, "l1");
    }

    #[test]
    fn one_endless_chain_is_forgotten_but_for_what_is_new() {
        let mut progress = Progress::default();
        for at in 0..=SETS_MAX {
            let (folder, made) = (at.to_string(), UnixSeconds(0));
            let increment = at > 0;
            let (parts, going, held) = (1, false, None);
            progress.add(SetRecord { folder, made, increment, parts, going, held });
        }
        assert!(progress.sets.is_empty(), "the next one is a full backup");
    }
}
