//! A sink's copy: JSON lines, records exactly as in the log, certificates and checkpoints between
//! them (`docs/design/audit.md`). One file, or a folder of files in whatever order.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::stray::unreadable;
use super::{Finding, Report};
use crate::checkpoint::Head;
use crate::merkle::{Hash, Tree, leaf};
use crate::note::VerifierKey;
use crate::recover::LINE_BYTES_MAX;

/// Most files of a copy.
const FILES_MAX: usize = 1 << 20;
/// A record may come again this much later at most.
const REPEAT_MAX: usize = 65_536;
const CERTIFICATE: &[u8] = b"{\"certificate\":";
const CHECKPOINT: &[u8] = b"{\"checkpoint\":";

/// Checks a copy. `trust` is the audit key or the identity key.
///
/// Records behind the last checkpoint are counted, and are no finding: a copy is ahead of it.
#[must_use]
pub fn copy(from: &Path, trust: Option<&VerifierKey>) -> Report {
    let mut report = Report::default();
    let files = match files(from) {
        Ok(files) => files,
        Err(error) => {
            report.find(unreadable(from, error));
            return report;
        }
    };
    let mut notes = Notes::default();
    each_line(&files, &mut report, |_, _, line, _| notes.see(line));
    report.settle_key(notes.certificate.as_deref(), trust);
    let signed = notes.verified(&mut report);
    let mut records = Records::new(&signed);
    each_line(&files, &mut report, |file, offset, line, report| {
        if !line.starts_with(CERTIFICATE) && !line.starts_with(CHECKPOINT) {
            records.see(file, offset, line, report);
        }
    });
    records.end(&mut report);
    report
}

/// All files, ordered by the first record in each; those without one come first.
fn files(from: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![from.to_owned()];
    while let Some(path) = folders.pop() {
        if fs::metadata(&path)?.is_dir() {
            for entry in fs::read_dir(&path)? {
                folders.push(entry?.path());
            }
        } else if found.len() < FILES_MAX {
            found.push((first_sequence(&path)?, path));
        } else {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

fn first_sequence(path: &Path) -> io::Result<u64> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    while read_line(&mut reader, &mut line)? > 0 {
        if let Some(sequence) = sequence(&line) {
            return Ok(sequence);
        }
    }
    Ok(0)
}

/// The `seq` that a record begins with.
fn sequence(line: &[u8]) -> Option<u64> {
    let rest = line.strip_prefix(b"{\"seq\":")?;
    let end = rest.iter().position(|&byte| byte == b',')?;
    let digits = rest.get(..end)?;
    let plain = digits.iter().all(u8::is_ascii_digit) && digits.first() != Some(&b'0');
    std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}

fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    line.clear();
    let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
    io::Read::take(reader, limit).read_until(b'\n', line)
}

/// Calls for each line of all files, with its file and where it begins.
fn each_line(
    files: &[PathBuf],
    report: &mut Report,
    mut see: impl FnMut(&Path, u64, &[u8], &mut Report),
) {
    for path in files {
        let opened = File::open(path);
        let mut reader = match opened {
            Ok(file) => BufReader::with_capacity(256 << 10, file),
            Err(error) => {
                report.find(unreadable(path, error));
                continue;
            }
        };
        let (mut line, mut offset) = (Vec::new(), 0);
        loop {
            match read_line(&mut reader, &mut line) {
                Ok(0) => break,
                Ok(read) => {
                    see(path, offset, &line, report);
                    offset += u64::try_from(read).unwrap_or(u64::MAX);
                }
                Err(error) => {
                    report.find(unreadable(path, error));
                    break;
                }
            }
        }
    }
}

/// What vouches for the records of a copy.
#[derive(Default)]
struct Notes {
    certificate: Option<String>,
    checkpoints: Vec<String>,
    broken: u64,
}

impl Notes {
    fn see(&mut self, line: &[u8]) {
        let is_certificate = line.starts_with(CERTIFICATE);
        if !is_certificate && !line.starts_with(CHECKPOINT) {
            return;
        }
        match text(line, if is_certificate { "certificate" } else { "checkpoint" }) {
            Some(note) if is_certificate => self.certificate = Some(note),
            Some(note) => self.checkpoints.push(note),
            None => self.broken += 1,
        }
    }

    fn verified(self, report: &mut Report) -> BTreeMap<u64, Hash> {
        let mut signed = BTreeMap::new();
        for _ in 0..self.broken {
            report.find(Finding::Checkpoint { error: crate::NoteError::Form });
        }
        if self.checkpoints.is_empty() {
            report.find(Finding::NoCheckpoint);
        }
        for note in &self.checkpoints {
            let Some(checkpoint) = report.checked(note) else { continue };
            let Head { size, root } = checkpoint.head;
            if signed.insert(size, root).is_some_and(|other| other != root) {
                report.find(Finding::Fork { size });
            }
        }
        signed
    }
}

/// The only member of a line that is otherwise nothing.
fn text(line: &[u8], name: &str) -> Option<String> {
    let line = line.strip_suffix(b"\n")?;
    let value: serde_json::Value = serde_json::from_slice(line).ok()?;
    let members = value.as_object().filter(|members| members.len() == 1)?;
    let text = members.get(name)?.as_str()?.to_owned();
    let again = serde_json::json!({ name: text });
    (again.to_string().as_bytes() == line).then_some(text)
}

/// The records, as far as they were seen.
struct Records<'a> {
    signed: &'a BTreeMap<u64, Hash>,
    /// The next `seq`; `None` before the first record.
    next: Option<u64>,
    first: u64,
    tree: Tree,
    head: Option<Head>,
    scratch: Vec<u8>,
    /// Hashes of the last records, the newest last.
    last: VecDeque<Hash>,
}

