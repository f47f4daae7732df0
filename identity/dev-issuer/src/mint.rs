//! Writes and signs access tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::directory::Directory;
use crate::error::IssuerError;
use crate::signing_key::SigningKey;

/// How long a token is valid, in seconds.
pub(crate) const TOKEN_LIFE_S: i64 = 3600;

/// Most groups that a token lists; who is in more gets a token that says so, as with Entra.
const GROUPS_LISTED_MAX: usize = 200;

/// Who proved itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Principal {
    pub(crate) object_id: Uuid,
    pub(crate) app_id: Option<Uuid>,
    /// A user's name; apps have none.
    pub(crate) user: Option<String>,
}

/// What the token is for and how it was asked.
pub(crate) struct Asked<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) audience: &'a str,
    /// The name by which the tenant was asked: `adfs`, the GUID, `organizations` or `common`.
    pub(crate) tenant_alias: &'a str,
    /// The client's capabilities (`xms_cc`), which it told in the `claims` field.
    pub(crate) capabilities: Vec<String>,
    pub(crate) now: i64,
}

/// An access token for the principal.
pub(crate) fn mint(
    key: &SigningKey,
    directory: &Directory,
    principal: &Principal,
    asked: Asked<'_>,
) -> Result<String, IssuerError> {
    let header = json!({ "alg": "RS256", "typ": "JWT", "kid": key.kid() });
    let claims = claims(directory, principal, asked);
    let encode = |value: String| URL_SAFE_NO_PAD.encode(value);
    let signed = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    let signature = key.sign(signed.as_bytes())?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

fn claims(directory: &Directory, principal: &Principal, asked: Asked<'_>) -> Value {
    let mut claims = Map::new();
    let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    put("aud", json!(asked.audience));
    put("iss", json!(asked.issuer));
    put("iat", json!(asked.now));
    put("nbf", json!(asked.now));
    put("exp", json!(asked.now + TOKEN_LIFE_S));
    put("oid", json!(principal.object_id));
    put("sub", json!(principal.object_id));
    put("tid", json!(directory.tenant));
    put("tenant_alias", json!(asked.tenant_alias));
    put("ver", json!("2.0"));
    // Two tokens of one second differ, so that each can be told apart in a log.
    put("uti", json!(Uuid::new_v4()));
    if let Some(app_id) = principal.app_id {
        put("appid", json!(app_id));
        put("azp", json!(app_id));
    }
    match &principal.user {
        Some(name) => {
            put("upn", json!(name));
            put("preferred_username", json!(name));
            put("idtyp", json!("user"));
        }
        None => {
            put("idtyp", json!("app"));
        }
    }
    let groups = directory.groups_of(principal.object_id);
    if groups.len() > GROUPS_LISTED_MAX {
        // The overage claim of OpenID Connect (Core, 5.6.2), as Entra sends it.
        put("_claim_names", json!({ "groups": "src1" }));
        let endpoint = format!("{}/userinfo", asked.issuer);
        put("_claim_sources", json!({ "src1": { "endpoint": endpoint } }));
    } else if !groups.is_empty() {
        put("groups", json!(groups));
    }
    if !asked.capabilities.is_empty() {
        put("xms_cc", json!(asked.capabilities));
    }
    Value::Object(claims)
}
