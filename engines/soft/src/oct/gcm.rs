//! AES-GCM with a 12-byte vector and a 16-byte tag.
//!
//! Timing: the tag is compared in constant time, and a wrong one is found after the whole
//! ciphertext was processed. The time tells the length, which the caller knows.

use aws_lc_rs::aead::{
    AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};
use casemate_engine_port::{
    DecryptInput, EncryptInput, Encrypted, OctSize, OperationError, Secret,
};
use zeroize::{Zeroize, Zeroizing};

use crate::aead::TAG_BYTES;

/// The expanded key; AWS-LC wipes it when it is freed.
pub(super) struct Key(LessSafeKey);

impl Key {
    pub(super) fn new(size: OctSize, secret: &Secret) -> Self {
        let algorithm = match size {
            OctSize::B128 => &AES_128_GCM,
            OctSize::B192 => &AES_192_GCM,
            OctSize::B256 => &AES_256_GCM,
        };
        let key = UnboundKey::new(algorithm, secret.expose())
            .expect("the key has the length of its size");
        Self(LessSafeKey::new(key))
    }

    pub(super) fn encrypt(&self, input: EncryptInput<'_>) -> Result<Encrypted, OperationError> {
        let aad = Aad::from(input.aad.unwrap_or_default());
        let mut text = input.plaintext.to_vec();
        match self.0.seal_in_place_separate_tag(nonce(input.iv)?, aad, &mut text) {
            Ok(tag) => Ok(Encrypted { ciphertext: text, tag: Some(tag.as_ref().to_vec()) }),
            Err(_) => {
                text.zeroize();
                Err(OperationError::Failed("AES-GCM encryption"))
            }
        }
    }

    /// `None` if it does not decrypt.
    pub(super) fn decrypt(
        &self,
        input: DecryptInput<'_>,
    ) -> Result<Option<Secret>, OperationError> {
        let tag = input
            .tag
            .filter(|tag| tag.len() == TAG_BYTES)
            .ok_or(OperationError::BadInput("AES-GCM asks for a tag of 16 bytes"))?;
        let nonce = nonce(input.iv)?;
        let aad = Aad::from(input.aad.unwrap_or_default());
        let mut text = Zeroizing::new(input.ciphertext.to_vec());
        let opened = self.0.open_in_place_separate_tag(nonce, aad, tag, &mut text).is_ok();
        Ok(opened.then(|| Secret::new(std::mem::take(&mut *text))))
    }
}

fn nonce(iv: Option<&[u8]>) -> Result<Nonce, OperationError> {
    let iv = iv
        .and_then(|iv| <[u8; NONCE_LEN]>::try_from(iv).ok())
        .ok_or(OperationError::BadInput("AES-GCM asks for an initialization vector of 12 bytes"))?;
    Ok(Nonce::assume_unique_for_key(iv))
}
