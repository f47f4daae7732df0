//! Symmetric keys: AES-GCM, AES-CBC, AES key wrap and HMAC.
//!
//! Every failure to decrypt is the same error and takes the same way out, [`Key::decrypt`]'s last
//! line. What each mode leaves to a stopwatch is said in its file.

pub(crate) mod cbc;
mod gcm;
mod kw;
mod mac;

pub use cbc::without_padding;

use casemate_engine_port::{
    CipherAlgorithm, Cost, DecryptInput, Decrypted, EncryptInput, Encrypted, EngineError,
    KeyHandle, KeySpec, KeyUse, OctSize, OperationError, PublicPart, Secret, SignAlgorithm,
};

use crate::engine::Made;
use crate::public::MISFIT;

/// A length that no symmetric key has.
pub(crate) const BAD_LENGTH: EngineError =
    EngineError::BadKey("a symmetric key must have 16, 24 or 32 bytes");

/// Makes a key.
pub(crate) fn generate(size: OctSize) -> Made {
    let mut key = vec![0; size.bytes()];
    crate::random(&mut key);
    Made { spec: KeySpec::Oct(size), public: PublicPart::Oct, material: Secret::new(key) }
}

/// Takes a key in; its length decides its size, its content is not judged.
pub(crate) fn import(key: Secret) -> Result<Made, EngineError> {
    let size = OctSize::ALL.into_iter().find(|size| size.bytes() == key.len()).ok_or(BAD_LENGTH)?;
    Ok(Made { spec: KeySpec::Oct(size), public: PublicPart::Oct, material: key })
}

/// An opened symmetric key. GCM's tables are kept; the key schedules of the other modes cost
/// well under a microsecond and are made where they are used.
pub(crate) struct Key {
    size: OctSize,
    secret: Secret,
    gcm: gcm::Key,
}

impl Key {
    pub(crate) fn from_material(size: OctSize, secret: Secret) -> Result<Self, EngineError> {
        if secret.len() != size.bytes() {
            return Err(EngineError::NotAuthentic);
        }
        let gcm = gcm::Key::new(size, &secret);
        Ok(Self { size, secret, gcm })
    }

    fn check(&self, algorithm: CipherAlgorithm) -> Result<(), OperationError> {
        if algorithm.fits(KeySpec::Oct(self.size)) { Ok(()) } else { Err(MISFIT) }
    }
}

impl KeyHandle for Key {
    fn cost(&self, _key_use: KeyUse) -> Cost {
        Cost::Inline
    }

    fn sign(&self, algorithm: SignAlgorithm, input: &[u8]) -> Result<Vec<u8>, OperationError> {
        mac::sign(&self.secret, algorithm, input)
    }

    fn verify(
        &self,
        algorithm: SignAlgorithm,
        input: &[u8],
        signature: &[u8],
    ) -> Result<bool, OperationError> {
        mac::verify(&self.secret, algorithm, input, signature)
    }

    fn encrypt(
        &self,
        algorithm: CipherAlgorithm,
        input: EncryptInput<'_>,
    ) -> Result<Encrypted, OperationError> {
        self.check(algorithm)?;
        let plaintext = input.plaintext;
        let ciphertext = match algorithm {
            CipherAlgorithm::AesGcm(_) => return self.gcm.encrypt(input),
            CipherAlgorithm::AesCbc(_) => {
                no_aad(input.aad, None)?;
                cbc::encrypt(self.size, &self.secret, cbc::iv(input.iv)?, plaintext)?
            }
            CipherAlgorithm::AesCbcPad(_) => {
                no_aad(input.aad, None)?;
                cbc::encrypt_padded(self.size, &self.secret, cbc::iv(input.iv)?, plaintext)?
            }
            CipherAlgorithm::AesKw(_) | CipherAlgorithm::CkmAesKeyWrap => {
                bare(input.iv, input.aad, None)?;
                kw::wrap(self.size, &self.secret, plaintext)?
            }
            CipherAlgorithm::CkmAesKeyWrapPad => {
                bare(input.iv, input.aad, None)?;
                kw::wrap_padded(self.size, &self.secret, plaintext)?
            }
            CipherAlgorithm::RsaOaep256 | CipherAlgorithm::RsaOaep | CipherAlgorithm::Rsa15 => {
                return Err(MISFIT);
            }
        };
        Ok(Encrypted { ciphertext, tag: None })
    }

    fn decrypt(
        &self,
        algorithm: CipherAlgorithm,
        input: DecryptInput<'_>,
    ) -> Result<Decrypted, OperationError> {
        self.check(algorithm)?;
        let ciphertext = input.ciphertext;
        let opened = match algorithm {
            CipherAlgorithm::AesGcm(_) => self.gcm.decrypt(input)?,
            CipherAlgorithm::AesCbc(_) => {
                no_aad(input.aad, input.tag)?;
                cbc::decrypt(self.size, &self.secret, cbc::iv(input.iv)?, ciphertext)
            }
            CipherAlgorithm::AesCbcPad(_) => {
                no_aad(input.aad, input.tag)?;
                cbc::decrypt_padded(self.size, &self.secret, cbc::iv(input.iv)?, ciphertext)
            }
            CipherAlgorithm::AesKw(_) | CipherAlgorithm::CkmAesKeyWrap => {
                bare(input.iv, input.aad, input.tag)?;
                kw::unwrap(self.size, &self.secret, ciphertext)
            }
            CipherAlgorithm::CkmAesKeyWrapPad => {
                bare(input.iv, input.aad, input.tag)?;
                kw::unwrap_padded(self.size, &self.secret, ciphertext)
            }
            CipherAlgorithm::RsaOaep256 | CipherAlgorithm::RsaOaep | CipherAlgorithm::Rsa15 => {
                return Err(MISFIT);
            }
        };
        opened.ok_or(OperationError::DecryptionFailed)
    }
}

fn no_aad(aad: Option<&[u8]>, tag: Option<&[u8]>) -> Result<(), OperationError> {
    if aad.is_none() && tag.is_none() {
        return Ok(());
    }
    Err(OperationError::BadInput("only AES-GCM takes additional data and a tag"))
}

fn bare(iv: Option<&[u8]>, aad: Option<&[u8]>, tag: Option<&[u8]>) -> Result<(), OperationError> {
    if iv.is_some() {
        return Err(OperationError::BadInput("key wrapping takes no initialization vector"));
    }
    no_aad(aad, tag)
}
