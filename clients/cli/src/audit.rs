//! `casemate audit …`: reads and checks an audit log, whether its HSM runs or not.
//!
//! It needs the log's folder, or a sink's copy, and nothing else: no server and no private key.

mod accept_loss;
mod arguments;
mod each;
mod place;
mod proof;
mod search;
mod tail;
mod unwrap;
mod usage;
mod verify;

use std::io::{self, Write};
use std::path::PathBuf;

use casemate_audit::{NoteError, ProveError, ReadError};

pub use arguments::{AuditCommand, AuditPlace};

use crate::audit::place::logs;

/// Why an audit command did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// No log.
    #[error("there is no audit log below {}: give the --data-dir of an agent", path.display())]
    NoLog {
        /// Where was looked.
        path: PathBuf,
    },
    /// More than one log, where one is meant.
    #[error("there are several audit logs below {}: give the folder of one HSM", path.display())]
    Several {
        /// Where was looked.
        path: PathBuf,
    },
    /// The key's text.
    #[error("--trust takes a verifier key")]
    Trust(#[source] NoteError),
    /// The certificate.
    #[error("the log's certificate does not hold: run `casemate audit verify`")]
    Certificate(#[source] NoteError),
    /// There is no certificate yet.
    #[error("the log in {} has no certificate yet: start its HSM", path.display())]
    NoCertificate {
        /// The log's folder.
        path: PathBuf,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// There is no proof.
    #[error(transparent)]
    Prove(#[from] ProveError),
    /// A record that is no JSON.
    #[error("the record with seq {sequence} is damaged: run `casemate audit verify`")]
    Damaged {
        /// Its number.
        sequence: u64,
    },
    /// Something else than a record.
    #[error(
        "what stands where the record with seq {sequence} would begin is no record: if the HSM was \
         killed, start it, which cuts off what it never answered for, and ask again; if that does \
         not help, the log is damaged: run `casemate audit verify`"
    )]
    NoRecord {
        /// The number that it would have.
        sequence: u64,
    },
    /// The log is not lost.
    #[error(
        "the log in {} is being written: its HSM runs, so nothing of it is lost; stop the HSM \
         first if it does not serve", path.display()
    )]
    InUse {
        /// The log's folder.
        path: PathBuf,
    },
    /// Who and why.
    #[error(transparent)]
    GiveUp(#[from] casemate_audit::GiveUpError),
    /// What was seen of the log earlier cannot be read.
    #[error(
        "--seen takes a number of records, or a file with a checkpoint: {} is none",
        path.display()
    )]
    Seen {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of a receiver that has nothing of ours.
    #[error(
        "{} carries no line of an audit log: give a file of syslog messages, one a line, or of \
         OTLP in JSON", path.display()
    )]
    NothingCarried {
        /// The file.
        path: PathBuf,
    },
    /// A line that is too long.
    #[error("line {line} has more than {bytes_max} bytes: give a file of one message a line")]
    TooLong {
        /// Its number.
        line: u64,
        /// How long it may be.
        bytes_max: u64,
    },
    /// The verification found something.
    #[error("{findings} findings: the audit log is not as it was written")]
    Findings {
        /// How many.
        findings: u64,
    },
    /// Nobody to tell, or a folder that cannot be read.
    #[error("it cannot be written or read")]
    Io(#[from] io::Error),
}

/// Carries the command out; `default_folder` is used unless the command names another one.
///
/// # Errors
/// When the log cannot be read, or something is found.
pub fn audit(
    command: &AuditCommand,
    default_folder: impl FnOnce() -> PathBuf,
    out: &mut dyn Write,
) -> Result<(), AuditError> {
    match command {
        AuditCommand::Key { place } => {
            let folder = place.folder(default_folder);
            for log in logs(&folder)? {
                place::print_keys(&log, out)?;
            }
            Ok(())
        }
        AuditCommand::Verify { place, check } => match &check.from {
            Some(from) => verify::copy(from, check, out),
            None => verify::folders(&place.folder(default_folder), check, out),
        },
        AuditCommand::AcceptLoss { place, accepted } => {
            accept_loss::accept(&place.one(default_folder)?, accepted, out)
        }
        AuditCommand::Unwrap { file } => unwrap::unwrap(file, out),
        AuditCommand::Prove { place, what } => proof::prove(&place.one(default_folder)?, what, out),
        AuditCommand::Tail { place, lines, follow } => {
            tail::tail(&place.one(default_folder)?, *lines, *follow, out)
        }
        AuditCommand::Search { place, filter } => {
            search::search(&place.one(default_folder)?, filter, out)
        }
        AuditCommand::Usage { place, key } => {
            usage::usage(&place.one(default_folder)?, key.as_deref(), out)
        }
    }
}
