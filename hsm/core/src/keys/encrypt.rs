//! Encrypt, and wrap a key.

use std::sync::Arc;

use casemate_engine_port::{CipherAlgorithm, EncryptInput, KeySpec, KeyUse, Secret};

use super::use_key::{UseRefusal, Used};
use super::{KeyOp, KeyRef, Selector};
use crate::Hsm;
use crate::rbac::{DataAction, Permit, act};

/// Length of the initialization vector that the service chooses for GCM (SP 800-38D, 8.2.2).
const GCM_IV_BYTES: usize = 12;

/// Length of the initialization vector that a caller gives for CBC.
const CBC_IV_BYTES: usize = 16;

/// What is to be encrypted or wrapped.
#[derive(Debug)]
pub struct EncryptRequest {
    /// With which version.
    pub version: Selector,
    /// How.
    pub algorithm: CipherAlgorithm,
    /// The plaintext, or the key to be wrapped.
    pub plaintext: Secret,
    /// CBC's initialization vector.
    pub iv: Option<Vec<u8>>,
    /// GCM's additional data.
    pub aad: Option<Vec<u8>>,
    /// Whether the caller sent a tag, which has no meaning here.
    pub tag_given: bool,
}

/// A ciphertext.
#[derive(Debug)]
pub struct Enciphered {
    /// What made it.
    pub used: Used,
    /// The algorithm.
    pub algorithm: CipherAlgorithm,
    /// The ciphertext, or the wrapped key.
    pub ciphertext: Vec<u8>,
    /// The initialization vector, if there is one.
    pub iv: Option<Vec<u8>>,
    /// The tag, GCM only.
    pub tag: Option<Vec<u8>>,
    /// The additional data, GCM only.
    pub aad: Option<Vec<u8>>,
}

impl Hsm {
    /// Encrypts with the permit's key. `found` is told the version before anything is done with
    /// it, or refused.
    pub async fn encrypt(
        self: &Arc<Self>,
        permit: &Permit<act::KeysEncrypt>,
        request: EncryptRequest,
        found: impl FnOnce(KeyRef),
    ) -> Result<Enciphered, UseRefusal> {
        if !request.algorithm.encrypts() {
            let algorithm = request.algorithm.name();
            return Err(UseRefusal::AlgorithmDoesNotFit { algorithm });
        }
        self.encipher(permit, KeyOp::Encrypt, request, found).await
    }

    /// Wraps a key with the permit's key. `found` is told the version before anything is done with
    /// it, or refused.
    pub async fn wrap_key(
        self: &Arc<Self>,
        permit: &Permit<act::KeysWrap>,
        request: EncryptRequest,
        found: impl FnOnce(KeyRef),
    ) -> Result<Enciphered, UseRefusal> {
        if !request.algorithm.wraps() {
            let algorithm = request.algorithm.name();
            return Err(UseRefusal::AlgorithmDoesNotFit { algorithm });
        }
        self.encipher(permit, KeyOp::WrapKey, request, found).await
    }

    async fn encipher<A: DataAction>(
        self: &Arc<Self>,
        permit: &Permit<A>,
        op: KeyOp,
        request: EncryptRequest,
        found: impl FnOnce(KeyRef),
    ) -> Result<Enciphered, UseRefusal> {
        let EncryptRequest { version, algorithm, plaintext, iv, aad, tag_given } = request;
        let used = self.find_for_use(permit, version, op, found)?;
        let opened = self.open_used(used)?;
        check_parameters(
            algorithm,
            opened.version().record.spec,
            Direction::Encrypt,
            Given { iv: iv.as_deref(), aad: aad.is_some(), tag: tag_given.then_some(0) },
        )?;
        let iv = match algorithm {
            CipherAlgorithm::AesGcm(_) => Some(self.gcm_iv(&opened.used).await?),
            _ => iv,
        };
        let used = opened.used.clone();
        let (encrypted, iv, aad) = self
            .work(permit, opened, KeyUse::Encrypt, move |handle| {
                let input = EncryptInput {
                    plaintext: plaintext.expose(),
                    iv: iv.as_deref(),
                    aad: aad.as_deref(),
                };
                let encrypted = handle.encrypt(algorithm, input)?;
                Ok((encrypted, iv, aad))
            })
            .await?;
        let (ciphertext, tag) = (encrypted.ciphertext, encrypted.tag);
        Ok(Enciphered { used, algorithm, ciphertext, iv, tag, aad })
    }

    async fn gcm_iv(self: &Arc<Self>, used: &Used) -> Result<Vec<u8>, UseRefusal> {
        self.count_gcm(used).await?;
        let mut iv = vec![0; GCM_IV_BYTES];
        self.engine.random(&mut iv)?;
        Ok(iv)
    }
}

/// Which way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Encrypt,
    Decrypt,
}

/// What the caller sent beside the value.
pub(super) struct Given<'a> {
    pub(super) iv: Option<&'a [u8]>,
    pub(super) aad: bool,
    /// Length of the tag.
    pub(super) tag: Option<usize>,
}

/// Length of a GCM tag.
const GCM_TAG_BYTES: usize = 16;

/// Whether the algorithm fits the key, and the parameters the algorithm (Key Vault REST API,
/// KeyOperationsParameters).
pub(super) fn check_parameters(
    algorithm: CipherAlgorithm,
    spec: KeySpec,
    direction: Direction,
    given: Given<'_>,
) -> Result<(), UseRefusal> {
    if !algorithm.fits(spec) {
        return Err(UseRefusal::AlgorithmDoesNotFit { algorithm: algorithm.name() });
    }
    let refuse = |reason| Err(UseRefusal::BadInput(reason));
    let iv_length = given.iv.map(<[u8]>::len);
    match (algorithm, direction) {
        (CipherAlgorithm::AesGcm(_), Direction::Encrypt) => match (iv_length, given.tag) {
            (Some(_), _) => refuse("the service chooses 'iv' for GCM: leave it out"),
            (None, Some(_)) => refuse("'tag' is an output of encryption: leave it out"),
            (None, None) => Ok(()),
        },
        (CipherAlgorithm::AesGcm(_), Direction::Decrypt) => match (iv_length, given.tag) {
            (Some(GCM_IV_BYTES), Some(GCM_TAG_BYTES)) => Ok(()),
            _ => refuse("GCM decryption needs an 'iv' of 12 bytes and a 'tag' of 16 bytes"),
        },
        (CipherAlgorithm::AesCbc(_) | CipherAlgorithm::AesCbcPad(_), _) => {
            match (iv_length, given.aad, given.tag) {
                (Some(CBC_IV_BYTES), false, None) => Ok(()),
                (Some(CBC_IV_BYTES), _, _) => refuse("'aad' and 'tag' go with GCM only"),
                _ => refuse("CBC needs an 'iv' of 16 bytes"),
            }
        }
        _ if iv_length.is_some() || given.aad || given.tag.is_some() => {
            refuse("this algorithm takes neither 'iv' nor 'aad' nor 'tag'")
        }
        _ => Ok(()),
    }
}
