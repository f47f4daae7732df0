//! What is measured: the same operations for the library, the bare server and the HSM.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use casemate_engine_port::{
    CipherAlgorithm, Curve, DecryptInput, EncryptInput, Engine, KeyHandle, KeySpec, OctSize, Place,
    RsaSize, Secret, SignAlgorithm,
};
use casemate_engine_soft::SoftEngine;
use serde_json::{Value, json};

use crate::Outcome;

/// Length of the plaintext of A256GCM.
pub(crate) const GCM_BYTES: usize = 4096;

/// What is done with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Nothing: a request with an empty answer. The bare server only; its cost is E.
    Empty,
    /// The key's bundle.
    Get,
    Sign(SignAlgorithm),
    Verify(SignAlgorithm),
    Encrypt(CipherAlgorithm, usize),
    Decrypt(CipherAlgorithm, usize),
    Wrap(CipherAlgorithm, usize),
    Unwrap(CipherAlgorithm, usize),
}

/// What the aim says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// At most C + 1.5 E.
    Fixed,
    /// At most 1.10 C.
    Ratio,
    /// Measured for the record.
    None,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    pub(crate) spec: KeySpec,
    pub(crate) act: Act,
    pub(crate) aim: Aim,
}

const fn row(name: &'static str, spec: KeySpec, act: Act, aim: Aim) -> Operation {
    Operation { name, spec, act, aim }
}

const P256: KeySpec = KeySpec::Ec(Curve::P256);
const R2048: KeySpec = KeySpec::Rsa(RsaSize::B2048);
const R3072: KeySpec = KeySpec::Rsa(RsaSize::B3072);
const R4096: KeySpec = KeySpec::Rsa(RsaSize::B4096);
const A256: KeySpec = KeySpec::Oct(OctSize::B256);
const GCM: CipherAlgorithm = CipherAlgorithm::AesGcm(OctSize::B256);
const KW: CipherAlgorithm = CipherAlgorithm::AesKw(OctSize::B256);
const OAEP: CipherAlgorithm = CipherAlgorithm::RsaOaep256;

/// All rows; the first is E.
pub(crate) const OPERATIONS: &[Operation] = &[
    row("empty request", P256, Act::Empty, Aim::None),
    row("get key", P256, Act::Get, Aim::Fixed),
    row("ES256 sign", P256, Act::Sign(SignAlgorithm::Es256), Aim::Fixed),
    row("A256GCM encrypt 4 KiB", A256, Act::Encrypt(GCM, GCM_BYTES), Aim::Fixed),
    row("RS256 sign 2048", R2048, Act::Sign(SignAlgorithm::Rs256), Aim::Ratio),
    row("RS256 sign 3072", R3072, Act::Sign(SignAlgorithm::Rs256), Aim::Ratio),
    row("RS256 sign 4096", R4096, Act::Sign(SignAlgorithm::Rs256), Aim::Ratio),
    row("RSA-OAEP-256 decrypt 2048", R2048, Act::Decrypt(OAEP, 32), Aim::Ratio),
    row("RSA-OAEP-256 decrypt 3072", R3072, Act::Decrypt(OAEP, 32), Aim::Ratio),
    row("RSA-OAEP-256 decrypt 4096", R4096, Act::Decrypt(OAEP, 32), Aim::Ratio),
    row("PS256 sign 2048", R2048, Act::Sign(SignAlgorithm::Ps256), Aim::None),
    row("RS256 verify 2048", R2048, Act::Verify(SignAlgorithm::Rs256), Aim::None),
    row("RSA-OAEP-256 unwrap 2048", R2048, Act::Unwrap(OAEP, 32), Aim::None),
    row("ES256 verify", P256, Act::Verify(SignAlgorithm::Es256), Aim::None),
    row("ES256K sign", KeySpec::Ec(Curve::P256K), Act::Sign(SignAlgorithm::Es256K), Aim::None),
    row("ES384 sign", KeySpec::Ec(Curve::P384), Act::Sign(SignAlgorithm::Es384), Aim::None),
    row("ES512 sign", KeySpec::Ec(Curve::P521), Act::Sign(SignAlgorithm::Es512), Aim::None),
    row("A256GCM decrypt 4 KiB", A256, Act::Decrypt(GCM, GCM_BYTES), Aim::None),
    row("A256KW wrap 32 B", A256, Act::Wrap(KW, 32), Aim::None),
    row("A256KW unwrap 32 B", A256, Act::Unwrap(KW, 32), Aim::None),
    row("HS256 sign 32 B", A256, Act::Sign(SignAlgorithm::Hs256), Aim::None),
];

