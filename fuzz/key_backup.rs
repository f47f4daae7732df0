//! A key's backup: anybody who may restore keys can send any bytes as one. The cipher of this
//! target opens everything, so that what stands behind it is reached too.
#![no_main]

use casemate_hsm::backup::{
    BackupCipher, BackupCipherError, DIGEST_BYTES, DOMAIN_SIGN_BYTES, KeyBackup,
};
use libfuzzer_sys::fuzz_target;

struct Open;

impl BackupCipher for Open {
    fn epoch(&self) -> u32 {
        1
    }
    fn sign(&self, epoch: u32) -> Option<[u8; DOMAIN_SIGN_BYTES]> {
        (epoch < 3).then_some([0; DOMAIN_SIGN_BYTES])
    }
    fn seal(&self, _: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, BackupCipherError> {
        Ok(plaintext.to_vec())
    }
    fn digest(&self, _: &[u8]) -> [u8; DIGEST_BYTES] {
        [0; DIGEST_BYTES]
    }
    fn open(&self, _: u32, _: &[u8], sealed: &[u8]) -> Result<Vec<u8>, BackupCipherError> {
        Ok(sealed.to_vec())
    }
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(backup) = KeyBackup::open(&Open, bytes) {
        assert!((1..=10_000).contains(&backup.versions().len()));
    }
    let whole = [&b"CMATKEYB\x01\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"[..], bytes].concat();
    if let Ok(backup) = KeyBackup::open(&Open, &whole) {
        assert!((1..=10_000).contains(&backup.versions().len()));
    }
});
