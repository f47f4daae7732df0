//! Full backup: start, check, status.

use std::sync::Arc;

use casemate_hsm::backup::JobId;
use casemate_hsm::rbac::{Scope, act};
use casemate_wire::StorageParameters;

use crate::answer::Answer;
use crate::body::json;
use crate::details::of_backup;
use crate::exchange::Exchange;
use crate::jobs::{begin, shown, target};
use crate::refusal::Refusal;

type Answered = Result<Answer, Refusal>;

pub(crate) async fn start(x: &mut Exchange, body: &[u8]) -> Answered {
    let storage = json::<StorageParameters>(body)?;
    let target = target(&storage)?;
    let permit = Arc::new(x.authorize::<act::BackupStart>(Scope::Root)?);
    let base = storage.casemate_base.as_deref();
    x.tell(of_backup(&target, base));
    let intent = x.intend().await?;
    let name = x.plane.backups.hsm.clone();
    let begun = x.hsm().begin_backup(&permit, &intent, &name, target, base).await?;
    let by = Arc::clone(&permit);
    begin(x, &permit, begun, async move |working| {
        let objects = working.plane.backups.objects.clone();
        let done = working.hsm.back_up(&by, &working.begun, &*objects).await;
        working.end("BackupEnded", done).await;
    })
    .await
}

pub(crate) async fn check(x: &mut Exchange, body: &[u8]) -> Answered {
    let target = target(&json::<StorageParameters>(body)?)?;
    let permit = x.authorize::<act::BackupStart>(Scope::Root)?;
    x.tell(of_backup(&target, None));
    let intent = x.intend().await?;
    let name = x.plane.backups.hsm.clone();
    let begun = x.hsm().begin_backup_check(&permit, &intent, &name, target).await?;
    begin(x, &permit, begun, async |working| {
        let objects = working.plane.backups.objects.clone();
        let done = working.hsm.check_backup(&working.begun, &*objects).await;
        working.end("BackupEnded", done).await;
    })
    .await
}

pub(crate) async fn status(x: &mut Exchange, id: &JobId) -> Answered {
    let permit = x.authorize::<act::BackupStatus>(Scope::Root)?;
    let answer = shown(x.hsm().job(id, true))?;
    x.read(&permit, answer).await
}
