//! The audit room: what happened in one HSM, one record per call, durable before the answer.
//!
//! [`Trail`] is the only door for those who record: it appends JSON lines to a file and syncs them
//! in groups. Behind it the lines become a Merkle tree whose checkpoints are signed, so that
//! nothing can be altered, dropped or put in between unnoticed (`docs/design/audit.md`).
//! [`Reader`] is the door for those who read, and needs no key.
//!
//! It does not decide what is recorded, and it forwards nothing to other systems. It hashes and
//! verifies; whoever opens a trail brings what signs ([`Signer`]), so no private key is in here.
//!
//! Invariants:
//! - [`Recorded`] is made here alone, and only after the record's bytes have been synced.
//! - Sequence numbers are the order of the lines, without a gap, across restarts.
//! - A record that cannot be made durable is an error for its caller, never a silent loss.
//! - Every record is one line of valid JSON, whatever the caller sent.
//! - A checkpoint covers only what is durable; a trail that lacks what a checkpoint or its anchor
//!   covers is not opened.

mod append;
mod checkpoint;
mod error;
mod file;
mod intents;
mod json;
mod ledger;
mod log;
mod loss;
mod memory;
mod merkle;
mod note;
mod origin;
mod pace;
mod prove;
mod read;
mod record;
mod recover;
mod space;
#[cfg(test)]
mod testing;
mod tiles;
mod trail;
mod usage;
pub mod verify;
mod writer;

pub use append::{Append, Recorded};
pub use checkpoint::{Certificate, Checkpoint, Head, certify};
pub use error::TrailError;
pub use intents::OpenIntent;
pub use ledger::{Anchor, Ledger};
pub use loss::{
    GIVE_UP_BYTES_MAX, GIVE_UP_FILE, GiveUp, GiveUpError, LOSSES_MAX, Loss, WORDS_BYTES_MAX,
};
pub use memory::MemoryTrail;
pub use merkle::{Consistency, Frontier, Hash, hash_text};
pub use note::{NOTE_BYTES_MAX, NoteError, Signer, VerifierKey, sign};
pub use origin::Origin;
pub use prove::{Proof, ProveError, consistency, frontier, prove_consistency, prove_inclusion};
pub use read::{Cursor, Entry, ReadError, Reader};
pub use record::{
    Call, Detail, DetailValue, Identity, KeyFacts, PermitFacts, Phase, Record, Verdict,
};
pub use trail::{Millis, Trail};
pub use usage::{Caller, KeyUsage, UsageIndex, UsageKind, UsageRow};
