//! Schedules are set, shown, removed, asked to run.
//!
//! The right asked for, to read as well, is that to change settings; who sets one or has it run
//! needs the right to start a backup besides. Of the built-in roles only the Administrator holds
//! both, and in strict mode only an Administrator grants them.

use std::sync::Arc;

use casemate_audit::Recorded;
use casemate_store_port::{Change, Condition, Generation, Path, Write};

use super::record::{Progress, ScheduleRecord, ScheduleView};
use super::settings::{SCHEDULES_MAX, ScheduleName, ScheduleRefusal, ScheduleRequest};
use super::{Making, ScheduleFacts};
use crate::backup::Target;
use crate::commit::{Attempt, CommitRefusal};
use crate::rbac::{Permit, act};
use crate::state::Applied;
use crate::{Hsm, records};

/// The turnstile of all changes of schedules.
const TURNSTILE: &str = "backup-schedules";

impl Hsm {
    /// All schedules, by their names.
    pub fn show_schedules(&self, _permit: &Permit<act::SettingsWrite>) -> Vec<ScheduleView> {
        let now = self.now();
        let state = self.state.read();
        state.schedules.values().map(|(record, _)| record.view(now)).collect()
    }

    /// One schedule.
    pub fn show_schedule(
        &self,
        _permit: &Permit<act::SettingsWrite>,
        name: &ScheduleName,
    ) -> Result<ScheduleView, ScheduleRefusal> {
        let (record, _) = self.schedule(name)?;
        Ok(record.view(self.now()))
    }

    /// What is measured of all schedules, for monitoring.
    pub fn schedule_facts(&self) -> Vec<ScheduleFacts> {
        let now = self.now();
        let state = self.state.read();
        state.schedules.values().map(|(record, _)| record.facts(now)).collect()
    }

    /// Makes a schedule, or changes it. One that points elsewhere begins anew: what lies at the
    /// former place stays there, and is not remembered.
    pub async fn set_schedule(
        self: &Arc<Self>,
        permits: (&Permit<act::SettingsWrite>, &Permit<act::BackupStart>),
        _intent: &Recorded,
        name: &ScheduleName,
        request: &ScheduleRequest,
    ) -> Result<ScheduleView, ScheduleRefusal> {
        request.plan.check()?;
        let mut making = Making::default();
        self.engine.random(&mut making)?;
        let (now, by) = (self.now(), permits.0.principal().id);
        self.attempt_by(permits.0, TURNSTILE, || {
            let stands = self.standing(permits.1).map_err(CommitRefusal::from)?;
            let before = self.schedule(name).ok();
            if before.is_none() && self.state.read().schedules.len() >= SCHEDULES_MAX {
                return Err(ScheduleRefusal::TooMany);
            }
            let known = before.as_ref().map(|(record, _)| record.as_ref());
            let target_before = known.and_then(ScheduleRecord::target);
            let target = request.target(target_before.as_ref())?;
            let same = known.filter(|known| known.uri == target.uri());
            let record = ScheduleRecord {
                name: name.clone(),
                making: same.map_or(making, |known| known.making),
                uri: target.uri().to_owned(),
                token: target.expose_token().to_owned(),
                by_identity: target.is_opened_by_identity(),
                plan: request.plan,
                set_at: now,
                set_by: by,
                progress: same.map_or_else(Progress::default, |known| known.progress.clone()),
            };
            let view = record.view(now);
            let mut attempt = written(record, before.map(|(_, at)| at), view);
            attempt.change.expect.extend(stands);
            Ok(attempt)
        })
        .await
    }

    /// Removes a schedule. A run that is under way sends nothing more; the sets stay where they
    /// are, and are not remembered.
    pub async fn remove_schedule(
        self: &Arc<Self>,
        permit: &Permit<act::SettingsWrite>,
        _intent: &Recorded,
        name: &ScheduleName,
    ) -> Result<ScheduleView, ScheduleRefusal> {
        let now = self.now();
        self.attempt_by(permit, TURNSTILE, || {
            let (record, generation) = self.schedule(name)?;
            let path = path(name);
            Ok(Attempt {
                change: Change {
                    expect: vec![(path.clone(), Condition::At(generation))],
                    writes: vec![Write::Delete(path)],
                },
                applied: vec![Applied::ScheduleGone(name.as_str().to_owned())],
                result: record.view(now),
            })
        })
        .await
    }

    /// Has a schedule run as soon as it can.
    pub async fn ask_schedule(
        self: &Arc<Self>,
        permits: (&Permit<act::SettingsWrite>, &Permit<act::BackupStart>),
        _intent: &Recorded,
        name: &ScheduleName,
    ) -> Result<ScheduleView, ScheduleRefusal> {
        let now = self.now();
        self.attempt_by(permits.0, TURNSTILE, || {
            let stands = self.standing(permits.1).map_err(CommitRefusal::from)?;
            let (record, generation) = self.schedule(name)?;
            if !record.plan.enabled {
                return Err(ScheduleRefusal::Disabled(name.clone()));
            }
            let mut record = ScheduleRecord::clone(&record);
            record.progress.asked = true;
            let view = record.view(now);
            let mut attempt = written(record, Some(generation), view);
            attempt.change.expect.extend(stands);
            Ok(attempt)
        })
        .await
    }

    /// Notes how far a schedule is, if it is still that one. The second half of what is answered
    /// says whether it was.
    pub(super) async fn note_progress<T>(
        self: &Arc<Self>,
        (name, making): (&ScheduleName, Making),
        mut note: impl FnMut(&mut ScheduleRecord) -> T,
    ) -> Result<Option<T>, CommitRefusal> {
        self.attempt(TURNSTILE, || {
            let found = self.schedule(name).ok().filter(|(record, _)| record.making == making);
            let Some((record, generation)) = found else {
                let change = Change { expect: Vec::new(), writes: Vec::new() };
                return Ok(Attempt { change, applied: Vec::new(), result: None });
            };
            let mut record = ScheduleRecord::clone(&record);
            let noted = note(&mut record);
            Ok::<_, CommitRefusal>(written(record, Some(generation), Some(noted)))
        })
        .await
    }

    /// Where the schedule's backups go, with what opens that at this moment; `None` if it is not
    /// that one any more, or is disabled.
    pub(super) fn schedule_target(&self, name: &ScheduleName, making: Making) -> Option<Target> {
        let (record, _) = self.schedule(name).ok()?;
        let stands = record.making == making && record.plan.enabled;
        record.target().filter(|_| stands)
    }

    fn schedule(
        &self,
        name: &ScheduleName,
    ) -> Result<(Arc<ScheduleRecord>, Generation), ScheduleRefusal> {
        let state = self.state.read();
        let found = state.schedules.get(name.as_str()).cloned();
        found.ok_or_else(|| ScheduleRefusal::NoSuchSchedule(name.clone()))
    }
}

fn path(name: &ScheduleName) -> Path {
    records::schedule_path(name.as_str())
}

fn written<T>(record: ScheduleRecord, before: Option<Generation>, result: T) -> Attempt<T> {
    let path = path(&record.name);
    let condition = before.map_or(Condition::Absent, Condition::At);
    let record = Arc::new(record);
    Attempt {
        change: Change {
            expect: vec![(path.clone(), condition)],
            writes: vec![Write::Put(path, records::encode(record.as_ref()))],
        },
        applied: vec![Applied::Schedule(record)],
        result,
    }
}