impl<'a> Records<'a> {
    fn new(signed: &'a BTreeMap<u64, Hash>) -> Self {
        Self {
            signed,
            next: None,
            first: 1,
            tree: Tree::default(),
            head: None,
            scratch: Vec::new(),
            last: VecDeque::new(),
        }
    }

    fn see(&mut self, file: &Path, offset: u64, line: &[u8], report: &mut Report) {
        let expected = self.next.unwrap_or(1);
        let record = line.strip_suffix(b"\n").filter(|record| record.ends_with(b"}"));
        let (Some(record), Some(sequence)) = (record, sequence(line)) else {
            let file = file.to_owned();
            return report.find(Finding::NotTheNext { file, offset, expected });
        };
        let expected = self.next.unwrap_or(sequence);
        if self.next.is_none() {
            self.first = sequence;
        }
        let hash = leaf(&mut self.scratch, record);
        if sequence < expected {
            return self.again(file, sequence, expected, hash, report);
        }
        if sequence > expected {
            report.find(Finding::Gap { expected, found: sequence });
        }
        self.next = Some(sequence + 1);
        self.last.push_back(hash);
        if self.last.len() > REPEAT_MAX {
            self.last.pop_front();
        }
        self.tree.push(record, &mut Vec::new());
        if self.first == 1 && sequence == self.tree.size() {
            self.compare(report);
        }
    }

    fn again(&self, file: &Path, sequence: u64, expected: u64, hash: Hash, report: &mut Report) {
        let back = usize::try_from(expected - sequence).unwrap_or(usize::MAX);
        let known = self.last.len().checked_sub(back).and_then(|at| self.last.get(at));
        if known != Some(&hash) {
            report.find(Finding::Repeated { file: file.to_owned(), sequence });
        }
    }

    fn compare(&mut self, report: &mut Report) {
        let size = self.tree.size();
        let Some(signed) = self.signed.get(&size) else { return };
        if *signed == self.tree.root() {
            self.head = Some(Head { size, root: *signed });
        } else {
            report.find(Finding::Root { size });
        }
    }

    fn end(self, report: &mut Report) {
        report.records = self.tree.size();
        report.first = self.first - 1;
        report.head = self.head;
        let end = self.next.map_or(0, |next| next - 1);
        if let Some((&expected, _)) = self.signed.last_key_value().filter(|(size, _)| **size > end)
        {
            report.find(Finding::Short { expected, found: end });
        }
    }
}
