//! Randomness and plain hashing, from AWS-LC.

use std::convert::Infallible;

use aws_lc_rs::{digest, rand};

/// Fills the buffer with bytes of AWS-LC's generator.
pub fn random(out: &mut [u8]) {
    rand::fill(out).expect("AWS-LC ends the process when the system gives it no entropy");
}

/// SHA-256 of the bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// The same generator in the shape that the `rsa` crate wants, for its blinding.
pub(crate) struct Generator;

impl rsa::rand_core::TryRng for Generator {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        random(&mut bytes);
        Ok(u32::from_ne_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        random(&mut bytes);
        Ok(u64::from_ne_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        random(out);
        Ok(())
    }
}

impl rsa::rand_core::TryCryptoRng for Generator {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ_and_fill_the_whole_buffer() {
        let (mut first, mut second) = ([0; 64], [0; 64]);
        random(&mut first);
        random(&mut second);
        assert_ne!(first, second);
        assert_ne!(first[48..], [0; 16]);
    }

    #[test]
    fn sha256_of_abc_is_that_of_fips_180() {
        assert_eq!(sha256(b"abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
        assert_ne!(sha256(b"abc"), sha256(b"abd"));
    }
}
