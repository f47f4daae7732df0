//! What the tests of the trail share: a signer, and a trail that it signs.

use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use casemate_audit::{Anchor, Ledger, Origin, Signer, Trail, TrailError, VerifierKey, certify};

pub(crate) const ORIGIN: &str = "casemate/audit/dev/00/11";
pub(crate) const IDENTITY: &str = "casemate/hsm/dev/00";

pub(crate) struct Key(Ed25519KeyPair);

impl Key {
    pub(crate) fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }
}

impl Signer for Key {
    fn public_key(&self) -> [u8; 32] {
        self.0.public_key().as_ref().try_into().unwrap()
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).as_ref().try_into().unwrap()
    }
}

pub(crate) fn log_key() -> VerifierKey {
    VerifierKey::new(ORIGIN, Key::new(1).public_key()).unwrap()
}

pub(crate) fn identity_key() -> VerifierKey {
    VerifierKey::new(IDENTITY, Key::new(2).public_key()).unwrap()
}

pub(crate) fn ledger(anchor: Option<Anchor>) -> Ledger {
    let time = "2026-01-01T00:00:00Z";
    let certificate = certify(&log_key(), "dev 00", time, &identity_key(), &Key::new(2));
    Ledger::new(ORIGIN, Arc::new(Key::new(1)), certificate, anchor).unwrap()
}

pub(crate) fn open(dir: &Path) -> Result<Trail, TrailError> {
    anchored(dir, None)
}

pub(crate) fn anchored(dir: &Path, anchor: Option<Anchor>) -> Result<Trail, TrailError> {
    Trail::open(dir, &Origin::default(), ledger(anchor), Arc::new(|| 0))
}
