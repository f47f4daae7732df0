//! `casemate backup verify`: a backup is restored into an HSM that is made for it and thrown away
//! with it, and then compared with what that HSM holds.
//!
//! The throw-away HSM is a real one of the backup's security domain: the same domain code, engine,
//! store and cipher as in a partition, and the same way of restoring. It answers nobody, and its
//! database lies in a folder of its own that is removed at the end. The domain comes from its
//! officers, or from the seal of a node that holds it.
//!
//! Invariants:
//! - No HSM that is in use is asked, opened or written to; of a node's folder its seal alone is
//!   read.
//! - Secrets of the domain stay in this process's memory, of which nobody gets a dump.

mod aside;
mod keys;
mod ports;
mod rehearsal;
mod source;

use std::io::{self, Write};
use std::path::PathBuf;

use casemate_channel::Seal;
use casemate_hsm::backup::{BackupError, Compared, JobFailure, StartRefusal};
use casemate_hsm::security_domain::DomainRefusal;
use casemate_quorum::Item;
use casemate_store_port::OpenError;

pub use casemate_partition::TokenOptions;
pub use source::SourceError;

/// What is to be verified, and with what.
pub struct Rehearsal {
    /// The backup: the URL that its status told, or the path of a folder with its objects.
    pub backup: String,
    /// Another backup that the restored HSM is compared with instead.
    pub against: Option<String>,
    /// What opens the target; empty for a folder.
    pub token: String,
    /// Where the domain comes from.
    pub domain: DomainSource,
    /// The token that the throw-away HSM's keys are in, if those of the backup are in one. It must
    /// hold no keys, and holds none afterwards.
    pub engine_token: Option<TokenOptions>,
    /// Where the throw-away HSM is made; the system's folder for temporary files if not told.
    pub work_dir: Option<PathBuf>,
}

/// Where the security domain comes from.
pub enum DomainSource {
    /// What a quorum of officers opened.
    Officers(Vec<Item>),
    /// The seal of a node that holds it.
    Node {
        /// The HSM's folder.
        folder: PathBuf,
        /// What opens its seal.
        seal: Seal,
    },
}

/// Why a backup was not verified.
#[derive(Debug, thiserror::Error)]
pub enum RehearseError {
    /// The domain of the officers is none.
    #[error("what the officers' keys open is no security domain of Casemate")]
    Domain(#[from] DomainRefusal),
    /// A node's seal.
    #[error(transparent)]
    Seal(#[from] casemate_partition::SealRefusal),
    /// Where the backup lies.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Its manifest.
    #[error("the manifest: {0}")]
    Manifest(#[source] BackupError),
    /// Sealed in an epoch that the domain does not have.
    #[error(
        "the backup was sealed in epoch {epoch}, of which this security domain (epoch {newest}) \
         holds nothing; use the security domain's file of that epoch"
    )]
    Epoch {
        /// The epoch.
        epoch: u32,
        /// The newest that the domain has.
        newest: u32,
    },
    /// It cannot be restored.
    #[error("the backup cannot be restored")]
    Restore(#[source] JobFailure),
    /// It was restored and cannot be compared.
    #[error("the restored HSM could not be compared")]
    Compare(#[source] JobFailure),
    /// The job was not begun.
    #[error("the restore was not begun")]
    Start(#[from] StartRefusal),
    /// The throw-away HSM.
    #[error(
        "the throw-away HSM could not be made; look at the disk of its folder, or choose another \
         with --work-dir"
    )]
    Made(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The token for its keys.
    #[error("the token for the throw-away HSM's keys cannot be used")]
    Token(#[source] casemate_partition::TokenError),
    /// What was restored does not open.
    #[error("what was restored does not open as an HSM")]
    Reopened(#[source] OpenError),
    /// The result cannot be written.
    #[error("the result cannot be written")]
    Write(#[from] io::Error),
    /// It was compared, and something differs.
    #[error("the restored HSM differs from the backup in {0} places")]
    Differs(u64),
}

/// Verifies a backup and tells what was found, line by line.
///
/// # Errors
/// When the backup cannot be restored, or what was restored differs or does not work.
pub async fn verify(rehearsal: &Rehearsal, out: &mut dyn Write) -> Result<(), RehearseError> {
    casemate_harden::without_dumps().map_err(|error| RehearseError::Made(Box::new(error)))?;
    let compared = rehearsal::compared(rehearsal).await?;
    tell(rehearsal, &compared, out)?;
    let found = u64::try_from(compared.differences.len()).unwrap_or(u64::MAX);
    match found.saturating_add(compared.more) {
        0 => Ok(()),
        differences => Err(RehearseError::Differs(differences)),
    }
}

fn tell(rehearsal: &Rehearsal, compared: &Compared, out: &mut dyn Write) -> io::Result<()> {
    for difference in &compared.differences {
        writeln!(out, "{difference}")?;
    }
    if compared.more > 0 {
        writeln!(out, "and {} more", compared.more)?;
    }
    let counts = compared.counts;
    let with = match &rehearsal.against {
        Some(against) => format!("It was compared with {against}: "),
        None => String::new(),
    };
    writeln!(
        out,
        "The backup was restored into a throw-away HSM, which is gone again. {with}{} keys with {} \
         versions, {} role assignments, {} role definitions, as of change {}, made at {} (Unix \
         seconds). Of the versions {} were opened and worked.",
        counts.keys,
        counts.versions,
        counts.assignments,
        counts.definitions,
        compared.sequence,
        compared.made.0,
        compared.worked
    )
}
