//! A run of a schedule: it is due, begins, makes a backup, ends.
//!
//! Invariant: the schedule's record names the folder before anything is put into it, and holds the
//! set when the run has ended well. A death in between leaves a folder that is removed later.

use std::sync::Arc;

use casemate_audit::Recorded;

use super::Making;
use super::record::{Leftover, Running, ScheduleFailure, SetRecord};
use super::retention::base;
use super::settings::ScheduleName;
use super::when::next_run;
use crate::backup::full_backup::{Made, Mandate};
use crate::backup::jobs::{Begun, Job, JobFailure, JobKind, StartRefusal};
use crate::backup::{Objects, Target};
use crate::commit::CommitRefusal;
use crate::{Hsm, UnixSeconds};

/// A run that is due. There is no other way to one than a schedule that stands.
#[derive(Clone, Debug)]
pub struct ScheduledRun {
    name: ScheduleName,
    making: Making,
    target: Target,
    base: Option<String>,
    failures: u32,
}

impl ScheduledRun {
    /// The schedule's name.
    pub fn name(&self) -> &ScheduleName {
        &self.name
    }

    /// Where the backup goes.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The folder of the set that it is to be made on; a full backup if there is none.
    pub fn base(&self) -> Option<&str> {
        self.base.as_deref()
    }

    /// How many runs before it failed in a row.
    pub(in crate::backup) fn failures(&self) -> u32 {
        self.failures
    }

    /// Where the backup goes, with what opens that at this moment, if the schedule still is the one
    /// that this is a run of: a token that was set anew opens it from the next object on.
    pub(in crate::backup) fn target_now(&self, hsm: &Hsm) -> Result<Target, JobFailure> {
        hsm.schedule_target(&self.name, self.making).ok_or(JobFailure::ScheduleEnded)
    }
}

impl Hsm {
    /// The run that has been due for the longest time, if no job is under way.
    pub fn due_run(&self) -> Option<ScheduledRun> {
        if self.is_restoring() || self.job_under_way().is_some() {
            return None;
        }
        let now = self.now();
        let state = self.state.read();
        let all = state.schedules.values();
        let due = all.filter_map(|(record, _)| {
            let at = next_run(&record.plan, &record.progress, now)?;
            (at <= now).then_some((at, record, record.target()?))
        });
        let (_, record, target) = due.min_by_key(|(at, ..)| *at)?;
        Some(ScheduledRun {
            name: record.name.clone(),
            making: record.making,
            target,
            base: base(&record.plan, &record.progress.sets).map(|set| set.folder.clone()),
            failures: record.progress.failures,
        })
    }

    /// Begins a run: as a job, with its folder noted.
    pub async fn begin_run(
        self: &Arc<Self>,
        run: &ScheduledRun,
        _intent: &Recorded,
        hsm: &str,
    ) -> Result<Begun, JobFailure> {
        run.target_now(self)?;
        let refused = |refusal: StartRefusal| JobFailure::NotBegun(Arc::new(refusal));
        let base = run.base.as_deref().map(|name| run.target.existing(name)).transpose();
        let base = base.map_err(|error| refused(error.into()))?;
        let folder = run.target.clone().folder(self.new_folder(hsm).map_err(refused)?);
        let begun = self.begin_job(JobKind::Backup, folder, None).await.map_err(refused)?;
        let running = Running {
            job: begun.job.id.clone(),
            folder: begun.folder.name.clone(),
            started: begun.job.started,
        };
        let noted = self.note_progress((&run.name, run.making), |record| {
            let progress = &mut record.progress;
            progress.running = Some(running.clone());
            progress.last_run = Some(running.started);
            progress.asked = false;
        });
        let refusal = match noted.await {
            Ok(Some(())) => return Ok(Begun { base, ..begun }),
            Ok(None) => None,
            Err(refusal) => Some(Arc::new(StartRefusal::from(refusal))),
        };
        let failure = || refusal.clone().map_or(JobFailure::ScheduleEnded, JobFailure::NotBegun);
        self.end_job(begun, Err(failure())).await;
        Err(failure())
    }

