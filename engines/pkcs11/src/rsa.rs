//! RSA keys: the private operation in the token, the public one here.
//!
//! A signature has been verified before it leaves. RS256 to RS512 and RSNULL are one mechanism of
//! the token, CKM_RSA_PKCS, which pads whatever it is given; the DigestInfo is put in front here
//! (RFC 8017, 9.2, note 1). A ciphertext that is no number below the modulus is refused here, so
//! that the token's answer to it is never asked for.

use aws_lc_rs::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use casemate_engine_port::{
    CipherAlgorithm, Cost, DecryptInput, Decrypted, DigestLength, EncryptInput, Encrypted,
    EngineError, KeyHandle, KeySpec, KeyUse, OperationError, PublicPart, RsaSize, Secret,
    SignAlgorithm,
};
use casemate_engine_soft::PublicKey;
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};

use crate::engine::{DIGEST_LENGTH, MISFIT};
use crate::key::KeyObject;
use crate::oaep;

const SHA256_INFO: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];
const SHA384_INFO: [u8; 19] = [
    0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05,
    0x00, 0x04, 0x30,
];
const SHA512_INFO: [u8; 19] = [
    0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05,
    0x00, 0x04, 0x40,
];

const NO_EXTRAS: OperationError =
    OperationError::BadInput("RSA takes no initialization vector, additional data or tag");

/// Who takes OAEP's encoding apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Oaep {
    /// The token, with the private operation.
    InToken,
    /// This crate, after CKM_RSA_X_509.
    Here,
}

/// Both hashes' answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OaepWays {
    pub(crate) sha1: Oaep,
    pub(crate) sha256: Oaep,
}

/// An RSA key in the token.
pub(crate) struct Key {
    size: RsaSize,
    modulus: Vec<u8>,
    public: PublicKey,
    key: KeyObject,
    oaep: OaepWays,
}

impl Key {
    pub(crate) fn new(
        size: RsaSize,
        part: &PublicPart,
        key: KeyObject,
        oaep: OaepWays,
    ) -> Result<Self, EngineError> {
        let spec = KeySpec::Rsa(size);
        let public = PublicKey::from_part(spec, part).map_err(|_| EngineError::NotAuthentic)?;
        let PublicPart::Rsa { n, .. } = part else { return Err(EngineError::NotAuthentic) };
        Ok(Self { size, modulus: n.clone(), public, key, oaep })
    }

    fn decrypt_oaep(
        &self,
        way: Oaep,
        hash: &'static Algorithm,
        params: PkcsOaepParams<'_>,
        ciphertext: &[u8],
    ) -> Result<Decrypted, OperationError> {
        match way {
            Oaep::InToken => self.private(&Mechanism::RsaPkcsOaep(params), ciphertext),
            Oaep::Here => {
                let mut block = self.private(&Mechanism::RsaX509, ciphertext)?;
                if block.len() < self.size.bytes() {
                    // Some tokens give a number, without the zeros in front.
                    let mut whole = vec![0; self.size.bytes()];
                    whole[self.size.bytes() - block.len()..].copy_from_slice(block.expose());
                    block = Secret::new(whole);
                }
                oaep::open(hash, &block).ok_or(OperationError::DecryptionFailed)
            }
        }
    }

    fn private(
        &self,
        mechanism: &Mechanism<'_>,
        ciphertext: &[u8],
    ) -> Result<Decrypted, OperationError> {
        self.key
            .with(|session, key| session.decrypt(mechanism, key, ciphertext).map(Secret::new))
            .map_err(|fault| fault.decryption("RSA decryption"))
    }
}

impl KeyHandle for Key {
    fn cost(&self, key_use: KeyUse) -> Cost {
        match key_use {
            KeyUse::Sign | KeyUse::Decrypt => Cost::Pool,
            KeyUse::Verify | KeyUse::Encrypt => Cost::Inline,
        }
    }

