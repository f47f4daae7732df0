//! RSNULL: PKCS #1 v1.5 block type 1 over the caller's bytes, without a DigestInfo.
//!
//! `aws-lc-rs` offers no private operation without a digest, so this one algorithm goes through
//! the `rsa` crate: with blinding of base, exponent and moduli from AWS-LC's generator, and with
//! its fault check (`rsa_decrypt_and_check`). It is about four times slower than AWS-LC.

use aws_lc_rs::rsa::PublicKeyComponents;
use casemate_engine_port::{OperationError, RsaSize};
use rsa::pkcs8::DecodePrivateKey;
use rsa::{BoxedUint, Pkcs1v15Sign};

use crate::random::Generator;

/// What padding takes from a block: 00 01, at least eight FF, 00 (RFC 8017, 9.2).
const PADDING_BYTES: usize = 11;

/// The answer to an input that leaves no room for padding.
pub(super) const TOO_LONG: OperationError =
    OperationError::BadInput("the value is too long for RSNULL with a key of this size");

/// The longest input.
pub(super) fn input_bytes_max(size: RsaSize) -> usize {
    size.bytes() - PADDING_BYTES
}

/// A private key in the other library's form; it wipes itself when dropped.
pub(super) struct PrivateKey(rsa::PrivateKey);

impl PrivateKey {
    pub(super) fn from_pkcs8(der: &[u8]) -> Result<Self, OperationError> {
        rsa::PrivateKey::from_pkcs8_der(der)
            .map(Self)
            .map_err(|_| OperationError::Failed("RSA parsing"))
    }

    pub(super) fn sign(&self, input: &[u8]) -> Result<Vec<u8>, OperationError> {
        self.0
            .sign_with_rng(&mut Generator, Pkcs1v15Sign::new_unprefixed(), input)
            .map_err(|_| OperationError::Failed("RSNULL signing"))
    }
}

/// A public key in the other library's form.
pub(super) struct PublicKey(rsa::PublicKey);

impl PublicKey {
    pub(super) fn new(components: &PublicKeyComponents<Vec<u8>>) -> Result<Self, OperationError> {
        let n = BoxedUint::from_be_slice_vartime(&components.n);
        let e = BoxedUint::from_be_slice_vartime(&components.e);
        rsa::PublicKey::new(n, e).map(Self).map_err(|_| OperationError::Failed("RSA parsing"))
    }

    pub(super) fn verify(&self, input: &[u8], signature: &[u8]) -> bool {
        self.0.verify(Pkcs1v15Sign::new_unprefixed(), input, signature).is_ok()
    }
}
