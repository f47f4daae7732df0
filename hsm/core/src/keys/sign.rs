//! Sign a digest.

use std::sync::Arc;

use casemate_engine_port::{DigestLength, KeySpec, KeyUse, SignAlgorithm};

use super::use_key::{UseRefusal, Used};
use super::{KeyOp, KeyRef, Selector};
use crate::Hsm;
use crate::rbac::{Permit, act};

/// What is to be signed.
#[derive(Debug)]
pub struct SignRequest {
    /// With which version.
    pub version: Selector,
    /// How.
    pub algorithm: SignAlgorithm,
    /// The digest; for RSNULL and MACs the bytes themselves.
    pub input: Vec<u8>,
}

/// A signature.
#[derive(Debug)]
pub struct Signed {
    /// What made it.
    pub used: Used,
    /// The signature or MAC.
    pub signature: Vec<u8>,
}

impl Hsm {
    /// Signs with the permit's key. `found` is told the version before anything is done with it,
    /// or refused.
    pub async fn sign(
        self: &Arc<Self>,
        permit: &Permit<act::KeysSign>,
        request: SignRequest,
        found: impl FnOnce(KeyRef),
    ) -> Result<Signed, UseRefusal> {
        let SignRequest { version, algorithm, input } = request;
        let used = self.find_for_use(permit, version, KeyOp::Sign, found)?;
        let opened = self.open_used(used)?;
        check_input(algorithm, opened.version().record.spec, input.len())?;
        let used = opened.used.clone();
        let signature = self
            .work(permit, opened, KeyUse::Sign, move |handle| handle.sign(algorithm, &input))
            .await?;
        Ok(Signed { used, signature })
    }
}

/// Whether the algorithm fits the key, and the input the algorithm.
pub(super) fn check_input(
    algorithm: SignAlgorithm,
    spec: KeySpec,
    given: usize,
) -> Result<(), UseRefusal> {
    let name = algorithm.name();
    if !algorithm.fits(spec) {
        return Err(UseRefusal::AlgorithmDoesNotFit { algorithm: name });
    }
    match algorithm.input_length(spec) {
        DigestLength::Exactly(expected) if given != expected => {
            Err(UseRefusal::DigestLength { algorithm: name, expected, given })
        }
        DigestLength::AtMost(most) if given > most => {
            Err(UseRefusal::InputTooLong { algorithm: name, most, given })
        }
        DigestLength::Exactly(_) | DigestLength::AtMost(_) => Ok(()),
    }
}
