//! The cipher that is handed in.

/// Most bytes that sealing may add to a plaintext: room for a salt, a nonce and a tag.
pub const SEAL_OVERHEAD_BYTES_MAX: usize = 128;

/// Authenticated encryption and a keyed pseudo-random function, under keys of one HSM and one
/// epoch.
pub trait RecordCipher: Send + Sync + 'static {
    /// Encrypts and authenticates, bound to `aad`. Randomised: the same text twice gives different
    /// bytes. Adds at most [`SEAL_OVERHEAD_BYTES_MAX`].
    fn seal(&self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CipherError>;

    /// Decrypts what `seal` made with the same `aad`. The caller wipes the result.
    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CipherError>;

    /// A keyed pseudo-random function, under a key of its own.
    fn mark(&self, bytes: &[u8]) -> [u8; 32];
}

/// The cipher refused: not authentic, or it could not seal. It says no more, on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record cipher refused")]
pub struct CipherError;
