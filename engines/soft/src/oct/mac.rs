//! HMAC with SHA-2 (RFC 2104). Tags are never truncated and are compared in constant time.

use aws_lc_rs::hmac::{self, HMAC_SHA256, HMAC_SHA384, HMAC_SHA512};
use casemate_engine_port::{OperationError, Secret, SignAlgorithm};

use crate::public::MISFIT;

/// The tag of the message.
pub(super) fn sign(
    secret: &Secret,
    algorithm: SignAlgorithm,
    message: &[u8],
) -> Result<Vec<u8>, OperationError> {
    let key = key(secret, algorithm)?;
    Ok(hmac::sign(&key, message).as_ref().to_vec())
}

/// Whether the tag is that of the message.
pub(super) fn verify(
    secret: &Secret,
    algorithm: SignAlgorithm,
    message: &[u8],
    tag: &[u8],
) -> Result<bool, OperationError> {
    let key = key(secret, algorithm)?;
    Ok(hmac::verify(&key, message, tag).is_ok())
}

fn key(secret: &Secret, algorithm: SignAlgorithm) -> Result<hmac::Key, OperationError> {
    let algorithm = match algorithm {
        SignAlgorithm::Hs256 => HMAC_SHA256,
        SignAlgorithm::Hs384 => HMAC_SHA384,
        SignAlgorithm::Hs512 => HMAC_SHA512,
        _ => return Err(MISFIT),
    };
    Ok(hmac::Key::new(algorithm, secret.expose()))
}
