//! An issuer in a folder of its own, a validator that believes it, and the requests of clients.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use casemate_dev_issuer::DevIssuer;
use casemate_token::{Caller, FetchError, KeyFetch, TrustSettings, TrustedIssuer, Validator};
use futures_util::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const NOW: i64 = 1_800_000_000;
pub(crate) const BASE: &str = "https://localhost:8443";
pub(crate) const HSM: &str = "https://managedhsm.localhost:8443";

/// An issuer with its folder.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) issuer: Arc<DevIssuer>,
}

/// Fetches from an issuer that answers at [`BASE`] or, for a second one, elsewhere.
pub(crate) struct Loopback {
    pub(crate) issuer: Arc<DevIssuer>,
    pub(crate) base: &'static str,
}

impl KeyFetch for Loopback {
    fn fetch<'a>(
        &'a self,
        url: &'a str,
        _trust_anchors_pem: &'a str,
    ) -> BoxFuture<'a, Result<Vec<u8>, FetchError>> {
        Box::pin(async move {
            let path = url.strip_prefix(self.base).ok_or(FetchError::HostNotAllowed)?;
            let request = get(path, &[]);
            let answer = self.issuer.handle(&request, self.base, local(), NOW).await;
            let answer = answer.ok_or(FetchError::Status { status: 404 })?;
            match answer.status() {
                StatusCode::OK => Ok(answer.body().to_vec()),
                status => Err(FetchError::Status { status: status.as_u16() }),
            }
        })
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = TempDir::new().expect("there is room for a folder");
        let audiences = vec!["https://managedhsm.azure.net".to_owned()];
        let issuer = DevIssuer::open(folder.path()).expect("a new folder can be opened");
        Self { folder, issuer: Arc::new(issuer.with_audiences(audiences)) }
    }

    /// The answer to a token request; the fields are sent as a form.
    pub(crate) async fn token(&self, fields: &[(&str, &str)], now: i64) -> Response<Bytes> {
        self.token_at("adfs/oauth2/token", fields, now).await
    }

    pub(crate) async fn token_at(
        &self,
        path: &str,
        fields: &[(&str, &str)],
        now: i64,
    ) -> Response<Bytes> {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        let body = form.extend_pairs(fields).finish();
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{BASE}/{path}"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Bytes::from(body))
            .expect("the request is well-formed");
        self.ask(&request, now).await
    }

    pub(crate) async fn ask(&self, request: &Request<Bytes>, now: i64) -> Response<Bytes> {
        let answer = self.issuer.handle(request, BASE, local(), now).await;
        answer.expect("the path is one of the issuer's")
    }

    /// What the ordinary validator says to a token for `audience`.
    pub(crate) async fn caller(&self, answer: &Response<Bytes>, audience: &str) -> Arc<Caller> {
        let token = access_token(answer);
        let caller = self.validator(audience).validate(&token, NOW).await;
        caller.expect("the issuer's tokens are good")
    }

    pub(crate) fn validator(&self, audience: &str) -> Validator {
        let settings = TrustSettings {
            tenant: self.issuer.tenant(),
            issuers: vec![TrustedIssuer {
                issuer: self.issuer.issuer_name(BASE),
                metadata_url: self.issuer.metadata_url(BASE),
                trust_anchors_pem: String::new(),
                directory: true,
            }],
            audiences: vec![audience.to_owned()],
        };
        Validator::new(
            settings,
            Arc::new(Loopback { issuer: Arc::clone(&self.issuer), base: BASE }),
        )
    }
}

pub(crate) fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 40_000))
}

pub(crate) fn get(path: &str, headers: &[(&str, &str)]) -> Request<Bytes> {
    let mut request = Request::builder().uri(format!("{BASE}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Bytes::new()).expect("the request is well-formed")
}

pub(crate) fn json(answer: &Response<Bytes>) -> Value {
    assert_eq!(answer.headers()["content-type"], "application/json; charset=utf-8");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    serde_json::from_slice(answer.body()).expect("the body is JSON")
}

pub(crate) fn access_token(answer: &Response<Bytes>) -> String {
    let body = json(answer);
    assert_eq!(answer.status(), StatusCode::OK, "{body}");
    assert_eq!(body["token_type"], "Bearer");
    body["access_token"].as_str().expect("there is a token").to_owned()
}

/// Asserts a refusal in the OAuth shape that repeats none of the secrets.
pub(crate) fn refused(answer: &Response<Bytes>, status: u16, error: &str, secrets: &[&str]) {
    let body = json(answer);
    assert_eq!((answer.status().as_u16(), &body["error"]), (status, &Value::from(error)), "{body}");
    let description = body["error_description"].as_str().expect("there is a description");
    assert!(description.len() > 10, "{description}");
    assert!(body.get("access_token").is_none());
    assert!(secrets.iter().all(|secret| !description.contains(secret)));
}
