//! The keys under the domain secret, and the cipher of stored records.
//!
//! The domain secret (256 bits, one per epoch) is never used itself. HKDF-SHA256 with an empty
//! salt and one label each gives the keys, so that none tells anything of another:
//!
//! | key | label |
//! |---|---|
//! | record key | `casemate domain record v1` |
//! | head key | `casemate domain head v1` |
//! | material key | `casemate domain material v1` |
//! | backup key | `casemate domain backup v1` |
//! | manifest key | `casemate domain manifest v1` |
//!
//! A sealed record is salt (32 bytes) ‖ AES-256-GCM ciphertext ‖ tag (16 bytes), under a key of its
//! own: HKDF-SHA256(record key, salt, `casemate record v1`), nonce zero. What is authenticated with
//! it (path, generation and the like) is the store's decision.

use aws_lc_rs::hmac;
use casemate_engine_port::{EngineError, Secret};

use crate::aead::{self, KEY_BYTES};

const RECORD_LABEL: &[u8] = b"casemate record v1";

/// The keys derived from a domain secret.
pub struct DomainKeys {
    record: Secret,
    head: Secret,
    material: Secret,
    backup: Secret,
    manifest: Secret,
}

/// What tells a domain from others, from its first secret.
pub fn domain_id(first_secret: &Secret) -> [u8; 16] {
    let whole = aead::derive(first_secret.expose(), &[], b"casemate domain id v1");
    let mut id = [0; 16];
    id.copy_from_slice(&whole[..16]);
    id
}

impl DomainKeys {
    /// Derives all keys.
    ///
    /// # Panics
    ///
    /// If the domain secret does not have 32 bytes: it is made and kept with that length, so
    /// another is a mistake in this program.
    pub fn derive(domain_secret: &Secret) -> Self {
        assert_eq!(domain_secret.len(), KEY_BYTES, "a domain secret has 32 bytes");
        let key =
            |label: &[u8]| Secret::new(aead::derive(domain_secret.expose(), &[], label).to_vec());
        Self {
            record: key(b"casemate domain record v1"),
            head: key(b"casemate domain head v1"),
            material: key(b"casemate domain material v1"),
            backup: key(b"casemate domain backup v1"),
            manifest: key(b"casemate domain manifest v1"),
        }
    }

    /// Seals records.
    pub fn record_key(&self) -> &Secret {
        &self.record
    }

    /// Marks records for the set hash of the head.
    pub fn head_key(&self) -> &Secret {
        &self.head
    }

    /// Wraps key material inside the engine.
    pub fn material_key(&self) -> &Secret {
        &self.material
    }

    /// Seals backups.
    pub fn backup_key(&self) -> &Secret {
        &self.backup
    }

    /// What opens the backups of an epoch, and nothing else: the backup key, then the material key,
    /// under which a backup's key material is wrapped.
    pub fn into_backup_keys(self) -> Secret {
        let mut keys = Vec::with_capacity(2 * KEY_BYTES);
        keys.extend_from_slice(self.backup.expose());
        keys.extend_from_slice(self.material.expose());
        Secret::new(keys)
    }

    /// Authenticates the items of the security domain.
    pub fn into_manifest_key(self) -> Secret {
        self.manifest
    }

    /// Gives the keys away, each to its user: record, head, material, backup.
    pub fn into_parts(self) -> (Secret, Secret, Secret, Secret) {
        (self.record, self.head, self.material, self.backup)
    }
}

/// Seals records and marks them for the head.
pub struct RecordCipher {
    record_key: Secret,
    head_key: hmac::Key,
}

impl RecordCipher {
    /// A cipher over the record key and the head key of [`DomainKeys`].
    pub fn new(record_key: Secret, head_key: Secret) -> Self {
        Self { record_key, head_key: hmac::Key::new(hmac::HMAC_SHA256, head_key.expose()) }
    }

