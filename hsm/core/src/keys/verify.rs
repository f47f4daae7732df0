//! Verify a signature.

use std::sync::Arc;

use casemate_engine_port::{KeyUse, SignAlgorithm};

use super::sign::check_input;
use super::use_key::{UseRefusal, Used};
use super::{KeyOp, KeyRef, Selector};
use crate::Hsm;
use crate::rbac::{Permit, act};

/// What is to be verified.
#[derive(Debug)]
pub struct VerifyRequest {
    /// With which version.
    pub version: Selector,
    /// How.
    pub algorithm: SignAlgorithm,
    /// The digest; for RSNULL and MACs the bytes themselves.
    pub input: Vec<u8>,
    /// The signature or MAC.
    pub signature: Vec<u8>,
}

/// An answer: a wrong signature is one too.
#[derive(Debug)]
pub struct Verified {
    /// What verified it.
    pub used: Used,
    /// Whether it is right.
    pub valid: bool,
}

impl Hsm {
    /// Verifies with the permit's key. `found` is told the version before anything is done with
    /// it, or refused.
    pub async fn verify(
        self: &Arc<Self>,
        permit: &Permit<act::KeysVerify>,
        request: VerifyRequest,
        found: impl FnOnce(KeyRef),
    ) -> Result<Verified, UseRefusal> {
        let VerifyRequest { version, algorithm, input, signature } = request;
        let used = self.find_for_use(permit, version, KeyOp::Verify, found)?;
        let opened = self.open_used(used)?;
        check_input(algorithm, opened.version().record.spec, input.len())?;
        let used = opened.used.clone();
        let valid = self
            .work(permit, opened, KeyUse::Verify, move |handle| {
                handle.verify(algorithm, &input, &signature)
            })
            .await?;
        Ok(Verified { used, valid })
    }
}
