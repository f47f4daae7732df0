//! The files of a trail hang together: the first begins with record 1, each other one with the
//! record after the last of the one before. What does not hang together was cut, or lost, or is a
//! stranger's file among ours; it is said which.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::{LINE_BYTES_MAX, failed, is_line, scan};
use crate::TrailError;
use crate::file;

/// Refuses files that do not hang together. `expected` records are remembered.
pub(super) fn refuse(dir: &Path, firsts: &[u64], expected: u64) -> Result<(), TrailError> {
    // Its name is almost one of ours, and no record has this number.
    let of_nothing = dir.join(file::name(0));
    if fs::symlink_metadata(&of_nothing).is_ok() {
        return Err(TrailError::Stray { file: of_nothing });
    }
    let Some(found) = broken_at(dir, firsts)? else { return Ok(()) };
    let lost = TrailError::Lost { dir: dir.to_owned(), expected, found };
    Err(stranger(dir, firsts, expected)?.unwrap_or(lost))
}

/// How many records there are before the first place where the files do not hang together.
fn broken_at(dir: &Path, firsts: &[u64]) -> Result<Option<u64>, TrailError> {
    if firsts.first().is_some_and(|&first| first != 1) {
        return Ok(Some(0));
    }
    for pair in firsts.windows(2) {
        let &[first, next] = pair else { continue };
        let path = dir.join(file::name(first));
        if !ends_with(&path, next - 1).map_err(|source| failed(&path, source))? {
            return Ok(Some(first - 1));
        }
    }
    Ok(None)
}

/// The first file without which all that is remembered is there; none if something was cut or lost.
fn stranger(dir: &Path, firsts: &[u64], expected: u64) -> Result<Option<TrailError>, TrailError> {
    let (mut next, mut ours) = (1, Vec::new());
    while firsts.contains(&next) && !ours.contains(&next) {
        ours.push(next);
        let path = dir.join(file::name(next));
        let whole = File::open(&path).and_then(|file| scan(&file, next));
        next = whole.map_err(|source| failed(&path, source))?.next_sequence;
    }
    if ours.is_empty() || next - 1 < expected {
        return Ok(None);
    }
    let found = firsts.iter().find(|first| !ours.contains(first));
    Ok(found.map(|&first| TrailError::Stray { file: dir.join(file::name(first)) }))
}

/// Whether the file's last line is the record with this number.
fn ends_with(path: &Path, sequence: u64) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(limit)))?;
    let mut tail = Vec::new();
    file.take(limit).read_to_end(&mut tail)?;
    let before = tail.strip_suffix(b"\n").unwrap_or_default();
    let begin = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    Ok(is_line(tail.get(begin..).unwrap_or_default(), sequence))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(from: u64, end: u64) -> String {
        (from..end).map(|seq| format!("{{\"seq\":{seq},\"x\":1}}\n")).collect()
    }

    /// A trail of records 1 to 99 in three files, the last with space set aside.
    fn trail() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (from, end, space) in [(1, 40, ""), (40, 80, ""), (80, 100, "\0\0\0\0")] {
            let text = format!("{}{space}", lines(from, end));
            fs::write(dir.path().join(file::name(from)), text).unwrap();
        }
        dir
    }

    fn refused(dir: &Path, expected: u64) -> Option<TrailError> {
        refuse(dir, &file::firsts(dir).unwrap(), expected).err()
    }

    #[test]
    fn a_file_of_nobodys_is_named_wherever_it_lies_and_whatever_it_holds() {
        for first in [0, 2, 39, 41, 79, 81, 99, 101, 1_000, u64::MAX] {
            for text in [String::new(), "x".to_owned(), lines(first, first.saturating_add(5))] {
                let dir = trail();
                assert!(refused(dir.path(), 99).is_none());
                let stray = dir.path().join(file::name(first));
                fs::write(&stray, &text).unwrap();
                match refused(dir.path(), 99) {
                    Some(TrailError::Stray { file }) => assert_eq!(file, stray, "{first}"),
                    other => panic!("{first} with {text:?}: {other:?}"),
                }
                fs::remove_file(stray).unwrap();
                assert!(refused(dir.path(), 99).is_none(), "without it all is well");
            }
        }
    }

    #[test]
    fn what_was_cut_or_lost_is_not_blamed_on_a_file() {
        type Harm = fn(&Path);
        let harms: [(u64, Harm); 4] = [
            (0, |dir| fs::remove_file(dir.join(file::name(1))).unwrap()),
            (0, |dir| fs::write(dir.join(file::name(1)), lines(1, 39)).unwrap()),
            (0, |dir| fs::remove_file(dir.join(file::name(40))).unwrap()),
            (39, |dir| fs::write(dir.join(file::name(40)), "").unwrap()),
        ];
        for (there, harm) in harms {
            for stray in [None, Some(41), Some(500)] {
                let dir = trail();
                harm(dir.path());
                if let Some(first) = stray {
                    fs::write(dir.path().join(file::name(first)), "x").unwrap();
                }
                match refused(dir.path(), 99) {
                    Some(TrailError::Lost { expected: 99, found, .. }) => assert_eq!(found, there),
                    other => panic!("{there}, {stray:?}: {other:?}"),
                }
            }
        }
    }
}
