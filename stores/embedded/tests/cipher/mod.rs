//! A record cipher for tests: AES-256-GCM with a random nonce, HMAC-SHA-256 for marks. The shipped
//! one derives a key per record; the wrapper must not care.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use casemate_store_port::{CipherError, RecordCipher, StoreIdentity};

pub(crate) const IDENTITY: StoreIdentity = StoreIdentity { hsm: *b"the tests' hsm 1", epoch: 1 };

struct TestCipher {
    seal: RandomizedNonceKey,
    mark: hmac::Key,
}

pub(crate) fn cipher() -> Arc<dyn RecordCipher> {
    cipher_of(1)
}

/// One of many ciphers, each of keys of its own.
pub(crate) fn cipher_of(number: u8) -> Arc<dyn RecordCipher> {
    let seal = RandomizedNonceKey::new(&AES_256_GCM, &[number; 32]).expect("a key of 32 bytes");
    Arc::new(TestCipher { seal, mark: hmac::Key::new(hmac::HMAC_SHA256, &[number + 1; 32]) })
}

impl RecordCipher for TestCipher {
    fn seal(&self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CipherError> {
        let mut text = plaintext.to_vec();
        let nonce = self.seal.seal_in_place_append_tag(Aad::from(aad), &mut text);
        let mut sealed = nonce.map_err(|_| CipherError)?.as_ref().to_vec();
        sealed.append(&mut text);
        Ok(sealed)
    }

    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CipherError> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(CipherError)?;
        let mut text = text.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.seal.open_in_place(nonce, Aad::from(aad), &mut text);
        Ok(opened.map_err(|_| CipherError)?.to_vec())
    }

    fn mark(&self, bytes: &[u8]) -> [u8; 32] {
        hmac::sign(&self.mark, bytes).as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}
