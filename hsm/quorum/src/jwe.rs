//! JSON Web Encryption in the compact form (RFC 7516), in the one profile that is used here:
//! `A256CBC-HS512` (RFC 7518, 5.2.5) under a key that is agreed (`dir`) or wrapped to an RSA key
//! (`RSA-OAEP-256`).
//!
//! A tag that is not exactly 32 bytes long is refused: the client of Azure compares no other, and
//! so accepts any.

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{Hidden, ITEM_KEY_BYTES, Primitives, PrivateKey, RsaPublic, base64url, from_base64url};

/// The longest compact text that is looked at, in bytes.
pub const JWE_BYTES_MAX: usize = 256 * 1024;

const ENCRYPTION: &str = "A256CBC-HS512";
const DIRECT: &str = "dir";
const WRAPPED: &str = "RSA-OAEP-256";
const TAG_BYTES: usize = 32;
const IV_BYTES: usize = 16;
const HALF_BYTES: usize = 32;

/// Why a compact text is not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JweError {
    /// Beyond [`JWE_BYTES_MAX`].
    #[error("it is longer than {JWE_BYTES_MAX} bytes")]
    TooLong,
    /// Not five parts of base64url without padding.
    #[error("it is not five parts of base64url without padding")]
    Form,
    /// The header is no JSON object of this form.
    #[error("its header is not a JSON object with `alg` and `enc`")]
    Header,
    /// Another way to the key.
    #[error("its `alg` is not {expected}")]
    Algorithm {
        /// What it should be.
        expected: &'static str,
    },
    /// Another encryption.
    #[error("its `enc` is not {ENCRYPTION}")]
    Encryption,
    /// Compression or members that must be understood.
    #[error("its header has `zip` or `crit`, which are not supported")]
    Extension,
    /// A vector of another length than 16 bytes.
    #[error("its initialization vector does not have 16 bytes")]
    Iv,
    /// A tag of another length than 32 bytes.
    #[error("its authentication tag has {found} bytes instead of 32")]
    TagLength {
        /// How many it has.
        found: usize,
    },
    /// The key that it carries does not open, or one is there that should not be.
    #[error("the key that it carries is not for this recipient")]
    Key,
    /// The tag is not that of these bytes under this key.
    #[error("its authentication tag is wrong: it was altered, or is under another key")]
    NotAuthentic,
}

#[derive(Serialize)]
struct HeaderOut<'a> {
    alg: &'static str,
    enc: &'static str,
    kid: &'a str,
}

#[derive(Deserialize)]
struct HeaderIn {
    alg: String,
    enc: String,
    #[serde(default)]
    zip: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    crit: Option<serde::de::IgnoredAny>,
}

/// The library refused to encrypt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cryptographic library refused to encrypt")]
pub struct NotEncrypted;

/// Encrypts under an agreed key of 64 bytes.
pub fn seal_direct(
    key: &Hidden,
    kid: &str,
    plaintext: &[u8],
    primitives: &dyn Primitives,
) -> Result<String, NotEncrypted> {
    seal(DIRECT, kid, "", key, plaintext, primitives)
}

/// Encrypts to an RSA key, under a fresh key.
pub fn seal_to(
    recipient: &RsaPublic,
    kid: &str,
    plaintext: &[u8],
    primitives: &dyn Primitives,
) -> Result<String, NotEncrypted> {
    let mut key = vec![0; ITEM_KEY_BYTES];
    primitives.random(&mut key);
    let key = Hidden::new(key);
    let wrapped = primitives.rsa_oaep256_encrypt(recipient, &key).ok_or(NotEncrypted)?;
    seal(WRAPPED, kid, &base64url(&wrapped), &key, plaintext, primitives)
}

fn seal(
    alg: &'static str,
    kid: &str,
    wrapped: &str,
    key: &Hidden,
    plaintext: &[u8],
    primitives: &dyn Primitives,
) -> Result<String, NotEncrypted> {
    let header = HeaderOut { alg, enc: ENCRYPTION, kid };
    let header = serde_json::to_vec(&header).map_err(|_| NotEncrypted)?;
    let header = base64url(&header);
    let (mac_key, cipher_key) = halves(key).ok_or(NotEncrypted)?;
    let mut iv = [0; IV_BYTES];
    primitives.random(&mut iv);
    let ciphertext =
        primitives.aes256_cbc_encrypt(cipher_key, &iv, plaintext).ok_or(NotEncrypted)?;
    let tag = tag(mac_key, &header, &iv, &ciphertext, primitives);
    let [iv, ciphertext, tag] = [&iv[..], &ciphertext, &tag].map(base64url);
    Ok(format!("{header}.{wrapped}.{iv}.{ciphertext}.{tag}"))
}

