//! RSA keys: signatures, encryption and key wrapping.
//!
//! AWS-LC computes; RSNULL alone goes through the `rsa` crate ([`null`]). Private operations are
//! blinded. Every signature is checked with the public key before it leaves: AWS-LC does so itself
//! (`crypto/fipsmodule/rsa/rsa_impl.c`, `rsa_default_private_transform`, "Verify the result to
//! protect against fault attacks": it raises the result to `e` and compares), so only RSNULL is
//! verified here.
//!
//! Decryption timing: AWS-LC takes padding apart in constant time
//! (`crypto/rsa_extra/rsa_crypt.c`, `rsa_padding_check_PKCS1_type_2` and
//! `RSA_padding_check_PKCS1_OAEP_mgf1`) and every failure is the same error. What remains: a
//! success copies the plaintext out and a failure does not (well under a microsecond in
//! milliseconds), and the answer itself says whether RSA1_5 padding was right. The API's contract
//! asks for that answer; whoever may call decrypt on a key with RSA1_5 holds a padding oracle for
//! it, and use OAEP where that matters.

mod import;
mod null;
mod public;
mod weak;

use std::sync::OnceLock;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{
    KeyPair, KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey,
    Pkcs1PrivateDecryptingKey, PrivateDecryptingKey,
};
use aws_lc_rs::signature::KeyPair as _;
use casemate_engine_port::{
    CipherAlgorithm, Cost, DecryptInput, Decrypted, EncryptInput, Encrypted, EngineError,
    KeyHandle, KeySpec, KeyUse, OperationError, PublicPart, RsaSize, Secret, SignAlgorithm,
};
use zeroize::Zeroizing;

use crate::engine::Made;
use crate::public::MISFIT;

pub(crate) use import::import;
pub(crate) use public::Public;

/// Makes a key with the public exponent 65537.
pub(crate) fn generate(size: RsaSize) -> Result<Made, EngineError> {
    let library_size = match size {
        RsaSize::B2048 => KeySize::Rsa2048,
        RsaSize::B3072 => KeySize::Rsa3072,
        RsaSize::B4096 => KeySize::Rsa4096,
    };
    let pair =
        KeyPair::generate(library_size).map_err(|_| EngineError::Failed("RSA key generation"))?;
    made(size, &pair)
}

/// An opened RSA key. The pair is parsed at once, since parsing costs 21 to 40 % of a signature;
/// the forms for decryption and RSNULL are made when first asked for.
pub(crate) struct Key {
    size: RsaSize,
    pair: KeyPair,
    public: Public,
    decrypting: OnceLock<PrivateDecryptingKey>,
    raw: OnceLock<null::PrivateKey>,
}

impl Key {
    pub(crate) fn from_material(size: RsaSize, material: &Secret) -> Result<Self, EngineError> {
        let pair = KeyPair::from_pkcs8(material.expose()).map_err(|_| EngineError::NotAuthentic)?;
        let (n, e) = numbers(&pair);
        let public = Public::from_part(size, &n, &e).map_err(|_| EngineError::NotAuthentic)?;
        Ok(Self { size, pair, public, decrypting: OnceLock::new(), raw: OnceLock::new() })
    }

    fn decrypting(&self) -> Result<PrivateDecryptingKey, OperationError> {
        filled(&self.decrypting, || {
            let der = self.pair.as_der().map_err(|_| OperationError::Failed("RSA export"))?;
            PrivateDecryptingKey::from_pkcs8(der.as_ref())
                .map_err(|_| OperationError::Failed("RSA parsing"))
        })
        .cloned()
    }

    fn sign_raw(&self, input: &[u8]) -> Result<Vec<u8>, OperationError> {
        if input.len() > null::input_bytes_max(self.size) {
            return Err(null::TOO_LONG);
        }
        let key = filled(&self.raw, || {
            let der = self.pair.as_der().map_err(|_| OperationError::Failed("RSA export"))?;
            null::PrivateKey::from_pkcs8(der.as_ref())
        })?;
        let signature = key.sign(input)?;
        // The crate checks for faults too; here the check is ours to see.
        if !self.public.verify(SignAlgorithm::RsNull, input, &signature)? {
            return Err(OperationError::Failed("RSNULL: the signature did not verify"));
        }
        Ok(signature)
    }
}

