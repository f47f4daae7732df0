//! `casemate migrate plan`: what a vault or a managed HSM holds, read through its own API, and what
//! is to be done so that a managed HSM of Casemate can take over.
//!
//! No key leaves a vault or an HSM of Azure. So a plan says of each key whether a new one in its
//! place will do, whether what was encrypted under it must be wrapped anew, or whether the same key
//! must come, which only its owner can bring.
//!
//! What it does not do: it changes nothing at the source or anywhere else, and it opens no socket;
//! whoever uses it asks.
//!
//! Invariants: nothing is asked of another host than the source's; every list and all waiting is
//! bounded; what could not be read, and what no command says, is named in the plan; no text of the
//! source is an option or a file to `az`, or more than letters to a terminal.

mod ask;
mod commands;
mod legible;
mod names;
mod plan;
mod read;
mod words;

pub use ask::{Answer, Ask, AskFailure, MigrateError};
pub use legible::{ascii, legible};
pub use plan::{Plan, PlannedKey, Way, plan};
pub use read::{Found, FoundKey, FoundVersion, read};
