//! The courier of one HSM: a process with network and without keys, that carries copies of the
//! audit log to sinks, watches the stream for what deserves an alert, and carries spans of traced
//! requests to a collector.
//!
//! It reads nothing of the partition's folder: committed entries and signed checkpoints come over
//! a stream from the partition, and the settings of the sinks with them. `docs/design/courier.md`
//! specifies the protocol and each sink.
//!
//! Invariants:
//! - Sinks share nothing but the feed: one that hangs, refuses or is slow holds up no other, and
//!   none can hold up the log.
//! - A sink's cursor moves only after the sink has acknowledged all entries below it. So each
//!   entry arrives at least once, in order, whatever dies in between.
//! - Spans go beside the sinks and hold up none of them; only so many are here at a time.
//! - No secret of a sink is in a log, a report or an error.

mod alerts;
mod backoff;
mod batch;
mod boot;
mod checkpoint;
mod cursor;
mod entry;
mod failure;
mod farewell;
mod feed;
mod https;
mod life;
mod runner;
mod sign;
mod sinks;
mod tls;
mod traces;
mod transfer;

use std::process::ExitCode;

pub use transfer::{BackupTarget, TargetRefusal};

/// Runs a courier: `courier FOLDER [USER]`. Its end of the stream is descriptor 3, and no other
/// thread exists yet.
pub fn main() -> ExitCode {
    match boot::begin().and_then(life::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!("{}", failure::chain(&failure));
            ExitCode::FAILURE
        }
    }
}
