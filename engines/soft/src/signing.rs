//! Signing keys of the HSM itself, none of its users': Ed25519, from AWS-LC.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use casemate_engine_port::{EngineError, Secret};

use crate::random;

/// Length of the seed that a key is made from, in bytes.
pub const SEED_BYTES: usize = 32;
const PUBLIC_KEY_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;

/// An Ed25519 key pair.
pub struct SigningKey(Ed25519KeyPair);

/// A seed for a new key.
#[must_use]
pub fn new_seed() -> Secret {
    let mut seed = vec![0; SEED_BYTES];
    random(&mut seed);
    Secret::new(seed)
}

impl SigningKey {
    /// The key of a seed.
    ///
    /// # Errors
    /// When the seed does not have 32 bytes.
    pub fn from_seed(seed: &Secret) -> Result<Self, EngineError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose());
        pair.map(Self).map_err(|_| EngineError::Failed("taking up a signing key"))
    }

    /// The public key.
    #[must_use]
    pub fn public_key(&self) -> [u8; PUBLIC_KEY_BYTES] {
        let mut out = [0; PUBLIC_KEY_BYTES];
        out.copy_from_slice(self.0.public_key().as_ref());
        out
    }

    /// Signs.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        let mut out = [0; SIGNATURE_BYTES];
        out.copy_from_slice(self.0.sign(message).as_ref());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_rfc_8032() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let seed: Vec<u8> =
            ["9d61b19deffd5a60ba844af492ec2cc4", "4449c5697b326919703bac031cae7f60"]
                .concat()
                .as_bytes()
                .chunks(2)
                .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
                .collect();
        let key = SigningKey::from_seed(&Secret::new(seed)).unwrap();
        let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        assert_eq!(hex(&key.public_key()), public);
        assert!(hex(&key.sign(b"")).starts_with("e5564300c360ac729086e2cc806e828a"));
    }

    #[test]
    fn seeds_differ_and_a_short_one_is_refused() {
        assert_ne!(new_seed().expose(), new_seed().expose());
        assert!(SigningKey::from_seed(&Secret::new(vec![1; 31])).is_err());
    }
}
