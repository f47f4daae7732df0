//! The paths of schedules of backups, an area of our own.

use casemate_hsm::backup::ScheduleName;

use super::{BodyKind, Route, RouteRefusal, by_method, is};

/// What is done with schedules.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the operations are those of the area")]
pub enum ScheduleCall {
    List,
    Get(ScheduleName),
    Put(ScheduleName),
    Delete(ScheduleName),
    /// As soon as it can.
    Run(ScheduleName),
}

impl ScheduleCall {
    pub(super) fn operation(&self) -> &'static str {
        match self {
            Self::List => "BackupScheduleList",
            Self::Get(_) => "BackupScheduleGet",
            Self::Put(_) => "BackupScheduleSet",
            Self::Delete(_) => "BackupScheduleDelete",
            Self::Run(_) => "BackupScheduleRun",
        }
    }

    pub(super) fn is_change(&self) -> bool {
        matches!(self, Self::Put(_) | Self::Delete(_) | Self::Run(_))
    }

    pub(super) fn body(&self) -> BodyKind {
        if matches!(self, Self::Put(_)) { BodyKind::Parameters } else { BodyKind::None }
    }

    pub(super) fn success_status(&self) -> u16 {
        if matches!(self, Self::Run(_)) { 202 } else { 200 }
    }

    pub(super) fn template(&self) -> &'static str {
        match self {
            Self::List => "/backup/schedules",
            Self::Get(_) | Self::Put(_) | Self::Delete(_) => "/backup/schedules/{name}",
            Self::Run(_) => "/backup/schedules/{name}/run",
        }
    }
}

/// From the segments behind `backup/schedules` to the operation.
pub(super) fn find(method: &str, segments: &[&str]) -> Result<Route, RouteRefusal> {
    let made = |name: &str, call: fn(ScheduleName) -> ScheduleCall| {
        let name = ScheduleName::parse(name).ok_or(RouteRefusal::Schedule)?;
        Ok(Route::Schedule(call(name)))
    };
    match segments {
        [] => by_method(method, &[("GET", &|| Ok(Route::Schedule(ScheduleCall::List)))]),
        [name] => by_method(
            method,
            &[
                ("GET", &|| made(name, ScheduleCall::Get)),
                ("PUT", &|| made(name, ScheduleCall::Put)),
                ("DELETE", &|| made(name, ScheduleCall::Delete)),
            ],
        ),
        [name, run] if is(run, "run") => {
            by_method(method, &[("POST", &|| made(name, ScheduleCall::Run))])
        }
        _ => Err(RouteRefusal::UnknownPath),
    }
}
