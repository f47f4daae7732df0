//! AES key wrap: RFC 3394, and with padding RFC 5649.
//!
//! 128 and 256 bits go through AWS-LC, 192 through `aes-kw`, since `aws-lc-rs` has no key wrap of
//! that size. Timing: AWS-LC compares the integrity value in constant time; `aes-kw` leaves at the
//! first wrong part of it, which tells something of a block that nobody can choose without the
//! key. A success copies the key out.

use aes_kw::{KeyInit, KwAes192, KwpAes192};
use aws_lc_rs::key_wrap::{AES_128, AES_256, AesKek, KeyWrap, KeyWrapPadded};
use casemate_engine_port::{OctSize, OperationError, Secret};
use zeroize::Zeroizing;

const SEMIBLOCK_BYTES: usize = 8;
/// RFC 5649, 3: the length is told in 32 bits; the libraries take a little less.
const PADDED_BYTES_MAX: usize = 1 << 30;
const FAILED: OperationError = OperationError::Failed("AES key wrap");

/// Wraps a key of at least two semiblocks.
pub(super) fn wrap(
    size: OctSize,
    secret: &Secret,
    plaintext: &[u8],
) -> Result<Vec<u8>, OperationError> {
    if plaintext.len() < 2 * SEMIBLOCK_BYTES || !plaintext.len().is_multiple_of(SEMIBLOCK_BYTES) {
        return Err(OperationError::BadInput(
            "AES key wrap asks for at least 16 bytes and a multiple of 8",
        ));
    }
    let mut out = vec![0; plaintext.len() + SEMIBLOCK_BYTES];
    match kek(size, secret) {
        Some(kek) => kek.wrap(plaintext, &mut out).map(drop).map_err(|_| FAILED)?,
        None => KwAes192::new_from_slice(secret.expose())
            .map_err(|_| FAILED)?
            .wrap_key(plaintext, &mut out)
            .map(drop)
            .map_err(|_| FAILED)?,
    }
    Ok(out)
}

/// Wraps a key of any length but zero.
pub(super) fn wrap_padded(
    size: OctSize,
    secret: &Secret,
    plaintext: &[u8],
) -> Result<Vec<u8>, OperationError> {
    if plaintext.is_empty() || plaintext.len() > PADDED_BYTES_MAX {
        return Err(OperationError::BadInput("AES key wrap with padding asks for 1 byte to 1 GiB"));
    }
    let padded = plaintext.len().next_multiple_of(SEMIBLOCK_BYTES);
    let mut out = vec![0; padded + SEMIBLOCK_BYTES];
    match kek(size, secret) {
        Some(kek) => kek.wrap_with_padding(plaintext, &mut out).map(drop).map_err(|_| FAILED)?,
        None => KwpAes192::new_from_slice(secret.expose())
            .map_err(|_| FAILED)?
            .wrap_key(plaintext, &mut out)
            .map(drop)
            .map_err(|_| FAILED)?,
    }
    Ok(out)
}

/// Unwraps; `None` for whatever is wrong with it.
pub(super) fn unwrap(size: OctSize, secret: &Secret, ciphertext: &[u8]) -> Option<Secret> {
    if ciphertext.len() < 3 * SEMIBLOCK_BYTES {
        return None;
    }
    let mut out = Zeroizing::new(vec![0; ciphertext.len()]);
    let length = match kek(size, secret) {
        Some(kek) => kek.unwrap(ciphertext, &mut out).ok()?.len(),
        None => {
            let kek = KwAes192::new_from_slice(secret.expose()).ok()?;
            kek.unwrap_key(ciphertext, &mut out).ok()?.len()
        }
    };
    Some(Secret::new(out[..length].to_vec()))
}

/// Unwraps and takes the padding off; `None` for whatever is wrong with it.
pub(super) fn unwrap_padded(size: OctSize, secret: &Secret, ciphertext: &[u8]) -> Option<Secret> {
    if ciphertext.len() < 2 * SEMIBLOCK_BYTES {
        return None;
    }
    let mut out = Zeroizing::new(vec![0; ciphertext.len()]);
    let length = match kek(size, secret) {
        Some(kek) => kek.unwrap_with_padding(ciphertext, &mut out).ok()?.len(),
        None => {
            let kek = KwpAes192::new_from_slice(secret.expose()).ok()?;
            kek.unwrap_key(ciphertext, &mut out).ok()?.len()
        }
    };
    Some(Secret::new(out[..length].to_vec()))
}

/// AWS-LC's key-encryption key, which wipes itself; `None` for the size that it lacks.
fn kek(size: OctSize, secret: &Secret) -> Option<AesKek> {
    let cipher = match size {
        OctSize::B128 => &AES_128,
        OctSize::B192 => return None,
        OctSize::B256 => &AES_256,
    };
    Some(AesKek::new(cipher, secret.expose()).expect("the key has the length of its size"))
}