    /// Makes the backup: an increment if the set it shall rest on is still the one that it was, and
    /// else a full one. Once the schedule is gone, disabled, or points elsewhere, nothing more is
    /// sent.
    pub async fn back_up_scheduled(
        &self,
        run: &ScheduledRun,
        begun: &Begun,
        objects: &dyn Objects,
    ) -> Result<Made, JobFailure> {
        self.make_backup(Mandate::Schedule(run), begun, objects).await
    }

    /// Notes what came of a run: the set, or why there is none. A set that could not be noted is
    /// removed later as what a run left, and so the run has failed.
    pub async fn note_run(
        self: &Arc<Self>,
        run: &ScheduledRun,
        begun: &Begun,
        done: Result<Made, JobFailure>,
    ) -> Result<Made, JobFailure> {
        let (job, folder, now) = (&begun.job.id, &begun.folder.name, self.now());
        let noted = self.note_progress((&run.name, run.making), |record| {
            let progress = &mut record.progress;
            progress.running = None;
            match &done {
                Ok(made) => progress.add(SetRecord {
                    folder: folder.clone(),
                    made: now,
                    increment: made.is_increment,
                    parts: made.parts,
                    going: false,
                    held: None,
                }),
                Err(failure) => {
                    progress.leave(Leftover::new(folder.clone(), job.clone()));
                    // It was disabled: that is no failure.
                    if !matches!(failure, JobFailure::ScheduleEnded) {
                        progress.fail(told(now, failure.code(), failure));
                    }
                }
            }
        });
        let Err(error) = noted.await else { return done };
        // What has no end is found like that, and taken for interrupted.
        tracing::error!(%error, schedule = %run.name, "the end of a run was not stored");
        done.and_then(|_| Err(JobFailure::store(error)))
    }

    /// Ends a run when what came of it is noted and recorded.
    pub async fn end_run(&self, begun: Begun, done: Result<Made, JobFailure>) -> Job {
        self.end_job(begun, done.map(|made| made.done)).await
    }

    /// Notes the failure of a run that did not begin, which it was asked for or not: it is tried
    /// again as any other. One that found another job under way, or its schedule gone, has not
    /// failed: it waits, or is none.
    pub async fn fail_run(
        self: &Arc<Self>,
        run: &ScheduledRun,
        failure: &JobFailure,
    ) -> Result<(), CommitRefusal> {
        let is_busy = |refusal: &StartRefusal| matches!(refusal, StartRefusal::Busy(_));
        match failure {
            JobFailure::ScheduleEnded => return Ok(()),
            JobFailure::NotBegun(refusal) if is_busy(refusal) => return Ok(()),
            _ => {}
        }
        let now = self.now();
        let noted = self.note_progress((&run.name, run.making), |record| {
            record.progress.last_run = Some(now);
            record.progress.asked = false;
            record.progress.fail(told(now, failure.code(), failure));
        });
        noted.await.map(drop)
    }

    /// Ends the runs that are under way in the records alone: of a process that ended before them.
    pub async fn settle_runs(self: &Arc<Self>) -> Result<(), CommitRefusal> {
        if self.is_restoring() {
            return Ok(());
        }
        let under_way = self.job_under_way();
        let stale: Vec<(ScheduleName, Making)> = {
            let state = self.state.read();
            let is_stale = |running: &Running| under_way.as_ref() != Some(&running.job);
            let all = state.schedules.values().map(|(record, _)| record);
            let stale = all.filter(|record| record.progress.running.as_ref().is_some_and(is_stale));
            stale.map(|record| (record.name.clone(), record.making)).collect()
        };
        for (name, making) in stale {
            let noted = self.note_progress((&name, making), |record| {
                let Some(running) = record.progress.running.take() else { return };
                record.progress.leave(Leftover::new(running.folder, running.job));
                record.progress.fail(told(running.started, "Interrupted", &Interrupted));
            });
            noted.await?;
        }
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the HSM stopped before the backup was made, or its end was not stored; it is tried again")]
struct Interrupted;

fn told(at: UnixSeconds, code: &str, failure: &dyn std::error::Error) -> ScheduleFailure {
    ScheduleFailure { at, code: code.to_owned(), message: failure.to_string() }
}
