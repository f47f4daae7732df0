//! The software engine: key material lives in this process, in memory that is wiped after use.
//!
//! A thin coat over AWS-LC (`aws-lc-rs`), with RustCrypto crates for the few things it lacks:
//! `k256` for secp256k1 (6.8 times faster at signing), `aes-kw` for AES-192 key wrap, `rsa` for
//! RSNULL, which needs a raw private operation. It decides no policy: whether a key may be used is
//! asked elsewhere, before.
//!
//! It also holds the cryptography that the composition needs around the engine: the keys derived
//! from the domain secret and the record cipher ([`domain`]), the node seal ([`seal`]), and the
//! primitives of the officers' quorum ([`ceremony`]).
//!
//! Invariant: private material leaves this crate only wrapped ([`WrappedMaterial`]); every
//! buffer that held it in clear is wiped, on the paths that fail too.
//!
//! [`WrappedMaterial`]: casemate_engine_port::WrappedMaterial

mod aead;
pub mod backup;
pub mod ceremony;
pub mod domain;
mod ec;
mod engine;
mod envelope;
mod import;
mod material;
mod module;
mod oct;
mod public;
mod random;
mod rsa;
pub mod seal;
mod self_test;
pub mod signing;

pub use engine::SoftEngine;
pub use envelope::{Envelope, derived};
pub use import::check;
pub use material::associated_data;
pub use module::about_module;
pub use oct::without_padding;
pub use public::PublicKey;
pub use random::{random, sha256};
