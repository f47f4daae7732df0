//! Public keys of an issuer: a JSON web key set (RFC 7517) in, keys that can verify out.
//!
//! A key is bound to the algorithms that fit its type, so a token cannot choose how a key is read:
//! an RSA key never becomes an HMAC secret and an EC key never leaves its curve.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RsaParameters, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::jws::Algorithm;

/// The most keys that are accepted in one set.
const KEYS_PER_SET_MAX: usize = 64;
/// The smallest RSA modulus that is accepted, in bits.
const RSA_BITS_MIN: usize = 2048;
/// The largest RSA modulus that is accepted, in bits; beyond it a check costs too much.
const RSA_BITS_MAX: usize = 8192;

/// Why a key or a set of keys cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefusal {
    /// Not a JSON object with an array `keys`.
    #[error("the key set is not a JSON object with an array `keys`")]
    NotAKeySet,
    /// More keys than [`KEYS_PER_SET_MAX`].
    #[error("the key set has {count} keys; at most {limit} are accepted")]
    TooManyKeys {
        /// How many there are.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// Two different keys under one `kid`.
    #[error("the key set has two different keys under one `kid`")]
    SameKeyId,
    /// A key of an accepted type is malformed.
    #[error("a key is malformed")]
    Malformed,
    /// An RSA key of a size that is not accepted.
    #[error("an RSA key has {bits} bits; 2048 to 8192 are accepted")]
    Size {
        /// Its size in bits.
        bits: usize,
    },
}

/// The accepted curves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// NIST P-256, for ES256.
    P256,
    /// NIST P-384, for ES384.
    P384,
}

/// A public key that verifies signatures of the algorithms it fits, and no others.
#[derive(Debug)]
pub struct VerifyingKey {
    readings: Vec<(Algorithm, ParsedPublicKey)>,
    fingerprint: [u8; 32],
    retired: AtomicBool,
}

/// What verification with a key said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Good,
    Wrong,
    NotForAlgorithm,
}

/// A key by its `kid`.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Usable(Arc<VerifyingKey>),
    WrongSize { bits: usize },
}

/// The keys of an issuer by their `kid`.
#[derive(Debug, Default)]
pub struct KeySet {
    entries: HashMap<String, Entry>,
}

// === impl VerifyingKey ===

impl VerifyingKey {
    /// An RSA key from its modulus and exponent, big-endian.
    ///
    /// # Errors
    ///
    /// Refuses sizes outside 2048 to 8192 bits and exponents that make no RSA key.
    pub fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyRefusal> {
        let modulus = without_leading_zeros(modulus);
        let exponent = without_leading_zeros(exponent);
        let bits = bit_length(modulus);
        if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
            return Err(KeyRefusal::Size { bits });
        }
        let odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
        if !odd(modulus) || !odd(exponent) || exponent == [1] {
            return Err(KeyRefusal::Malformed);
        }
        let components = RsaPublicKeyComponents { n: modulus, e: exponent };
        let mut readings = Vec::new();
        for (algorithm, parameters) in RSA_READINGS {
            let key =
                components.to_parsed_public_key(parameters).map_err(|_| KeyRefusal::Malformed)?;
            readings.push((algorithm, key));
        }
        Ok(Self::new(readings, &[b"RSA", modulus, exponent]))
    }

    /// An EC key from its uncompressed point (`04 || x || y`).
    ///
    /// # Errors
    ///
    /// Refuses a point of another length, or one that is not on the curve.
    pub fn ec(curve: Curve, point: &[u8]) -> Result<Self, KeyRefusal> {
        if point.len() != 1 + 2 * curve.field_bytes() || point.first() != Some(&4) {
            return Err(KeyRefusal::Malformed);
        }
        let (algorithm, parameters, label): (_, _, &[u8]) = match curve {
            Curve::P256 => (Algorithm::Es256, &ECDSA_P256_SHA256_FIXED, b"P-256"),
            Curve::P384 => (Algorithm::Es384, &ECDSA_P384_SHA384_FIXED, b"P-384"),
        };
        let key = ParsedPublicKey::new(parameters, point).map_err(|_| KeyRefusal::Malformed)?;
        Ok(Self::new(vec![(algorithm, key)], &[label, point]))
    }

    /// True if `signature` over `message` is right and the algorithm fits this key.
    #[must_use]
    pub fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        self.verdict(algorithm, message, signature) == Verdict::Good
    }

    pub(crate) fn verdict(&self, algorithm: Algorithm, message: &[u8], sig: &[u8]) -> Verdict {
        let Some((_, key)) = self.readings.iter().find(|(fits, _)| *fits == algorithm) else {
            return Verdict::NotForAlgorithm;
        };
        match key.verify_sig(message, sig) {
            Ok(()) => Verdict::Good,
            Err(_) => Verdict::Wrong,
        }
    }

    /// True once the issuer no longer publishes this key.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    fn new(readings: Vec<(Algorithm, ParsedPublicKey)>, identity: &[&[u8]]) -> Self {
        let mut context = Context::new(&SHA256);
        for part in identity {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        for (algorithm, _) in &readings {
            context.update(algorithm.name().as_bytes());
        }
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(context.finish().as_ref());
        Self { readings, fingerprint, retired: AtomicBool::new(false) }
    }

    /// Keeps only the reading that the issuer says the key is for.
    fn restrict_to(self, algorithm: Algorithm) -> Self {
        let identity = self.fingerprint;
        let readings: Vec<_> =
            self.readings.into_iter().filter(|(fits, _)| *fits == algorithm).collect();
        Self::new(readings, &[&identity])
    }
}

