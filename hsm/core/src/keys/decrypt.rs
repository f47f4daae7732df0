//! Decrypt, and unwrap a key.

use std::sync::Arc;

use casemate_engine_port::{CipherAlgorithm, DecryptInput, KeyUse, Secret};

use super::encrypt::{Direction, Given, check_parameters};
use super::use_key::{UseRefusal, Used};
use super::{KeyOp, KeyRef, Selector};
use crate::Hsm;
use crate::rbac::{DataAction, Permit, act};

/// What is to be decrypted or unwrapped.
#[derive(Debug)]
pub struct DecryptRequest {
    /// With which version.
    pub version: Selector,
    /// How.
    pub algorithm: CipherAlgorithm,
    /// The ciphertext, or the wrapped key.
    pub ciphertext: Vec<u8>,
    /// The initialization vector.
    pub iv: Option<Vec<u8>>,
    /// GCM's additional data.
    pub aad: Option<Vec<u8>>,
    /// GCM's tag.
    pub tag: Option<Vec<u8>>,
}

/// A plaintext.
#[derive(Debug)]
pub struct Deciphered {
    /// What decrypted it.
    pub used: Used,
    /// The algorithm.
    pub algorithm: CipherAlgorithm,
    /// The plaintext, or the unwrapped key.
    pub plaintext: Secret,
}

impl Hsm {
    /// Decrypts with the permit's key. `found` is told the version before anything is done with
    /// it, or refused.
    pub async fn decrypt(
        self: &Arc<Self>,
        permit: &Permit<act::KeysDecrypt>,
        request: DecryptRequest,
        found: impl FnOnce(KeyRef),
    ) -> Result<Deciphered, UseRefusal> {
        if !request.algorithm.encrypts() {
            let algorithm = request.algorithm.name();
            return Err(UseRefusal::AlgorithmDoesNotFit { algorithm });
        }
        self.decipher(permit, KeyOp::Decrypt, request, found).await
    }

    /// Unwraps a key with the permit's key. `found` is told the version before anything is done
    /// with it, or refused.
    pub async fn unwrap_key(
        self: &Arc<Self>,
        permit: &Permit<act::KeysUnwrap>,
        request: DecryptRequest,
        found: impl FnOnce(KeyRef),
    ) -> Result<Deciphered, UseRefusal> {
        if !request.algorithm.wraps() {
            let algorithm = request.algorithm.name();
            return Err(UseRefusal::AlgorithmDoesNotFit { algorithm });
        }
        self.decipher(permit, KeyOp::UnwrapKey, request, found).await
    }

    async fn decipher<A: DataAction>(
        self: &Arc<Self>,
        permit: &Permit<A>,
        op: KeyOp,
        request: DecryptRequest,
        found: impl FnOnce(KeyRef),
    ) -> Result<Deciphered, UseRefusal> {
        let DecryptRequest { version, algorithm, ciphertext, iv, aad, tag } = request;
        let used = self.find_for_use(permit, version, op, found)?;
        let opened = self.open_used(used)?;
        check_parameters(
            algorithm,
            opened.version().record.spec,
            Direction::Decrypt,
            Given { iv: iv.as_deref(), aad: aad.is_some(), tag: tag.as_ref().map(Vec::len) },
        )?;
        let used = opened.used.clone();
        let plaintext = self
            .work(permit, opened, KeyUse::Decrypt, move |handle| {
                let input = DecryptInput {
                    ciphertext: &ciphertext,
                    iv: iv.as_deref(),
                    aad: aad.as_deref(),
                    tag: tag.as_deref(),
                };
                handle.decrypt(algorithm, input)
            })
            .await?;
        Ok(Deciphered { used, algorithm, plaintext })
    }
}
