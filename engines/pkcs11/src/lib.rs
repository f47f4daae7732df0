//! The PKCS #11 engine: key material is made, wrapped and used inside a token.
//!
//! One key lives in the token for good: the wrapping key, derived once from the HSM's material key
//! and put in as not extractable. Every key of the HSM is made in the token as a session object,
//! leaves it wrapped under that key, and comes back for use as a session object that cannot be
//! extracted. What is stored is that wrapped form, sealed with the key's public part to its place
//! (`docs/design/engines.md`).
//!
//! Of earlier epochs of the security domain the token keeps a wrapping key each that only unwraps.
//! What is wrapped under one of them can be used, and is wrapped anew inside the token.
//!
//! Outside the token this crate does what needs no private key (verification, RSA encryption), and
//! the parts of a scheme around a private operation for which a token has no mechanism of its own:
//! OAEP's encoding ([`oaep`]), AES key wrap's rounds ([`kw`]), PKCS #7 padding.
//!
//! Invariants:
//! - Private material of a key made here is never in this process's memory, except inside a module
//!   that keeps its token in this process, as SoftHSM2 does. Material of an imported key passes
//!   once, and its buffers here are wiped.
//! - An object handle is used only in the connection that it came from ([`key`]): after a token was
//!   lost and found, the same number may name another key.
//! - A call whose session or token is lost is done again once, after a new connection.

mod ec;
mod engine;
mod exchange;
mod fault;
mod key;
mod kw;
mod make;
mod material;
mod oaep;
mod oct;
mod pin;
mod rsa;
mod seal;
mod sessions;
mod template;
mod token;
mod trial;
mod wrapping;

pub use engine::{EarlierKey, Pkcs11Engine, Visit};
pub use seal::TokenSealed;
pub use token::{Token, TokenError, TokenOptions};
