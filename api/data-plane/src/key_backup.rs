//! Backup and restore of single keys.

use casemate_hsm::KeyName;
use casemate_hsm::rbac::{Scope, Within, act};
use casemate_wire::{KeyBackupResult, KeyRestoreParameters};
use http::StatusCode;

use crate::answer::Answer;
use crate::body::json;
use crate::exchange::Exchange;
use crate::refusal::Refusal;
use crate::render::kty;

type Answered = Result<Answer, Refusal>;

pub(crate) async fn back_up(x: &mut Exchange, name: KeyName) -> Answered {
    let permit = x.authorize::<act::KeysBackup>(Scope::Key(name))?;
    let backed_up = x.hsm().back_up_key(&permit).await?;
    x.note_algorithm(kty(backed_up.spec));
    x.note_version(&backed_up.key);
    let body = KeyBackupResult { value: &backed_up.backup }.to_json();
    x.read(&permit, Answer::json(StatusCode::OK, body)).await
}

/// Whoever may restore some keys may have a backup opened; the key that it turns out to be of is
/// then asked for.
pub(crate) async fn restore(x: &mut Exchange, body: &[u8]) -> Answered {
    let request: KeyRestoreParameters = json(body)?;
    let some = x.authorize::<Within<act::KeysRestore>>(Scope::Keys)?;
    let backup = x.hsm().open_key_backup(&some, request.value.as_bytes())?;
    x.note_key(backup.name());
    let permit = x.authorize::<act::KeysRestore>(Scope::Key(backup.name().clone()))?;
    let intent = x.intend().await?;
    let view = x.hsm().restore_key(&permit, &intent, backup).await?;
    x.note_algorithm(kty(view.spec));
    x.note_version(&view.key);
    let answer = Answer::json(StatusCode::OK, x.style().bundle(&view));
    x.changed(&permit, answer).await
}
