//! How far one sink is, kept over restarts.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use casemate_audit_sinks::Sink;
use serde::{Deserialize, Serialize};

/// Longest file, in bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024;
/// The file is written at most so often; what was delivered in between is delivered again after a
/// crash, which every sink must expect anyway.
const SAVE_INTERVAL: Duration = Duration::from_millis(500);
const SUFFIX: &str = ".cursor";

/// How far one sink is.
#[derive(Debug)]
pub(crate) struct Cursor {
    path: PathBuf,
    stored: Stored,
    saved: Option<Instant>,
    dirty: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    /// Kind, address, log: another place begins with the first entry.
    place: String,
    /// The index of the next entry.
    next: u64,
    /// The size of the last checkpoint that was delivered.
    checkpoint: u64,
}

const FORMAT: u32 = 1;

impl Cursor {
    /// Where this sink was, if it is the same place and the same log; else at the beginning.
    pub(crate) fn open(folder: &Path, sink: &Sink, log: u32) -> io::Result<Self> {
        let path = folder.join(format!("{}{SUFFIX}", sink.name));
        let place = match sink.endpoint() {
            Some(endpoint) => format!("{} {}", sink.kind(), endpoint.as_str()),
            None => sink.kind().to_owned(),
        };
        let place = match log {
            0 => place,
            log => format!("{place} log-{log}"),
        };
        let fresh = Stored { format: FORMAT, place, next: 0, checkpoint: 0 };
        // A file that cannot be read costs a repetition, never a gap.
        let known = read(&path)?
            .filter(|known| (known.format, known.place.as_str()) == (FORMAT, fresh.place.as_str()));
        Ok(Self { path, stored: known.unwrap_or(fresh), saved: None, dirty: false })
    }

    /// The index of the next entry.
    pub(crate) fn next(&self) -> u64 {
        self.stored.next
    }

    /// The size of the last checkpoint that was delivered.
    pub(crate) fn checkpoint(&self) -> u64 {
        self.stored.checkpoint
    }

    /// Notes what has been acknowledged.
    pub(crate) fn advance(&mut self, next: u64, checkpoint: Option<u64>) {
        self.stored.next = next;
        self.stored.checkpoint = checkpoint.unwrap_or(self.stored.checkpoint);
        self.dirty = true;
    }

    /// Goes back, to deliver again.
    pub(crate) fn rewind(&mut self, next: u64) {
        self.stored.next = self.stored.next.min(next);
        self.stored.checkpoint = self.stored.checkpoint.min(next);
        self.dirty = true;
    }

    /// Whether something is not in the file yet.
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Writes the file, unless that was done a moment ago.
    pub(crate) fn save_soon(&mut self) -> io::Result<()> {
        if self.saved.is_some_and(|at| at.elapsed() < SAVE_INTERVAL) {
            return Ok(());
        }
        self.save()
    }

    /// Writes the file: the old one or the new one stands there, whole.
    pub(crate) fn save(&mut self) -> io::Result<()> {
        if !self.dirty {
            return Ok(());
        }
        let bytes = serde_json::to_vec(&self.stored).map_err(io::Error::other)?;
        let beside = self.path.with_extension("new");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(&bytes)?;
        file.sync_data()?;
        fs::rename(&beside, &self.path)?;
        self.saved = Some(Instant::now());
        self.dirty = false;
        Ok(())
    }
}

/// Removes the cursors of sinks that are no more.
pub(crate) fn forget_others(folder: &Path, sinks: &[Sink]) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let Some(sink) = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)) else { continue };
        if !sinks.iter().any(|known| known.name.as_str() == sink) {
            fs::remove_file(folder.join(&name))?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> io::Result<Option<Stored>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes).ok())
}

#[cfg(test)]
mod tests {
    use casemate_audit_sinks::{Sinks, SinksRequest};
    use serde_json::json;

    use super::*;

    fn sink(name: &str, endpoint: &str) -> Sink {
        let pem = "-----BEGIN CERTIFICATE-----";
        let value = json!({ "sinks": [{
            "name": name, "kind": "syslog", "endpoint": endpoint, "trustAnchors": pem,
        }] });
        let request: SinksRequest = serde_json::from_value(value).unwrap();
        request.complete(&Sinks::default()).unwrap().all()[0].clone()
    }

    #[test]
    fn it_is_kept_for_the_same_place_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let one = sink("a", "tls://one.example");
        let mut cursor = Cursor::open(dir.path(), &one, 0).unwrap();
        assert_eq!((cursor.next(), cursor.checkpoint(), cursor.is_dirty()), (0, 0, false));
        cursor.advance(7, Some(5));
        cursor.save().unwrap();
        let again = Cursor::open(dir.path(), &one, 0).unwrap();
        assert_eq!((again.next(), again.checkpoint()), (7, 5));
        assert_eq!(Cursor::open(dir.path(), &one, 1).unwrap().next(), 0, "of another log");
        let moved = Cursor::open(dir.path(), &sink("a", "tls://two.example"), 0).unwrap();
        assert_eq!(moved.next(), 0, "another place gets everything");
        assert_eq!(Cursor::open(dir.path(), &sink("b", "tls://one.example"), 0).unwrap().next(), 0);
    }

    #[test]
    fn what_cannot_be_read_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let one = sink("a", "tls://one.example");
        for torn in ["", "{", "{\"format\":2}", "[]", "\u{0}"] {
            fs::write(dir.path().join("a.cursor"), torn).unwrap();
            assert_eq!(Cursor::open(dir.path(), &one, 0).unwrap().next(), 0, "{torn}");
        }
    }

    #[test]
    fn it_is_written_seldom_and_forgotten_with_its_sink() {
        let dir = tempfile::tempdir().unwrap();
        let one = sink("a", "tls://one.example");
        let mut cursor = Cursor::open(dir.path(), &one, 0).unwrap();
        cursor.advance(1, None);
        cursor.save_soon().unwrap();
        cursor.advance(2, None);
        cursor.save_soon().unwrap();
        assert!(cursor.is_dirty());
        assert_eq!(Cursor::open(dir.path(), &one, 0).unwrap().next(), 1);
        cursor.rewind(0);
        assert_eq!(cursor.next(), 0);
        forget_others(dir.path(), std::slice::from_ref(&one)).unwrap();
        assert!(dir.path().join("a.cursor").exists());
        forget_others(dir.path(), &[]).unwrap();
        assert!(!dir.path().join("a.cursor").exists());
    }
}
