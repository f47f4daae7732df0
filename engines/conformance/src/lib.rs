//! The suite that every engine runs: the port's promises as tests.
//!
//! An engine's crate mounts it by calling the functions below from tests of its own, one per
//! family. Kinds of keys that the engine does not support are passed over; an engine that supports
//! none passes nothing, so its crate also asserts what it supports.
//!
//! What counts as the caller's mistake ([`BadInput`]) and what as a failed decryption: everything
//! that can be told without looking at the ciphertext (a missing vector, a tag of the wrong
//! length) is the first; the ciphertext, its length included, is the second.
//!
//! [`BadInput`]: casemate_engine_port::OperationError::BadInput

#![expect(clippy::missing_panics_doc, reason = "a test suite speaks by panicking")]

mod ec;
mod import;
mod keys;
mod material;
mod oct;
mod rsa;

use std::sync::Arc;

use casemate_engine_port::{
    CipherAlgorithm, DecryptInput, EncryptInput, Encrypted, Engine, EngineError, KeyHandle,
    KeySpec, NewMaterial, OperationError, Place, Secret,
};

pub use ec::run as ec;
pub use import::{ec as import_ec, oct as import_oct, rsa as import_rsa};
pub use keys::{imported_ec, imported_rsa, unsound_rsa};
pub use material::run as material;
pub use oct::run as oct;
pub use rsa::run as rsa;

/// Everything, one family after the other.
pub fn run(engine: &dyn Engine) {
    material(engine);
    import_rsa(engine);
    import_ec(engine);
    import_oct(engine);
    oct(engine);
    ec(engine);
    rsa(engine);
    random(engine);
}

/// The generator fills the buffer and does not repeat itself.
pub fn random(engine: &dyn Engine) {
    let (mut first, mut second) = ([0; 64], [0; 64]);
    engine.random(&mut first).expect("the generator works");
    engine.random(&mut second).expect("the generator works");
    assert_ne!(first, second);
    assert_ne!(first[32..], [0; 32]);
}

/// A new key, and the same opened.
fn made(engine: &dyn Engine, spec: KeySpec) -> (NewMaterial, Arc<dyn KeyHandle>) {
    let place = Place::new("conformance");
    let made = engine.generate(spec, &place).expect("a supported kind of key is made");
    assert_eq!(made.spec, spec);
    let handle = engine.open(spec, &made.wrapped, &place).expect("a new key opens");
    (made, handle)
}

fn plain(plaintext: &[u8]) -> EncryptInput<'_> {
    EncryptInput { plaintext, iv: None, aad: None }
}

fn bare(ciphertext: &[u8]) -> DecryptInput<'_> {
    DecryptInput { ciphertext, iv: None, aad: None, tag: None }
}

fn encrypted(
    handle: &dyn KeyHandle,
    algorithm: CipherAlgorithm,
    input: EncryptInput<'_>,
) -> Encrypted {
    handle.encrypt(algorithm, input).expect("encryption works")
}

fn decrypted(
    handle: &dyn KeyHandle,
    algorithm: CipherAlgorithm,
    input: DecryptInput<'_>,
) -> Secret {
    handle.decrypt(algorithm, input).expect("decryption works")
}

fn fails_to_decrypt(
    handle: &dyn KeyHandle,
    algorithm: CipherAlgorithm,
    input: DecryptInput<'_>,
    what: &str,
) {
    let answer = handle.decrypt(algorithm, input);
    assert!(
        matches!(answer, Err(OperationError::DecryptionFailed)),
        "{algorithm:?}, {what}: {answer:?}"
    );
}

fn is_bad_input<T: std::fmt::Debug>(answer: Result<T, OperationError>, what: &str) {
    assert!(matches!(answer, Err(OperationError::BadInput(_))), "{what}: {answer:?}");
}

fn is_bad_key(answer: Result<NewMaterial, EngineError>, what: &str) {
    assert!(matches!(answer, Err(EngineError::BadKey(_))), "{what}: {answer:?}");
}

fn is_not_authentic(answer: Result<Arc<dyn KeyHandle>, EngineError>, what: &str) {
    match answer {
        Err(EngineError::NotAuthentic) => {}
        Err(other) => assert_eq!(other.to_string(), "", "{what}"),
        Ok(_) => assert_eq!("refused", "opened", "{what}"),
    }
}

/// The bytes with one bit changed.
fn flipped(bytes: &[u8], position: usize) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    changed[position] ^= 1;
    changed
}

/// First, last and some in between: where to change a long value.
fn samples(length: usize) -> impl Iterator<Item = usize> {
    [0, 1, length / 4, length / 2, length - 2, length - 1].into_iter()
}
