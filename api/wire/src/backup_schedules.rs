//! Schedules of backups: an area of our own.

use serde::{Deserialize, Serialize};

/// Body of `PUT /backup/schedules/NAME`. Not printable, since it holds what opens the target.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupScheduleParameters {
    /// The container's URL.
    pub storage_resource_uri: String,
    /// What opens it; the one that was set for this address if it is left out.
    #[serde(default)]
    pub token: Option<String>,
    /// Whether the HSM's managed identity opens it.
    #[serde(default)]
    pub use_managed_identity: Option<bool>,
    /// Minutes from one run to the next.
    pub every_minutes: u32,
    /// Minutes after the beginning of such a span.
    #[serde(default)]
    pub offset_minutes: u32,
    /// Each so-many-th is a full backup.
    #[serde(default = "weekly")]
    pub full_every: u32,
    /// Days for which a chain is kept.
    #[serde(default = "a_month")]
    pub keep_days: u32,
    /// Chains that are kept however old they are.
    #[serde(default = "two")]
    pub keep_last: u32,
    /// Whether it runs.
    #[serde(default = "yes")]
    pub enabled: bool,
}

fn weekly() -> u32 {
    7
}

fn a_month() -> u32 {
    30
}

fn two() -> u32 {
    2
}

fn yes() -> bool {
    true
}

/// A schedule, without what opens its target. Times are seconds since 1970.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupSchedule<'a> {
    /// Its name.
    pub name: &'a str,
    /// The container's URL.
    pub storage_resource_uri: &'a str,
    /// Whether the HSM's managed identity opens it.
    pub use_managed_identity: bool,
    /// Minutes from one run to the next.
    pub every_minutes: u32,
    /// Minutes after the beginning of such a span.
    pub offset_minutes: u32,
    /// Each so-many-th is a full backup.
    pub full_every: u32,
    /// Days for which a chain is kept.
    pub keep_days: u32,
    /// Chains that are kept however old they are.
    pub keep_last: u32,
    /// Whether it runs.
    pub enabled: bool,
    /// When it was set to that.
    pub set_time: i64,
    /// The object id of who set it.
    pub set_by: String,
    /// How far it is.
    pub status: ScheduleStatus,
}

/// How far a schedule is. What is not there is `null`, not left out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleStatus {
    /// The job that is under way for it.
    pub job_id: Option<String>,
    /// When a run began last.
    pub last_run_time: Option<i64>,
    /// When a backup was made last.
    pub last_success_time: Option<i64>,
    /// The URL of the newest backup's folder.
    pub last_backup: Option<String>,
    /// When the next run is due.
    pub next_run_time: Option<i64>,
    /// Runs that failed since a backup was made.
    pub failures: u32,
    /// The last that failed.
    pub last_failure: Option<ScheduleError>,
    /// Backups that are remembered.
    pub backups: u64,
    /// The chains that they make.
    pub chains: u64,
    /// Folders of unfinished runs that are yet to be removed.
    pub unfinished: u64,
    /// Backups and such folders that the target does not let go.
    pub kept: u64,
    /// Folders that lie there and are remembered no longer.
    pub forgotten: u64,
    /// Why the last removal failed.
    pub removal_failure: Option<ScheduleError>,
}

/// Why something was not done.
#[derive(Debug, Serialize)]
pub struct ScheduleError {
    /// When.
    pub time: i64,
    /// The code, for programs.
    pub code: String,
    /// What was wrong, and what to do.
    pub message: String,
}
