//! What can be wrong with a log.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::note::{NoteError, VerifierKey};

/// Something that is not as the log's writer left it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Finding {
    /// A file or folder that does not belong there.
    #[error("{} does not belong to the log", path.display())]
    Stray {
        /// What it is.
        path: PathBuf,
    },
    /// Something could not be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// What.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// Bytes that are no record, or not the next one.
    #[error("{} at byte {offset}: not the record with seq {expected}", file.display())]
    NotTheNext {
        /// The file.
        file: PathBuf,
        /// Where the bytes begin.
        offset: u64,
        /// The `seq` that should be there.
        expected: u64,
    },
    /// A file of records is missing.
    #[error("the records from seq {expected} to {} are missing", found - 1)]
    Gap {
        /// The first that is missing.
        expected: u64,
        /// The first that is there again.
        found: u64,
    },
    /// Fewer records than a checkpoint covers.
    #[error("a checkpoint covers {expected} records, there are {found}")]
    Short {
        /// How many are covered.
        expected: u64,
        /// How many there are.
        found: u64,
    },
    /// The records do not give the signed root.
    #[error("the first {size} records are not those that were signed")]
    Root {
        /// How many the checkpoint covers.
        size: u64,
    },
    /// Two signed roots for one size.
    #[error("two different roots were signed for {size} records")]
    Fork {
        /// The size.
        size: u64,
    },
    /// Records that no checkpoint covers, though nobody is about to sign one.
    #[error(
        "{records} records at the end are covered by no checkpoint; if the HSM did not end in \
         order, start it, which signs them, and verify again"
    )]
    Unsigned {
        /// How many.
        records: u64,
    },
    /// Records of a copy behind its last checkpoint.
    #[error(
        "{records} records behind the last checkpoint are vouched for by nothing; a copy that is \
         being written to lacks the checkpoint of its last second: verify it again later, or say \
         with --unsigned-max how many you put up with"
    )]
    Behind {
        /// How many.
        records: u64,
    },
    /// Records of a copy that no signed root covers.
    #[error(
        "{records} records from seq {first} on are tied to no signed root: the copy has neither \
         the records nor a frontier before them; verify the copy from seq 1 on, or give --untied \
         to check for gaps only"
    )]
    Untied {
        /// The first of them.
        first: u64,
        /// How many.
        records: u64,
    },
    /// A frontier that is none, or not that of the records.
    #[error("a frontier does not belong to the records that it stands before")]
    Frontier,
    /// A proof of consistency that is none, or joins the records to no signed root.
    #[error("a proof does not join the records that it stands behind to a signed root")]
    Consistency,
    /// The log has less than the asker has seen signed.
    #[error("you have seen {seen} records signed, and now {found} are: the log was put back")]
    PutBack {
        /// How many were seen.
        seen: u64,
        /// How many are signed now.
        found: u64,
    },
    /// The log is another one than the asker has seen.
    #[error("the first {size} records are not those that you have seen signed")]
    NotSeen {
        /// How many were seen.
        size: u64,
    },
    /// What the asker has seen is not of this log.
    #[error("what --seen names is no checkpoint of this log")]
    Seen {
        /// Why.
        #[source]
        error: NoteError,
    },
    /// There is no checkpoint.
    #[error("there is no checkpoint: nothing vouches for the records")]
    NoCheckpoint,
    /// A checkpoint that is not signed by the key.
    #[error("a checkpoint does not hold")]
    Checkpoint {
        /// Why.
        #[source]
        error: NoteError,
    },
    /// There is no certificate.
    #[error("there is no certificate: nothing says whose key signs the log")]
    NoCertificate,
    /// A certificate that is none.
    #[error("the certificate does not hold")]
    Certificate {
        /// Why.
        #[source]
        error: NoteError,
    },
    /// The certificate is about another key than the trusted one.
    #[error("the log is certified for {found}, which is not the trusted key")]
    OtherKey {
        /// The key.
        found: Box<VerifierKey>,
    },
    /// A tile of hashes.
    #[error("{}: {fault}", path.display())]
    Tile {
        /// The tile.
        path: PathBuf,
        /// What is wrong.
        fault: TileFault,
    },
    /// A log before this one was lost.
    #[error(
        "the log was begun anew: {words}; if that is known to you, say with --losses-max how many \
         losses you know of"
    )]
    BegunAnew {
        /// What was lost, and who gave it up.
        words: String,
    },
    /// A record that came again as another one.
    #[error("{} has two different records with seq {sequence}", file.display())]
    Repeated {
        /// The file of the second one.
        file: PathBuf,
        /// Its number.
        sequence: u64,
    },
}

/// What is wrong with a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TileFault {
    /// It is not there.
    #[error("the tile is missing")]
    Missing,
    /// It holds other hashes.
    #[error("the tile does not hold the hashes of the records")]
    Wrong,
}
