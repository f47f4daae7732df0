//! Cutting off the tokens of a principal: a call of our own.

use casemate_hsm::rbac::{Scope, act};
use http::StatusCode;
use serde::Serialize;
use uuid::Uuid;

use crate::answer::Answer;
use crate::details::of_cut_off;
use crate::exchange::Exchange;
use crate::refusal::Refusal;
use crate::render::json;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    principal_id: Uuid,
    not_before: i64,
}

pub(crate) async fn cut_off(x: &mut Exchange, principal: Uuid) -> Result<Answer, Refusal> {
    let permit = x.authorize::<act::SettingsWrite>(Scope::Root)?;
    x.tell(of_cut_off(principal, None));
    let intent = x.intend().await?;
    let made = x.hsm().cut_off_tokens(&permit, &intent, principal).await?;
    let not_before = made.not_before.0;
    x.tell(of_cut_off(principal, Some(not_before)));
    x.plane.validator.cut_off(principal, not_before);
    let body = json(&Shown { principal_id: principal, not_before });
    x.changed(&permit, Answer::json(StatusCode::OK, body)).await
}
