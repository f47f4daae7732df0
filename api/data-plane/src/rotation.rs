//! A new secret of the security domain, and how far it is: calls of our own.

use casemate_hsm::UnixSeconds;
use casemate_hsm::rbac::{Scope, act};
use casemate_hsm::security_domain::{Forgotten, ForgottenEpoch, Left, Turned};
use http::StatusCode;
use serde::Serialize;
use uuid::Uuid;

use crate::answer::Answer;
use crate::details::of_rotation;
use crate::exchange::Exchange;
use crate::refusal::{DomainRefused, Refusal};
use crate::render::json;
use crate::security_domain::{requested, started};

/// How long a client should wait before it asks again, in seconds.
const POLL_S: u16 = 1;

#[derive(Serialize)]
struct Begun<'a> {
    /// The blob.
    value: &'a str,
    epoch: u32,
    forgotten: Option<Unreadable<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    status: &'static str,
    epoch: u32,
    began: UnixSeconds,
    began_by: Uuid,
    /// Sealed under the epoch before.
    records_left: usize,
    records: u64,
    forgotten: Option<Unreadable<'a>>,
}

/// Backups that do not open any more.
#[derive(Serialize)]
struct Unreadable<'a> {
    before: u32,
    epochs: Vec<Span>,
    backups: &'a [String],
}

#[derive(Serialize)]
struct Span {
    epoch: u32,
    from: Option<UnixSeconds>,
    to: Option<UnixSeconds>,
}

impl<'a> Unreadable<'a> {
    fn of(forgotten: &'a Forgotten) -> Self {
        let span = |one: &ForgottenEpoch| Span { epoch: one.epoch, from: one.from, to: one.to };
        Self {
            before: forgotten.before,
            epochs: forgotten.epochs.iter().map(span).collect(),
            backups: &forgotten.backups,
        }
    }
}

/// Begins a new epoch, and answers with its blob.
pub(crate) async fn rotate(x: &mut Exchange, body: &[u8]) -> Result<Answer, Refusal> {
    let (keeper, request) = requested(x, body)?;
    let permit = x.authorize::<act::SecurityDomainDownload>(Scope::Root)?;
    x.tell(of_rotation(request.rotation));
    let intent = x.intend().await?;
    let hsm = x.hsm();
    let done = hsm.rotate_security_domain(&permit, &intent, &request, &*keeper).await?;
    let forgotten = done.forgotten.as_ref().map(Unreadable::of);
    let body = json(&Begun { value: &done.blob, epoch: done.epoch, forgotten });
    let answer = started(x, "rotate", body)?;
    x.changed(&permit, answer).await
}

/// How far the last one is.
pub(crate) async fn status(x: &mut Exchange) -> Result<Answer, Refusal> {
    let permit = x.authorize::<act::SecurityDomainDownloadRead>(Scope::Root)?;
    let Turned { epoch, at, by, forgotten } =
        x.hsm().last_turn().ok_or(DomainRefused::NoRotation)?;
    let is_under_way = x.plane.keeper.leaving().is_some();
    let Left { records, of } = x.hsm().left_behind();
    let shown = Shown {
        status: if is_under_way { "InProgress" } else { "Success" },
        epoch,
        began: at,
        began_by: by,
        records_left: records,
        records: of,
        forgotten: forgotten.as_ref().map(Unreadable::of),
    };
    let mut answer = Answer::json(StatusCode::OK, json(&shown));
    if is_under_way {
        answer.retry_after_s = Some(POLL_S);
    }
    x.read(&permit, answer).await
}