const RSA_READINGS: [(Algorithm, &RsaParameters); 4] = [
    (Algorithm::Rs256, &RSA_PKCS1_2048_8192_SHA256),
    (Algorithm::Rs384, &RSA_PKCS1_2048_8192_SHA384),
    (Algorithm::Rs512, &RSA_PKCS1_2048_8192_SHA512),
    (Algorithm::Ps256, &RSA_PSS_2048_8192_SHA256),
];

// === impl Curve ===

impl Curve {
    fn field_bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }
}

// === impl KeySet ===

impl KeySet {
    /// Reads a JSON web key set. Keys that are not for signatures, of other types or without a
    /// `kid` are passed over, as RFC 7517, section 5, asks.
    ///
    /// # Errors
    ///
    /// Refuses what is no key set, has too many keys, or has two keys under one `kid`.
    pub fn parse(json: &[u8]) -> Result<Self, KeyRefusal> {
        let document: Value = serde_json::from_slice(json).map_err(|_| KeyRefusal::NotAKeySet)?;
        let keys = document.get("keys").and_then(Value::as_array).ok_or(KeyRefusal::NotAKeySet)?;
        if keys.len() > KEYS_PER_SET_MAX {
            return Err(KeyRefusal::TooManyKeys { count: keys.len(), limit: KEYS_PER_SET_MAX });
        }
        let mut entries: HashMap<String, Entry> = HashMap::new();
        for key in keys {
            let Some(kid) = key.get("kid").and_then(Value::as_str) else { continue };
            let Some(entry) = read_key(key) else { continue };
            match entries.get(kid) {
                None => {
                    entries.insert(kid.to_owned(), entry);
                }
                Some(known) if known.same_as(&entry) => {}
                Some(_) => return Err(KeyRefusal::SameKeyId),
            }
        }
        Ok(Self { entries })
    }

    /// The key with this `kid`, if it can be used.
    #[must_use]
    pub fn key(&self, kid: &str) -> Option<Arc<VerifyingKey>> {
        match self.entries.get(kid)? {
            Entry::Usable(key) => Some(Arc::clone(key)),
            Entry::WrongSize { .. } => None,
        }
    }

    pub(crate) fn entry(&self, kid: &str) -> Option<&Entry> {
        self.entries.get(kid)
    }

    /// Takes over the keys of `before` that are unchanged, and marks the others as retired.
    pub(crate) fn succeed(mut self, before: &Self) -> Self {
        for (kid, old) in &before.entries {
            let Entry::Usable(old) = old else { continue };
            match self.entries.get_mut(kid) {
                Some(Entry::Usable(new)) if new.fingerprint == old.fingerprint => {
                    *new = Arc::clone(old);
                }
                _ => old.retire(),
            }
        }
        self
    }

    /// Marks every key as retired.
    pub(crate) fn retire_all(&self) {
        for entry in self.entries.values() {
            if let Entry::Usable(key) = entry {
                key.retire();
            }
        }
    }
}

// === impl Entry ===

impl Entry {
    fn same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Usable(one), Self::Usable(two)) => one.fingerprint == two.fingerprint,
            (Self::WrongSize { bits: one }, Self::WrongSize { bits: two }) => one == two,
            (Self::Usable(_), Self::WrongSize { .. })
            | (Self::WrongSize { .. }, Self::Usable(_)) => false,
        }
    }
}

/// Reads one key; `None` for a key that is not for us or that is malformed.
fn read_key(jwk: &Value) -> Option<Entry> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    if !matches!(jwk.get("use"), None | Some(Value::Null)) && text("use") != Some("sig") {
        return None;
    }
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?.trim_end_matches('=')).ok();
    let read = match (text("kty")?, text("crv")) {
        ("RSA", _) => VerifyingKey::rsa(&bytes("n")?, &bytes("e")?),
        ("EC", Some("P-256")) => ec_key(Curve::P256, &bytes("x")?, &bytes("y")?),
        ("EC", Some("P-384")) => ec_key(Curve::P384, &bytes("x")?, &bytes("y")?),
        _ => return None,
    };
    let key = match read {
        Ok(key) => key,
        Err(KeyRefusal::Size { bits }) => return Some(Entry::WrongSize { bits }),
        Err(_) => return None,
    };
    match jwk.get("alg") {
        None | Some(Value::Null) => Some(Entry::Usable(Arc::new(key))),
        Some(name) => {
            let algorithm = Algorithm::from_name(name.as_str()?)?;
            Some(Entry::Usable(Arc::new(key.restrict_to(algorithm))))
        }
    }
}

fn ec_key(curve: Curve, x: &[u8], y: &[u8]) -> Result<VerifyingKey, KeyRefusal> {
    if x.len() != curve.field_bytes() || y.len() != curve.field_bytes() {
        return Err(KeyRefusal::Malformed);
    }
    VerifyingKey::ec(curve, &[&[4], x, y].concat())
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

fn bit_length(number: &[u8]) -> usize {
    let Some(first) = number.first() else { return 0 };
    let top = (1..=8).rev().find(|bit| first >> (bit - 1) & 1 == 1).unwrap_or(0);
    (number.len() - 1) * 8 + top
}
