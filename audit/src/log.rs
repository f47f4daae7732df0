//! The log as its writer thread has it: the file of lines, the tree over them, the tiles, and the
//! checkpoints that it signs.
//!
//! Invariant: a checkpoint is written only after all that it covers, tiles included.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::checkpoint::{Checkpoint, Head};
use crate::file::{TrailFile, WriteFailure, failure};
use crate::ledger::Ledger;
use crate::merkle::{Tile, Tree};
use crate::read::CHECKPOINT_FILE;
use crate::tiles;

/// What would be written is dropped: a build for the benchmark.
const DROPS: bool = cfg!(feature = "null-sink");
/// A checkpoint is signed at most this long after a record, on a disk that works.
pub(crate) const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);
/// And after this many records at the latest.
const CHECKPOINT_RECORDS: u64 = 16_384;

/// An open log.
pub(crate) struct Log {
    pub(crate) file: TrailFile,
    pub(crate) tree: Tree,
    /// Tiles that are full and not yet written.
    pub(crate) full: Vec<Tile>,
    pub(crate) ledger: Ledger,
    /// How many records the last checkpoint covers.
    pub(crate) signed: u64,
    pub(crate) signed_at: Instant,
}

impl Log {
    /// Makes lines durable, the first of which has this number.
    pub(crate) fn write(&mut self, first: u64, lines: &[u8]) -> Result<(), WriteFailure> {
        if DROPS { Ok(()) } else { self.file.write(first, lines) }
    }

    /// Adds durable lines to the tree.
    pub(crate) fn account(&mut self, lines: &[u8]) {
        let mut begin = 0;
        for end in memchr::memchr_iter(b'\n', lines) {
            self.tree.push(lines.get(begin..end).unwrap_or_default(), &mut self.full);
            begin = end + 1;
        }
    }

    /// Whether there are records that no checkpoint covers.
    pub(crate) fn owes(&self) -> bool {
        self.tree.size() > self.signed
    }

    /// Whether a checkpoint is due.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let waited = now.duration_since(self.signed_at) >= CHECKPOINT_INTERVAL;
        self.owes() && (waited || self.tree.size() - self.signed >= CHECKPOINT_RECORDS)
    }

    /// Writes the full tiles, signs a checkpoint and writes it.
    pub(crate) fn publish(&mut self) -> Result<Head, WriteFailure> {
        // Also when it fails: the next attempt then has its interval too.
        self.signed_at = Instant::now();
        while let Some(tile) = self.full.last() {
            if !DROPS {
                tiles::write(&self.file.dir, tile).map_err(failure)?;
            }
            self.full.pop();
        }
        let head = Head { size: self.tree.size(), root: self.tree.root() };
        let checkpoint = Checkpoint::sign(head, &self.ledger.key, &*self.ledger.signer);
        if !DROPS {
            replace(&self.file.dir, CHECKPOINT_FILE, checkpoint.note.as_bytes())
                .map_err(failure)?;
        }
        self.signed = head.size;
        Ok(head)
    }
}

/// Replaces a small file: after a crash there is the old one or the new one, whole.
pub(crate) fn replace(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = dir.join(format!("{name}.new"));
    let mut file: File =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    fs::rename(new, dir.join(name))
}
