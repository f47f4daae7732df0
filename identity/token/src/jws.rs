//! The compact form of a signed token, taken apart without believing any of it.
//!
//! [`parse`] is pure: characters in, parts or a refusal out. It checks nothing but the form, and
//! the fixed list of algorithms is part of the form: `none` and the HMAC family have no value in
//! [`Algorithm`], so no later step can meet them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::refusal::TokenRefusal;

/// The largest token that is looked at, in bytes. Entra's own limit for headers is lower.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// The accepted signature algorithms (RFC 7518, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
}

/// The parts of a token; nothing in it is verified.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed<'a> {
    /// What was signed: the encoded header, a dot, the encoded claims.
    pub signed: &'a str,
    /// The signature's bytes.
    pub signature: Vec<u8>,
    /// `alg`.
    pub algorithm: Algorithm,
    /// `kid`, if there is one.
    pub key_id: Option<String>,
    /// The whole header.
    pub header: Map<String, Value>,
    /// The claims.
    pub claims: Map<String, Value>,
}

/// Takes a token apart.
///
/// # Errors
///
/// Refuses what is too large, has not exactly three parts, is not base64url, is not a JSON object,
/// repeats a member, or uses an algorithm or extension that is not accepted.
pub fn parse(token: &str) -> Result<Parsed<'_>, TokenRefusal> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenRefusal::TooLarge { bytes: token.len(), limit: TOKEN_BYTES_MAX });
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenRefusal::NotAToken)?;
    let (header, claims) = signed.split_once('.').ok_or(TokenRefusal::NotAToken)?;
    if claims.contains('.') {
        return Err(TokenRefusal::NotAToken);
    }
    let header = object(header, "header")?;
    if header.contains_key("crit") {
        return Err(TokenRefusal::UnknownExtension);
    }
    let algorithm = header
        .get("alg")
        .and_then(Value::as_str)
        .and_then(Algorithm::from_name)
        .ok_or(TokenRefusal::AlgorithmNotAccepted)?;
    let key_id = match header.get("kid") {
        None => None,
        Some(Value::String(kid)) => Some(kid.clone()),
        Some(_) => return Err(TokenRefusal::MissingKeyId),
    };
    let claims = object(claims, "claims")?;
    let signature = decode(signature, "signature")?;
    Ok(Parsed { signed, signature, algorithm, key_id, header, claims })
}

// === impl Algorithm ===

impl Algorithm {
    /// Every accepted algorithm.
    pub const ALL: [Self; 6] =
        [Self::Rs256, Self::Rs384, Self::Rs512, Self::Ps256, Self::Es256, Self::Es384];

    /// Reads a value of `alg`; case matters.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The value of `alg`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
        }
    }
}

fn decode(text: &str, part: &'static str) -> Result<Vec<u8>, TokenRefusal> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenRefusal::NotBase64 { part })
}

fn object(text: &str, part: &'static str) -> Result<Map<String, Value>, TokenRefusal> {
    let bytes = decode(text, part)?;
    let members: Members =
        serde_json::from_slice(&bytes).map_err(|_| TokenRefusal::NotJson { part })?;
    let mut object = Map::new();
    for (name, value) in members.0 {
        if object.insert(name, value).is_some() {
            return Err(TokenRefusal::RepeatedMember { part });
        }
    }
    Ok(object)
}

/// The members of an object in their order, so that a repeated one can be seen.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}
