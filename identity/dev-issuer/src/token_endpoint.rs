//! The token endpoint: who asks, how it proves itself, and for what.

use std::collections::HashMap;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::answer::json_answer;
use crate::assertion::{self, certificate_key, check_federated, check_own};
use crate::audience::audience;
use crate::directory::{App, Directory};
use crate::issuer::DevIssuer;
use crate::mint::{Asked, Principal, TOKEN_LIFE_S, mint};
use crate::refusal::Refusal;

/// The largest form, in bytes.
pub(crate) const BODY_BYTES_MAX: usize = 64 * 1024;
/// The most capabilities that a client may tell.
const CAPABILITIES_MAX: usize = 8;
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Where and when a token is asked.
pub(crate) struct Desk<'a> {
    pub(crate) issuer: &'a DevIssuer,
    pub(crate) directory: &'a Directory,
    pub(crate) base_url: &'a str,
    /// The tenant's name as it stands in the path.
    pub(crate) tenant_alias: &'a str,
    pub(crate) now: i64,
}

/// A form whose fields were each sent once.
struct Form(HashMap<String, String>);

impl Desk<'_> {
    /// Answers a token request.
    pub(crate) async fn answer(
        &self,
        request: &Request<Bytes>,
    ) -> Result<Response<Bytes>, Refusal> {
        if request.method() != Method::POST {
            return Err(Refusal::WrongMethod { allowed: "POST" });
        }
        let form = Form::read(request)?;
        let principal = match form.required("grant_type")? {
            "client_credentials" => self.client(&form).await?,
            "password" => self.user(&form)?,
            _ => return Err(Refusal::UnsupportedGrant),
        };
        let (scope, resource) = (form.optional("scope"), form.optional("resource"));
        let allowed = self.issuer.audiences();
        let audience = audience(scope, resource, allowed, self.base_url)?;
        let capabilities = capabilities(form.optional("claims"));
        let token = self.mint(&principal, &audience, capabilities)?;
        let body = json!({
            "token_type": "Bearer",
            "expires_in": TOKEN_LIFE_S,
            "ext_expires_in": TOKEN_LIFE_S,
            "access_token": token,
        });
        Ok(json_answer(StatusCode::OK, &body))
    }

    /// Signs a token for a principal that proved itself.
    pub(crate) fn mint(
        &self,
        principal: &Principal,
        audience: &str,
        capabilities: Vec<String>,
    ) -> Result<String, Refusal> {
        let asked = Asked {
            issuer: &self.own_name(),
            audience,
            tenant_alias: self.tenant_alias,
            capabilities,
            now: self.now,
        };
        mint(self.issuer.signing_key(), self.directory, principal, asked)
            .map_err(|_| Refusal::Internal)
    }

    async fn client(&self, form: &Form) -> Result<Principal, Refusal> {
        if let Some(assertion) = form.optional("client_assertion") {
            if form.required("client_assertion_type")? != ASSERTION_TYPE {
                return Err(Refusal::UnknownAssertionType);
            }
            return self.client_by_assertion(form, assertion).await;
        }
        let app = self.app(form.required("client_id")?)?;
        let secret = form.optional("client_secret").ok_or(Refusal::NoCredential)?;
        if app.secret.matches(secret) { Ok(app.principal()) } else { Err(Refusal::WrongSecret) }
    }

    async fn client_by_assertion(&self, form: &Form, given: &str) -> Result<Principal, Refusal> {
        let parsed = casemate_token::parse(given).map_err(|_| Refusal::MalformedAssertion)?;
        let subject = assertion::text(&parsed, "sub")?;
        let issuer = assertion::text(&parsed, "iss")?;
        let app = self.app(form.optional("client_id").unwrap_or(subject))?;
        let endpoints = self.token_endpoints();
        if issuer.parse() == Ok(app.app_id) {
            let pem = app.certificate_pem.as_deref().ok_or(Refusal::NoCertificate)?;
            let certificate = certificate_key(pem).ok_or(Refusal::NoCertificate)?;
            let good = check_own(&parsed, &certificate, app.app_id, &endpoints, self.now)?;
            if let Some(jti) = good.jti {
                let replays = &self.issuer.replays;
                replays.lock().note(app.app_id, jti, given, good.expires_at, self.now)?;
            }
            return Ok(app.principal());
        }
        let trusted = app.federated.as_ref().ok_or(Refusal::NotFederated)?;
        if trusted.issuer != issuer || trusted.subject != subject {
            return Err(Refusal::NotFederated);
        }
        let kid = parsed.key_id.as_deref().ok_or(Refusal::NoFederatedKey)?;
        if issuer == self.own_name() {
            let key = self.issuer.signing_key().verifying(kid).ok_or(Refusal::NoFederatedKey)?;
            check_federated(&parsed, key, &endpoints, self.now)?;
        } else {
            let ring = self.issuer.ring(issuer).ok_or(Refusal::NoFederatedKey)?;
            let key = ring.key(kid, self.now).await.map_err(|_| Refusal::NoFederatedKey)?;
            check_federated(&parsed, &key, &endpoints, self.now)?;
        }
        Ok(app.principal())
    }

    /// A user by name and password. `client_id` names a program; if it is a known app, which has a
    /// secret, it has to prove itself too, so that nobody writes another app's id into a token.
    fn user(&self, form: &Form) -> Result<Principal, Refusal> {
        let user = self.directory.user(form.required("username")?).ok_or(Refusal::WrongUser)?;
        if !user.secret.matches(form.required("password")?) {
            return Err(Refusal::WrongUser);
        }
        let app_id = match form.optional("client_id") {
            None => None,
            Some(id) => Some(Uuid::try_parse(id).map_err(|_| Refusal::UnknownClient)?),
        };
        if let Some(app) = app_id.and_then(|id| self.directory.app(id)) {
            let secret = form.optional("client_secret").ok_or(Refusal::NoCredential)?;
            if !app.secret.matches(secret) {
                return Err(Refusal::WrongSecret);
            }
        }
        let name = format!("{}@dev.localhost", user.name);
        Ok(Principal { object_id: user.object_id, app_id, user: Some(name) })
    }

    fn app(&self, client_id: &str) -> Result<&App, Refusal> {
        let app_id = Uuid::try_parse(client_id).map_err(|_| Refusal::UnknownClient)?;
        self.directory.app(app_id).ok_or(Refusal::UnknownClient)
    }

    fn own_name(&self) -> String {
        self.issuer.issuer_name(self.base_url)
    }

    /// Every form in which clients name this endpoint in an assertion's `aud`.
    fn token_endpoints(&self) -> Vec<String> {
        let base = self.base_url;
        let forms = |tenant: String| {
            ["", "/v2.0", "/oauth2/token", "/oauth2/v2.0/token"]
                .map(|path| format!("{base}/{tenant}{path}"))
        };
        self.issuer.tenant_names().into_iter().flat_map(forms).collect()
    }
}

