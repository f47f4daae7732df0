//! A log's folder: files, lines, tree, tiles, checkpoint, and what is left over.
//!
//! It may be written to meanwhile. The checkpoint is read first; what it covers must be there
//! whole. Then the records seen beyond it must come under a checkpoint within a few seconds.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::stray::{Passing, unreadable};
use super::{Finding, Report, Terms, TileFault, stray};
use crate::checkpoint::Head;
use crate::file::{self, firsts};
use crate::merkle::{Hash, Tile, Tree};
use crate::read::{CHECKPOINT_FILE, Cursor, is_zero, read_note};
use crate::recover::{LINE_BYTES_MAX, LOCK_FILE, is_line};
use crate::{ReadError, Reader, tiles};

/// How long a writer has to sign what was seen. It signs every second.
const SIGNED_WITHIN: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);
/// How often a log in use is looked through for what does not belong there: what a writer has in
/// hand may take as long as a slow disk's sync. Tests wait less.
const LOOKS: u32 = if cfg!(test) { 10 } else { 50 };

/// Checks the log in this folder.
#[must_use]
pub fn folder<'a>(dir: &Path, terms: impl Into<Terms<'a>>) -> Report {
    let terms = terms.into();
    let mut report = Report { in_use: is_in_use(dir), ..Report::default() };
    let reader = Reader::new(dir);
    match reader.certificate() {
        Ok(certificate) => report.settle_key(certificate.as_deref(), terms.trust),
        Err(error) => report.find(of_read(error)),
    }
    let signed = checkpoint(dir, &mut report);
    let mut scan = Scan {
        dir: dir.to_owned(),
        cursor: reader.from(0),
        tree: Tree::default(),
        full: Vec::new(),
        covered: 0,
        seen: report.settle_seen(terms.seen),
        files: BTreeSet::new(),
    };
    if let Some(signed) = signed {
        scan.read(Some(signed), &mut report);
        report.head = Some(signed);
    } else if report.key.is_some() && !report.findings.iter().any(is_of_checkpoint) {
        report.find(Finding::NoCheckpoint);
    }
    scan.read(None, &mut report);
    scan.settle(&mut report);
    scan.compare_size_seen(&mut report);
    report.records = scan.tree.size();
    scan.look_for_strays(&mut report);
    report.settle_losses(terms.losses_max);
    report
}

/// Whether another process holds the log's lock.
fn is_in_use(dir: &Path) -> bool {
    let Ok(lock) = File::open(dir.join(LOCK_FILE)) else { return false };
    matches!(lock.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock))
}

fn is_of_checkpoint(finding: &Finding) -> bool {
    matches!(finding, Finding::Checkpoint { .. } | Finding::Unreadable { .. })
}

/// The checkpoint's head, if it holds.
fn checkpoint(dir: &Path, report: &mut Report) -> Option<Head> {
    let path = dir.join(CHECKPOINT_FILE);
    match read_note(&path) {
        Ok(note) => report.checked(&note).map(|checkpoint| checkpoint.head),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            report.find(unreadable(&path, error));
            None
        }
    }
}

struct Scan {
    dir: PathBuf,
    cursor: Cursor,
    tree: Tree,
    full: Vec<Tile>,
    /// How many records a checkpoint covers.
    covered: u64,
    /// What the asker has seen: how many records, and the root over them if he has it.
    seen: Option<(u64, Option<Hash>)>,
    /// The files that were read from their first record on, by its number.
    files: BTreeSet<u64>,
}

impl Scan {
    /// Reads up to what was signed, and compares; or all whole lines there are.
    fn read(&mut self, signed: Option<Head>, report: &mut Report) {
        let end = signed.map_or(u64::MAX, |head| head.size);
        while self.tree.size() < end {
            let before = self.cursor.place();
            match self.cursor.next_written() {
                Ok(Some(entry)) => {
                    report.look_at(entry.bytes);
                    self.tree.push(entry.bytes, &mut self.full);
                }
                Ok(None) => break,
                Err(error) => return report.find(of_read(error)),
            }
            self.note_file();
            self.compare_root_seen(report);
            self.check_left_file(before, report);
            self.check_tiles(signed.is_some(), report);
        }
        let Some(signed) = signed else { return };
        if self.tree.size() < signed.size {
            report.find(Finding::Short { expected: signed.size, found: self.tree.size() });
        } else if self.tree.root() != signed.root {
            report.find(Finding::Root { size: signed.size });
        } else {
            self.covered = signed.size;
        }
    }

    /// After a record was read: where it is the first of its file, that file is one of ours.
    fn note_file(&mut self) {
        let begun = self.cursor.place().filter(|(first, _)| *first == self.cursor.index());
        self.files.extend(begun.map(|(first, _)| first));
    }

    /// At the size that the asker has seen, the root must be the one that he has seen.
    fn compare_root_seen(&self, report: &mut Report) {
        if let Some((size, Some(root))) = self.seen
            && size == self.tree.size()
            && root != self.tree.root()
        {
            report.find(Finding::NotSeen { size });
        }
    }

    /// What the asker has seen signed must be signed still.
    fn compare_size_seen(&self, report: &mut Report) {
        if let Some((seen, _)) = self.seen.filter(|(seen, _)| *seen > self.covered) {
            report.find(Finding::PutBack { seen, found: self.covered });
        }
    }

