//! From verified claims to a [`Caller`]: types, audience, tenant and time. Pure.

use std::sync::Arc;

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::caller::Caller;
use crate::refusal::TokenRefusal;
use crate::settings::{TrustSettings, TrustedIssuer};
use crate::validate::NOT_BEFORE_LEEWAY_S;

/// Claims that end up in logs are at most this long, in bytes.
const NAME_BYTES_MAX: usize = 1024;
/// The last second of the year 9999: the largest time that is believed.
const TIME_MAX: f64 = 253_402_300_799.0;

/// Reads the claims of a token whose signature was verified.
pub(crate) fn read_caller(
    claims: &Map<String, Value>,
    settings: &TrustSettings,
    issuer: &TrustedIssuer,
    token_id: String,
    now: i64,
) -> Result<Caller, TokenRefusal> {
    check_audience(claims, &settings.audiences)?;
    if required_uuid(claims, "tid")? != settings.tenant {
        return Err(TokenRefusal::WrongTenant);
    }
    let times = check_times(claims, now)?;
    Ok(Caller {
        object_id: principal(claims, issuer)?,
        tenant: settings.tenant,
        app_id: first_text(claims, ["appid", "azp"])?,
        upn: first_text(claims, ["upn", "preferred_username"])?,
        groups: groups(claims, issuer)?,
        groups_overage: groups_overage(claims),
        token_id,
        not_before: times.not_before,
        issued_at: times.issued_at,
        expires_at: times.expires_at,
        issuer: Arc::from(issuer.issuer.as_str()),
    })
}

/// Whom the claims are about.
pub(crate) fn principal(
    claims: &Map<String, Value>,
    issuer: &TrustedIssuer,
) -> Result<Uuid, TokenRefusal> {
    let ids = Ids::of(issuer);
    Ok(match claims.get("oid") {
        Some(_) => ids.object(required_uuid(claims, "oid")?),
        None => ids.derived("sub", &required_text(claims, "sub")?),
    })
}

/// The text of a required claim.
pub(crate) fn required_text(
    claims: &Map<String, Value>,
    claim: &'static str,
) -> Result<String, TokenRefusal> {
    optional_text(claims, claim)?.ok_or(TokenRefusal::MissingClaim { claim })
}

/// Reads a JSON number as whole Unix seconds. Fractions are allowed by RFC 7519, section 2, and
/// sent by real clients; they are cut off.
#[must_use]
pub fn numeric_date(value: &Value) -> Option<i64> {
    let number = value.as_number()?;
    let seconds = number.as_f64()?.floor();
    if !(0.0..=TIME_MAX).contains(&seconds) {
        return None;
    }
    // Within the range above the decimal form is exact; there is no lossless conversion to call.
    number.as_i64().or_else(|| format!("{seconds:.0}").parse().ok())
}

struct Times {
    not_before: i64,
    issued_at: i64,
    expires_at: i64,
}

fn check_times(claims: &Map<String, Value>, now: i64) -> Result<Times, TokenRefusal> {
    let expires_at = time(claims, "exp")?.ok_or(TokenRefusal::MissingClaim { claim: "exp" })?;
    let issued_at = time(claims, "iat")?.ok_or(TokenRefusal::MissingClaim { claim: "iat" })?;
    let not_before = time(claims, "nbf")?.unwrap_or(issued_at);
    // No leeway here: a token's end is the issuer's promise to everyone, and clients renew early.
    if now >= expires_at {
        return Err(TokenRefusal::Expired { expired_at: expires_at });
    }
    let starts_at = not_before.max(issued_at);
    if starts_at > now.saturating_add(NOT_BEFORE_LEEWAY_S) {
        return Err(TokenRefusal::NotYetValid { not_before: starts_at });
    }
    Ok(Times { not_before, issued_at, expires_at })
}

fn time(claims: &Map<String, Value>, claim: &'static str) -> Result<Option<i64>, TokenRefusal> {
    match claims.get(claim) {
        None => Ok(None),
        Some(value) => numeric_date(value).map(Some).ok_or(TokenRefusal::MalformedClaim { claim }),
    }
}

