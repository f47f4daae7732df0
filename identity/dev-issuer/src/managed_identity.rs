//! The two managed-identity endpoints: that of App Service, which demands a secret header, and
//! that of the instance metadata service (IMDS), which is off unless it is switched on.
//!
//! Both answer this machine only: whoever connects from elsewhere has no business with the
//! identity of this one.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::json;
use subtle::ConstantTimeEq as _;

use crate::answer::json_answer;
use crate::audience::audience;
use crate::directory::App;
use crate::issuer::IDENTITY_HEADER_NAME;
use crate::mint::TOKEN_LIFE_S;
use crate::refusal::Refusal;
use crate::token_endpoint::Desk;

/// The App Service form: `GET /msi/token` with the secret header.
pub(crate) fn app_service(
    desk: &Desk<'_>,
    request: &Request<Bytes>,
    peer: SocketAddr,
) -> Result<Response<Bytes>, Refusal> {
    check_local_get(request, peer)?;
    let given = request.headers().get(IDENTITY_HEADER_NAME).map(|value| value.as_bytes());
    let secret = desk.issuer.identity_header();
    let proven = given.is_some_and(|given| given.ct_eq(secret.as_bytes()).into());
    if !proven {
        return Err(Refusal::WrongHeader { header: IDENTITY_HEADER_NAME });
    }
    let object_id = desk.issuer.managed_identity().ok_or(Refusal::NoManagedIdentity)?;
    give(desk, request, object_id)
}

/// The IMDS form: `GET /metadata/identity/oauth2/token` with `Metadata: true`.
pub(crate) fn instance_metadata(
    desk: &Desk<'_>,
    request: &Request<Bytes>,
    peer: SocketAddr,
) -> Result<Response<Bytes>, Refusal> {
    let object_id = desk.issuer.imds_identity().ok_or(Refusal::NoManagedIdentity)?;
    check_local_get(request, peer)?;
    // Both rules keep a tricked proxy or page on this machine from fetching a token.
    if request.headers().contains_key("x-forwarded-for") {
        return Err(Refusal::Forwarded);
    }
    let metadata = request.headers().get("metadata").and_then(|value| value.to_str().ok());
    if !metadata.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Err(Refusal::WrongHeader { header: "Metadata" });
    }
    give(desk, request, object_id)
}

fn check_local_get(request: &Request<Bytes>, peer: SocketAddr) -> Result<(), Refusal> {
    if !peer.ip().to_canonical().is_loopback() {
        return Err(Refusal::NotLocal);
    }
    if request.method() != Method::GET {
        return Err(Refusal::WrongMethod { allowed: "GET" });
    }
    Ok(())
}

fn give(
    desk: &Desk<'_>,
    request: &Request<Bytes>,
    object_id: uuid::Uuid,
) -> Result<Response<Bytes>, Refusal> {
    let app = desk.directory.apps.iter().find(|app| app.object_id == object_id);
    let app = app.ok_or(Refusal::NoManagedIdentity)?;
    let query = Query::read(request)?;
    if !query.names(app) {
        return Err(Refusal::OtherIdentity);
    }
    let resource = query.resource.ok_or(Refusal::NotOneResource)?;
    let wanted = audience(None, Some(&resource), desk.issuer.audiences(), desk.base_url)?;
    let token = desk.mint(&app.principal(), &wanted, Vec::new())?;
    let body = json!({
        "access_token": token,
        "client_id": app.app_id,
        "expires_in": TOKEN_LIFE_S.to_string(),
        "expires_on": (desk.now + TOKEN_LIFE_S).to_string(),
        "not_before": desk.now.to_string(),
        "resource": resource,
        "token_type": "Bearer",
    });
    Ok(json_answer(StatusCode::OK, &body))
}

/// The query of a managed-identity request.
#[derive(Default)]
struct Query {
    resource: Option<String>,
    client_id: Option<String>,
    object_id: Option<String>,
    other: bool,
}

impl Query {
    fn read(request: &Request<Bytes>) -> Result<Self, Refusal> {
        let mut query = Self::default();
        let text = request.uri().query().unwrap_or_default();
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            let place = match name.as_ref() {
                "resource" => &mut query.resource,
                "client_id" | "clientid" => &mut query.client_id,
                "object_id" | "principal_id" => &mut query.object_id,
                "mi_res_id" | "msi_res_id" => {
                    query.other = true;
                    continue;
                }
                _ => continue,
            };
            if place.replace(value.into()).is_some() {
                return Err(Refusal::RepeatedField);
            }
        }
        Ok(query)
    }

    /// True unless another identity than this app is asked for.
    fn names(&self, app: &App) -> bool {
        let fits = |wanted: &Option<String>, own| {
            wanted.as_ref().is_none_or(|wanted| wanted.parse() == Ok(own))
        };
        fits(&self.client_id, app.app_id) && fits(&self.object_id, app.object_id) && !self.other
    }
}