fn halves(key: &Hidden) -> Option<(&[u8; HALF_BYTES], &[u8; HALF_BYTES])> {
    let (mac, cipher) = key.expose().split_at_checked(HALF_BYTES)?;
    Some((mac.try_into().ok()?, cipher.try_into().ok()?))
}

fn tag(
    mac_key: &[u8; HALF_BYTES],
    header: &str,
    iv: &[u8],
    ciphertext: &[u8],
    primitives: &dyn Primitives,
) -> [u8; TAG_BYTES] {
    let bits = u64::try_from(header.len()).unwrap_or(u64::MAX).saturating_mul(8);
    let parts = [header.as_bytes(), iv, ciphertext, &bits.to_be_bytes()];
    let whole = primitives.hmac_sha512(mac_key, &parts);
    let mut tag = [0; TAG_BYTES];
    tag.copy_from_slice(&whole[..TAG_BYTES]);
    tag
}

/// A compact text, taken apart and not yet believed.
struct Compact<'a> {
    header: &'a str,
    wrapped: Vec<u8>,
    iv: [u8; IV_BYTES],
    ciphertext: Vec<u8>,
    tag: [u8; TAG_BYTES],
}

impl<'a> Compact<'a> {
    fn parse(text: &'a str, expected: &'static str) -> Result<Self, JweError> {
        if text.len() > JWE_BYTES_MAX {
            return Err(JweError::TooLong);
        }
        let mut parts = text.split('.');
        let mut next = || parts.next().ok_or(JweError::Form);
        let (header, wrapped) = (next()?, next()?);
        let (iv, ciphertext, tag) = (next()?, next()?, next()?);
        if parts.next().is_some() {
            return Err(JweError::Form);
        }
        let bytes = |part: &str| from_base64url(part).ok_or(JweError::Form);
        let read: HeaderIn =
            serde_json::from_slice(&bytes(header)?).map_err(|_| JweError::Header)?;
        if read.alg != expected {
            return Err(JweError::Algorithm { expected });
        }
        if read.enc != ENCRYPTION {
            return Err(JweError::Encryption);
        }
        if read.zip.is_some() || read.crit.is_some() {
            return Err(JweError::Extension);
        }
        let tag = bytes(tag)?;
        let found = tag.len();
        Ok(Self {
            header,
            wrapped: bytes(wrapped)?,
            iv: bytes(iv)?.try_into().map_err(|_| JweError::Iv)?,
            ciphertext: bytes(ciphertext)?,
            tag: tag.try_into().map_err(|_| JweError::TagLength { found })?,
        })
    }

    /// The plaintext, if the tag is right: nothing is decrypted before.
    fn open(&self, key: &Hidden, primitives: &dyn Primitives) -> Result<Hidden, JweError> {
        let (mac_key, cipher_key) = halves(key).ok_or(JweError::Key)?;
        let right =
            Zeroizing::new(tag(mac_key, self.header, &self.iv, &self.ciphertext, primitives));
        if !bool::from(right.ct_eq(&self.tag)) {
            return Err(JweError::NotAuthentic);
        }
        let opened = primitives.aes256_cbc_decrypt(cipher_key, &self.iv, &self.ciphertext);
        opened.ok_or(JweError::NotAuthentic)
    }
}

/// Opens what is under an agreed key.
pub fn open_direct(
    text: &str,
    key: &Hidden,
    primitives: &dyn Primitives,
) -> Result<Hidden, JweError> {
    let compact = Compact::parse(text, DIRECT)?;
    if !compact.wrapped.is_empty() {
        return Err(JweError::Key);
    }
    compact.open(key, primitives)
}

/// Opens what was encrypted to an RSA key.
pub fn open_with(
    text: &str,
    key: &dyn PrivateKey,
    primitives: &dyn Primitives,
) -> Result<Hidden, JweError> {
    let compact = Compact::parse(text, WRAPPED)?;
    let content_key = key.oaep256_decrypt(&compact.wrapped).ok_or(JweError::Key)?;
    compact.open(&content_key, primitives)
}
