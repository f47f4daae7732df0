//! What keeps a node's sealing keys between starts, behind one port.
//!
//! A partition's node seal (`seal.bin`) is under a *sealing key*. The sealing key lies in a *slot*:
//! a small file that opens with something of the operator's. Each such thing is a [`Guard`] and
//! passes the same tests (`tests.rs`). The formats are in `docs/design/node-seal.md`.
//!
//! What it does not do: it knows no secret of an HSM but the sealing key, and it opens no network
//! socket. It works before its process is confined, for a guard may need files, devices or a
//! library that the confined process has not.
//!
//! Invariants:
//! - A slot is whole on the disk before its path names it, and a new one is opened again before the
//!   old one goes.
//! - A change of the guard takes a new sealing key; who kept the old slot and what opened it cannot
//!   open what the partition seals from its next start on.

mod blob;
mod credential;
mod error;
mod files;
mod guard;
mod keys;
mod passphrase;
mod reseal;
mod slot;
mod token;
#[cfg(feature = "tpm")]
mod tpm;

pub use error::GuardError;
pub use files::read_private;
pub use keys::SealingKeys;
pub use reseal::main;
pub use slot::{open, open_or_create};

#[cfg(test)]
mod tests;
