//! Symmetric keys: AES-GCM, AES-CBC, AES key wrap and HMAC with the key in the token.
//!
//! Tokens want a key of another type for HMAC than for AES, so a symmetric key is up to two objects
//! here. Some (SoftHSM2) refuse HMAC keys as short as AES keys are; there the MAC key of a new key
//! is a second secret, made at the same moment, and that of an imported one the same bytes with
//! zeros behind them, which give the same MACs (RFC 2104, 2).

use casemate_engine_port::{
    CipherAlgorithm, Cost, DecryptInput, Decrypted, EncryptInput, Encrypted, KeyHandle, KeySpec,
    KeyUse, OctSize, OperationError, Secret, SignAlgorithm,
};
use casemate_engine_soft::without_padding;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::engine::MISFIT;
use crate::key::KeyObject;
use crate::kw::{self, Padding};

const BLOCK_BYTES: usize = 16;
const GCM_IV_BYTES: usize = 12;
const GCM_TAG_BITS: u64 = 128;
const GCM_TAG_BYTES: usize = 16;
const STEP: &str = "AES in the token";

/// A symmetric key in the token.
pub(crate) struct Key {
    size: OctSize,
    cipher: KeyObject,
    mac: KeyObject,
}

impl Key {
    pub(crate) fn new(size: OctSize, cipher: KeyObject, mac: KeyObject) -> Self {
        Self { size, cipher, mac }
    }

    fn encrypt_gcm(&self, input: EncryptInput<'_>) -> Result<Encrypted, OperationError> {
        let iv = gcm_iv(input.iv)?;
        let aad = input.aad.unwrap_or_default();
        let sealed = self.cipher.with(|session, key| {
            let mut iv = iv;
            let params = GcmParams::new(&mut iv, aad, GCM_TAG_BITS.into())?;
            session.encrypt(&Mechanism::AesGcm(params), key, input.plaintext)
        });
        let mut ciphertext = sealed.map_err(|fault| fault.operation(STEP))?;
        if ciphertext.len() != input.plaintext.len() + GCM_TAG_BYTES {
            return Err(OperationError::Failed("AES-GCM: a ciphertext of another length"));
        }
        let tag = ciphertext.split_off(input.plaintext.len());
        Ok(Encrypted { ciphertext, tag: Some(tag) })
    }

    fn decrypt_gcm(&self, input: DecryptInput<'_>) -> Result<Decrypted, OperationError> {
        let tag = input
            .tag
            .filter(|tag| tag.len() == GCM_TAG_BYTES)
            .ok_or(OperationError::BadInput("AES-GCM asks for a tag of 16 bytes"))?;
        let iv = gcm_iv(input.iv)?;
        let aad = input.aad.unwrap_or_default();
        let sealed = [input.ciphertext, tag].concat();
        let opened = self.cipher.with(|session, key| {
            let mut iv = iv;
            let params = GcmParams::new(&mut iv, aad, GCM_TAG_BITS.into())?;
            session.decrypt(&Mechanism::AesGcm(params), key, &sealed).map(Secret::new)
        });
        opened.map_err(|fault| fault.decryption(STEP))
    }

    fn encrypt_cbc(&self, iv: [u8; BLOCK_BYTES], text: &[u8]) -> Result<Vec<u8>, OperationError> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        self.cipher
            .with(|session, key| session.encrypt(&Mechanism::AesCbc(iv), key, text))
            .map_err(|fault| fault.operation(STEP))
    }

    fn decrypt_cbc(
        &self,
        iv: [u8; BLOCK_BYTES],
        ciphertext: &[u8],
    ) -> Result<Secret, OperationError> {
        if !ciphertext.len().is_multiple_of(BLOCK_BYTES) {
            return Err(OperationError::DecryptionFailed);
        }
        if ciphertext.is_empty() {
            return Ok(Secret::new(Vec::new()));
        }
        self.cipher
            .with(|session, key| {
                session.decrypt(&Mechanism::AesCbc(iv), key, ciphertext).map(Secret::new)
            })
            .map_err(|fault| fault.decryption(STEP))
    }

    fn wrap(&self, padding: Padding, plaintext: &[u8]) -> Result<Vec<u8>, OperationError> {
        let length = plaintext.len();
        if padding == Padding::None && (length < 16 || !length.is_multiple_of(8)) {
            return Err(OperationError::BadInput(
                "AES key wrap asks for at least 16 bytes and a multiple of 8",
            ));
        }
        if length == 0 || length > kw::BYTES_MAX {
            return Err(TOO_LONG);
        }
        self.cipher
            .with(|session, key| kw::wrap(session, key, padding, plaintext))
            .map_err(|fault| fault.operation(STEP))
    }

    fn unwrap(&self, padding: Padding, ciphertext: &[u8]) -> Result<Secret, OperationError> {
        if ciphertext.len() > kw::BYTES_MAX + 8 {
            return Err(TOO_LONG);
        }
        self.cipher
            .with(|session, key| kw::unwrap(session, key, padding, ciphertext))
            .map_err(|fault| fault.decryption(STEP))?
            .ok_or(OperationError::DecryptionFailed)
    }
}

