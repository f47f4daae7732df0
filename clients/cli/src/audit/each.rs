//! Reading a log's records one after the other, up to its end and not up to its first damage.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use casemate_audit::{Cursor, Reader};

use super::AuditError;

/// How long a writer may take over a line that is there in part.
const WRITTEN_WITHIN: Duration = Duration::from_secs(2);
/// How often is looked whether it is whole.
const PAUSE: Duration = Duration::from_millis(20);

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

    /// The next record; none at the end, which is not before the last that is signed, and not
    /// before anything that is no record.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, AuditError> {
        let until = Instant::now() + WRITTEN_WITHIN;
        while !self.advance()? {
            if self.cursor.is_at_end()? {
                return Ok(None);
            }
            if Instant::now() > until {
                return Err(AuditError::NoRecord { sequence: self.sequence() + 1 });
            }
            sleep(PAUSE);
        }
        Ok(Some(self.cursor.last()))
    }

    /// Goes on by one record, if it is there whole.
    fn advance(&mut self) -> Result<bool, AuditError> {
        let is_owed = self.cursor.index() < self.signed;
        let entry =
            if is_owed { self.cursor.next(self.signed) } else { self.cursor.next_written() };
        Ok(entry?.is_some())
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

    /// A checkpoint over no more than so many of the records.
    pub(crate) fn signed(dir: &Path, records: u64) {
        let text = fs::read_to_string(dir.join("checkpoint")).unwrap();
        let (name, rest) = text.split_once('\n').unwrap();
        let (_, rest) = rest.split_once('\n').unwrap();
        fs::write(dir.join("checkpoint"), format!("{name}\n{records}\n{rest}")).unwrap();
    }

    /// Does something to the log's one file.
    pub(crate) fn harm(dir: &Path, change: impl Fn(String) -> String) {
        let file = dir.join("audit-00000000000000000001.jsonl");
        fs::write(&file, change(fs::read_to_string(&file).unwrap())).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// How many records are read, and whether that ends well.
    fn read(dir: &Path) -> (u64, Result<(), AuditError>) {
        let mut records = Records::from(dir, 0).unwrap();
        loop {
            match records.next() {
                Ok(Some(_)) => {}
                Ok(None) => return (records.sequence(), Ok(())),
                Err(error) => return (records.sequence(), Err(error)),
            }
        }
    }

    #[test]
    fn a_log_ends_where_nothing_but_space_set_aside_follows() {
        let dir = tempfile::tempdir().unwrap();
        samples::log(dir.path(), 9);
        samples::signed(dir.path(), 5);
        assert!(matches!(read(dir.path()), (9, Ok(()))));
        samples::harm(dir.path(), |text| text + &"\0".repeat(100_000));
        assert!(matches!(read(dir.path()), (9, Ok(()))));
        samples::harm(dir.path(), |_| String::new());
        samples::signed(dir.path(), 0);
        assert!(matches!(read(dir.path()), (0, Ok(()))), "a log that has just begun");
    }

    #[test]
    fn what_is_no_record_above_the_checkpoint_is_an_error_and_not_the_end() {
        let dir = tempfile::tempdir().unwrap();
        for at in [6, 8, 9] {
            samples::log(dir.path(), 9);
            samples::signed(dir.path(), 5);
            let (seq, other) = (format!("{{\"seq\":{at},"), "{\"seq\":77,");
            samples::harm(dir.path(), |text| text.replacen(&seq, other, 1));
            let (records, ended) = read(dir.path());
            let named = matches!(ended, Err(AuditError::NoRecord { sequence }) if sequence == at);
            assert!(named && records == at - 1, "{at}: {records} {ended:?}");
        }
        samples::log(dir.path(), 9);
        samples::signed(dir.path(), 0);
        samples::harm(dir.path(), |text| text.replacen("{\"seq\":1,", "{\"seq\":2,", 1));
        assert!(matches!(read(dir.path()), (0, Err(AuditError::NoRecord { sequence: 1 }))));
        samples::log(dir.path(), 9);
        samples::signed(dir.path(), 5);
        samples::harm(dir.path(), |text| text + "\0\0\0torn");
        assert!(matches!(read(dir.path()), (9, Err(AuditError::NoRecord { sequence: 10 }))));
    }

    #[test]
    fn a_file_beyond_a_gap_is_not_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        samples::log(dir.path(), 9);
        samples::signed(dir.path(), 5);
        fs::write(dir.path().join("audit-00000000000000000012.jsonl"), "").unwrap();
        assert!(matches!(read(dir.path()), (9, Err(AuditError::NoRecord { sequence: 10 }))));
        fs::remove_file(dir.path().join("audit-00000000000000000012.jsonl")).unwrap();
        fs::write(dir.path().join("audit-00000000000000000010.jsonl"), "").unwrap();
        assert!(matches!(read(dir.path()), (9, Ok(()))), "a file that has just been begun");
    }

    #[test]
    fn a_line_that_is_being_written_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        samples::log(dir.path(), 9);
        samples::signed(dir.path(), 5);
        let file = dir.path().join("audit-00000000000000000001.jsonl");
        let whole = fs::read(&file).unwrap();
        fs::write(&file, &whole[..whole.len() - 10]).unwrap();
        let writer = std::thread::spawn(move || {
            sleep(Duration::from_millis(200));
            fs::write(&file, whole).unwrap();
        });
        assert!(matches!(read(dir.path()), (9, Ok(()))));
        writer.join().unwrap();
    }
}
