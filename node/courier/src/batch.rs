//! Entries in order, as they are handed to a sink.

use std::ops::Range;
use std::sync::Arc;

use serde_json::json;

use crate::checkpoint::Checkpoint;

/// Entries as they came from the partition.
#[derive(Debug)]
pub(crate) struct Chunk {
    from: u64,
    lines: Vec<u8>,
    /// Where each line begins, and where the last ends.
    begins: Vec<usize>,
}

/// Some entries of a chunk, and the checkpoint that goes behind them.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    chunk: Arc<Chunk>,
    /// Which lines of the chunk.
    range: Range<usize>,
    /// A checkpoint over entries that the sink has once this batch is there.
    pub(crate) checkpoint: Option<Arc<Checkpoint>>,
    /// The right edge of the tree before some entries, as the lines that a copy has for it: for
    /// sinks whose pieces may be read alone.
    pub(crate) frontiers: Vec<(u64, String)>,
}

/// How much a sink takes at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Entries.
    pub(crate) entries_max: usize,
    /// Bytes, unless one entry alone is longer.
    pub(crate) bytes_max: usize,
}

impl Chunk {
    /// Takes whole lines over, the first of which has this index.
    pub(crate) fn new(from: u64, lines: Vec<u8>) -> Self {
        let ends = lines.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let begins = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        Self { from, lines, begins }
    }

    pub(crate) fn from(&self) -> u64 {
        self.from
    }

    fn count(&self) -> usize {
        self.begins.len().saturating_sub(1)
    }

    /// The entries from this index on, as many as the bounds allow; none if it holds none.
    pub(crate) fn batch(self: &Arc<Self>, from: u64, bounds: Bounds) -> Option<Batch> {
        let first = usize::try_from(from.checked_sub(self.from)?).ok()?;
        if first >= self.count() {
            return None;
        }
        let begin = self.begins.get(first).copied()?;
        let fits = |end: &usize| {
            let bytes = self.begins.get(*end).map_or(usize::MAX, |at| at - begin);
            end - first == 1 || (bytes <= bounds.bytes_max && end - first <= bounds.entries_max)
        };
        let last = (first + 1..=self.count()).take_while(fits).last()?;
        Some(Batch {
            chunk: Arc::clone(self),
            range: first..last,
            checkpoint: None,
            frontiers: Vec::new(),
        })
    }
}

impl Batch {
    /// No entries, only a checkpoint.
    pub(crate) fn of_checkpoint(at: u64, checkpoint: Arc<Checkpoint>) -> Self {
        let chunk = Arc::new(Chunk::new(at, Vec::new()));
        Self { chunk, range: 0..0, checkpoint: Some(checkpoint), frontiers: Vec::new() }
    }

    /// The index of the first entry.
    pub(crate) fn from(&self) -> u64 {
        self.chunk.from + u64::try_from(self.range.start).unwrap_or_default()
    }

    /// The index after the last entry.
    pub(crate) fn end(&self) -> u64 {
        self.chunk.from + u64::try_from(self.range.end).unwrap_or_default()
    }

    /// Takes the right edge of the tree before the entry of this index.
    pub(crate) fn tie(&mut self, index: u64, text: &str) {
        self.frontiers.push((index, json!({ "frontier": text }).to_string()));
    }

    /// The line that ties what begins with the entry of this index to the tree, if there is one.
    pub(crate) fn frontier(&self, index: u64) -> Option<&str> {
        let found = self.frontiers.iter().find(|(at, _)| *at == index);
        found.map(|(_, line)| line.as_str())
    }

    /// Each entry with its index, without the newline.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.range.clone().map(|line| {
            let begin = self.chunk.begins.get(line).copied().unwrap_or_default();
            let end = self.chunk.begins.get(line + 1).copied().unwrap_or(begin + 1);
            let index = self.chunk.from + u64::try_from(line).unwrap_or_default();
            (index, self.chunk.lines.get(begin..end - 1).unwrap_or_default())
        })
    }

    /// All lines with their newlines, the checkpoint's last: a piece of a copy of the log.
    pub(crate) fn copy(&self) -> Vec<u8> {
        let begin = self.chunk.begins.get(self.range.start).copied().unwrap_or_default();
        let end = self.chunk.begins.get(self.range.end).copied().unwrap_or(begin);
        let mut copy = self.chunk.lines.get(begin..end).unwrap_or_default().to_vec();
        if let Some(checkpoint) = &self.checkpoint {
            for line in checkpoint.lines() {
                copy.extend_from_slice(line.as_bytes());
                copy.push(b'\n');
            }
        }
        copy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Bounds = Bounds { entries_max: 100, bytes_max: 100 };

    fn chunk() -> Arc<Chunk> {
        Arc::new(Chunk::new(5, b"aa\nb\n\ncccc\n".to_vec()))
    }

    fn lines(batch: &Batch) -> Vec<(u64, &str)> {
        batch.entries().map(|(at, line)| (at, std::str::from_utf8(line).unwrap())).collect()
    }

    #[test]
    fn a_batch_begins_anywhere_in_its_chunk() {
        let chunk = chunk();
        assert_eq!((chunk.from(), chunk.count()), (5, 4));
        let batch = chunk.batch(5, ALL).unwrap();
        assert_eq!(lines(&batch), [(5, "aa"), (6, "b"), (7, ""), (8, "cccc")]);
        assert_eq!(batch.copy(), b"aa\nb\n\ncccc\n");
        let batch = chunk.batch(7, ALL).unwrap();
        assert_eq!((batch.from(), batch.end()), (7, 9));
        assert_eq!(batch.copy(), b"\ncccc\n");
        for outside in [0, 4, 9, u64::MAX] {
            assert!(chunk.batch(outside, ALL).is_none(), "{outside}");
        }
        assert!(Arc::new(Chunk::new(5, Vec::new())).batch(5, ALL).is_none());
    }

    #[test]
    fn bounds_hold_but_one_entry_always_fits() {
        let chunk = chunk();
        let at = |entries_max, bytes_max| {
            chunk.batch(5, Bounds { entries_max, bytes_max }).unwrap().end()
        };
        assert_eq!(
            [at(1, 99), at(2, 99), at(99, 5), at(99, 4), at(99, 0), at(0, 0)],
            [6, 7, 7, 6, 6, 6]
        );
    }

    #[test]
    fn the_checkpoint_stands_behind_its_entries() {
        let text = "o\n9\nr\n".to_owned();
        let checkpoint = Arc::new(Checkpoint::parse(text, None).unwrap());
        let mut batch = chunk().batch(8, ALL).unwrap();
        batch.checkpoint = Some(Arc::clone(&checkpoint));
        assert_eq!(batch.copy(), b"cccc\n{\"checkpoint\":\"o\\n9\\nr\\n\"}\n");
        let alone = Batch::of_checkpoint(9, checkpoint);
        assert_eq!((alone.from(), alone.end(), alone.entries().count()), (9, 9, 0));
        assert_eq!(alone.copy(), b"{\"checkpoint\":\"o\\n9\\nr\\n\"}\n");
    }
}
