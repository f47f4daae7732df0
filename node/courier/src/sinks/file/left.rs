//! A file that was left. What joins it to a signed root comes when a checkpoint is over all of it,
//! a second after it was left at most; until then it can be verified with those after it only.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde_json::Value;

use super::{Open, is_entry};

/// How far from its end the last entry of a file is looked for, in bytes: behind it may stand a
/// certificate, a checkpoint and a proof.
const TAIL_BYTES: u64 = 256 << 10;
/// What the last line of a file that was joined begins with.
const JOINED: &[u8] = b"{\"consistency\":";

/// A file that was left and is joined to no checkpoint yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Left {
    /// The index of its first entry.
    pub(super) first: u64,
    /// The index after its last one.
    pub(super) end: u64,
    /// Where its lines end.
    bytes: u64,
}

impl From<Open> for Left {
    fn from(open: Open) -> Self {
        Self { first: open.first, end: open.next, bytes: open.bytes }
    }
}

impl Left {
    /// The file of an earlier run, unless it is joined or holds no entry. A torn end is none of it.
    pub(super) fn find(path: &Path, first: u64) -> io::Result<Option<Self>> {
        let mut file = File::open(path)?;
        let begin = file.metadata()?.len().saturating_sub(TAIL_BYTES);
        file.seek(SeekFrom::Start(begin))?;
        let mut tail = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut tail)?;
        let Some(end) = tail.iter().rposition(|byte| *byte == b'\n') else { return Ok(None) };
        let tail = tail.get(..=end).unwrap_or_default();
        let mut lines = tail.split_inclusive(|byte| *byte == b'\n').rev();
        if lines.clone().next().is_some_and(|line| line.starts_with(JOINED)) {
            return Ok(None);
        }
        let bytes = begin + u64::try_from(tail.len()).unwrap_or_default();
        let entry = lines.find(|line| is_entry(line));
        let end = entry.and_then(sequence).filter(|end| *end > first);
        Ok(end.map(|end| Self { first, end, bytes }))
    }

    /// Adds the lines that join it, and syncs. That it was removed meanwhile is no failure.
    pub(super) fn join(&self, path: &Path, joint: &[u8]) -> io::Result<()> {
        let mut file = match OpenOptions::new().write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        // What an earlier try has left behind.
        file.set_len(self.bytes)?;
        file.seek(SeekFrom::Start(self.bytes))?;
        file.write_all(joint)?;
        file.sync_data()
    }
}

/// The `seq` of an entry, which is the index after it.
fn sequence(line: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Value>(line).ok()?.get("seq")?.as_u64()
}
