//! The UserInfo endpoint (OpenID Connect Core, section 5.3): says who a token is about, and all the
//! groups, for those whose token had too many to list.

use casemate_token::parse;
use http::Request;
use http::header::AUTHORIZATION;
use serde_json::{Value, json};

use crate::assertion::{check_token, text};
use crate::directory::Directory;
use crate::refusal::Refusal;
use crate::signing_key::SigningKey;

/// What the bearer token of a request is about.
pub(crate) fn user_info<B>(
    key: &SigningKey,
    directory: &Directory,
    issuer: &str,
    request: &Request<B>,
    now: i64,
) -> Result<Value, Refusal> {
    let bearer = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = bearer.and_then(|text| text.strip_prefix("Bearer ")).ok_or(Refusal::WrongToken)?;
    let parsed = parse(token.trim()).map_err(|_| Refusal::WrongToken)?;
    let kid = parsed.key_id.as_deref().ok_or(Refusal::WrongToken)?;
    let key = key.verifying(kid).ok_or(Refusal::WrongToken)?;
    check_token(&parsed, key, now).map_err(|_| Refusal::WrongToken)?;
    if text(&parsed, "iss").map_err(|_| Refusal::WrongToken)? != issuer {
        return Err(Refusal::WrongToken);
    }
    let object_id = text(&parsed, "oid").map_err(|_| Refusal::WrongToken)?;
    let object_id = object_id.parse().map_err(|_| Refusal::WrongToken)?;
    let groups = directory.groups_of(object_id);
    Ok(json!({ "sub": object_id, "oid": object_id, "groups": groups }))
}
