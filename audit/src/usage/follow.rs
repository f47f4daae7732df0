//! Keeps the index of usage up to date behind a trail, in a thread of its own, and on disk beside
//! the log: recording pays nothing for it, and a start need not read the whole log again.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::thread::{JoinHandle, park_timeout};
use std::time::{Duration, Instant};

use super::UsageIndex;
use crate::Reader;
use crate::log::replace;
use crate::trail::Shared;

/// How far behind the records the index is, at most, on a machine that keeps up.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often it is written down.
const SAVE_INTERVAL: Duration = Duration::from_secs(300);
/// Records looked at under one lock.
const SLICE: u64 = 512;
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
    let mut index = stored(path).unwrap_or_default();
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
        let size = shared.durable();
        let mut covered = cursor.index();
        while covered < size {
            let mut index = shared.usage.lock();
            let Some(index) = index.as_mut() else { return };
            let slice = size.min(covered + SLICE);
            while let Ok(Some(entry)) = cursor.next(slice) {
                index.see(entry.bytes);
            }
            if cursor.index() == covered {
                // The log cannot be read: the index stays behind, and says how far it is.
                break;
            }
            covered = cursor.index();
        }
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

fn stored(path: &Path) -> Option<UsageIndex> {
    let length = fs::metadata(path).ok()?.len();
    let bytes = (length <= INDEX_BYTES_MAX).then(|| fs::read(path))?;
    UsageIndex::decode(&bytes.ok()?)
}

/// That it fails costs only time at the next start.
fn save(shared: &Shared, path: &Path) {
    let bytes = shared.usage.lock().as_ref().map(UsageIndex::encode);
    let name = path.file_name().and_then(|name| name.to_str());
    if let (Some(bytes), Some(folder), Some(name)) = (bytes, path.parent(), name) {
        let _rebuilt_instead = replace(folder, name, &bytes);
    }
}
