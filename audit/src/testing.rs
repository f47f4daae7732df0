//! A signer for the crate's own tests.

use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

use crate::{Anchor, Ledger, Signer};

pub(crate) struct TestSigner(Ed25519KeyPair);

impl TestSigner {
    pub(crate) fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }
}

impl Signer for TestSigner {
    fn public_key(&self) -> [u8; 32] {
        self.0.public_key().as_ref().try_into().unwrap()
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).as_ref().try_into().unwrap()
    }
}

pub(crate) fn ledger() -> Ledger {
    anchored(None)
}

pub(crate) fn anchored(anchor: Option<Anchor>) -> Ledger {
    Ledger::new("test/log", Arc::new(TestSigner::new(1)), String::new(), anchor).unwrap()
}
