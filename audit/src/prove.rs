//! Proofs from a log's folder: that a record is in the log, that the log only grew.

use std::path::{Path, PathBuf};

use crate::checkpoint::Checkpoint;
use crate::merkle::{self, Consistency, Frontier, Hash, Hashes, TILE_LEAVES, leaf, perfect};
use crate::tiles;
use crate::{ReadError, Reader};

/// Why there is no proof.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProveError {
    /// The log.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Nothing was signed yet.
    #[error("{} has no checkpoint yet: start the HSM", dir.display())]
    NoCheckpoint {
        /// The log's folder.
        dir: PathBuf,
    },
    /// There is no such record below the checkpoint.
    #[error("the checkpoint covers {size} records: give an index below that")]
    NoRecord {
        /// The checkpoint's size.
        size: u64,
    },
    /// Two sizes that no proof joins.
    #[error("give sizes with 0 < from <= to <= {size}, the checkpoint's")]
    Sizes {
        /// The checkpoint's size.
        size: u64,
    },
    /// What was read does not give the checkpoint's root.
    #[error("the log does not give its checkpoint's root: run `casemate audit verify`")]
    Differs,
}

/// A proof, and what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The checkpoint's signed note.
    pub checkpoint: Checkpoint,
    /// What is proved: the record's bytes, or nothing for a proof of consistency.
    pub entry: Vec<u8>,
    /// The leaf's hash, or the root of the smaller size.
    pub from: Hash,
    /// The root at the larger size.
    pub root: Hash,
    /// The hashes, as RFC 6962 orders them.
    pub hashes: Vec<Hash>,
}

/// The proof that the record at this index is under the newest checkpoint.
///
/// # Errors
/// When there is no such record, or the log does not give the checkpoint's root.
pub fn prove_inclusion(dir: &Path, index: u64) -> Result<Proof, ProveError> {
    let (checkpoint, mut log) = open(dir)?;
    let size = checkpoint.head.size;
    if index >= size {
        return Err(ProveError::NoRecord { size });
    }
    let root = merkle::range(&mut log, 0, size)?;
    if root != checkpoint.head.root {
        return Err(ProveError::Differs);
    }
    let hashes = merkle::inclusion(&mut log, index, size)?;
    let mut cursor = Reader::new(dir).from(index);
    let missing = ReadError::Missing { index, dir: dir.to_owned() };
    let entry = cursor.next(size)?.ok_or(missing)?.bytes.to_vec();
    let from = leaf(&mut Vec::new(), &entry);
    Ok(Proof { checkpoint, entry, from, root, hashes })
}

/// The proof that the log at size `new` begins with the log at size `old`.
///
/// # Errors
/// When the sizes are not below the checkpoint's, or the log does not give its root.
pub fn prove_consistency(dir: &Path, old: u64, new: u64) -> Result<Proof, ProveError> {
    let (checkpoint, mut log) = open(dir)?;
    let size = checkpoint.head.size;
    if old == 0 || old > new || new > size {
        return Err(ProveError::Sizes { size });
    }
    if merkle::range(&mut log, 0, size)? != checkpoint.head.root {
        return Err(ProveError::Differs);
    }
    let from = merkle::range(&mut log, 0, old)?;
    let root = merkle::range(&mut log, 0, new)?;
    let hashes = merkle::consistency(&mut log, old, new)?;
    Ok(Proof { checkpoint, entry: Vec::new(), from, root, hashes })
}

/// The right edge of the log when it had so many records, for a copy that begins there. No
/// checkpoint is looked at: whoever checks the copy compares with one.
///
/// # Errors
/// When the log has fewer records, or cannot be read.
pub fn frontier(dir: &Path, size: u64) -> Result<Frontier, ReadError> {
    let mut log = Log { dir: dir.to_owned(), reader: Reader::new(dir), last: None };
    let mut roots = Vec::new();
    let mut begin = 0;
    for height in (0..u64::BITS).rev().filter(|height| (size >> height) & 1 == 1) {
        roots.push(log.complete(height, begin >> height)?);
        begin += 1 << height;
    }
    let missing = ReadError::Missing { index: size, dir: dir.to_owned() };
    Frontier::new(size, roots).ok_or(missing)
}

/// The proof that the log with `new` records begins with the one of `old`, for a copy that ends
/// there. No checkpoint is looked at: whoever checks the copy compares with one.
///
/// # Errors
/// When `0 < old <= new` is not so, the log has fewer records, or cannot be read.
pub fn consistency(dir: &Path, old: u64, new: u64) -> Result<Consistency, ReadError> {
    let mut log = Log { dir: dir.to_owned(), reader: Reader::new(dir), last: None };
    let missing = ReadError::Missing { index: new, dir: dir.to_owned() };
    if old == 0 || old > new {
        return Err(missing);
    }
    let hashes = merkle::consistency(&mut log, old, new)?;
    Consistency::of(old, new, hashes).ok_or(missing)
}

fn open(dir: &Path) -> Result<(Checkpoint, Log), ProveError> {
    let reader = Reader::new(dir);
    let none = || ProveError::NoCheckpoint { dir: dir.to_owned() };
    let checkpoint = reader.checkpoint()?.filter(|found| found.head.size > 0).ok_or_else(none)?;
    Ok((checkpoint, Log { dir: dir.to_owned(), reader, last: None }))
}

/// The hashes of a folder: from full tiles, and where there are none from what lies below.
struct Log {
    dir: PathBuf,
    reader: Reader,
    /// The tile that was read last.
    last: Option<((u8, u64), Vec<Hash>)>,
}

impl Log {
    fn tile(&mut self, level: u8, index: u64) -> Option<&[Hash]> {
        if self.last.as_ref().is_none_or(|(place, _)| *place != (level, index)) {
            let hashes = tiles::read(&self.dir, level, index).ok()?;
            self.last = Some(((level, index), hashes));
        }
        self.last.as_ref().map(|(_, hashes)| hashes.as_slice())
    }

    /// Hashes of one level, all within one tile.
    fn level(&mut self, level: u8, first: u64, count: u64) -> Result<Vec<Hash>, ReadError> {
        let at = |index: u64| usize::try_from(index % TILE_LEAVES).unwrap_or(usize::MAX);
        let width = usize::try_from(count).unwrap_or(usize::MAX);
        if let Some(tile) = self.tile(level, first / TILE_LEAVES) {
            return Ok(tile.iter().skip(at(first)).take(width).copied().collect());
        }
        if level == 0 {
            return self.leaves(first, count);
        }
        let mut hashes = Vec::with_capacity(width);
        for index in first..first + count {
            let below = self.level(level - 1, index * TILE_LEAVES, TILE_LEAVES)?;
            hashes.push(perfect(&below));
        }
        Ok(hashes)
    }

    fn leaves(&self, first: u64, count: u64) -> Result<Vec<Hash>, ReadError> {
        let (mut cursor, mut scratch) = (self.reader.from(first), Vec::new());
        let mut hashes = Vec::new();
        while let Some(entry) = cursor.next(first + count)? {
            hashes.push(leaf(&mut scratch, entry.bytes));
        }
        Ok(hashes)
    }
}

impl Hashes for Log {
    type Error = ReadError;

    fn complete(&mut self, height: u32, index: u64) -> Result<Hash, ReadError> {
        let level = u8::try_from(height / u8::BITS).unwrap_or(u8::MAX);
        let within = height % u8::BITS;
        Ok(perfect(&self.level(level, index << within, 1 << within)?))
    }
}
