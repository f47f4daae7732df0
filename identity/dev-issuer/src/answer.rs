//! Answers as HTTP values: JSON, never cached.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, PRAGMA};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use crate::refusal::Refusal;

/// A JSON answer.
pub(crate) fn json_answer(status: StatusCode, body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    // RFC 6749, section 5.1: a token must not be kept on the way.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

/// The answer to a refused request.
pub(crate) fn refused(refusal: &Refusal) -> Response<Bytes> {
    let body = json!({ "error": refusal.code(), "error_description": refusal.to_string() });
    let mut response = json_answer(refusal.status(), &body);
    if let Refusal::WrongMethod { allowed } = refusal {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    }
    response
}
