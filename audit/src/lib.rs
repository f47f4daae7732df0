//! The audit room: what happened in one HSM, one record per call, durable before the answer.
//!
//! [`Trail`] is the only door. In its present form it appends JSON lines to a file and syncs them
//! in groups; what stands behind the door may change without its callers noticing.
//!
//! It does not decide what is recorded, and it forwards nothing to other systems.
//!
//! Invariants:
//! - [`Recorded`] is made here alone, and only after the record's bytes have been synced.
//! - Sequence numbers are the order of the lines, without a gap, across restarts.
//! - A record that cannot be made durable is an error for its caller, never a silent loss.
//! - Every record is one line of valid JSON, whatever the caller sent.

mod append;
mod error;
mod file;
mod json;
mod memory;
mod origin;
mod pace;
mod record;
mod recover;
mod trail;
mod writer;

pub use append::{Append, Recorded};
pub use error::TrailError;
pub use memory::MemoryTrail;
pub use origin::Origin;
pub use record::{Call, Identity, KeyFacts, PermitFacts, Phase, Record, Verdict};
pub use trail::{Millis, Trail};
