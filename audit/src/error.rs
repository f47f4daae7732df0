//! Why a record is not in the trail.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why the trail could not be opened or did not take a record. Cloned to every caller whose record
/// was in the same batch.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TrailError {
    /// No space, quota or file size left. The trail takes records again once there is.
    #[error(
        "no space left for the audit trail in {}: calls are refused until some is freed there",
        dir.display()
    )]
    Full {
        /// The trail's folder.
        dir: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// A write or sync failed, so what the disk holds is not known. Nothing more is taken.
    #[error(
        "the audit trail in {} cannot be written: calls are refused; check the disk, then restart \
         this HSM",
        dir.display()
    )]
    Failed {
        /// The trail's folder.
        dir: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The trail could not be opened.
    #[error(
        "the audit trail at {} cannot be opened: check that it exists and is ours",
        path.display()
    )]
    Open {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// Another process has the trail open.
    #[error(
        "the audit trail in {} is in use by another process: stop that one first",
        dir.display()
    )]
    InUse {
        /// The trail's folder.
        dir: PathBuf,
    },
    /// Lines that were answered for are not as they were written.
    #[error(
        "the audit trail {} is damaged at byte {offset}: keep the file as evidence, and put back \
         the untouched one",
        file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where the first wrong line begins.
        offset: u64,
    },
    /// The file that is being written to was removed, replaced or cut by somebody else.
    #[error(
        "the audit trail {} was removed, replaced or cut while it was in use: calls are refused; \
         put it back, then restart this HSM",
        file.display()
    )]
    Removed {
        /// The file.
        file: PathBuf,
    },
    /// A file lies among those of the records and is none of them.
    #[error(
        "{} lies among the files of the audit trail and is none of them: find out who put it \
         there, move it out of the folder, and start this HSM again",
        file.display()
    )]
    Stray {
        /// The file.
        file: PathBuf,
    },
    /// The trail has fewer records than are remembered outside it.
    #[error(
        "the audit trail in {} has {found} of at least {expected} records: put the missing files \
         back, or see 'A lost log' in docs/operate/verify-the-audit-log.md",
        dir.display()
    )]
    Lost {
        /// The trail's folder.
        dir: PathBuf,
        /// How many are remembered.
        expected: u64,
        /// How many there are.
        found: u64,
    },
    /// The records are not those whose root is remembered outside the trail.
    #[error(
        "the first {size} records of the audit trail in {} are not those that this HSM wrote: keep \
         the files as evidence, and put back the untouched ones",
        dir.display()
    )]
    Altered {
        /// The trail's folder.
        dir: PathBuf,
        /// How many records were to have the remembered root.
        size: u64,
    },
    /// More records wait for the disk than the trail holds in memory.
    #[error("too many audit records wait for the disk in {}", dir.display())]
    Overloaded {
        /// The trail's folder.
        dir: PathBuf,
    },
    /// The trail was closed: the process is stopping.
    #[error("the audit trail is closed")]
    Closed,
}

impl TrailError {
    /// The same of a folder that is found elsewhere from outside: a process that sees its own
    /// folder as the root would name one that nobody else finds.
    #[must_use]
    pub fn placed(mut self, inside: &Path, outside: &Path) -> Self {
        match &mut self {
            Self::Full { dir: path, .. }
            | Self::Failed { dir: path, .. }
            | Self::Open { path, .. }
            | Self::InUse { dir: path }
            | Self::Damaged { file: path, .. }
            | Self::Removed { file: path }
            | Self::Stray { file: path }
            | Self::Lost { dir: path, .. }
            | Self::Altered { dir: path, .. }
            | Self::Overloaded { dir: path } => {
                if let Ok(rest) = path.strip_prefix(inside) {
                    *path = outside.components().chain(rest.components()).collect();
                }
            }
            Self::Closed => {}
        }
        self
    }
}