const TOO_LONG: OperationError =
    OperationError::BadInput("AES key wrap in the token asks for 1 to 4096 bytes");

impl KeyHandle for Key {
    fn cost(&self, _key_use: KeyUse) -> Cost {
        Cost::Pool
    }

    fn sign(&self, algorithm: SignAlgorithm, input: &[u8]) -> Result<Vec<u8>, OperationError> {
        let mechanism = match algorithm {
            SignAlgorithm::Hs256 => Mechanism::Sha256Hmac,
            SignAlgorithm::Hs384 => Mechanism::Sha384Hmac,
            SignAlgorithm::Hs512 => Mechanism::Sha512Hmac,
            _ => return Err(MISFIT),
        };
        self.mac
            .with(|session, key| session.sign(&mechanism, key, input))
            .map_err(|fault| fault.operation("HMAC in the token"))
    }

    fn verify(
        &self,
        algorithm: SignAlgorithm,
        input: &[u8],
        signature: &[u8],
    ) -> Result<bool, OperationError> {
        let right = Zeroizing::new(self.sign(algorithm, input)?);
        Ok(right.as_slice().ct_eq(signature).into())
    }

    fn encrypt(
        &self,
        algorithm: CipherAlgorithm,
        input: EncryptInput<'_>,
    ) -> Result<Encrypted, OperationError> {
        if !algorithm.fits(KeySpec::Oct(self.size)) {
            return Err(MISFIT);
        }
        let plaintext = input.plaintext;
        let ciphertext = match algorithm {
            CipherAlgorithm::AesGcm(_) => return self.encrypt_gcm(input),
            CipherAlgorithm::AesCbc(_) => {
                no_aad(input.aad, None)?;
                let iv = cbc_iv(input.iv)?;
                if !plaintext.len().is_multiple_of(BLOCK_BYTES) {
                    return Err(OperationError::BadInput(
                        "AES-CBC without padding asks for a length that is a multiple of 16 bytes",
                    ));
                }
                self.encrypt_cbc(iv, plaintext)?
            }
            CipherAlgorithm::AesCbcPad(_) => {
                no_aad(input.aad, None)?;
                self.encrypt_cbc(cbc_iv(input.iv)?, &padded(plaintext))?
            }
            CipherAlgorithm::AesKw(_) | CipherAlgorithm::CkmAesKeyWrap => {
                bare(input.iv, input.aad, None)?;
                self.wrap(Padding::None, plaintext)?
            }
            CipherAlgorithm::CkmAesKeyWrapPad => {
                bare(input.iv, input.aad, None)?;
                self.wrap(Padding::Some, plaintext)?
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
        if !algorithm.fits(KeySpec::Oct(self.size)) {
            return Err(MISFIT);
        }
        let ciphertext = input.ciphertext;
        match algorithm {
            CipherAlgorithm::AesGcm(_) => self.decrypt_gcm(input),
            CipherAlgorithm::AesCbc(_) => {
                no_aad(input.aad, input.tag)?;
                self.decrypt_cbc(cbc_iv(input.iv)?, ciphertext)
            }
            CipherAlgorithm::AesCbcPad(_) => {
                no_aad(input.aad, input.tag)?;
                let text = self.decrypt_cbc(cbc_iv(input.iv)?, ciphertext)?;
                without_padding(&text).ok_or(OperationError::DecryptionFailed)
            }
            CipherAlgorithm::AesKw(_) | CipherAlgorithm::CkmAesKeyWrap => {
                bare(input.iv, input.aad, input.tag)?;
                self.unwrap(Padding::None, ciphertext)
            }
            CipherAlgorithm::CkmAesKeyWrapPad => {
                bare(input.iv, input.aad, input.tag)?;
                self.unwrap(Padding::Some, ciphertext)
            }
            CipherAlgorithm::RsaOaep256 | CipherAlgorithm::RsaOaep | CipherAlgorithm::Rsa15 => {
                Err(MISFIT)
            }
        }
    }
}

/// PKCS #7 (RFC 5652, 6.3).
fn padded(plaintext: &[u8]) -> Zeroizing<Vec<u8>> {
    let padding = BLOCK_BYTES - plaintext.len() % BLOCK_BYTES;
    let byte = u8::try_from(padding).expect("padding is at most one block");
    let mut text = Zeroizing::new(Vec::with_capacity(plaintext.len() + padding));
    text.extend_from_slice(plaintext);
    text.resize(plaintext.len() + padding, byte);
    text
}

fn gcm_iv(iv: Option<&[u8]>) -> Result<[u8; GCM_IV_BYTES], OperationError> {
    iv.and_then(|iv| iv.try_into().ok())
        .ok_or(OperationError::BadInput("AES-GCM asks for an initialization vector of 12 bytes"))
}

fn cbc_iv(iv: Option<&[u8]>) -> Result<[u8; BLOCK_BYTES], OperationError> {
    iv.and_then(|iv| iv.try_into().ok())
        .ok_or(OperationError::BadInput("AES-CBC asks for an initialization vector of 16 bytes"))
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
