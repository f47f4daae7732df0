//! The security domain: given out, brought back, and how far that is.
//!
//! Before activation these are the only operations; afterwards the domain can be given out again,
//! and nothing be brought.

use std::sync::Arc;

use casemate_hsm::rbac::{Scope, act};
use casemate_hsm::security_domain::{
    DownloadRequest, Keeper, NotActivated, Operation, OperationStatus, TransferKey, Upload,
};
use http::{HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use crate::answer::Answer;
use crate::body;
use crate::exchange::{Exchange, Stage};
use crate::refusal::{DomainRefused, Refusal};
use crate::render::json;
use crate::rotation;
use crate::route::{DomainCall, Route};

type Answered = Result<Answer, Refusal>;

/// How long a client should wait before it asks for the status, in seconds.
const POLL_S: u16 = 1;

#[derive(Serialize)]
struct Value<'a> {
    value: &'a str,
}

#[derive(Deserialize)]
struct Uploaded {
    value: String,
}

#[derive(Serialize)]
struct Status {
    status: &'static str,
    status_details: &'static str,
}

#[derive(Serialize)]
struct Transfer {
    key_format: &'static str,
    /// A JSON *text*: `az` runs a JSON parser over it and takes no object.
    transfer_key: String,
}

/// The exchange key as clients read it.
#[derive(Serialize)]
struct ExchangeJwk<'a> {
    kid: String,
    r#use: &'static str,
    #[serde(flatten)]
    key: &'a TransferKey,
}

/// What an HSM does that is not activated; everything else says what is to be done first.
pub(crate) async fn before_activation(
    x: &mut Exchange<Arc<NotActivated>>,
    route: Route,
    body: &[u8],
) -> Answered {
    let Route::SecurityDomain(call) = route else {
        let recovering = x.hsm.is_recovering();
        return Err(DomainRefused::NotActivated { recovering }.into());
    };
    match call {
        DomainCall::Download => activate(x, body).await,
        DomainCall::ExchangeKey => exchange_key(x).await,
        DomainCall::Upload => upload(x, body).await,
        DomainCall::DownloadStatus => {
            let found = x.hsm.security_domain_status(Operation::Download);
            download_status(x, found).await
        }
        DomainCall::UploadStatus => {
            let found = x.hsm.security_domain_status(Operation::Upload);
            upload_status(x, found).await
        }
        DomainCall::Rotate | DomainCall::RotateStatus => {
            let recovering = x.hsm.is_recovering();
            Err(DomainRefused::NotActivated { recovering }.into())
        }
    }
}

/// What an active HSM does.
pub(crate) async fn active(x: &mut Exchange, call: DomainCall, body: &[u8]) -> Answered {
    match call {
        DomainCall::Download => download(x, body).await,
        DomainCall::ExchangeKey => {
            x.authorize::<act::SecurityDomainTransferKeyRead>(Scope::Root)?;
            Err(DomainRefused::IsActive.into())
        }
        DomainCall::Upload => {
            x.authorize::<act::SecurityDomainUpload>(Scope::Root)?;
            Err(DomainRefused::IsActive.into())
        }
        DomainCall::DownloadStatus => {
            let found = x.hsm().security_domain_status(Operation::Download);
            download_status(x, found).await
        }
        DomainCall::UploadStatus => {
            let found = x.hsm().security_domain_status(Operation::Upload);
            upload_status(x, found).await
        }
        DomainCall::Rotate => rotation::rotate(x, body).await,
        DomainCall::RotateStatus => rotation::status(x).await,
    }
}

async fn activate(x: &mut Exchange<Arc<NotActivated>>, body: &[u8]) -> Answered {
    let (keeper, request) = requested(x, body)?;
    let permit = x.authorize::<act::SecurityDomainDownload>(Scope::Root)?;
    let intent = x.intend().await?;
    let hsm = Arc::clone(&x.hsm);
    let blob = hsm.download(&permit, &intent, &request, &*keeper).await?;
    let answer = started(x, "download", json(&Value { value: &blob }))?;
    x.changed(&permit, answer).await
}

