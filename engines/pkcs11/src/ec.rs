//! EC keys: CKM_ECDSA in the token over a digest, verification here. The token's signature is r ‖ s
//! of the field's length each, as the port wants it (PKCS #11 3.1, 6.3.1).

use casemate_engine_port::{
    CipherAlgorithm, Cost, Curve, DecryptInput, Decrypted, DigestLength, EncryptInput, Encrypted,
    EngineError, KeyHandle, KeySpec, KeyUse, OperationError, PublicPart, SignAlgorithm,
};
use casemate_engine_soft::PublicKey;
use cryptoki::mechanism::Mechanism;

use crate::engine::{DIGEST_LENGTH, MISFIT};
use crate::key::KeyObject;

/// An EC key in the token.
pub(crate) struct Key {
    curve: Curve,
    public: PublicKey,
    key: KeyObject,
}

impl Key {
    pub(crate) fn new(
        curve: Curve,
        part: &PublicPart,
        key: KeyObject,
    ) -> Result<Self, EngineError> {
        let spec = KeySpec::Ec(curve);
        let public = PublicKey::from_part(spec, part).map_err(|_| EngineError::NotAuthentic)?;
        Ok(Self { curve, public, key })
    }
}

impl KeyHandle for Key {
    fn cost(&self, key_use: KeyUse) -> Cost {
        match (self.curve, key_use) {
            (Curve::P256, KeyUse::Verify) => Cost::Inline,
            (_, KeyUse::Verify) => Cost::PoolUnderLoad,
            _ => Cost::Pool,
        }
    }

    fn sign(&self, algorithm: SignAlgorithm, input: &[u8]) -> Result<Vec<u8>, OperationError> {
        let spec = KeySpec::Ec(self.curve);
        if !algorithm.fits(spec) {
            return Err(MISFIT);
        }
        if algorithm.input_length(spec) != DigestLength::Exactly(input.len()) {
            return Err(DIGEST_LENGTH);
        }
        let signature = self
            .key
            .with(|session, key| session.sign(&Mechanism::Ecdsa, key, input))
            .map_err(|fault| fault.operation("ECDSA signing"))?;
        if signature.len() != 2 * self.curve.field_bytes() {
            return Err(OperationError::Failed("ECDSA signing: a signature of another length"));
        }
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
        _algorithm: CipherAlgorithm,
        _input: EncryptInput<'_>,
    ) -> Result<Encrypted, OperationError> {
        Err(MISFIT)
    }

    fn decrypt(
        &self,
        _algorithm: CipherAlgorithm,
        _input: DecryptInput<'_>,
    ) -> Result<Decrypted, OperationError> {
        Err(MISFIT)
    }
}
