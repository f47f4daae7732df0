//! Taking OAEP's encoding apart (RFC 8017, 7.1.2), for a token that has the private operation and
//! not this hash: SoftHSM2 knows OAEP with SHA-1 alone.
//!
//! The token has raised the ciphertext to the private exponent; nothing here touches a key. All of
//! the block is looked at, whatever it holds, so that no part of it shows in the time that the
//! refusal takes (Manger's attack). What remains: a success copies the plaintext out.

use aws_lc_rs::digest::{self, Algorithm};
use casemate_engine_port::Secret;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

/// The plaintext of an encoded block as long as the modulus; `None` for whatever is wrong with it.
pub(crate) fn open(hash: &'static Algorithm, block: &Secret) -> Option<Secret> {
    let length = hash.output_len();
    let (first, rest) = block.expose().split_first()?;
    let (masked_seed, masked_db) = rest.split_at_checked(length)?;
    if masked_db.len() < length + 1 {
        return None;
    }
    let seed = xored(masked_seed, &mask(hash, masked_db, length));
    let db = xored(masked_db, &mask(hash, &seed, masked_db.len()));
    let (label, padded) = db.split_at(length);
    let mut right = first.ct_eq(&0) & label.ct_eq(digest::digest(hash, &[]).as_ref());
    let mut looking = Choice::from(1);
    let mut start = 0_u64;
    for (at, byte) in (1_u64..).zip(padded) {
        let (zero, one) = (byte.ct_eq(&0), byte.ct_eq(&1));
        start.conditional_assign(&at, looking & one);
        right &= !looking | zero | one;
        looking &= zero;
    }
    right &= !looking;
    let start = usize::try_from(start).ok()?;
    bool::from(right).then(|| Secret::new(padded[start..].to_vec()))
}

fn xored(bytes: &[u8], mask: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(bytes.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect())
}

/// MGF1 (RFC 8017, B.2.1).
fn mask(hash: &'static Algorithm, seed: &[u8], length: usize) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(length + hash.output_len()));
    for counter in 0_u32.. {
        if out.len() >= length {
            break;
        }
        let mut context = digest::Context::new(hash);
        context.update(seed);
        context.update(&counter.to_be_bytes());
        out.extend_from_slice(context.finish().as_ref());
    }
    out.truncate(length);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::digest::SHA256;

    /// The encoding of RFC 8017, 7.1.1, from its definition.
    fn encoded(message: &[u8], block: usize) -> Vec<u8> {
        let length = SHA256.output_len();
        let mut db = digest::digest(&SHA256, &[]).as_ref().to_vec();
        db.resize(block - 2 - length - message.len(), 0);
        db.push(1);
        db.extend_from_slice(message);
        let seed: Vec<u8> = (0..length).map(|at| u8::try_from(at).unwrap() ^ 0x5a).collect();
        let masked_db = xored(&db, &mask(&SHA256, &seed, db.len()));
        let masked_seed = xored(&seed, &mask(&SHA256, &masked_db, length));
        [&[0], masked_seed.as_slice(), masked_db.as_slice()].concat()
    }

    #[test]
    fn every_length_opens() {
        for length in [0, 1, 32, 189, 190] {
            let message = vec![0xc3; length];
            let opened = open(&SHA256, &Secret::new(encoded(&message, 256))).unwrap();
            assert_eq!(opened.expose(), message);
        }
        // A message of zeros, and one that begins like the padding.
        for message in [vec![0; 40], vec![0, 0, 1, 0, 1], vec![1]] {
            let opened = open(&SHA256, &Secret::new(encoded(&message, 256))).unwrap();
            assert_eq!(opened.expose(), message);
        }
    }

    #[test]
    fn any_changed_byte_is_refused() {
        let message = [0xc3; 100];
        let block = encoded(&message, 256);
        for at in 0..block.len() {
            let mut changed = block.clone();
            changed[at] ^= 0x80;
            let opened = open(&SHA256, &Secret::new(changed));
            // Whatever is changed changes the seed, and with it the mask of the label.
            assert!(opened.is_none(), "{at}");
        }
    }

    #[test]
    fn a_block_without_a_separator_or_too_short_is_refused() {
        let length = SHA256.output_len();
        let mut db = digest::digest(&SHA256, &[]).as_ref().to_vec();
        db.resize(256 - 1 - length, 0);
        let seed = vec![7; length];
        for last in [0, 2, 0xff] {
            let mut db = db.clone();
            *db.last_mut().unwrap() = last;
            let masked_db = xored(&db, &mask(&SHA256, &seed, db.len()));
            let masked_seed = xored(&seed, &mask(&SHA256, &masked_db, length));
            let block = [&[0], masked_seed.as_slice(), masked_db.as_slice()].concat();
            assert!(open(&SHA256, &Secret::new(block)).is_none(), "{last}");
        }
        for length in [0, 1, 33, 65] {
            assert!(open(&SHA256, &Secret::new(vec![0; length])).is_none(), "{length}");
        }
    }
}