    fn sign(&self, algorithm: SignAlgorithm, input: &[u8]) -> Result<Vec<u8>, OperationError> {
        let (mechanism, data) = prepared(self.size, algorithm, input)?;
        let signature = self
            .key
            .with(|session, key| session.sign(&mechanism, key, &data))
            .map_err(|fault| fault.operation("RSA signing"))?;
        if !self.public.verify(algorithm, input, &signature)? {
            return Err(OperationError::Failed("RSA signing: the signature did not verify"));
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
        algorithm: CipherAlgorithm,
        input: EncryptInput<'_>,
    ) -> Result<Encrypted, OperationError> {
        if input.iv.is_some() || input.aad.is_some() {
            return Err(NO_EXTRAS);
        }
        let ciphertext = self.public.encrypt(algorithm, input.plaintext)?;
        Ok(Encrypted { ciphertext, tag: None })
    }

    fn decrypt(
        &self,
        algorithm: CipherAlgorithm,
        input: DecryptInput<'_>,
    ) -> Result<Decrypted, OperationError> {
        if input.iv.is_some() || input.aad.is_some() || input.tag.is_some() {
            return Err(NO_EXTRAS);
        }
        if !algorithm.fits(KeySpec::Rsa(self.size)) {
            return Err(MISFIT);
        }
        let ciphertext = input.ciphertext;
        if ciphertext.len() != self.size.bytes() || ciphertext >= self.modulus.as_slice() {
            return Err(OperationError::DecryptionFailed);
        }
        let source = PkcsOaepSource::empty();
        match algorithm {
            CipherAlgorithm::RsaOaep256 => {
                let params =
                    PkcsOaepParams::new(MechanismType::SHA256, PkcsMgfType::MGF1_SHA256, source);
                self.decrypt_oaep(self.oaep.sha256, &SHA256, params, ciphertext)
            }
            CipherAlgorithm::RsaOaep => {
                let params =
                    PkcsOaepParams::new(MechanismType::SHA1, PkcsMgfType::MGF1_SHA1, source);
                let hash = &SHA1_FOR_LEGACY_USE_ONLY;
                self.decrypt_oaep(self.oaep.sha1, hash, params, ciphertext)
            }
            CipherAlgorithm::Rsa15 => self.private(&Mechanism::RsaPkcs, ciphertext),
            _ => Err(MISFIT),
        }
    }
}

/// The token's mechanism, and what it is given.
fn prepared(
    size: RsaSize,
    algorithm: SignAlgorithm,
    input: &[u8],
) -> Result<(Mechanism<'static>, Vec<u8>), OperationError> {
    let spec = KeySpec::Rsa(size);
    if !algorithm.fits(spec) {
        return Err(MISFIT);
    }
    match algorithm.input_length(spec) {
        DigestLength::Exactly(length) if input.len() != length => return Err(DIGEST_LENGTH),
        DigestLength::AtMost(most) if input.len() > most => {
            return Err(OperationError::BadInput("the value is too long for one RSA block"));
        }
        DigestLength::Exactly(_) | DigestLength::AtMost(_) => {}
    }
    let pss = |hash_alg, mgf| {
        let s_len = u64::try_from(input.len()).unwrap_or(u64::MAX).into();
        Mechanism::RsaPkcsPss(PkcsPssParams { hash_alg, mgf, s_len })
    };
    Ok(match algorithm {
        SignAlgorithm::Rs256 => (Mechanism::RsaPkcs, [&SHA256_INFO, input].concat()),
        SignAlgorithm::Rs384 => (Mechanism::RsaPkcs, [&SHA384_INFO, input].concat()),
        SignAlgorithm::Rs512 => (Mechanism::RsaPkcs, [&SHA512_INFO, input].concat()),
        SignAlgorithm::RsNull => (Mechanism::RsaPkcs, input.to_vec()),
        SignAlgorithm::Ps256 => {
            (pss(MechanismType::SHA256, PkcsMgfType::MGF1_SHA256), input.to_vec())
        }
        SignAlgorithm::Ps384 => {
            (pss(MechanismType::SHA384, PkcsMgfType::MGF1_SHA384), input.to_vec())
        }
        SignAlgorithm::Ps512 => {
            (pss(MechanismType::SHA512, PkcsMgfType::MGF1_SHA512), input.to_vec())
        }
        _ => return Err(MISFIT),
    })
}
