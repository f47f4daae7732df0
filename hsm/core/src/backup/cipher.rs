//! The port of the cipher that seals backups.

/// Length of a domain's sign in bytes.
pub const DOMAIN_SIGN_BYTES: usize = 16;

/// Length of a digest in bytes.
pub const DIGEST_BYTES: usize = 32;

/// Seals backups under a key that all HSMs of one security domain have, and no other.
pub trait BackupCipher: Send + Sync + 'static {
    /// The epoch of the domain under which is sealed.
    fn epoch(&self) -> u32;

    /// A public sign of the domain in an epoch: the same in all its HSMs, and in no other domain's.
    /// `None` if nothing of that epoch can be opened here.
    fn sign(&self, epoch: u32) -> Option<[u8; DOMAIN_SIGN_BYTES]>;

    /// Seals under the present epoch, and authenticates the other bytes with it.
    fn seal(&self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, BackupCipherError>;

    /// SHA-256: what names a sealed manifest so that no other can stand in for it.
    fn digest(&self, bytes: &[u8]) -> [u8; DIGEST_BYTES];

    /// Opens what was sealed in an epoch with the same bytes beside it.
    fn open(&self, epoch: u32, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, BackupCipherError>;
}

/// It was not sealed, or does not open. Nothing more is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cipher of backups refused")]
pub struct BackupCipherError;