impl Operation {
    /// The verb of its path, if it has one.
    pub(crate) fn verb(&self) -> &'static str {
        match self.act {
            Act::Empty | Act::Get => "",
            Act::Sign(_) => "/sign",
            Act::Verify(_) => "/verify",
            Act::Encrypt(..) => "/encrypt",
            Act::Decrypt(..) => "/decrypt",
            Act::Wrap(..) => "/wrapkey",
            Act::Unwrap(..) => "/unwrapkey",
        }
    }

    /// The name of its key.
    pub(crate) fn key_name(&self) -> String {
        match self.spec {
            KeySpec::Rsa(size) => format!("rsa-{}", size.bits()),
            KeySpec::Ec(curve) => format!("ec-{}", curve.name()),
            KeySpec::Oct(size) => format!("oct-{}", size.bits()),
        }
    }

    /// The body that creates its key.
    pub(crate) fn creation(&self) -> Value {
        match self.spec {
            KeySpec::Rsa(size) => json!({"kty": "RSA-HSM", "key_size": size.bits()}),
            KeySpec::Ec(curve) => json!({"kty": "EC-HSM", "crv": curve.name()}),
            KeySpec::Oct(size) => json!({"kty": "oct-HSM", "key_size": size.bits()}),
        }
    }

    /// Length of what is signed.
    pub(crate) fn digest_bytes(&self) -> usize {
        match self.act {
            Act::Sign(SignAlgorithm::Es384) => 48,
            Act::Sign(SignAlgorithm::Es512) => 64,
            _ => 32,
        }
    }

    /// The call that makes this one's input, for those that undo something.
    pub(crate) fn before(&self) -> Option<(&'static str, Value)> {
        let value = |bytes: usize| URL_SAFE_NO_PAD.encode(vec![7; bytes]);
        match self.act {
            Act::Decrypt(algorithm, bytes) => {
                Some(("/encrypt", json!({"alg": algorithm.name(), "value": value(bytes)})))
            }
            Act::Unwrap(algorithm, bytes) => {
                Some(("/wrapkey", json!({"alg": algorithm.name(), "value": value(bytes)})))
            }
            Act::Verify(algorithm) => {
                let digest = value(self.digest_bytes());
                Some(("/sign", json!({"alg": algorithm.name(), "value": digest})))
            }
            Act::Empty | Act::Get | Act::Sign(_) | Act::Encrypt(..) | Act::Wrap(..) => None,
        }
    }

    /// The body of the call, given what [`Operation::before`] answered.
    pub(crate) fn body(&self, before: &Value) -> Option<Value> {
        let value = |bytes: usize| URL_SAFE_NO_PAD.encode(vec![7; bytes]);
        match self.act {
            Act::Empty | Act::Get => None,
            Act::Sign(algorithm) => {
                Some(json!({"alg": algorithm.name(), "value": value(self.digest_bytes())}))
            }
            Act::Verify(algorithm) => {
                let digest = value(self.digest_bytes());
                Some(json!({
                    "alg": algorithm.name(), "digest": digest, "value": before["value"],
                }))
            }
            Act::Encrypt(algorithm, bytes) | Act::Wrap(algorithm, bytes) => {
                Some(json!({"alg": algorithm.name(), "value": value(bytes)}))
            }
            Act::Decrypt(algorithm, _) | Act::Unwrap(algorithm, _) => {
                let mut body = json!({"alg": algorithm.name(), "value": before["value"]});
                for member in ["iv", "tag"] {
                    if let Some(text) = before[member].as_str() {
                        body[member] = json!(text);
                    }
                }
                Some(body)
            }
        }
    }
}

/// A key of the raw library, and what its operations need.
pub(crate) struct Raw {
    pub(crate) handle: Arc<dyn KeyHandle>,
    pub(crate) operation: Operation,
    ciphertext: Vec<u8>,
    tag: Option<Vec<u8>>,
    signature: Vec<u8>,
}

impl Raw {
    /// Makes a key for the operation.
    pub(crate) fn new(engine: &SoftEngine, operation: Operation) -> Outcome<Self> {
        let place = Place::new("bench");
        let made = engine.generate(operation.spec, &place)?;
        let handle = engine.open(operation.spec, &made.wrapped, &place)?;
        let mut raw =
            Self { handle, operation, ciphertext: Vec::new(), tag: None, signature: Vec::new() };
        match operation.act {
            Act::Decrypt(algorithm, bytes) | Act::Unwrap(algorithm, bytes) => {
                let plaintext = vec![7; bytes];
                let iv = iv(algorithm);
                let input = EncryptInput { plaintext: &plaintext, iv, aad: None };
                let made = raw.handle.encrypt(algorithm, input)?;
                (raw.ciphertext, raw.tag) = (made.ciphertext, made.tag);
            }
            Act::Verify(algorithm) => {
                raw.signature = raw.handle.sign(algorithm, &[7; 32])?;
            }
            Act::Empty | Act::Get | Act::Sign(_) | Act::Encrypt(..) | Act::Wrap(..) => {}
        }
        Ok(raw)
    }

    /// Does the operation once; the answer's `value`.
    pub(crate) fn run(&self, input: &[u8]) -> Outcome<Vec<u8>> {
        let handle = &self.handle;
        Ok(match self.operation.act {
            Act::Empty | Act::Get => Vec::new(),
            Act::Sign(algorithm) => handle.sign(algorithm, input)?,
            Act::Verify(algorithm) => {
                vec![u8::from(handle.verify(algorithm, input, &self.signature)?)]
            }
            Act::Encrypt(algorithm, _) | Act::Wrap(algorithm, _) => {
                let iv = iv(algorithm);
                let input = EncryptInput { plaintext: input, iv, aad: None };
                handle.encrypt(algorithm, input)?.ciphertext
            }
            Act::Decrypt(algorithm, _) | Act::Unwrap(algorithm, _) => {
                let input = DecryptInput {
                    ciphertext: &self.ciphertext,
                    iv: iv(algorithm),
                    aad: None,
                    tag: self.tag.as_deref(),
                };
                handle.decrypt(algorithm, input)?.expose().to_vec()
            }
        })
    }

    /// What [`Raw::run`] is given when nobody sends anything.
    pub(crate) fn sample(&self) -> Vec<u8> {
        match self.operation.act {
            Act::Encrypt(_, bytes) | Act::Wrap(_, bytes) => vec![7; bytes],
            _ => vec![7; self.operation.digest_bytes()],
        }
    }
}

/// A vector for algorithms that take one; the same every time, which only a benchmark may do.
fn iv(algorithm: CipherAlgorithm) -> Option<&'static [u8]> {
    matches!(algorithm, CipherAlgorithm::AesGcm(_)).then_some(&[3; 12])
}

/// An engine with a key of its own.
pub(crate) fn engine() -> Outcome<SoftEngine> {
    Ok(SoftEngine::new(Secret::new(vec![1; 32]))?)
}