// === impl App ===

impl App {
    /// The app's service principal.
    pub(crate) fn principal(&self) -> Principal {
        Principal { object_id: self.object_id, app_id: Some(self.app_id), user: None }
    }
}

// === impl Form ===

impl Form {
    fn read(request: &Request<Bytes>) -> Result<Self, Refusal> {
        let body = request.body();
        if body.len() > BODY_BYTES_MAX {
            return Err(Refusal::BodyTooLarge { limit: BODY_BYTES_MAX });
        }
        let kind = request.headers().get(http::header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(Refusal::NotAForm);
        }
        let mut fields = HashMap::new();
        for (name, value) in url::form_urlencoded::parse(body) {
            // RFC 6749, section 3.2: no parameter twice; an empty one counts as left out.
            if !value.is_empty() && fields.insert(name.into(), value.into()).is_some() {
                return Err(Refusal::RepeatedField);
            }
        }
        Ok(Self(fields))
    }

    fn optional(&self, field: &str) -> Option<&str> {
        self.0.get(field).map(String::as_str)
    }

    fn required(&self, field: &'static str) -> Result<&str, Refusal> {
        self.optional(field).ok_or(Refusal::MissingField { field })
    }
}

/// What the client says it can do, from `claims`; anything else in that field is passed over.
fn capabilities(claims: Option<&str>) -> Vec<String> {
    let claims = claims.and_then(|claims| serde_json::from_str::<Value>(claims).ok());
    let values = claims.as_ref().and_then(|one| one.pointer("/access_token/xms_cc/values"));
    let values = values.and_then(Value::as_array).into_iter().flatten();
    values.filter_map(Value::as_str).take(CAPABILITIES_MAX).map(str::to_owned).collect()
}
