//! Answers: the headers that every reply carries, and bodies that are wiped when they are secret.

use std::fmt::Display;

use bytes::Bytes;
use casemate_wire::Wiped;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, RETRY_AFTER,
    STRICT_TRANSPORT_SECURITY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;

use crate::plane::{ConnectionFacts, DataPlane};
use crate::request_id::RequestId;
use crate::route::Allow;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
pub(crate) const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");
const SERVER_LATENCY: HeaderName = HeaderName::from_static("x-ms-server-latency");
const REGION: HeaderName = HeaderName::from_static("x-ms-keyvault-region");
const NETWORK_INFO: HeaderName = HeaderName::from_static("x-ms-keyvault-network-info");
const WARNING: HeaderName = HeaderName::from_static("x-casemate-warning");
const OPERATION: HeaderName = HeaderName::from_static("azure-asyncoperation");
const BUILD_VERSION: HeaderName = HeaderName::from_static("x-ms-build-version");

/// Headers of a reply: no more than this many, so that the map is made once.
const HEADERS_MAX: usize = 18;

/// Longest client request id that is echoed, in bytes.
const CLIENT_REQUEST_ID_BYTES_MAX: usize = 128;

/// How long a client should wait before it looks at a job's status, in seconds.
const POLL_S: u16 = 2;

/// An answer, before the headers that all replies share.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
    pub(crate) challenge: Option<HeaderValue>,
    pub(crate) retry_after_s: Option<u16>,
    pub(crate) allow: Option<Allow>,
    pub(crate) warning: Option<HeaderValue>,
    /// Where to ask how far the operation is.
    pub(crate) operation: Option<HeaderValue>,
}

impl Answer {
    /// An answer with this JSON.
    pub(crate) fn json(status: StatusCode, body: Vec<u8>) -> Self {
        Self::with_body(status, Bytes::from(body))
    }

    /// An answer whose JSON holds a secret: wiped when the connection has sent it.
    pub(crate) fn secret(status: StatusCode, body: Wiped) -> Self {
        Self::with_body(status, Bytes::from_owner(SecretBody(body)))
    }

    /// An answer without a body.
    pub(crate) fn empty(status: StatusCode) -> Self {
        Self::with_body(status, Bytes::new())
    }

    fn with_body(status: StatusCode, body: Bytes) -> Self {
        Self {
            status,
            body,
            challenge: None,
            retry_after_s: None,
            allow: None,
            warning: None,
            operation: None,
        }
    }

    /// The answer to the beginning of something long: where its status is, and when to look.
    pub(crate) fn accepted(body: Vec<u8>, status_url: &str) -> Self {
        let answer = Self::json(StatusCode::ACCEPTED, body);
        // The URL is of the same characters as the HSM's own, which was checked.
        let operation = HeaderValue::try_from(status_url).ok();
        Self { operation, retry_after_s: Some(POLL_S), ..answer }
    }

    /// The same answer, which says besides what was done against advice.
    pub(crate) fn warning(mut self, text: &impl Display) -> Self {
        // Of what is said here every character may stand in a header.
        self.warning = HeaderValue::try_from(text.to_string()).ok();
        self
    }

    /// The 401 that a client's first request gets: `OK` for a GET, nothing otherwise.
    pub(crate) fn challenge(method: &Method, challenge: HeaderValue) -> Self {
        let body = if method == Method::GET { Bytes::from_static(b"OK") } else { Bytes::new() };
        let answer = Self::with_body(StatusCode::UNAUTHORIZED, body);
        Self { challenge: Some(challenge), ..answer }
    }
}

struct SecretBody(Wiped);

impl AsRef<[u8]> for SecretBody {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// What the headers of a reply are made from.
pub(crate) struct Envelope<'a> {
    pub(crate) id: &'a RequestId,
    pub(crate) client_request_id: Option<&'a HeaderValue>,
    pub(crate) authenticated: Option<&'a ConnectionFacts>,
    pub(crate) is_get: bool,
    pub(crate) latency_ms: u64,
}

/// Puts an answer into its envelope.
pub(crate) fn send(
    plane: &DataPlane,
    envelope: &Envelope<'_>,
    answer: Answer,
) -> Response<Full<Bytes>> {
    let mut headers = HeaderMap::with_capacity(HEADERS_MAX);
    let fixed = HeaderValue::from_static;
    headers.insert(CACHE_CONTROL, fixed("no-cache"));
    headers.insert(CONTENT_SECURITY_POLICY, fixed("default-src 'self'"));
    headers.insert(STRICT_TRANSPORT_SECURITY, fixed("max-age=31536000; includeSubDomains"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, fixed("nosniff"));
    headers.insert(X_FRAME_OPTIONS, fixed("SAMEORIGIN"));
    headers.insert(SERVER_LATENCY, HeaderValue::from(envelope.latency_ms));
    headers.insert(REQUEST_ID, envelope.id.header());
    if let Some(id) = envelope.client_request_id.filter(|id| is_sane(id)) {
        headers.insert(CLIENT_REQUEST_ID, id.clone());
    }
    if let Some(connection) = envelope.authenticated {
        headers.insert(REGION, plane.region.clone());
        headers.insert(NETWORK_INFO, connection.network_info.clone());
    }
    if envelope.is_get {
        headers.insert(BUILD_VERSION, plane.build.clone());
    }
    if let Some(challenge) = answer.challenge {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    if let Some(seconds) = answer.retry_after_s {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(allow) =
        answer.allow.and_then(|allow| HeaderValue::try_from(allow.to_string()).ok())
    {
        headers.insert(ALLOW, allow);
    }
    if let Some(warning) = answer.warning {
        headers.insert(WARNING, warning);
    }
    if let Some(operation) = answer.operation {
        headers.insert(OPERATION, operation);
    }
    if answer.status != StatusCode::NO_CONTENT {
        headers.insert(CONTENT_TYPE, fixed("application/json; charset=utf-8"));
    }
    let mut response = Response::new(Full::new(answer.body));
    *response.status_mut() = answer.status;
    *response.headers_mut() = headers;
    response
}

/// Whether a client's id may be sent back: short, and of characters that ids are made of.
fn is_sane(id: &HeaderValue) -> bool {
    let sane = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:{}".contains(byte);
    !id.is_empty() && id.len() <= CLIENT_REQUEST_ID_BYTES_MAX && id.as_bytes().iter().all(sane)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sane_ids_are_echoed() {
        let sane = |text: &[u8]| is_sane(&HeaderValue::from_bytes(text).unwrap());
        assert!(sane(b"0b5ad5ba-36bb-11ef-9e2e-4b7d0f2f7c8f"));
        let long = vec![b'a'; CLIENT_REQUEST_ID_BYTES_MAX + 1];
        for bad in [b"".as_slice(), b"a b", b"<script>", b"\xff", b"a;b", &long] {
            assert!(!sane(bad), "{bad:?}");
        }
    }
}
