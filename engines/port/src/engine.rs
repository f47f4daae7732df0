//! The port: what every engine does, software or token.

use std::sync::Arc;

use crate::{CipherAlgorithm, ImportedKey, KeySpec, PublicPart, Secret, SignAlgorithm};

/// The place a piece of material belongs to, authenticated with it when it is wrapped, so that
/// wrapped material moved to another key or version does not open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(Vec<u8>);

impl Place {
    /// A place from the bytes that name it; the caller makes them unambiguous.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes that are authenticated.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Key material wrapped under the engine's material key. Opaque to all but the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedMaterial(pub Vec<u8>);

/// A key that an engine has just made or taken in.
#[derive(Debug)]
pub struct NewMaterial {
    /// The material, wrapped to its place.
    pub wrapped: WrappedMaterial,
    /// Its kind, read from the material itself.
    pub spec: KeySpec,
    /// Its public part.
    pub public: PublicPart,
}

/// Where key material lives. Calls block: the caller decides on which thread.
pub trait Engine: Send + Sync + 'static {
    /// The engine's name, for health and audit.
    fn name(&self) -> &'static str;

    /// Whether keys of this kind can be made *and* used here with every algorithm that fits them;
    /// what cannot is refused at creation.
    fn supports(&self, spec: KeySpec) -> bool;

    /// Why keys of a kind that is not supported are not held here, for the caller, in words that go
    /// on after "does not hold keys of this type and size". Empty where there is no more to say.
    fn why_not(&self, _spec: KeySpec) -> &'static str {
        ""
    }

    /// Makes a new key.
    fn generate(&self, spec: KeySpec, place: &Place) -> Result<NewMaterial, EngineError>;

    /// Takes a key in, after checking that it is whole and sound.
    fn import(&self, key: ImportedKey, place: &Place) -> Result<NewMaterial, EngineError>;

    /// Opens wrapped material for use. The handle wipes what it holds when dropped.
    fn open(
        &self,
        spec: KeySpec,
        wrapped: &WrappedMaterial,
        place: &Place,
    ) -> Result<Arc<dyn KeyHandle>, EngineError>;

    /// Whether a new epoch of the security domain can begin now: whether [`Engine::rewrap`] can
    /// change what material is wrapped under, and the engine can keep another material key. Else
    /// why not, for the caller, in words that go on after "so the secret stays". May try it out:
    /// it blocks, and is called when an epoch is to begin, before anything of it is kept.
    fn rewraps(&self) -> Result<(), &'static str> {
        Err(": it wraps no key anew; the operator must choose an engine that does")
    }

    /// Wraps material under the present material key that is wrapped under an earlier one. `None`
    /// if it is under the present one already.
    fn rewrap(
        &self,
        spec: KeySpec,
        wrapped: &WrappedMaterial,
        place: &Place,
    ) -> Result<Option<WrappedMaterial>, EngineError> {
        self.open(spec, wrapped, place).map(|_| None)
    }

    /// Destroys what a device keeps to open material of the epochs of the security domain before
    /// this one, for good. Called when nothing is wrapped under them any more; again after a crash.
    fn forget_before(&self, _epoch: u32) -> Result<(), EngineError> {
        Ok(())
    }

    /// Fills the buffer with random bytes of the engine's generator.
    fn random(&self, out: &mut [u8]) -> Result<(), EngineError>;
}

/// An opened key. Callers have checked that the algorithm fits the key.
pub trait KeyHandle: Send + Sync {
    /// How costly this use is: decides where it runs.
    fn cost(&self, key_use: KeyUse) -> Cost;

    /// Signs a digest (or, for RSNULL and MACs, the given bytes). EC signatures are r ‖ s, each of
    /// the field's length (RFC 7518, 3.4). An RSA signature has been verified before it returns.
    fn sign(&self, algorithm: SignAlgorithm, input: &[u8]) -> Result<Vec<u8>, OperationError>;

