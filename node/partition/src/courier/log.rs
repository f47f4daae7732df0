//! The audit log, as a courier needs it: how far it goes, its newest checkpoint, its lines.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use casemate_audit::{Cursor, ReadError, Reader, Trail};
use parking_lot::Mutex;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The log, to be read.
pub(crate) trait Log: Send + Sync {
    /// So many entries are committed.
    fn committed(&self) -> u64;

    /// The certificate of the key that signs the checkpoints, if there is one. Reads files.
    fn certificate(&self) -> Option<String>;

    /// The newest signed checkpoint, if there is one. Reads files.
    fn checkpoint(&self) -> Option<String>;

    /// When the record with this index was made, in milliseconds since 1970, if it is committed and
    /// says so. Reads files.
    fn recorded_at_ms(&self, index: u64) -> Option<i64>;

    /// Committed lines from this index on, each with its newline: at most so many bytes, but one
    /// line at least, if there is any. Reads files.
    fn lines(&self, from: u64, bytes_max: usize) -> Result<Vec<u8>, ReadError>;

    /// The right edge of the tree over so many committed entries, as a copy writes it. Reads files.
    fn frontier(&self, size: u64) -> Result<String, ReadError>;

    /// The proof that the tree over `new` committed entries grew from that over `old`, as a copy
    /// writes it. Reads files.
    fn consistency(&self, old: u64, new: u64) -> Result<String, ReadError>;
}

/// The log of the trail in a folder.
pub(crate) struct TrailLog {
    trail: Trail,
    folder: PathBuf,
    reader: Reader,
    /// Where the last reading ended, which is where the next mostly begins.
    cursor: Mutex<Option<Cursor>>,
}

impl TrailLog {
    pub(crate) fn new(trail: Trail, folder: &Path) -> Arc<Self> {
        let (reader, folder) = (Reader::new(folder), folder.to_owned());
        Arc::new(Self { trail, folder, reader, cursor: Mutex::default() })
    }

    /// Whether so many entries are committed.
    fn holds(&self, size: u64) -> Result<(), ReadError> {
        let missing = || ReadError::Missing { index: size - 1, dir: self.folder.clone() };
        if size > self.trail.durable() { Err(missing()) } else { Ok(()) }
    }
}

impl Log for TrailLog {
    fn committed(&self) -> u64 {
        self.trail.durable()
    }

    fn certificate(&self) -> Option<String> {
        self.reader.certificate().unwrap_or_else(|error| {
            tracing::warn!("{}", crate::failure::chain(&error));
            None
        })
    }

    fn checkpoint(&self) -> Option<String> {
        match self.reader.checkpoint() {
            Ok(checkpoint) => checkpoint.map(|checkpoint| checkpoint.note),
            Err(error) => {
                tracing::warn!("{}", crate::failure::chain(&error));
                None
            }
        }
    }

    fn recorded_at_ms(&self, index: u64) -> Option<i64> {
        // A cursor of its own: that of the courier stays where it is.
        let mut cursor = self.reader.from(index);
        let entry = cursor.next(self.committed()).ok()??;
        recorded_at_ms(entry.bytes)
    }

    fn lines(&self, from: u64, bytes_max: usize) -> Result<Vec<u8>, ReadError> {
        let committed = self.committed();
        let kept = self.cursor.lock().take().filter(|cursor| cursor.index() == from);
        let mut cursor = kept.unwrap_or_else(|| self.reader.from(from));
        let mut lines = Vec::new();
        while lines.len() < bytes_max
            && let Some(entry) = cursor.next(committed)?
        {
            lines.extend_from_slice(entry.bytes);
            lines.push(b'\n');
        }
        *self.cursor.lock() = Some(cursor);
        Ok(lines)
    }

    fn frontier(&self, size: u64) -> Result<String, ReadError> {
        self.holds(size)?;
        casemate_audit::frontier(&self.folder, size).map(|frontier| frontier.text())
    }

    fn consistency(&self, old: u64, new: u64) -> Result<String, ReadError> {
        self.holds(new)?;
        casemate_audit::consistency(&self.folder, old, new).map(|proof| proof.text())
    }
}

fn recorded_at_ms(line: &[u8]) -> Option<i64> {
    let line: Value = serde_json::from_slice(line).ok()?;
    let time = OffsetDateTime::parse(line.get("time")?.as_str()?, &Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use casemate_audit::{Ledger, Origin, Signer};

    use super::*;
    use crate::open::record_service;

    /// Signs with nothing: nobody verifies here.
    struct Blank;

    impl Signer for Blank {
        fn public_key(&self) -> [u8; 32] {
            [9; 32]
        }

        fn sign(&self, _message: &[u8]) -> [u8; 64] {
            [7; 64]
        }
    }

    #[test]
    fn a_line_without_a_time_has_none() {
        for line in ["", "{", "[]", "{}", r#"{"time":7}"#, r#"{"time":"yesterday"}"#] {
            assert_eq!(recorded_at_ms(line.as_bytes()), None, "{line}");
        }
    }

    #[tokio::test]
    async fn what_is_durable_is_read_in_pieces_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::new("test/log", Arc::new(Blank), String::new(), None).unwrap();
        let now = Arc::new(|| 1_767_225_600_123);
        let trail = Trail::open(dir.path(), &Origin::default(), ledger, now).unwrap();
        let log = TrailLog::new(trail.clone(), dir.path());
        assert_eq!((log.committed(), log.lines(0, 1_000).unwrap()), (0, Vec::new()));
        for _ in 0..20 {
            record_service(&trail, "PartitionStart").await.unwrap();
        }
        assert_eq!(log.committed(), 20);
        let at = |index| log.recorded_at_ms(index);
        assert_eq!((at(0), at(19)), (Some(1_767_225_600_123), Some(1_767_225_600_123)));
        assert_eq!((at(20), at(u64::MAX)), (None, None), "what is not committed has no time");
        let mut copy = Vec::new();
        let mut next = 0;
        while next < 20 {
            let lines = log.lines(next, 300).unwrap();
            let count = lines.iter().filter(|byte| **byte == b'\n').count();
            assert!((1..20).contains(&count), "{count} at {next}");
            next += u64::try_from(count).unwrap();
            copy.extend(lines);
        }
        trail.close();
        let file = std::fs::read(dir.path().join("audit-00000000000000000001.jsonl")).unwrap();
        assert_eq!(copy, file, "byte by byte");
        let fifth = file.split_inclusive(|byte| *byte == b'\n').nth(5).unwrap();
        assert_eq!(log.lines(5, 1).unwrap(), fifth);
        assert!(log.lines(20, 1_000).unwrap().is_empty());
        assert_eq!(log.frontier(0).unwrap(), "0\n");
        assert!(log.frontier(20).unwrap().starts_with("20\n"));
        assert!(log.frontier(21).is_err() && log.frontier(u64::MAX).is_err());
        assert!(log.consistency(7, 20).unwrap().starts_with("7\n20\n"));
        assert_eq!(log.consistency(20, 20).unwrap(), "20\n20\n");
        for (old, new) in [(7, 21), (21, 21), (0, 20), (8, 7), (1, u64::MAX)] {
            assert!(log.consistency(old, new).is_err(), "{old} to {new}");
        }
        let size = log.checkpoint().map(|note| note.lines().nth(1).map(str::to_owned));
        assert_eq!(size, Some(Some("20".to_owned())), "closed with a checkpoint over all");
    }
}
