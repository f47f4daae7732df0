//! Why somebody may do something, or what is missing: a call of our own.

use casemate_hsm::rbac::act;
use http::StatusCode;

use crate::answer::Answer;
use crate::details::of_question;
use crate::exchange::Exchange;
use crate::query::Query;
use crate::refusal::Refusal;
use crate::render::{explanation, json};
use crate::role_parameters;

pub(crate) async fn explain(x: &mut Exchange, query: &Query) -> Result<Answer, Refusal> {
    let (question, scope) = role_parameters::question(query)?;
    x.tell(of_question(&question, &scope));
    let permit = x.authorize::<act::RoleAssignmentsRead>(scope)?;
    let told = x.hsm().explain(&permit, &question)?;
    let body = json(&explanation(&question, permit.scope(), &told));
    x.read(&permit, Answer::json(StatusCode::OK, body)).await
}
