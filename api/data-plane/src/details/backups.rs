//! Where a backup goes to or comes from, and what a restore does to rights. Never what opens it.

use casemate_audit::Detail;
use casemate_hsm::backup::{Done, Job, Target};
use casemate_hsm::rbac::Assignment;

use super::text;

/// A backup that is to be made; of an increment, the backup that it is made on.
pub(crate) fn of_backup(target: &Target, base: Option<&str>) -> Vec<Detail> {
    let mut all = vec![text("storageResourceUri", target.uri())];
    all.extend(by_identity(target));
    all.extend(base.map(|base| text("base", base)));
    all
}

/// A backup that is to be restored.
pub(crate) fn of_restore(target: &Target, folder: &str) -> Vec<Detail> {
    let mut all = vec![text("storageResourceUri", target.uri()), text("folder", folder)];
    all.extend(by_identity(target));
    all
}

/// That the storage is opened by the HSM's own identity and not by a token of the caller's.
fn by_identity(target: &Target) -> Option<Detail> {
    target.is_opened_by_identity().then(|| text("storageAccess", "managedIdentity"))
}

/// The job that does it.
pub(crate) fn of_job(job: &Job) -> Vec<Detail> {
    vec![text("jobId", job.id.as_str())]
}

/// How it ended: the folder that a backup now lies in.
pub(crate) fn of_end(job: &Job, done: Option<&Done>) -> Vec<Detail> {
    let mut all = of_job(job);
    all.extend(done.and_then(|done| done.folder.as_ref()).map(|folder| text("folder", folder)));
    all
}

/// A role that a restore brings back or ends.
pub(crate) fn of_restored(assignment: &Assignment) -> Vec<Detail> {
    vec![
        text("roleDefinitionId", assignment.role),
        text("principalId", assignment.principal),
        text("scope", &assignment.scope),
    ]
}
