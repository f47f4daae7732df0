//! Public keys: verification, and RSA encryption, with nothing secret at hand.
//!
//! The handles of the engine verify and encrypt through these same types.

use casemate_engine_port::{
    CipherAlgorithm, EngineError, KeySpec, OperationError, PublicPart, SignAlgorithm,
};

use crate::{ec, rsa};

/// A public key that was checked to be one of its kind.
pub struct PublicKey(Kind);

enum Kind {
    Rsa(Box<rsa::Public>),
    Ec(ec::Public),
}

impl PublicKey {
    /// Reads a public part. The kind is told separately because coordinates do not name a curve.
    pub fn from_part(spec: KeySpec, part: &PublicPart) -> Result<Self, EngineError> {
        match (spec, part) {
            (KeySpec::Rsa(size), PublicPart::Rsa { n, e }) => {
                Ok(Self(Kind::Rsa(Box::new(rsa::Public::from_part(size, n, e)?))))
            }
            (KeySpec::Ec(curve), PublicPart::Ec { x, y }) => {
                Ok(Self(Kind::Ec(ec::Public::from_part(curve, x, y)?)))
            }
            _ => Err(EngineError::BadKey("the public part is not one of this kind of key")),
        }
    }

    /// Whether the signature is right. A wrong one, of whatever form, is `false`.
    pub fn verify(
        &self,
        algorithm: SignAlgorithm,
        input: &[u8],
        signature: &[u8],
    ) -> Result<bool, OperationError> {
        match &self.0 {
            Kind::Rsa(key) => key.verify(algorithm, input, signature),
            Kind::Ec(key) => key.verify(algorithm, input, signature),
        }
    }

    /// Encrypts with an RSA key.
    pub fn encrypt(
        &self,
        algorithm: CipherAlgorithm,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, OperationError> {
        match &self.0 {
            Kind::Rsa(key) => key.encrypt(algorithm, plaintext),
            Kind::Ec(_) => Err(MISFIT),
        }
    }
}

/// What every family says to an algorithm of another.
pub(crate) const MISFIT: OperationError =
    OperationError::BadInput("the algorithm does not fit the key");

/// What every family says to an input of the wrong length.
pub(crate) const DIGEST_LENGTH: OperationError =
    OperationError::BadInput("the digest does not have the length that the algorithm asks for");
