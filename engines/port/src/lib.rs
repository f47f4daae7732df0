//! What an engine must do: make, import, open and use key material.
//!
//! This crate holds the port, the vocabulary of key types and algorithms, and the secret types.
//! It contains no cryptography and decides no policy: whether a key *may* be used is the domain's
//! question, whether an algorithm *fits* a key is answered by the tables here.
//!
//! Invariant: private material crosses this port only inside [`Secret`] (imports) or wrapped under
//! the engine's material key ([`WrappedMaterial`]).

mod algorithm;
mod engine;
mod key;
mod secret;

pub use algorithm::{CipherAlgorithm, DigestLength, SignAlgorithm};
pub use engine::{
    Cost, DecryptInput, Decrypted, EncryptInput, Encrypted, Engine, EngineError, KeyHandle, KeyUse,
    NewMaterial, OperationError, Place, WrappedMaterial,
};
pub use key::{Curve, ImportedKey, ImportedRsa, KeySpec, OctSize, PublicPart, RsaSize};
pub use secret::Secret;
