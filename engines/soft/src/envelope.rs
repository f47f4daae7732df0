//! Sealing for engines that keep their material elsewhere: what they store is wrapped by a token,
//! and here bound to its place.

use casemate_engine_port::{EngineError, Secret};

use crate::aead;

/// A key of 32 bytes from another one, by HKDF-SHA256 with an empty salt and this label.
pub fn derived(from: &Secret, label: &[u8]) -> Secret {
    Secret::new(aead::derive(from.expose(), &[], label).to_vec())
}

/// Seals bytes with what they belong to: salt (32 bytes) ‖ AES-256-GCM ciphertext ‖ tag (16 bytes),
/// each under a key of its own, HKDF-SHA256(key, salt, label), nonce zero.
pub struct Envelope {
    key: Secret,
    label: &'static [u8],
}

impl Envelope {
    /// Over a key that serves nothing else.
    pub fn new(key: Secret, label: &'static [u8]) -> Self {
        Self { key, label }
    }

    /// Seals behind a prefix that stays in clear; the caller authenticates it in `aad`.
    ///
    /// # Errors
    /// When the library refuses to encrypt.
    pub fn seal(&self, prefix: &[u8], aad: &[u8], bytes: &[u8]) -> Result<Vec<u8>, EngineError> {
        aead::seal(&self.key, self.label, prefix, aad, bytes)
            .map_err(|_| EngineError::Failed("binding wrapped material to its place"))
    }

    /// Opens what was sealed, without its prefix; `None` for whatever is wrong with it.
    #[must_use]
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Option<Secret> {
        aead::open(&self.key, self.label, aad, sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(key: u8, label: &'static [u8]) -> Envelope {
        Envelope::new(Secret::new(vec![key; 32]), label)
    }

    #[test]
    fn another_key_label_or_place_does_not_open() {
        let sealed = envelope(1, b"a").seal(&[9], b"place", b"wrapped").unwrap();
        assert_eq!(envelope(1, b"a").open(b"place", &sealed[1..]).unwrap().expose(), b"wrapped");
        assert!(envelope(2, b"a").open(b"place", &sealed[1..]).is_none());
        assert!(envelope(1, b"b").open(b"place", &sealed[1..]).is_none());
        assert!(envelope(1, b"a").open(b"other", &sealed[1..]).is_none());
        assert!(envelope(1, b"a").open(b"place", &sealed).is_none(), "with its prefix");
        assert!(envelope(1, b"a").open(b"place", &[]).is_none());
    }

    #[test]
    fn derived_keys_differ_by_label_and_by_root() {
        let root = |byte| Secret::new(vec![byte; 32]);
        assert_eq!(derived(&root(1), b"a"), derived(&root(1), b"a"));
        assert_ne!(derived(&root(1), b"a"), derived(&root(1), b"b"));
        assert_ne!(derived(&root(1), b"a"), derived(&root(2), b"a"));
    }
}