fn check_audience(claims: &Map<String, Value>, accepted: &[String]) -> Result<(), TokenRefusal> {
    let malformed = TokenRefusal::MalformedClaim { claim: "aud" };
    let asked: Vec<&str> = match claims.get("aud") {
        None => return Err(TokenRefusal::MissingClaim { claim: "aud" }),
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => {
            many.iter().map(Value::as_str).collect::<Option<_>>().ok_or(malformed)?
        }
        Some(_) => return Err(malformed),
    };
    let bare = |audience: &str| audience.trim_end_matches('/').to_owned();
    let matches = |one: &&str| accepted.iter().any(|accepted| bare(accepted) == bare(one));
    if asked.iter().any(matches) { Ok(()) } else { Err(TokenRefusal::WrongAudience) }
}

/// The groups that are listed.
pub(crate) fn groups(
    claims: &Map<String, Value>,
    issuer: &TrustedIssuer,
) -> Result<Vec<Uuid>, TokenRefusal> {
    let ids = Ids::of(issuer);
    let malformed = || TokenRefusal::MalformedClaim { claim: "groups" };
    let Some(listed) = claims.get("groups") else { return Ok(Vec::new()) };
    let listed = listed.as_array().ok_or_else(malformed)?;
    let group = |value: &Value| {
        let text = value.as_str().filter(|text| !text.is_empty()).ok_or_else(malformed)?;
        // Issuers without object ids list names; these become UUIDs as `sub` does.
        Ok(strict_uuid(text).map_or_else(|| ids.derived("group", text), |id| ids.group(id)))
    };
    listed.iter().map(group).collect()
}

/// True if the issuer says that it left the groups out: there are two ways to say it.
fn groups_overage(claims: &Map<String, Value>) -> bool {
    let elsewhere = claims.get("_claim_names").and_then(|names| names.get("groups"));
    let has_groups = match claims.get("hasgroups") {
        Some(Value::Bool(has)) => *has,
        Some(Value::String(has)) => has == "true",
        Some(_) | None => false,
    };
    elsewhere.is_some() || has_groups
}

fn required_uuid(claims: &Map<String, Value>, claim: &'static str) -> Result<Uuid, TokenRefusal> {
    strict_uuid(&required_text(claims, claim)?).ok_or(TokenRefusal::MalformedClaim { claim })
}

/// Only the hyphenated form: the same id in two spellings must not become two principals.
fn strict_uuid(text: &str) -> Option<Uuid> {
    if text.len() == 36 { Uuid::try_parse(text).ok() } else { None }
}

/// How an issuer's names for principals become object ids: its own namespace, unless it speaks for
/// the tenant's directory.
struct Ids {
    names: Uuid,
    directory: bool,
}

impl Ids {
    fn of(issuer: &TrustedIssuer) -> Self {
        let names = Uuid::new_v5(&Uuid::NAMESPACE_URL, issuer.issuer.as_bytes());
        Self { names, directory: issuer.directory }
    }

    fn object(&self, id: Uuid) -> Uuid {
        if self.directory { id } else { self.derived("oid", &id.hyphenated().to_string()) }
    }

    fn group(&self, id: Uuid) -> Uuid {
        if self.directory { id } else { self.derived("group", &id.hyphenated().to_string()) }
    }

    fn derived(&self, kind: &str, text: &str) -> Uuid {
        Uuid::new_v5(&self.names, format!("{kind}:{text}").as_bytes())
    }
}

fn first_text(
    claims: &Map<String, Value>,
    names: [&'static str; 2],
) -> Result<Option<String>, TokenRefusal> {
    match optional_text(claims, names[0])? {
        Some(text) => Ok(Some(text)),
        None => optional_text(claims, names[1]),
    }
}

fn optional_text(
    claims: &Map<String, Value>,
    claim: &'static str,
) -> Result<Option<String>, TokenRefusal> {
    match claims.get(claim) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() && text.len() <= NAME_BYTES_MAX => {
            Ok(Some(text.clone()))
        }
        Some(_) => Err(TokenRefusal::MalformedClaim { claim }),
    }
}
