//! Reading a log's records one after the other, up to its end and not up to its first damage.

use std::path::Path;

use casemate_audit::{Cursor, Reader};

use super::AuditError;

/// A log that is being read.
pub(crate) struct Records {
    reader: Reader,
    cursor: Cursor,
    /// How many a checkpoint covered when it was looked: these are there, or the log is damaged.
    signed: u64,
}

impl Records {
    /// From this index on.
    pub(crate) fn from(log: &Path, index: u64) -> Result<Self, AuditError> {
        let reader = Reader::new(log);
        let cursor = reader.from(index);
        let mut records = Self { reader, cursor, signed: 0 };
        records.look()?;
        Ok(records)
    }

    /// Looks again how far the log is signed.
    pub(crate) fn look(&mut self) -> Result<(), AuditError> {
        let found = self.reader.checkpoint()?.map_or(0, |checkpoint| checkpoint.head.size);
        self.signed = self.signed.max(found);
        Ok(())
    }

    /// How many are signed, as far as was looked.
    pub(crate) fn signed(&self) -> u64 {
        self.signed
    }

    /// The next record; none at the end, which is not before the last that is signed.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, AuditError> {
        let is_owed = self.cursor.index() < self.signed;
        let entry =
            if is_owed { self.cursor.next(self.signed) } else { self.cursor.next_written() };
        Ok(entry?.map(|entry| entry.bytes))
    }

    /// The `seq` of the record that was given last.
    pub(crate) fn sequence(&self) -> u64 {
        self.cursor.index()
    }
}

#[cfg(test)]
pub(crate) mod samples {
    use std::fs;
    use std::path::Path;

    /// A log of so many records, under a checkpoint that nobody has signed.
    pub(crate) fn log(dir: &Path, records: u64) {
        let golden = include_str!("../../../../audit/tests/golden-line.json").trim_end();
        let rest = golden.split_once(',').unwrap().1;
        let lines: String =
            (1..=records).map(|sequence| format!("{{\"seq\":{sequence},{rest}\n")).collect();
        fs::write(dir.join("audit-00000000000000000001.jsonl"), lines).unwrap();
        let root = "A".repeat(43);
        let note = format!("casemate/audit/dev/00/11\n{records}\n{root}=\n\n\u{2014} a AAAAAAAA\n");
        fs::write(dir.join("checkpoint"), note).unwrap();
    }

    /// Does something to the log's one file.
    pub(crate) fn harm(dir: &Path, change: impl Fn(String) -> String) {
        let file = dir.join("audit-00000000000000000001.jsonl");
        fs::write(&file, change(fs::read_to_string(&file).unwrap())).unwrap();
    }
}