    /// Whether the signature is right. A wrong one, of whatever form, is `false`, not an error.
    fn verify(
        &self,
        algorithm: SignAlgorithm,
        input: &[u8],
        signature: &[u8],
    ) -> Result<bool, OperationError>;

    /// Encrypts or wraps.
    fn encrypt(
        &self,
        algorithm: CipherAlgorithm,
        input: EncryptInput<'_>,
    ) -> Result<Encrypted, OperationError>;

    /// Decrypts or unwraps. Every failure that depends on the ciphertext is the same
    /// [`OperationError::DecryptionFailed`], reached by the same path.
    fn decrypt(
        &self,
        algorithm: CipherAlgorithm,
        input: DecryptInput<'_>,
    ) -> Result<Decrypted, OperationError>;
}

/// What a handle is asked to do, as far as the cost depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyUse {
    /// A signature or MAC is made.
    Sign,
    /// A signature or MAC is checked.
    Verify,
    /// Encryption or wrapping.
    Encrypt,
    /// Decryption or unwrapping.
    Decrypt,
}

/// Where an operation should run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// Tens of microseconds at most: on the worker that serves the connection.
    Inline,
    /// A fraction of a millisecond: leaves the worker when it is busy and others would wait.
    PoolUnderLoad,
    /// About a millisecond or more: leaves the worker whenever others would wait.
    Pool,
}

/// What is to be encrypted.
#[derive(Clone, Copy)]
pub struct EncryptInput<'a> {
    /// Plaintext, or the key to be wrapped.
    pub plaintext: &'a [u8],
    /// Initialization vector: 16 bytes for CBC; for GCM the 12 bytes that the service chose.
    pub iv: Option<&'a [u8]>,
    /// Additional authenticated data, GCM only.
    pub aad: Option<&'a [u8]>,
}

/// What came of an encryption.
#[derive(Debug)]
pub struct Encrypted {
    /// The ciphertext, without the tag.
    pub ciphertext: Vec<u8>,
    /// The authentication tag, GCM only: 16 bytes.
    pub tag: Option<Vec<u8>>,
}

/// What is to be decrypted.
#[derive(Clone, Copy)]
pub struct DecryptInput<'a> {
    /// Ciphertext, or the wrapped key.
    pub ciphertext: &'a [u8],
    /// Initialization vector: 16 bytes for CBC, 12 for GCM.
    pub iv: Option<&'a [u8]>,
    /// Additional authenticated data, GCM only.
    pub aad: Option<&'a [u8]>,
    /// The authentication tag, GCM only: 16 bytes.
    pub tag: Option<&'a [u8]>,
}

/// What came of a decryption.
pub type Decrypted = Secret;

/// Why an engine could not make, take or open a key.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// This engine cannot hold such keys: why, in words that go on after that; perhaps empty.
    #[error("this engine does not hold keys of this kind{0}")]
    Unsupported(&'static str),
    /// The imported key is not one: the reason, for the caller.
    #[error("the key is not acceptable: {0}")]
    BadKey(&'static str),
    /// Wrapped material that does not open at this place: stored data was changed.
    #[error("stored key material does not open at its place")]
    NotAuthentic,
    /// The token cannot be reached now: what to do.
    #[error("the token that holds the keys cannot be used now: {0}")]
    Unavailable(&'static str),
    /// The library or token failed: which call, for the log.
    #[error("the engine failed in {0}")]
    Failed(&'static str),
}

/// Why an operation with an opened key gave no result.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    /// The input does not suit the algorithm (length, block size): the reason, for the caller.
    #[error("{0}")]
    BadInput(&'static str),
    /// The ciphertext did not decrypt. Nothing more is said, on purpose.
    #[error("the value could not be decrypted")]
    DecryptionFailed,
    /// The token cannot be reached now: what to do.
    #[error("the token that holds the keys cannot be used now: {0}")]
    Unavailable(&'static str),
    /// The library or token failed: which call, for the log.
    #[error("the engine failed in {0}")]
    Failed(&'static str),
}
