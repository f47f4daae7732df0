//! Keeps the index of usage up to date behind a trail, and on disk beside the log, so that a start
//! need not read the whole log again.
//!
//! Who writes the lines counts them, once they are durable, as long as the index is right behind
//! them and free; what it leaves, this thread reads from the log. So nobody waits for the index.
//!
//! The file is signed by the log's key: whoever can write the folder cannot make a count of his
//! own, and an older file only has the rest counted again.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::thread::{JoinHandle, park_timeout};
use std::time::{Duration, Instant};

use super::UsageIndex;
use crate::log::replace;
use crate::merkle::{hash_text, sha256};
use crate::trail::Shared;
use crate::{Cursor, Ledger, Reader, sign};

/// How far behind the records the index is, at most, on a machine that keeps up.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often it is written down.
const SAVE_INTERVAL: Duration = Duration::from_secs(300);
/// Records looked at under one lock.
const SLICE: u64 = 512;
/// First line of the note behind the stored index.
const TITLE: &str = "casemate audit usage v1";
/// Largest stored index, in bytes.
const INDEX_BYTES_MAX: u64 = 512 << 20;

/// Starts the thread. It ends when the trail takes nothing more, or is gone.
pub(crate) fn start(shared: &Arc<Shared>, path: &Path) -> io::Result<JoinHandle<()>> {
    let (weak, path) = (Arc::downgrade(shared), path.to_owned());
    let run = move || run(&weak, &path);
    std::thread::Builder::new().name("usage".to_owned()).spawn(run)
}

fn run(shared: &Weak<Shared>, path: &Path) {
    let Some(first) = shared.upgrade() else { return };
    let mut index = stored(path, &first.ledger).unwrap_or_default();
    if index.covered() > first.durable() {
        // Of another log, which had more records.
        index = UsageIndex::default();
    }
    let mut cursor = Reader::new(&first.dir).from(index.covered());
    let mut saved = index.covered();
    let mut saved_at = Instant::now();
    *first.usage.lock() = Some(index);
    drop(first);
    while let Some(shared) = shared.upgrade() {
        let Some(covered) = follow(&shared, &mut cursor) else { return };
        let ends = shared.has_ended();
        if covered > saved && (ends || saved_at.elapsed() >= SAVE_INTERVAL) {
            save(&shared, path);
            (saved, saved_at) = (covered, Instant::now());
        }
        if ends {
            return;
        }
        drop(shared);
        park_timeout(INTERVAL);
    }
}

/// Reads what the writer left; says how many records are covered, and none if nobody counts.
fn follow(shared: &Shared, cursor: &mut Cursor) -> Option<u64> {
    loop {
        // Asked while the index is held: if it is right behind, the writer goes on from here.
        let (covered, size) = {
            let index = shared.usage.lock();
            (index.as_ref()?.covered(), shared.durable())
        };
        if covered >= size {
            return Some(covered);
        }
        if cursor.index() != covered {
            // The writer went on meanwhile.
            *cursor = Reader::new(&shared.dir).from(covered);
        }
        // To find the place may take long: the index is free meanwhile, and the writer, which is
        // further, leaves it alone.
        let Ok(Some(entry)) = cursor.next(size) else {
            // The log cannot be read: the index stays behind, and says how far it is.
            return Some(covered);
        };
        let mut index = shared.usage.lock();
        let index = index.as_mut()?;
        index.see(entry.bytes);
        let slice = size.min(covered + SLICE);
        while let Ok(Some(entry)) = cursor.next(slice) {
            index.see(entry.bytes);
        }
    }
}

fn stored(path: &Path, ledger: &Ledger) -> Option<UsageIndex> {
    let length = fs::metadata(path).ok()?.len();
    let bytes = (length <= INDEX_BYTES_MAX).then(|| fs::read(path))?;
    opened(&bytes.ok()?, ledger)
}

/// The index, and behind it a note over its hash.
fn signed(index: &UsageIndex, ledger: &Ledger) -> Vec<u8> {
    let mut bytes = index.encode();
    let note = sign(&word(&bytes, ledger), &ledger.key, &*ledger.signer);
    bytes.push(b'\n');
    bytes.extend_from_slice(note.as_bytes());
    bytes
}

/// The index, if it is this log's.
fn opened(bytes: &[u8], ledger: &Ledger) -> Option<UsageIndex> {
    // There is no newline in JSON that is written in one line.
    let (index, note) = bytes.split_at_checked(memchr::memchr(b'\n', bytes)?)?;
    let note = std::str::from_utf8(note.get(1..)?).ok()?;
    let text = ledger.key.open(note).ok()?;
    if text == word(index, ledger) { UsageIndex::decode(index) } else { None }
}

/// What is signed: it begins as nothing else does that this key signs.
fn word(index: &[u8], ledger: &Ledger) -> String {
    format!("{TITLE}\n{}\n{}\n", ledger.key.name(), hash_text(&sha256(index)))
}

/// That it fails costs only time at the next start.
fn save(shared: &Shared, path: &Path) {
    let encoded = shared.usage.lock().as_ref().map(|index| signed(index, &shared.ledger));
    let name = path.file_name().and_then(|name| name.to_str());
    if let (Some(bytes), Some(folder), Some(name)) = (encoded, path.parent(), name) {
        let _rebuilt_instead = replace(folder, name, &bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing::{TestSigner, ledger};

    const GOLDEN: &str = include_str!("../../tests/golden-line.json");

    #[test]
    fn only_what_the_logs_key_has_signed_is_taken_up() {
        let mut index = UsageIndex::default();
        assert!(index.see(GOLDEN.as_bytes()));
        let ledger = ledger();
        let good = signed(&index, &ledger);
        assert_eq!(opened(&good, &ledger).unwrap().rows(None), index.rows(None));
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(opened(&bad, &ledger).is_none(), "byte {at}");
            assert!(opened(&good[..at], &ledger).is_none(), "cut at {at}");
        }
        let empty = signed(&UsageIndex::default(), &ledger);
        let at = |bytes: &[u8]| bytes.iter().position(|&byte| byte == b'\n').unwrap();
        let forged = [&empty[..at(&empty)], &good[at(&good)..]].concat();
        assert!(opened(&forged, &ledger).is_none(), "nobody's uses under the other's signature");
        assert!(opened(&index.encode(), &ledger).is_none(), "without a signature");
        let other = Ledger::new("test/log", Arc::new(TestSigner::new(2)), String::new(), None);
        assert!(opened(&signed(&index, &other.unwrap()), &ledger).is_none(), "another key");
        let other = Ledger::new("test/other", Arc::new(TestSigner::new(1)), String::new(), None);
        assert!(opened(&signed(&index, &other.unwrap()), &ledger).is_none(), "another log");
    }
}
