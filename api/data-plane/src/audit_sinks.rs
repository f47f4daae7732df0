//! The sinks of the audit log: read, replace. An area of our own: the original has none.

use std::sync::Arc;

use casemate_audit_sinks::{Sinks, SinksRequest};
use casemate_hsm::rbac::{Scope, act};
use http::StatusCode;
use serde::Serialize;

use crate::answer::Answer;
use crate::copies::SinkStatus;
use crate::exchange::Exchange;
use crate::refusal::Refusal;
use crate::render::json;
use crate::traced::{self, TracesStatus};

type Answered = Result<Answer, Refusal>;

/// The settings, without their secrets, how far each sink is, and what became of spans.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    settings: &'a Sinks,
    status: Vec<SinkStatus>,
    #[serde(rename = "tracesStatus", skip_serializing_if = "Option::is_none")]
    traces_status: Option<TracesStatus>,
}

pub(crate) async fn get(x: &mut Exchange) -> Answered {
    let permit = x.authorize::<act::SettingsWrite>(Scope::Root)?;
    let sinks = x.hsm().show_audit_sinks(&permit);
    let answer = shown(x, &sinks);
    x.read(&permit, answer).await
}

pub(crate) async fn put(x: &mut Exchange, body: &[u8]) -> Answered {
    let request = SinksRequest::parse(body)?;
    let permit = x.authorize::<act::SettingsWrite>(Scope::Root)?;
    let intent = x.intend().await?;
    let sinks = x.hsm().set_audit_sinks(&permit, &intent, request).await?;
    traced::configure(&x.plane.tracer, &x.hsm().audit_sinks());
    let answer = shown(x, &sinks);
    x.changed(&permit, answer).await
}

fn shown(x: &Exchange, settings: &Arc<Sinks>) -> Answer {
    let status = x.plane.copies.status();
    let traces_status = traced::status(&x.plane.tracer, settings);
    Answer::json(StatusCode::OK, json(&Shown { settings, status, traces_status }))
}
