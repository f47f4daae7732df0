//! The paths of backups and restores of the whole HSM, and of their status.

use casemate_hsm::backup::JobId;

use super::{Make, Route, RouteRefusal, by_method, is, schedules};

/// From the segments to the operation.
pub(super) fn jobs(method: &str, first: &str, rest: &[&str]) -> Result<Route, RouteRefusal> {
    if let [area, of @ ..] = rest
        && is(first, "backup")
        && is(area, "schedules")
    {
        return schedules::find(method, of);
    }
    match rest {
        [] => {
            let (wanted, route): (&str, Make<'_>) = match () {
                () if is(first, "backup") => ("POST", &|| Ok(Route::StartBackup)),
                () if is(first, "prebackup") => ("POST", &|| Ok(Route::CheckBackup)),
                () if is(first, "restore") => ("PUT", &|| Ok(Route::StartRestore)),
                () => ("PUT", &|| Ok(Route::CheckRestore)),
            };
            by_method(method, &[(wanted, route)])
        }
        [id, pending] if is(pending, "pending") => {
            let id = || JobId::parse(id).ok_or(RouteRefusal::UnknownPath);
            match () {
                () if is(first, "backup") => {
                    by_method(method, &[("GET", &|| id().map(Route::BackupStatus))])
                }
                () if is(first, "restore") => {
                    by_method(method, &[("GET", &|| id().map(Route::RestoreStatus))])
                }
                () => Err(RouteRefusal::UnknownPath),
            }
        }
        _ => Err(RouteRefusal::UnknownPath),
    }
}
