//! Full restore and the restore of one key from a full backup: start, check, status.

use std::sync::Arc;

use casemate_audit::{Recorded, Verdict};
use casemate_hsm::KeyName;
use casemate_hsm::backup::{JobFailure, JobId, Prepared};
use casemate_hsm::rbac::{Assignment, Permit, Scope, act};
use casemate_wire::{RestoreParameters, SelectiveRestoreParameters};

use crate::answer::Answer;
use crate::body::json;
use crate::details::{of_restore, of_restored};
use crate::exchange::Exchange;
use crate::jobs::{Working, begin, record, shown, target};
use crate::plane::DataPlane;
use crate::refusal::Refusal;
use crate::render::scope_path;

type Answered = Result<Answer, Refusal>;

pub(crate) async fn start(x: &mut Exchange, body: &[u8]) -> Answered {
    let request: RestoreParameters = json(body)?;
    let target = target(&request.sas_token_parameters)?;
    let permit = Arc::new(x.authorize::<act::RestoreStart>(Scope::Root)?);
    let folder = request.folder_to_restore;
    x.tell(of_restore(&target, &folder));
    let intent = x.intend().await?;
    let begun = x.hsm().begin_restore(&permit, &intent, &target, &folder).await?;
    let by = Arc::clone(&permit);
    begin(x, &permit, begun, async move |working| restore(working, &by).await).await
}

/// Makes the restored HSM ready, records what it means for rights, and lets it take over. What is
/// restored answers for the job: this process ends.
async fn restore(working: Working, permit: &Permit<act::RestoreStart>) {
    let plane = Arc::clone(&working.plane);
    let (hsm, backups) = (Arc::clone(&working.hsm), &plane.backups);
    let prepared =
        hsm.prepare_restore(permit, &working.begun, &*backups.objects, &*backups.aside).await;
    let switched = match prepared {
        Ok(prepared) => match recorded(&plane, &working.path(), &prepared).await {
            Some(recorded) => hsm.switch(prepared, &recorded, &*backups.aside).await,
            None => {
                hsm.give_up(&*backups.aside).await;
                Err(JobFailure::NotRecorded)
            }
        },
        Err(failure) => Err(failure),
    };
    if let Err(failure) = switched {
        working.end("RestoreEnded", Err(failure)).await;
    }
}

/// Each assignment that begins or ends with the restore has a record of its own; the last says that
/// the restored HSM takes over.
async fn recorded(plane: &DataPlane, path: &str, prepared: &Prepared) -> Option<Recorded> {
    let id = |one: &Assignment| {
        let (scope, name) = (scope_path(&one.scope), one.name);
        format!("{scope}/providers/Microsoft.Authorization/roleAssignments/{name}")
    };
    for (operation, assignments) in
        [("RoleAssignmentRestored", &prepared.revived), ("RoleAssignmentDropped", &prepared.ended)]
    {
        for one in assignments {
            record(plane, operation, &id(one), &of_restored(one), Verdict::Success).await.ok()?;
        }
    }
    record(plane, "RestoreTakesOver", path, &[], Verdict::Success).await.ok()
}

pub(crate) async fn check(x: &mut Exchange, body: &[u8]) -> Answered {
    let request: RestoreParameters = json(body)?;
    let target = target(&request.sas_token_parameters)?;
    let permit = x.authorize::<act::RestoreStart>(Scope::Root)?;
    let folder = request.folder_to_restore;
    x.tell(of_restore(&target, &folder));
    let intent = x.intend().await?;
    let begun = x.hsm().begin_restore_check(&permit, &intent, &target, &folder).await?;
    begin(x, &permit, begun, async |working| {
        let objects = working.plane.backups.objects.clone();
        let done = working.hsm.check_restore(&working.begun, &*objects).await;
        working.end("RestoreEnded", done).await;
    })
    .await
}

pub(crate) async fn key(x: &mut Exchange, name: KeyName, body: &[u8]) -> Answered {
    let request: SelectiveRestoreParameters = json(body)?;
    let target = target(&request.sas_token_parameters)?;
    let permit = Arc::new(x.authorize::<act::RestoreStart>(Scope::Key(name))?);
    x.tell(of_restore(&target, &request.folder));
    let intent = x.intend().await?;
    let begun = x.hsm().begin_key_restore(&permit, &intent, &target, &request.folder).await?;
    let by = Arc::clone(&permit);
    begin(x, &permit, begun, async move |working| {
        let (hsm, objects) = (Arc::clone(&working.hsm), &working.plane.backups.objects);
        let done = hsm.restore_key_from(&by, &working.begun, &**objects).await;
        working.end("RestoreEnded", done).await;
    })
    .await
}

pub(crate) async fn status(x: &mut Exchange, id: &JobId) -> Answered {
    let job = x.hsm().job(id, false);
    // Who may restore one key sees what became of that.
    let key = job.as_ref().and_then(|job| job.key.clone());
    let permit = x.authorize::<act::RestoreStatus>(key.map_or(Scope::Root, Scope::Key))?;
    let answer = shown(job)?;
    x.read(&permit, answer).await
}
