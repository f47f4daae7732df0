//! Who may read, and which request goes where.

use std::sync::Arc;

use bytes::Bytes;
use casemate_token::{RefusalKind, TokenRefusal, Validator, challenge, claims_challenge, parse};
use http::header::AUTHORIZATION;
use http::{Method, Request, Response, StatusCode};
use serde_json::Value;

use crate::answer::{Refusal, json_answer, refused};
use crate::arm::Reader;
use crate::cloud_metadata;
use crate::settings::{ControlPlaneSettings, ManagedHsm};

/// The tenant name that clients use who know no GUID.
const ALIAS: &str = "adfs";

/// The control plane of one agent.
pub struct ControlPlane {
    settings: ControlPlaneSettings,
    hsms: Vec<ManagedHsm>,
    validator: Arc<Validator>,
}

impl ControlPlane {
    /// A control plane that tells these facts to callers whom `validator` knows. The validator's
    /// only audience must be that of the settings: a data-plane token is not for here.
    #[must_use]
    pub fn new(
        settings: ControlPlaneSettings,
        hsms: Vec<ManagedHsm>,
        validator: Arc<Validator>,
    ) -> Self {
        Self { settings, hsms, validator }
    }

    /// Answers a request; `None` if its path is not one of the control plane's. `base_url` is its
    /// own address without a trailing slash.
    pub async fn handle(
        &self,
        request: &Request<Bytes>,
        base_url: &str,
        now: i64,
    ) -> Option<Response<Bytes>> {
        // Clients double slashes where an address with a trailing one was configured.
        let split = request.uri().path().split('/');
        let sent: Vec<&str> = split.filter(|segment| !segment.is_empty()).collect();
        let lower: Vec<String> = sent.iter().map(|one| one.to_ascii_lowercase()).collect();
        let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
        let answer = match lower.as_slice() {
            ["metadata", "endpoints"] => self.metadata(request, base_url),
            ["graph", ..] => Err(Refusal::NoGraph),
            ["subscriptions" | "tenants" | "providers", ..] => {
                self.resource(request, &lower, &sent, now).await
            }
            _ => return None,
        };
        Some(match answer {
            Ok(body) => json_answer(StatusCode::OK, &body),
            Err(refusal) => refused(&refusal),
        })
    }

    fn metadata(&self, request: &Request<Bytes>, base_url: &str) -> Result<Value, Refusal> {
        if request.method() != Method::GET {
            return Err(Refusal::ReadOnly);
        }
        let api_version = query(request, "api-version");
        Ok(cloud_metadata::describe(&self.settings, base_url, api_version.as_deref()))
    }

    async fn resource(
        &self,
        request: &Request<Bytes>,
        lower: &[&str],
        sent: &[&str],
        now: i64,
    ) -> Result<Value, Refusal> {
        let tenant_as_asked = self.authenticate(request, now).await?;
        if request.method() != Method::GET {
            return Err(Refusal::ReadOnly);
        }
        let filter = query(request, "$filter");
        let (settings, hsms) = (&self.settings, self.hsms.as_slice());
        Reader { settings, hsms, tenant_as_asked, filter }.read(lower, sent)
    }

    /// Checks the token and tells under which name of the tenant it was obtained. `az` looks a
    /// login's subscriptions up by that name, so each login is shown its own.
    async fn authenticate(&self, request: &Request<Bytes>, now: i64) -> Result<String, Refusal> {
        let authorization = request.headers().get(AUTHORIZATION);
        let token = authorization.and_then(|value| value.to_str().ok()).and_then(bearer);
        let Some(token) = token else {
            return Err(self.unauthenticated("Send a bearer token for this resource manager."));
        };
        if self.validator.cached(token, now).is_none() {
            let validated = self.validator.validate(token, now).await;
            validated.map_err(|refusal| self.refused_token(&refusal))?;
        }
        let parsed = parse(token).map_err(|refusal| self.refused_token(&refusal))?;
        let alias = parsed.claims.get("tenant_alias").and_then(Value::as_str);
        let tenant = &self.settings.tenant;
        Ok(if alias == Some(ALIAS) { ALIAS.to_owned() } else { tenant.to_string() })
    }

    fn refused_token(&self, refusal: &TokenRefusal) -> Refusal {
        let ControlPlaneSettings { authorization, audience, .. } = &self.settings;
        let reason = refusal.to_string();
        match refusal.kind() {
            RefusalKind::Token => self.unauthenticated(&reason),
            RefusalKind::CutOff { not_before } => {
                let challenge = claims_challenge(authorization, audience, not_before);
                Refusal::Unauthenticated { challenge, reason }
            }
            RefusalKind::Unavailable => Refusal::CannotCheckToken { reason },
        }
    }

    fn unauthenticated(&self, reason: &str) -> Refusal {
        let challenge = challenge(&self.settings.authorization, &self.settings.audience);
        Refusal::Unauthenticated { challenge, reason: reason.to_owned() }
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn query(request: &Request<Bytes>, wanted: &str) -> Option<String> {
    let query = request.uri().query().unwrap_or_default();
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.into())
}