async fn download(x: &mut Exchange, body: &[u8]) -> Answered {
    let (keeper, request) = requested(x, body)?;
    let permit = x.authorize::<act::SecurityDomainDownload>(Scope::Root)?;
    let intent = x.intend().await?;
    let hsm = x.hsm();
    let blob = hsm.download_security_domain(&permit, &intent, &request, &*keeper).await?;
    keeper.given_again();
    let answer = started(x, "download", json(&Value { value: &blob }))?;
    x.changed(&permit, answer).await
}

async fn exchange_key(x: &mut Exchange<Arc<NotActivated>>) -> Answered {
    let keeper = Arc::clone(&x.plane.keeper);
    let permit = x.authorize::<act::SecurityDomainTransferKeyRead>(Scope::Root)?;
    let intent = x.intend().await?;
    let hsm = Arc::clone(&x.hsm);
    let key = hsm.exchange_key(&permit, &intent, &keeper).await?;
    let answer = transfer(x, &key);
    x.changed(&permit, answer).await
}

async fn upload(x: &mut Exchange<Arc<NotActivated>>, body: &[u8]) -> Answered {
    let keeper = Arc::clone(&x.plane.keeper);
    let permit = x.authorize::<act::SecurityDomainUpload>(Scope::Root)?;
    let uploaded: Uploaded = body::json(body)?;
    let upload = Upload::parse(uploaded.value.as_bytes())?;
    let intent = x.intend().await?;
    let hsm = Arc::clone(&x.hsm);
    hsm.upload(&permit, &intent, &upload, &*keeper).await?;
    let answer = started(x, "upload", json(&status(OperationStatus::InProgress)))?;
    x.changed(&permit, answer).await
}

pub(crate) fn requested<S: Stage>(
    x: &Exchange<S>,
    body: &[u8],
) -> Result<(Arc<dyn Keeper>, DownloadRequest), Refusal> {
    let keeper = Arc::clone(&x.plane.keeper);
    let request = DownloadRequest::parse(body, keeper.primitives())?;
    Ok((keeper, request))
}

async fn download_status<S: Stage>(
    x: &mut Exchange<S>,
    found: Option<OperationStatus>,
) -> Answered {
    let permit = x.authorize::<act::SecurityDomainDownloadRead>(Scope::Root)?;
    let answer = told(found)?;
    x.read(&permit, answer).await
}

async fn upload_status<S: Stage>(x: &mut Exchange<S>, found: Option<OperationStatus>) -> Answered {
    let permit = x.authorize::<act::SecurityDomainUploadRead>(Scope::Root)?;
    let answer = told(found)?;
    x.read(&permit, answer).await
}

fn told(found: Option<OperationStatus>) -> Answered {
    let found = found.ok_or(DomainRefused::NoOperation)?;
    let mut answer = Answer::json(StatusCode::OK, json(&status(found)));
    if found == OperationStatus::InProgress {
        answer.retry_after_s = Some(POLL_S);
    }
    Ok(answer)
}

fn status(found: OperationStatus) -> Status {
    match found {
        OperationStatus::InProgress => Status { status: "InProgress", status_details: "" },
        OperationStatus::Success => Status { status: "Success", status_details: "" },
    }
}

/// 202, with where to ask how far it is.
pub(crate) fn started<S: Stage>(x: &Exchange<S>, what: &str, body: Vec<u8>) -> Answered {
    let url = format!("{}/securitydomain/{what}/pending", x.url);
    let mut answer = Answer::json(StatusCode::ACCEPTED, body);
    answer.operation = Some(HeaderValue::try_from(url).map_err(|_| Refusal::Broken)?);
    answer.retry_after_s = Some(POLL_S);
    Ok(answer)
}

fn transfer<S: Stage>(x: &Exchange<S>, key: &TransferKey) -> Answer {
    let kid = format!("{}/securitydomain/upload", x.url);
    let key = ExchangeJwk { kid, r#use: "enc", key };
    let transfer_key = String::from_utf8(json(&key)).unwrap_or_default();
    Answer::json(StatusCode::OK, json(&Transfer { key_format: "jwk", transfer_key }))
}