    /// A file that was left ends with its last line.
    fn check_left_file(&self, before: Option<(u64, u64)>, report: &mut Report) {
        let (Some((first, end)), Some((now, _))) = (before, self.cursor.place()) else { return };
        if first == now {
            return;
        }
        let file = self.dir.join(file::name(first));
        match std::fs::metadata(&file) {
            Ok(facts) if facts.len() == end => {}
            Ok(_) => {
                let expected = self.tree.size();
                report.find(Finding::NotTheNext { file, offset: end, expected });
            }
            Err(error) => report.find(unreadable(&file, error)),
        }
    }

    /// Tiles that a checkpoint covers must be there; others may.
    fn check_tiles(&mut self, covered: bool, report: &mut Report) {
        for tile in self.full.drain(..) {
            let path = self.dir.join(tiles::path(tile.level, tile.index));
            let fault = match tiles::read(&self.dir, tile.level, tile.index) {
                Ok(hashes) if hashes == tile.hashes => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound && !covered => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => TileFault::Missing,
                Ok(_) | Err(_) => TileFault::Wrong,
            };
            report.find(Finding::Tile { path, fault });
        }
    }

    /// What follows the whole lines, and the records that no checkpoint covers.
    fn settle(&mut self, report: &mut Report) {
        let until = Instant::now() + SIGNED_WITHIN;
        let seen = self.tree.size();
        loop {
            let rest = self.rest();
            let unsigned = seen.saturating_sub(self.covered);
            if (unsigned == 0 && matches!(rest, Ok(None))) || !report.findings.is_empty() {
                return;
            }
            if !report.in_use || Instant::now() > until {
                match rest {
                    Ok(rest) => rest.into_iter().for_each(|finding| report.find(finding)),
                    Err(error) => report.find(unreadable(&self.dir, error)),
                }
                if unsigned > 0 {
                    report.find(Finding::Unsigned { records: unsigned });
                }
                return;
            }
            sleep(PAUSE);
            // What the writer has signed since: the lines up to there must give its root.
            if let Some(signed) = checkpoint(&self.dir, report).filter(|at| at.size >= seen) {
                self.read_on(signed, report);
            }
        }
    }

    /// In a log in use, tiles may have been filled since the records were read.
    fn look_for_strays(&mut self, report: &mut Report) {
        let mut passing = None;
        for look in 1..=LOOKS {
            while report.in_use && self.cursor.next_written().is_ok_and(|entry| entry.is_some()) {
                self.note_file();
            }
            let strays = stray::look(&self.dir, self.cursor.index(), &self.files);
            if !strays.found.is_empty() {
                return strays.found.into_iter().for_each(|stray| report.find(stray));
            }
            // What is there at every look is not about to pass.
            let mut known: Vec<Passing> = passing.take().unwrap_or_else(|| strays.passing.clone());
            known.retain(|one| strays.passing.contains(one));
            if known.is_empty() || !report.in_use || look == LOOKS {
                let stays = known.into_iter().map(|one| Finding::Stray { path: one.path });
                return stays.for_each(|stray| report.find(stray));
            }
            passing = Some(known);
            sleep(PAUSE);
        }
    }

    fn read_on(&mut self, signed: Head, report: &mut Report) {
        if signed.size >= self.tree.size() && signed.size > self.covered {
            self.read(Some(signed), report);
            report.head = Some(signed);
        }
    }

    /// What stands behind the last line that was read, if it is neither nothing nor zeros, nor, in
    /// a log in use, records written since.
    fn rest(&self) -> io::Result<Option<Finding>> {
        let mut expected = self.tree.size() + 1;
        let all = firsts(&self.dir)?;
        let (mut first, mut offset) = self.cursor.place().unwrap_or((1, 0));
        loop {
            let file = self.dir.join(file::name(first));
            if all.contains(&first) && !skip_lines(&file, &mut offset, &mut expected)? {
                return Ok(Some(Finding::NotTheNext { file, offset, expected }));
            }
            // What is named for records that were read is a stray, and found as one.
            match all.iter().find(|&&other| other > first && other >= expected) {
                // The next file was begun, perhaps just now.
                Some(&found) if found == expected => (first, offset) = (found, 0),
                Some(&found) => return Ok(Some(Finding::Gap { expected, found })),
                None => return Ok(None),
            }
        }
    }
}

/// Skips whole lines from the offset on; whether nothing but zeros follows them.
fn skip_lines(path: &Path, offset: &mut u64, expected: &mut u64) -> io::Result<bool> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(*offset))?;
    let mut reader = BufReader::new(&file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
        let read = io::Read::take(&mut reader, limit).read_until(b'\n', &mut line)?;
        if !is_line(&line, *expected) {
            return Ok(line.iter().all(|&byte| byte == 0) && is_zero(&mut reader)?);
        }
        *expected += 1;
        *offset += u64::try_from(read).unwrap_or(u64::MAX);
    }
}

fn of_read(error: ReadError) -> Finding {
    match error {
        ReadError::Io { path, source } => Finding::Unreadable { path, source },
        ReadError::Missing { index, .. } => Finding::Short { expected: index + 1, found: index },
        ReadError::Note { path, .. } => unreadable(&path, io::ErrorKind::InvalidData.into()),
    }
}
