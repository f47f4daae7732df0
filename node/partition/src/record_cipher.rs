//! The engine's record cipher in the shape that the store port wants.

use casemate_engine_soft::domain::RecordCipher as SoftCipher;
use casemate_store_port::{CipherError, RecordCipher};

/// Seals records, under keys of the domain secret.
pub(crate) struct DomainCipher(pub(crate) SoftCipher);

impl RecordCipher for DomainCipher {
    fn seal(&self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CipherError> {
        self.0.seal(aad, plaintext).map_err(|_| CipherError)
    }

    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CipherError> {
        // The store's caller wipes what it gets; the secret here wipes itself.
        self.0.open(aad, sealed).map(|opened| opened.expose().to_vec()).map_err(|_| CipherError)
    }

    fn mark(&self, bytes: &[u8]) -> [u8; 32] {
        self.0.mark(bytes)
    }
}
