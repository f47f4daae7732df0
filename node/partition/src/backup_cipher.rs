//! The engine's cipher of backups in the shape that the domain wants.

use casemate_engine_soft::backup::BackupKeys;
use casemate_engine_soft::sha256;
use casemate_hsm::backup::{BackupCipher, BackupCipherError, DIGEST_BYTES, DOMAIN_SIGN_BYTES};

/// Seals backups, under keys of the domain secret.
pub(crate) struct DomainBackups(pub(crate) BackupKeys);

impl BackupCipher for DomainBackups {
    fn epoch(&self) -> u32 {
        self.0.epoch()
    }

    fn sign(&self, epoch: u32) -> Option<[u8; DOMAIN_SIGN_BYTES]> {
        self.0.sign(epoch)
    }

    fn seal(&self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, BackupCipherError> {
        self.0.seal(aad, plaintext).map_err(|_| BackupCipherError)
    }

    fn digest(&self, bytes: &[u8]) -> [u8; DIGEST_BYTES] {
        sha256(bytes)
    }

    fn open(&self, epoch: u32, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, BackupCipherError> {
        // What a backup holds of key material is wrapped: in clear there are names and attributes.
        let opened = self.0.open(epoch, aad, sealed);
        opened.map(|opened| opened.expose().to_vec()).map_err(|_| BackupCipherError)
    }
}
