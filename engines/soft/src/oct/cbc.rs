//! AES-CBC with the caller's vector, without padding or with PKCS #7 (RFC 5652, 6.3).
//!
//! Timing: `aws-lc-rs` takes padding off byte by byte with early exits (`cipher/padded.rs`,
//! `remove_padding`), so the padding is judged here instead, in constant time over the last block.
//! What remains: a success copies the plaintext out, and the answer itself says whether the
//! padding was right. CBC has no integrity; whoever may call decrypt on such a key holds a padding
//! oracle for it, by the API's contract. AES-GCM has none.

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, AES_CBC_IV_LEN, DecryptingKey, DecryptionContext, EncryptingKey,
    EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use casemate_engine_port::{OctSize, OperationError, Secret};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq, ConstantTimeGreater};
use zeroize::{Zeroize, Zeroizing};

const BLOCK_BYTES: usize = 16;

/// An initialization vector of the right length.
pub(crate) type Iv = [u8; AES_CBC_IV_LEN];

/// Reads the vector, which must be there.
pub(super) fn iv(given: Option<&[u8]>) -> Result<Iv, OperationError> {
    given
        .and_then(|iv| Iv::try_from(iv).ok())
        .ok_or(OperationError::BadInput("AES-CBC asks for an initialization vector of 16 bytes"))
}

/// Encrypts whole blocks.
pub(super) fn encrypt(
    size: OctSize,
    secret: &Secret,
    iv: Iv,
    plaintext: &[u8],
) -> Result<Vec<u8>, OperationError> {
    if !plaintext.len().is_multiple_of(BLOCK_BYTES) {
        return Err(OperationError::BadInput(
            "AES-CBC without padding asks for a length that is a multiple of 16 bytes",
        ));
    }
    encrypt_blocks(size, secret, iv, plaintext.to_vec())
}

/// Pads, then encrypts.
pub(crate) fn encrypt_padded(
    size: OctSize,
    secret: &Secret,
    iv: Iv,
    plaintext: &[u8],
) -> Result<Vec<u8>, OperationError> {
    let padding = BLOCK_BYTES - plaintext.len() % BLOCK_BYTES;
    let mut text = Vec::with_capacity(plaintext.len() + padding);
    text.extend_from_slice(plaintext);
    let byte = u8::try_from(padding).expect("padding is at most one block");
    text.resize(plaintext.len() + padding, byte);
    encrypt_blocks(size, secret, iv, text)
}

/// Decrypts whole blocks; `None` if they are not whole.
pub(super) fn decrypt(size: OctSize, secret: &Secret, iv: Iv, ciphertext: &[u8]) -> Option<Secret> {
    let mut text = decrypt_blocks(size, secret, iv, ciphertext)?;
    Some(Secret::new(std::mem::take(&mut *text)))
}

/// Decrypts, then takes the padding off; `None` if it is not padding.
pub(crate) fn decrypt_padded(
    size: OctSize,
    secret: &Secret,
    iv: Iv,
    ciphertext: &[u8],
) -> Option<Secret> {
    let text = decrypt_blocks(size, secret, iv, ciphertext)?;
    let length = unpadded_len(&text)?;
    Some(Secret::new(text[..length].to_vec()))
}

fn encrypt_blocks(
    size: OctSize,
    secret: &Secret,
    iv: Iv,
    mut text: Vec<u8>,
) -> Result<Vec<u8>, OperationError> {
    let context = EncryptionContext::Iv128(FixedLength::from(iv));
    let done = EncryptingKey::cbc(key(size, secret))
        .and_then(|key| key.less_safe_encrypt(&mut text, context).map(drop));
    match done {
        Ok(()) => Ok(text),
        Err(_) => {
            text.zeroize();
            Err(OperationError::Failed("AES-CBC encryption"))
        }
    }
}

fn decrypt_blocks(
    size: OctSize,
    secret: &Secret,
    iv: Iv,
    ciphertext: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let context = DecryptionContext::Iv128(FixedLength::from(iv));
    let mut text = Zeroizing::new(ciphertext.to_vec());
    let key = DecryptingKey::cbc(key(size, secret)).ok()?;
    key.decrypt(&mut text, context).ok()?;
    Some(text)
}

fn key(size: OctSize, secret: &Secret) -> UnboundCipherKey {
    let algorithm = match size {
        OctSize::B128 => &AES_128,
        OctSize::B192 => &AES_192,
        OctSize::B256 => &AES_256,
    };
    UnboundCipherKey::new(algorithm, secret.expose()).expect("the key has the length of its size")
}

/// Takes PKCS #7 padding off blocks that were decrypted elsewhere; `None` if it is not padding.
#[must_use]
pub fn without_padding(text: &Secret) -> Option<Secret> {
    let length = unpadded_len(text.expose())?;
    Some(Secret::new(text.expose()[..length].to_vec()))
}

/// The length without padding; looks at all of the last block whatever it holds.
fn unpadded_len(text: &[u8]) -> Option<usize> {
    let block: &[u8; BLOCK_BYTES] = text.last_chunk()?;
    let padding = block[BLOCK_BYTES - 1];
    let mut right = !padding.ct_eq(&0) & !padding.ct_gt(&16);
    for (from_end, byte) in (1_u8..=16).zip(block.iter().rev()) {
        let is_padding = !from_end.ct_gt(&padding);
        right &= Choice::conditional_select(&Choice::from(1), &byte.ct_eq(&padding), is_padding);
    }
    bool::from(right).then(|| text.len() - usize::from(padding))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_of_right_padding_is_taken_off() {
        for padding in 1_u8..=16 {
            let mut text = vec![0xaa; 32];
            text[32 - usize::from(padding)..].fill(padding);
            assert_eq!(unpadded_len(&text), Some(32 - usize::from(padding)));
        }
    }

    #[test]
    fn any_wrong_byte_of_padding_is_refused() {
        for padding in 2_u8..=16 {
            for wrong in 2..=usize::from(padding) {
                let mut text = vec![0xaa; 32];
                text[32 - usize::from(padding)..].fill(padding);
                text[32 - wrong] ^= 0x80;
                assert_eq!(unpadded_len(&text), None, "{padding} {wrong}");
            }
        }
    }

    #[test]
    fn zero_too_much_and_nothing_are_refused() {
        assert_eq!(unpadded_len(&[0; 16]), None);
        for last in 17..=255 {
            assert_eq!(unpadded_len(&[last; 32]), None, "{last}");
        }
        assert_eq!(unpadded_len(&[]), None);
    }
}
