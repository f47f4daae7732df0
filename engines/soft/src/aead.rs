//! AES-256-GCM under keys that are used once.
//!
//! Each sealing draws a 256-bit salt and derives its own key from a root key with HKDF-SHA256, so
//! the nonce can be zero: no counter exists that a snapshot or a second process could repeat, and
//! two salts meet with a chance of 2^-128 after 2^64 sealings. What is authenticated besides the
//! plaintext is the caller's choice.
//!
//! Sealed form: salt (32 bytes) ‖ ciphertext ‖ tag (16 bytes).

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use casemate_engine_port::Secret;
use zeroize::{Zeroize, Zeroizing};

use crate::random;

/// Length of a salt in bytes.
pub(crate) const SALT_BYTES: usize = 32;
/// Length of a key in bytes.
pub(crate) const KEY_BYTES: usize = 32;
/// Length of an authentication tag in bytes.
pub(crate) const TAG_BYTES: usize = 16;

/// The library refused to encrypt (a plaintext beyond GCM's limit of 64 GiB).
#[derive(Debug)]
pub(crate) struct NotSealed;

/// A key from a root key, a salt and a label (RFC 5869).
pub(crate) fn derive(root: &[u8], salt: &[u8], label: &[u8]) -> Zeroizing<[u8; KEY_BYTES]> {
    let root = Salt::new(HKDF_SHA256, salt).extract(root);
    let info = [label];
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    root.expand(&info, HKDF_SHA256)
        .and_then(|output| output.fill(key.as_mut_slice()))
        .expect("HKDF-SHA256 gives 32 bytes");
    key
}

/// Seals behind a prefix that stays in clear: prefix ‖ salt ‖ ciphertext ‖ tag.
pub(crate) fn seal(
    root: &Secret,
    label: &[u8],
    prefix: &[u8],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, NotSealed> {
    let mut salt = [0; SALT_BYTES];
    random(&mut salt);
    let key = derive(root.expose(), &salt, label);
    let mut out = Vec::with_capacity(prefix.len() + SALT_BYTES + plaintext.len() + TAG_BYTES);
    out.extend_from_slice(prefix);
    out.extend_from_slice(&salt);
    seal_under(&key, aad, plaintext, &mut out)?;
    Ok(out)
}

/// Opens salt ‖ ciphertext ‖ tag; `None` for whatever is wrong with it.
pub(crate) fn open(root: &Secret, label: &[u8], aad: &[u8], sealed: &[u8]) -> Option<Secret> {
    let (salt, rest) = sealed.split_at_checked(SALT_BYTES)?;
    let key = derive(root.expose(), salt, label);
    open_under(&key, aad, rest)
}

/// Appends ciphertext and tag under a key that is never used for another plaintext. The caller
/// reserved the room, so that the plaintext is not left behind by a growing vector.
pub(crate) fn seal_under(
    key: &[u8; KEY_BYTES],
    aad: &[u8],
    plaintext: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), NotSealed> {
    let start = out.len();
    out.reserve_exact(plaintext.len() + TAG_BYTES);
    out.extend_from_slice(plaintext);
    let body = &mut out[start..];
    match cipher(key).seal_in_place_separate_tag(zero_nonce(), Aad::from(aad), body) {
        Ok(tag) => out.extend_from_slice(tag.as_ref()),
        Err(_) => {
            out.zeroize();
            return Err(NotSealed);
        }
    }
    Ok(())
}

/// Opens ciphertext ‖ tag under the key itself.
pub(crate) fn open_under(key: &[u8; KEY_BYTES], aad: &[u8], sealed: &[u8]) -> Option<Secret> {
    let body_len = sealed.len().checked_sub(TAG_BYTES)?;
    let (body, tag) = sealed.split_at(body_len);
    let mut plaintext = Zeroizing::new(body.to_vec());
    cipher(key)
        .open_in_place_separate_tag(zero_nonce(), Aad::from(aad), tag, &mut plaintext)
        .ok()?;
    Some(Secret::new(std::mem::take(&mut *plaintext)))
}

fn cipher(key: &[u8; KEY_BYTES]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("AES-256 takes 32 bytes"))
}

fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(byte: u8) -> Secret {
        Secret::new(vec![byte; 32])
    }

    #[test]
    fn sealed_bytes_open_and_no_two_are_alike() {
        let first = seal(&root(1), b"label", b"", b"aad", b"plaintext").unwrap();
        let second = seal(&root(1), b"label", b"", b"aad", b"plaintext").unwrap();
        assert_ne!(first, second);
        assert_eq!(first.len(), SALT_BYTES + 9 + TAG_BYTES);
        let opened = open(&root(1), b"label", b"aad", &first).unwrap();
        assert_eq!(opened.expose(), b"plaintext");
    }

    #[test]
    fn another_root_label_or_aad_does_not_open() {
        let sealed = seal(&root(1), b"label", b"", b"aad", b"plaintext").unwrap();
        assert!(open(&root(2), b"label", b"aad", &sealed).is_none());
        assert!(open(&root(1), b"lable", b"aad", &sealed).is_none());
        assert!(open(&root(1), b"label", b"dda", &sealed).is_none());
    }

    #[test]
    fn no_changed_or_shortened_byte_is_accepted() {
        let sealed = seal(&root(1), b"label", b"", b"aad", b"plaintext").unwrap();
        for position in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[position] ^= 1;
            assert!(open(&root(1), b"label", b"aad", &changed).is_none(), "{position}");
            assert!(open(&root(1), b"label", b"aad", &sealed[..position]).is_none(), "{position}");
        }
    }
}
