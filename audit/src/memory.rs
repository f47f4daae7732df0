//! A trail in memory, so that those who record can be tested without a disk.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::append::{Append, Batch};
use crate::{KeyUsage, Origin, TrailError, UsageIndex, json};

/// The reading side of [`Trail::in_memory`](crate::Trail::in_memory).
pub struct MemoryTrail {
    memory: Arc<Memory>,
}

#[derive(Default)]
pub(crate) struct Memory {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    line_end: Vec<u8>,
    full: bool,
}

impl MemoryTrail {
    pub(crate) fn new(memory: Arc<Memory>) -> Self {
        Self { memory }
    }

    /// All records so far, one line of JSON each, without the newline.
    pub fn lines(&self) -> Vec<String> {
        self.memory.state.lock().lines.clone()
    }

    /// How many records there are.
    pub fn count(&self) -> usize {
        self.memory.state.lock().lines.len()
    }

    /// From now on refuses every record, as a full disk does; or no longer.
    pub fn set_full(&self, full: bool) {
        self.memory.state.lock().full = full;
    }
}

impl Memory {
    pub(crate) fn describe(&self, origin: &Origin<'_>) {
        self.state.lock().line_end = origin.line_end();
    }

    pub(crate) fn append(&self, line: &[u8]) -> Append {
        let mut state = self.state.lock();
        if state.full {
            return Append::refused(TrailError::Full {
                dir: PathBuf::from("memory"),
                source: Arc::new(std::io::ErrorKind::StorageFull.into()),
            });
        }
        if state.line_end.is_empty() {
            state.line_end = Origin::default().line_end();
        }
        let sequence = next_sequence(&state);
        let mut bytes = Vec::new();
        json::assemble(&mut bytes, sequence, line, &state.line_end);
        bytes.truncate(bytes.len() - 1);
        state.lines.push(String::from_utf8_lossy(&bytes).into_owned());
        let batch = Arc::new(Batch::default());
        batch.finish(Ok(()));
        Append::queued(sequence, batch)
    }

    pub(crate) fn usage(&self, key: &str) -> KeyUsage {
        let state = self.state.lock();
        let mut index = UsageIndex::default();
        state.lines.iter().for_each(|line| {
            index.see(line.as_bytes());
        });
        index.of_key(key, index.covered())
    }

    pub(crate) fn next_sequence(&self) -> u64 {
        next_sequence(&self.state.lock())
    }
}

fn next_sequence(state: &State) -> u64 {
    u64::try_from(state.lines.len()).map_or(u64::MAX, |count| count + 1)
}