    /// Seals a record with what is to be authenticated along with it.
    pub fn seal(&self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, EngineError> {
        aead::seal(&self.record_key, RECORD_LABEL, &[], aad, plaintext)
            .map_err(|_| EngineError::Failed("sealing a record"))
    }

    /// Opens a sealed record; whatever is wrong is [`EngineError::NotAuthentic`].
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Secret, EngineError> {
        aead::open(&self.record_key, RECORD_LABEL, aad, sealed).ok_or(EngineError::NotAuthentic)
    }

    /// HMAC-SHA256 under the head key.
    pub fn mark(&self, bytes: &[u8]) -> [u8; 32] {
        let mut mark = [0; 32];
        mark.copy_from_slice(hmac::sign(&self.head_key, bytes).as_ref());
        mark
    }
}

/// Backup key and material key of an epoch whose secret is not kept. `None` for another length.
pub fn backup_keys(both: &Secret) -> Option<(Secret, Secret)> {
    let (backup, material) = both.expose().split_at_checked(KEY_BYTES)?;
    let fits = material.len() == KEY_BYTES;
    fits.then(|| (Secret::new(backup.to_vec()), Secret::new(material.to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(byte: u8) -> DomainKeys {
        DomainKeys::derive(&Secret::new(vec![byte; 32]))
    }

    fn cipher(byte: u8) -> RecordCipher {
        let (record, head, _, _) = keys(byte).into_parts();
        RecordCipher::new(record, head)
    }

    #[test]
    fn the_keys_differ_from_each_other_and_between_domains() {
        let (one, two) = (keys(1), keys(2));
        let all = [
            one.record_key(),
            one.head_key(),
            one.material_key(),
            one.backup_key(),
            two.record_key(),
            two.head_key(),
            two.material_key(),
            two.backup_key(),
        ];
        for (position, key) in all.iter().enumerate() {
            assert_eq!(key.len(), 32);
            assert!(all[position + 1..].iter().all(|other| key != other));
        }
    }

    #[test]
    fn derivation_is_that_of_rfc_5869() {
        // Computed with another implementation of HKDF-SHA256: a stored format may not move.
        let keys = keys(0);
        assert_eq!(keys.record_key().expose()[..4], [0x72, 0x62, 0x37, 0x30]);
        assert_eq!(keys.head_key().expose()[..4], [0x06, 0xd2, 0x80, 0x83]);
        assert_eq!(keys.material_key().expose()[..4], [0xb4, 0xcf, 0x4d, 0xd7]);
        assert_eq!(keys.backup_key().expose()[..4], [0xac, 0x0c, 0x9b, 0x1c]);
    }

    #[test]
    #[should_panic(expected = "32 bytes")]
    fn a_short_domain_secret_is_a_mistake() {
        DomainKeys::derive(&Secret::new(vec![1; 31]));
    }

    #[test]
    fn a_record_opens_only_with_its_key_and_associated_data() {
        let sealed = cipher(1).seal(b"path 1", b"record").unwrap();
        assert_eq!(cipher(1).open(b"path 1", &sealed).unwrap().expose(), b"record");
        assert!(cipher(1).open(b"path 2", &sealed).is_err());
        assert!(cipher(2).open(b"path 1", &sealed).is_err());
        assert!(cipher(1).open(b"path 1", &sealed[1..]).is_err());
        assert!(cipher(1).open(b"path 1", &[]).is_err());
    }

    #[test]
    fn the_backup_keys_of_an_epoch_are_two_of_its_keys() {
        let (backup, material) = backup_keys(&keys(1).into_backup_keys()).unwrap();
        let (_, _, of_material, of_backup) = keys(1).into_parts();
        assert!(backup == of_backup && material == of_material);
        for length in [0, 32, 63, 65] {
            assert!(backup_keys(&Secret::new(vec![1; length])).is_none(), "{length}");
        }
    }

    #[test]
    fn marks_depend_on_key_and_bytes() {
        assert_eq!(cipher(1).mark(b"a"), cipher(1).mark(b"a"));
        assert_ne!(cipher(1).mark(b"a"), cipher(1).mark(b"b"));
        assert_ne!(cipher(1).mark(b"a"), cipher(2).mark(b"a"));
    }
}
