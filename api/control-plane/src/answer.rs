//! Answers as HTTP values, in the shapes of the Azure Resource Manager.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

/// Why a request is not answered with what it asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Unauthenticated { challenge: String, reason: String },
    CannotCheckToken { reason: String },
    SubscriptionNotFound { subscription: String },
    ResourceGroupNotFound { resource_group: String },
    ManagedHsmNotFound { name: String },
    NothingDeleted { name: String },
    PathNotOffered,
    ReadOnly,
    NoGraph,
}

/// A JSON answer with the headers that every answer has.
pub(crate) fn json_answer(status: StatusCode, body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let id = HeaderValue::try_from(Uuid::new_v4().to_string())
        .expect("invariant: a UUID is a valid header value");
    headers.insert(HeaderName::from_static("x-ms-request-id"), id);
    response
}

/// A list on one page.
pub(crate) fn list(values: Vec<Value>) -> Value {
    json!({ "value": values })
}

/// The answer to a refused request.
pub(crate) fn refused(refusal: &Refusal) -> Response<Bytes> {
    let (status, code) = refusal.status_and_code();
    let body = json!({ "error": { "code": code, "message": refusal.message() } });
    let mut response = json_answer(status, &body);
    let headers = response.headers_mut();
    match refusal {
        Refusal::Unauthenticated { challenge, .. } => {
            if let Ok(value) = HeaderValue::try_from(challenge) {
                headers.insert(WWW_AUTHENTICATE, value);
            }
        }
        Refusal::CannotCheckToken { .. } => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("2"));
        }
        Refusal::ReadOnly => {
            headers.insert(ALLOW, HeaderValue::from_static("GET"));
        }
        Refusal::SubscriptionNotFound { .. }
        | Refusal::ResourceGroupNotFound { .. }
        | Refusal::ManagedHsmNotFound { .. }
        | Refusal::NothingDeleted { .. }
        | Refusal::PathNotOffered
        | Refusal::NoGraph => {}
    }
    response
}

// === impl Refusal ===

impl Refusal {
    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Unauthenticated { .. } => (StatusCode::UNAUTHORIZED, "AuthenticationFailed"),
            Self::CannotCheckToken { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable")
            }
            Self::SubscriptionNotFound { .. } => (StatusCode::NOT_FOUND, "SubscriptionNotFound"),
            Self::ResourceGroupNotFound { .. } => (StatusCode::NOT_FOUND, "ResourceGroupNotFound"),
            Self::ManagedHsmNotFound { .. } | Self::NothingDeleted { .. } => {
                (StatusCode::NOT_FOUND, "ResourceNotFound")
            }
            Self::PathNotOffered => (StatusCode::NOT_FOUND, "InvalidResourceType"),
            Self::ReadOnly => (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
            Self::NoGraph => (StatusCode::NOT_FOUND, "Request_ResourceNotFound"),
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Unauthenticated { reason, .. } | Self::CannotCheckToken { reason } => {
                reason.clone()
            }
            Self::SubscriptionNotFound { subscription } => format!(
                "The subscription '{subscription}' could not be found. \
                 `az account list` shows the one there is."
            ),
            Self::ResourceGroupNotFound { resource_group } => format!(
                "Resource group '{resource_group}' could not be found. \
                 `az group list` shows the one there is."
            ),
            Self::ManagedHsmNotFound { name } => format!(
                "The managed HSM '{name}' was not found. \
                 `az keyvault list --resource-type hsm` shows those there are."
            ),
            Self::NothingDeleted { name } => {
                format!("There is no deleted managed HSM '{name}'.")
            }
            Self::PathNotOffered => "This control plane does not offer that resource. It answers \
                 reads of subscriptions, resource groups and Microsoft.KeyVault/managedHSMs."
                .to_owned(),
            Self::ReadOnly => "This control plane answers reads only. Managed HSMs are made on \
                 the command line: `casemate dev --name NAME`."
                .to_owned(),
            Self::NoGraph => "There is no directory graph here; principals are named by their \
                 object ids (`casemate dev identity` prints them)."
                .to_owned(),
        }
    }
}