impl KeyHandle for Key {
    fn cost(&self, key_use: KeyUse) -> Cost {
        match key_use {
            KeyUse::Sign | KeyUse::Decrypt => Cost::Pool,
            KeyUse::Verify | KeyUse::Encrypt => Cost::Inline,
        }
    }

    fn sign(&self, algorithm: SignAlgorithm, input: &[u8]) -> Result<Vec<u8>, OperationError> {
        if algorithm == SignAlgorithm::RsNull {
            return self.sign_raw(input);
        }
        let scheme = public::scheme(algorithm)?;
        let digest = scheme.digest(input)?;
        let mut signature = vec![0; self.size.bytes()];
        self.pair
            .sign_digest(scheme.encoding, &digest, &mut signature)
            .map_err(|_| OperationError::Failed("RSA signing"))?;
        Ok(signature)
    }

    fn verify(
        &self,
        algorithm: SignAlgorithm,
        input: &[u8],
        signature: &[u8],
    ) -> Result<bool, OperationError> {
        self.public.verify(algorithm, input, signature)
    }

    fn encrypt(
        &self,
        algorithm: CipherAlgorithm,
        input: EncryptInput<'_>,
    ) -> Result<Encrypted, OperationError> {
        if input.iv.is_some() || input.aad.is_some() {
            return Err(NO_EXTRAS);
        }
        let ciphertext = self.public.encrypt(algorithm, input.plaintext)?;
        Ok(Encrypted { ciphertext, tag: None })
    }

    fn decrypt(
        &self,
        algorithm: CipherAlgorithm,
        input: DecryptInput<'_>,
    ) -> Result<Decrypted, OperationError> {
        if input.iv.is_some() || input.aad.is_some() || input.tag.is_some() {
            return Err(NO_EXTRAS);
        }
        let key = self.decrypting()?;
        let mut out = Zeroizing::new(vec![0; self.size.bytes()]);
        let opened = match algorithm {
            CipherAlgorithm::RsaOaep256 => OaepPrivateDecryptingKey::new(key)
                .and_then(|key| {
                    key.decrypt(&OAEP_SHA256_MGF1SHA256, input.ciphertext, &mut out, None)
                        .map(|plaintext| plaintext.len())
                })
                .ok(),
            CipherAlgorithm::RsaOaep => OaepPrivateDecryptingKey::new(key)
                .and_then(|key| {
                    key.decrypt(&OAEP_SHA1_MGF1SHA1, input.ciphertext, &mut out, None)
                        .map(|plaintext| plaintext.len())
                })
                .ok(),
            CipherAlgorithm::Rsa15 => Pkcs1PrivateDecryptingKey::new(key)
                .and_then(|key| {
                    key.decrypt(input.ciphertext, &mut out).map(|plaintext| plaintext.len())
                })
                .ok(),
            _ => return Err(MISFIT),
        };
        let length = opened.ok_or(OperationError::DecryptionFailed)?;
        Ok(Secret::new(out[..length].to_vec()))
    }
}

const NO_EXTRAS: OperationError =
    OperationError::BadInput("RSA takes no initialization vector, additional data or tag");

fn made(size: RsaSize, pair: &KeyPair) -> Result<Made, EngineError> {
    let der = pair.as_der().map_err(|_| EngineError::Failed("RSA export"))?;
    let (n, e) = numbers(pair);
    Ok(Made {
        spec: KeySpec::Rsa(size),
        public: PublicPart::Rsa { n, e },
        material: Secret::new(der.as_ref().to_vec()),
    })
}

fn numbers(pair: &KeyPair) -> (Vec<u8>, Vec<u8>) {
    let public = pair.public_key();
    let n = public.modulus().big_endian_without_leading_zero().to_vec();
    let e = public.exponent().big_endian_without_leading_zero().to_vec();
    (n, e)
}

/// What the cell holds, made now if nothing is in it. Two threads may both make it; one is kept.
fn filled<T>(
    cell: &OnceLock<T>,
    make: impl FnOnce() -> Result<T, OperationError>,
) -> Result<&T, OperationError> {
    if let Some(there) = cell.get() {
        return Ok(there);
    }
    let made = make()?;
    Ok(cell.get_or_init(|| made))
}
