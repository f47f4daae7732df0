//! The cipher of backups: seals under the backup key of the domain secret, and opens what any HSM
//! of the same security domain has sealed.
//!
//! Sealed form: salt (32 bytes) ‖ AES-256-GCM ciphertext ‖ tag (16 bytes), under a key of its own:
//! HKDF-SHA256(backup key, salt, `casemate backup v1`), nonce zero. What is authenticated with it
//! is the caller's decision (`docs/design/backup.md`).
//!
//! Invariant: nothing is sealed under another epoch than the present one.

use casemate_engine_port::{EngineError, Secret};

use crate::aead;

const LABEL: &[u8] = b"casemate backup v1";
const SIGN_LABEL: &[u8] = b"casemate backup domain v1";

/// Length of a domain's sign in bytes.
pub const DOMAIN_SIGN_BYTES: usize = 16;

/// The backup keys of the epochs that this HSM can open.
pub struct BackupKeys {
    present: EpochKey,
    earlier: Vec<EpochKey>,
}

struct EpochKey {
    epoch: u32,
    key: Secret,
    sign: [u8; DOMAIN_SIGN_BYTES],
}

impl EpochKey {
    fn new(epoch: u32, key: Secret) -> Self {
        let mut sign = [0; DOMAIN_SIGN_BYTES];
        let derived = aead::derive(key.expose(), &[], SIGN_LABEL);
        sign.copy_from_slice(&derived[..DOMAIN_SIGN_BYTES]);
        Self { epoch, key, sign }
    }
}

impl BackupKeys {
    /// Over the present epoch's backup key (of [`DomainKeys`](crate::domain::DomainKeys)).
    pub fn new(epoch: u32, key: Secret) -> Self {
        Self { present: EpochKey::new(epoch, key), earlier: Vec::new() }
    }

    /// With the backup key of an earlier epoch, for opening only.
    #[must_use]
    pub fn and_earlier(mut self, epoch: u32, key: Secret) -> Self {
        self.earlier.push(EpochKey::new(epoch, key));
        self
    }

    /// The epoch under which is sealed.
    pub fn epoch(&self) -> u32 {
        self.present.epoch
    }

    /// The domain's public sign in an epoch: the same in all HSMs of the domain, and in no other.
    /// `None` if nothing of that epoch can be opened here.
    pub fn sign(&self, epoch: u32) -> Option<[u8; DOMAIN_SIGN_BYTES]> {
        self.of(epoch).map(|key| key.sign)
    }

    /// Seals under the present epoch.
    pub fn seal(&self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, EngineError> {
        aead::seal(&self.present.key, LABEL, &[], aad, plaintext)
            .map_err(|_| EngineError::Failed("sealing a backup"))
    }

    /// Opens what was sealed under an epoch; whatever is wrong is [`EngineError::NotAuthentic`].
    pub fn open(&self, epoch: u32, aad: &[u8], sealed: &[u8]) -> Result<Secret, EngineError> {
        let key = self.of(epoch).ok_or(EngineError::NotAuthentic)?;
        aead::open(&key.key, LABEL, aad, sealed).ok_or(EngineError::NotAuthentic)
    }

    fn of(&self, epoch: u32) -> Option<&EpochKey> {
        std::iter::once(&self.present).chain(&self.earlier).find(|key| key.epoch == epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::DomainKeys;

    fn key(byte: u8) -> Secret {
        DomainKeys::derive(&Secret::new(vec![byte; 32])).into_parts().3
    }

    #[test]
    fn another_hsm_of_the_domain_opens_it_and_none_of_another_domain() {
        let sealed = BackupKeys::new(1, key(1)).seal(b"header", b"content").unwrap();
        let same = BackupKeys::new(1, key(1));
        assert_eq!(same.open(1, b"header", &sealed).unwrap().expose(), b"content");
        assert_eq!(same.sign(1), BackupKeys::new(1, key(1)).sign(1));
        let other = BackupKeys::new(1, key(2));
        assert!(other.open(1, b"header", &sealed).is_err());
        assert_ne!(other.sign(1), same.sign(1));
    }

    #[test]
    fn earlier_epochs_open_and_do_not_seal() {
        let before = BackupKeys::new(1, key(1)).seal(b"", b"old").unwrap();
        let keys = BackupKeys::new(2, key(2)).and_earlier(1, key(1));
        assert_eq!(keys.open(1, b"", &before).unwrap().expose(), b"old");
        assert!(keys.open(2, b"", &before).is_err());
        assert_eq!(keys.epoch(), 2);
        let now = keys.seal(b"", b"new").unwrap();
        assert!(keys.open(1, b"", &now).is_err(), "sealed under the present epoch");
        assert!(BackupKeys::new(1, key(1)).open(1, b"", &now).is_err());
        assert!(keys.sign(3).is_none() && keys.open(3, b"", &now).is_err());
    }

    #[test]
    fn no_changed_or_shortened_byte_opens() {
        let keys = BackupKeys::new(1, key(1));
        let sealed = keys.seal(b"header", b"content").unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(keys.open(1, b"header", &changed).is_err(), "{at}");
            assert!(keys.open(1, b"header", &sealed[..at]).is_err(), "{at}");
        }
        assert!(keys.open(1, b"heades", &sealed).is_err());
    }

    #[test]
    fn the_derivation_does_not_move() {
        // A stored format: the sign of the domain whose secret is all zeros, in its first epoch.
        let sign = BackupKeys::new(1, key(0)).sign(1).unwrap();
        let hex: String = sign.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN_SIGN);
    }

    const GOLDEN_SIGN: &str = "fe3cb06bb2d32511c721bd6e0809b78a";
}
