//! What a schedule is set to, and what is done for it. Never what opens its target.

use casemate_audit::Detail;
use casemate_hsm::backup::{
    Done, Job, Plan, Removal, ScheduleAccess, ScheduleRequest, ScheduleView, ScheduledRun,
};

use super::{backups, short_digest, text};

/// A schedule that is set, and what it was before. A token is told by its fingerprint alone; that
/// one was kept where it was one that opened this very address.
pub(crate) fn of_schedule_change(
    before: Option<&ScheduleView>,
    after: &ScheduleRequest,
) -> Vec<Detail> {
    let mut all = Vec::new();
    if let Some(before) = before {
        all.push(text("storageResourceUriBefore", &before.uri));
        all.push(text("planBefore", plan(&before.plan)));
    }
    let uri = after.uri.trim_end_matches('/');
    all.push(text("storageResourceUri", uri));
    all.push(text("plan", plan(&after.plan)));
    let by_identity = || text("storageAccess", "managedIdentity");
    let same = before.filter(|before| before.uri == uri);
    all.extend(match (&after.access, same) {
        (ScheduleAccess::Token(token), _) => Some(text("token", short_digest(token))),
        (ScheduleAccess::Identity, _) => Some(by_identity()),
        (ScheduleAccess::Kept, Some(same)) if same.by_identity => Some(by_identity()),
        (ScheduleAccess::Kept | ScheduleAccess::KeptToken, Some(same)) if !same.by_identity => {
            Some(text("token", "kept"))
        }
        (ScheduleAccess::Kept | ScheduleAccess::KeptToken, _) => None,
    });
    all
}

/// A schedule that is removed, or asked to run.
pub(crate) fn of_schedule(view: &ScheduleView) -> Vec<Detail> {
    vec![text("storageResourceUri", &view.uri), text("plan", plan(&view.plan))]
}

/// A backup that a schedule makes; in the end its job, and the folder in which it lies.
pub fn of_run(run: &ScheduledRun, job: Option<&Job>, done: Option<&Done>) -> Vec<Detail> {
    let mut all = vec![text("schedule", run.name())];
    all.extend(backups::of_backup(run.target(), run.base()));
    all.extend(job.into_iter().flat_map(|job| backups::of_end(job, done)));
    all
}

/// A set of a schedule's that is removed.
pub fn of_removal(removal: &Removal) -> Vec<Detail> {
    vec![text("schedule", removal.name()), text("folder", removal.folder().url())]
}

fn plan(plan: &Plan) -> String {
    let Plan { every_minutes, offset_minutes, full_every, keep_days, keep_last, enabled } = plan;
    let state = if *enabled { "enabled" } else { "disabled" };
    format!(
        "every {every_minutes} min at {offset_minutes}, full every {full_every}, keep {keep_days} \
         days and {keep_last} chains, {state}"
    )
}
