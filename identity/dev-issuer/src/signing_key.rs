//! The issuer's signing key: RSA-2048 for RS256, made once, kept as PKCS#8.
//!
//! Two secrets of the development setup (that of the first app and that of the managed identity)
//! are derived from it, so that they stay the same over a restart and are written nowhere: whoever
//! has the key can sign any token anyway.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use casemate_token::{KeySet, VerifyingKey};
use serde_json::{Value, json};
use std::sync::Arc;
use x509_parser::der_parser::asn1_rs::FromDer;
use x509_parser::public_key::RSAPublicKey;

use crate::error::IssuerError;
use crate::store::{Folder, FolderLock};

/// The key with its public half as the issuer publishes it.
pub(crate) struct SigningKey {
    pair: KeyPair,
    kid: String,
    key_set: Value,
    verifying: Arc<VerifyingKey>,
    derivation: hmac::Key,
}

/// A secret as text. It begins with no dash, which a command line would take for an option, and
/// says what it is to whoever finds it.
pub(crate) fn secret_text(secret: &[u8]) -> String {
    format!("dev-{}", URL_SAFE_NO_PAD.encode(secret))
}

impl SigningKey {
    /// Reads the key of the folder, or makes one.
    pub(crate) fn open(folder: &Folder, lock: &FolderLock) -> Result<Self, IssuerError> {
        let malformed = || IssuerError::MalformedKey { path: folder.key_path() };
        if let Some(pkcs8) = folder.read_key()? {
            return Self::from_pkcs8(&pkcs8).ok_or_else(malformed);
        }
        let failed = |_| IssuerError::Cryptography { action: "make a signing key" };
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
        folder.write_key(pkcs8.as_ref(), lock)?;
        Self::from_pkcs8(pkcs8.as_ref()).ok_or_else(malformed)
    }

    /// The id under which the key is published.
    pub(crate) fn kid(&self) -> &str {
        &self.kid
    }

    /// The JSON web key set.
    pub(crate) fn key_set(&self) -> &Value {
        &self.key_set
    }

    /// The public half, if `kid` names it.
    pub(crate) fn verifying(&self, kid: &str) -> Option<&VerifyingKey> {
        (kid == self.kid).then_some(self.verifying.as_ref())
    }

    /// The RS256 signature over `message`.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, IssuerError> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| IssuerError::Cryptography { action: "sign a token" })?;
        Ok(signature)
    }

    /// A secret that stays the same as long as the key does.
    pub(crate) fn derive_secret(&self, purpose: &str) -> String {
        secret_text(hmac::sign(&self.derivation, purpose.as_bytes()).as_ref())
    }

    fn from_pkcs8(pkcs8: &[u8]) -> Option<Self> {
        let pair = KeyPair::from_pkcs8(pkcs8).ok()?;
        let public = pair.public_key().as_ref();
        let (_, components) = RSAPublicKey::from_der(public).ok()?;
        let number = |bytes: &[u8]| {
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            URL_SAFE_NO_PAD.encode(&bytes[zeros..])
        };
        let kid = URL_SAFE_NO_PAD.encode(&digest(&SHA256, public).as_ref()[..20]);
        let key_set = json!({ "keys": [{
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid,
            "n": number(components.modulus), "e": number(components.exponent),
        }] });
        let published = KeySet::parse(key_set.to_string().as_bytes()).ok()?;
        let verifying = published.key(&kid)?;
        let seed = digest(&SHA256, pkcs8);
        let derivation = hmac::Key::new(hmac::HMAC_SHA256, seed.as_ref());
        Some(Self { pair, kid, key_set, verifying, derivation })
    }
}
