//! The checks of a client assertion: signed with an app's own certificate, or given by another
//! issuer that the app trusts (workload identity). Pure, apart from keys that the caller found.
//!
//! Real clients pad the thumbprint in the header and send `exp` and `iat` with fractions; both are
//! accepted.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use casemate_token::{Curve, Parsed, VerifyingKey, numeric_date};
use serde_json::Value;
use uuid::Uuid;
use x509_parser::pem::parse_x509_pem;
use x509_parser::public_key::PublicKey;

use crate::audience::TOKEN_EXCHANGE;
use crate::refusal::Refusal;

/// The longest life of a certificate assertion, in seconds. Clients use ten minutes.
const LIFE_S_MAX: i64 = 24 * 3600;
/// How far a client's clock may run ahead, in seconds.
const LEEWAY_S: i64 = 60;
/// The longest `jti`, in bytes.
const JTI_BYTES_MAX: usize = 256;

/// The public key of a certificate, with what names and bounds it.
pub(crate) struct CertificateKey {
    key: VerifyingKey,
    thumbprints: [String; 2],
    valid_from: i64,
    valid_until: i64,
}

/// A certificate assertion that was found good.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) jti: Option<String>,
    pub(crate) expires_at: i64,
}

/// Reads the first certificate of a PEM text.
pub(crate) fn certificate_key(pem: &str) -> Option<CertificateKey> {
    let (_, pem) = parse_x509_pem(pem.as_bytes()).ok()?;
    let certificate = pem.parse_x509().ok()?;
    let key = match certificate.public_key().parsed().ok()? {
        PublicKey::RSA(rsa) => VerifyingKey::rsa(rsa.modulus, rsa.exponent).ok()?,
        PublicKey::EC(point) => {
            let curve = if point.key_size() == 384 { Curve::P384 } else { Curve::P256 };
            VerifyingKey::ec(curve, point.data()).ok()?
        }
        _ => return None,
    };
    let thumbprint = |algorithm| URL_SAFE_NO_PAD.encode(digest(algorithm, &pem.contents));
    let validity = certificate.validity();
    Some(CertificateKey {
        key,
        thumbprints: [thumbprint(&SHA1_FOR_LEGACY_USE_ONLY), thumbprint(&SHA256)],
        valid_from: validity.not_before.timestamp(),
        valid_until: validity.not_after.timestamp(),
    })
}

/// Checks an assertion that an app signed with its certificate.
pub(crate) fn check_own(
    parsed: &Parsed<'_>,
    certificate: &CertificateKey,
    app_id: Uuid,
    token_endpoints: &[String],
    now: i64,
) -> Result<Accepted, Refusal> {
    certificate.check(parsed, now)?;
    let same = |claim| text(parsed, claim).map(|id| id.parse() == Ok(app_id));
    if !same("iss")? || !same("sub")? {
        return Err(Refusal::OtherSubject);
    }
    check_audience(parsed, token_endpoints)?;
    let expires_at = check_times(parsed, now)?;
    if expires_at > now.saturating_add(LIFE_S_MAX) {
        return Err(Refusal::AssertionTooLong { limit: LIFE_S_MAX });
    }
    let jti = match parsed.claims.get("jti") {
        None => None,
        Some(Value::String(jti)) if jti.len() <= JTI_BYTES_MAX => Some(jti.clone()),
        Some(_) => return Err(Refusal::BadAssertionClaim { claim: "jti" }),
    };
    Ok(Accepted { jti, expires_at })
}

/// Checks what another issuer says, with the key that its token names. Issuer and subject were
/// compared by the caller, which had to know them to find the key.
pub(crate) fn check_federated(
    parsed: &Parsed<'_>,
    key: &VerifyingKey,
    token_endpoints: &[String],
    now: i64,
) -> Result<(), Refusal> {
    if !key.verifies(parsed.algorithm, parsed.signed.as_bytes(), &parsed.signature) {
        return Err(Refusal::WrongSignature);
    }
    let exchange = [TOKEN_EXCHANGE.to_owned()];
    check_audience(parsed, &exchange).or_else(|_| check_audience(parsed, token_endpoints))?;
    check_times(parsed, now).map(|_| ())
}

/// Checks a token of this issuer's own: signature and time.
pub(crate) fn check_token(
    parsed: &Parsed<'_>,
    key: &VerifyingKey,
    now: i64,
) -> Result<(), Refusal> {
    if !key.verifies(parsed.algorithm, parsed.signed.as_bytes(), &parsed.signature) {
        return Err(Refusal::WrongSignature);
    }
    check_times(parsed, now).map(|_| ())
}

/// The text of a required claim.
pub(crate) fn text<'a>(parsed: &'a Parsed<'_>, claim: &'static str) -> Result<&'a str, Refusal> {
    let text = parsed.claims.get(claim).and_then(Value::as_str);
    text.ok_or(Refusal::BadAssertionClaim { claim })
}

// === impl CertificateKey ===

impl CertificateKey {
    fn check(&self, parsed: &Parsed<'_>, now: i64) -> Result<(), Refusal> {
        let names = ["x5t", "x5t#S256"].map(|name| parsed.header.get(name));
        let mut named = false;
        for (name, own) in names.into_iter().zip(&self.thumbprints) {
            let Some(name) = name else { continue };
            let name = name.as_str().ok_or(Refusal::OtherCertificate)?;
            if name.trim_end_matches('=') != own {
                return Err(Refusal::OtherCertificate);
            }
            named = true;
        }
        if !named {
            return Err(Refusal::OtherCertificate);
        }
        if now < self.valid_from || now > self.valid_until {
            return Err(Refusal::CertificateNotValidNow);
        }
        if !self.key.verifies(parsed.algorithm, parsed.signed.as_bytes(), &parsed.signature) {
            return Err(Refusal::WrongSignature);
        }
        Ok(())
    }
}

fn check_audience(parsed: &Parsed<'_>, accepted: &[String]) -> Result<(), Refusal> {
    let is_accepted = |value: &Value| {
        let text = value.as_str().map(|text| text.trim_end_matches('/'));
        text.is_some_and(|text| accepted.iter().any(|one| one.eq_ignore_ascii_case(text)))
    };
    let fits = match parsed.claims.get("aud") {
        Some(Value::Array(many)) => many.iter().any(is_accepted),
        Some(one) => is_accepted(one),
        None => false,
    };
    if fits { Ok(()) } else { Err(Refusal::OtherAudience) }
}

/// The end of the assertion, if it is valid now.
fn check_times(parsed: &Parsed<'_>, now: i64) -> Result<i64, Refusal> {
    let time = |claim| match parsed.claims.get(claim) {
        None => Ok(None),
        Some(value) => numeric_date(value).map(Some).ok_or(Refusal::BadAssertionClaim { claim }),
    };
    let expires_at = time("exp")?.ok_or(Refusal::BadAssertionClaim { claim: "exp" })?;
    let starts_at = time("nbf")?.max(time("iat")?);
    let early = starts_at.is_some_and(|at| at > now.saturating_add(LEEWAY_S));
    if early || now >= expires_at {
        return Err(Refusal::AssertionNotValidNow);
    }
    Ok(expires_at)
}
