//! A sink's copy: JSON lines, records exactly as in the log; certificates, checkpoints, frontiers
//! and proofs of consistency between them (`docs/design/audit.md`). One file, or a folder of files
//! in whatever order.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use super::stray::unreadable;
use super::{Finding, Report, Terms};
use crate::checkpoint::Head;
use crate::merkle::{Consistency, Frontier, Hash, leaf};
use crate::recover::LINE_BYTES_MAX;

/// Most files of a copy.
const FILES_MAX: usize = 1 << 20;
/// Most different frontiers, and proofs, of a copy: one for each hour of fifteen years.
const FRONTIERS_MAX: usize = 1 << 17;
/// A record may come again this much later at most.
const REPEAT_MAX: usize = 65_536;
/// What a line begins with that is no record, and what its one member is called.
const NOTES: [(&[u8], &str); 4] = [
    (b"{\"certificate\":", "certificate"),
    (b"{\"checkpoint\":", "checkpoint"),
    (b"{\"frontier\":", "frontier"),
    (b"{\"consistency\":", "consistency"),
];

/// Checks a copy. By default its records must be tied to a signed root, and all be covered by it.
#[must_use]
pub fn copy<'a>(from: &Path, terms: impl Into<Terms<'a>>) -> Report {
    let terms = terms.into();
    let mut report = Report::default();
    let files = files(from, &mut report);
    let mut notes = Notes::default();
    each_line(&files, &mut report, |_, _, line, _| notes.see(line));
    report.settle_key(notes.certificate.as_deref(), terms.trust);
    let signed = notes.verified(&mut report);
    let mut records = Records::new(&signed, &notes);
    records.seen = report.settle_seen(terms.seen);
    each_line(&files, &mut report, |file, offset, line, report| {
        if note_name(line).is_none() {
            records.see(file, offset, line, report);
        }
    });
    records.end(terms, &mut report);
    report.settle_losses(terms.losses_max);
    report
}

/// What a line is called that is no record.
fn note_name(line: &[u8]) -> Option<&'static str> {
    NOTES.iter().find(|(begin, _)| line.starts_with(begin)).map(|(_, name)| *name)
}

/// All files, ordered by the first record in each; those without one come first. Links inside a
/// folder are not followed.
fn files(from: &Path, report: &mut Report) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![from.to_owned()];
    while let Some(path) = folders.pop() {
        match names(&path, path == from) {
            Ok(Some(names)) => folders.extend(names),
            Ok(None) if found.len() == FILES_MAX => {
                report.find(unreadable(&path, io::ErrorKind::FileTooLarge.into()));
                break;
            }
            Ok(None) => match first_sequence(&path) {
                Ok(first) => found.push((first, path)),
                Err(error) => report.find(unreadable(&path, error)),
            },
            Err(error) => report.find(unreadable(&path, error)),
        }
    }
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

/// What is in a folder; `None` of what is none.
fn names(path: &Path, follow: bool) -> io::Result<Option<Vec<PathBuf>>> {
    let facts = if follow { fs::metadata(path)? } else { fs::symlink_metadata(path)? };
    if facts.is_symlink() {
        return Err(no_file());
    }
    if !facts.is_dir() {
        return Ok(None);
    }
    let names = fs::read_dir(path)?.map(|entry| Ok(entry?.path()));
    names.collect::<io::Result<_>>().map(Some)
}

/// Opens a regular file. Anything else could give bytes, or keep one waiting, for ever.
fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(no_file()) }
}

fn no_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")
}

fn first_sequence(path: &Path) -> io::Result<u64> {
    let mut reader = BufReader::new(open(path)?);
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
        let mut reader = match open(path) {
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

/// What vouches for the records of a copy, or ties them to what does.
#[derive(Default)]
struct Notes {
    certificate: Option<String>,
    checkpoints: Vec<String>,
    frontiers: BTreeMap<u64, Frontier>,
    /// By the smaller size and the larger.
    proofs: BTreeMap<(u64, u64), Consistency>,
    broken: u64,
    broken_frontiers: u64,
    broken_proofs: u64,
}

impl Notes {
    fn see(&mut self, line: &[u8]) {
        let Some(name) = note_name(line) else { return };
        match (name, text(line, name)) {
            ("frontier", text) => self.see_frontier(text.and_then(|text| Frontier::read(&text))),
            ("consistency", text) => self.see_proof(text.and_then(|text| Consistency::read(&text))),
            ("certificate", Some(note)) => self.certificate = Some(note),
            (_, Some(note)) => self.checkpoints.push(note),
            (_, None) => self.broken += 1,
        }
    }

    /// A sink may have the same one several times.
    fn see_frontier(&mut self, frontier: Option<Frontier>) {
        let size = frontier.as_ref().map(Frontier::size);
        let known = size.and_then(|size| self.frontiers.get(&size));
        match frontier {
            Some(new) if known == Some(&new) => {}
            Some(new) if known.is_none() && self.frontiers.len() < FRONTIERS_MAX => {
                self.frontiers.insert(new.size(), new);
            }
            _ => self.broken_frontiers += 1,
        }
    }

    fn see_proof(&mut self, proof: Option<Consistency>) {
        let place = proof.as_ref().map(Consistency::sizes);
        let known = place.and_then(|place| self.proofs.get(&place));
        match proof {
            Some(new) if known == Some(&new) => {}
            Some(new) if known.is_none() && self.proofs.len() < FRONTIERS_MAX => {
                self.proofs.insert(new.sizes(), new);
            }
            _ => self.broken_proofs += 1,
        }
    }

    fn verified(&self, report: &mut Report) -> BTreeMap<u64, Hash> {
        let mut signed = BTreeMap::new();
        for _ in 0..self.broken {
            report.find(Finding::Checkpoint { error: crate::NoteError::Form });
        }
        for _ in 0..self.broken_frontiers {
            report.find(Finding::Frontier);
        }
        for _ in 0..self.broken_proofs {
            report.find(Finding::Consistency);
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
    frontiers: &'a BTreeMap<u64, Frontier>,
    proofs: &'a BTreeMap<(u64, u64), Consistency>,
    /// What the asker has seen.
    seen: Option<(u64, Option<Hash>)>,
    /// The next `seq`; `None` before the first record.
    next: Option<u64>,
    first: u64,
    count: u64,
    /// The edge of the tree, if it is known: from seq 1 on, or from a frontier of the copy.
    edge: Option<Frontier>,
    /// How many records were seen while it was not.
    untied: u64,
    /// How many were seen since the last root that was signed.
    unsigned: u64,
    head: Option<Head>,
    scratch: Vec<u8>,
    /// Hashes of the last records, the newest last.
    last: VecDeque<Hash>,
}

impl<'a> Records<'a> {
    fn new(signed: &'a BTreeMap<u64, Hash>, notes: &'a Notes) -> Self {
        Self {
            signed,
            frontiers: &notes.frontiers,
            proofs: &notes.proofs,
            seen: None,
            next: None,
            first: 1,
            count: 0,
            edge: None,
            untied: 0,
            unsigned: 0,
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
            self.edge = None;
        }
        report.look_at(record);
        self.tie(sequence, report);
        self.next = Some(sequence + 1);
        self.last.push_back(hash);
        if self.last.len() > REPEAT_MAX {
            self.last.pop_front();
        }
        self.add(hash, report);
    }

    /// Takes the tree up before this record, if what is there allows it.
    fn tie(&mut self, sequence: u64, report: &mut Report) {
        if self.edge.is_none() {
            self.edge = match sequence {
                1 => Some(Frontier::default()),
                _ => self.frontiers.get(&(sequence - 1)).cloned(),
            };
            self.compare(report);
        }
    }

    fn add(&mut self, hash: Hash, report: &mut Report) {
        self.count += 1;
        match &mut self.edge {
            Some(edge) => {
                edge.push(hash);
                self.unsigned += 1;
                self.compare(report);
            }
            None => self.untied += 1,
        }
    }

    fn again(&self, file: &Path, sequence: u64, expected: u64, hash: Hash, report: &mut Report) {
        let back = usize::try_from(expected - sequence).unwrap_or(usize::MAX);
        let known = self.last.len().checked_sub(back).and_then(|at| self.last.get(at));
        if known != Some(&hash) {
            report.find(Finding::Repeated { file: file.to_owned(), sequence });
        }
    }

    /// Holds the tree against what the copy says of it at this size.
    fn compare(&mut self, report: &mut Report) {
        let Some(edge) = &self.edge else { return };
        let size = edge.size();
        if self.frontiers.get(&size).is_some_and(|frontier| frontier != edge) {
            report.find(Finding::Frontier);
        }
        let root = self.seen.filter(|(seen, _)| *seen == size).and_then(|(_, root)| root);
        if root.is_some_and(|root| root != edge.root()) {
            report.find(Finding::NotSeen { size });
        }
        let root = edge.root();
        let mut holds = false;
        if let Some(signed) = self.signed.get(&size) {
            holds = *signed == root;
            if !holds {
                report.find(Finding::Root { size });
            }
        }
        for ((_, new), proof) in self.proofs.range((size, 0)..=(size, u64::MAX)) {
            // Without a checkpoint of that size it proves nothing.
            match self.signed.get(new) {
                Some(signed) if proof.joins(&root, signed) => holds = true,
                Some(_) | None => report.find(Finding::Consistency),
            }
        }
        if holds {
            self.head = Some(Head { size, root });
            self.unsigned = 0;
        }
    }

    /// The largest signed size beyond the end that no proof joins to it.
    fn lacking(&self, end: u64) -> Option<u64> {
        let is_joined = |size: u64| self.proofs.contains_key(&(end, size));
        let mut beyond = self.signed.range(end.saturating_add(1)..).map(|(size, _)| *size);
        beyond.rfind(|size| !is_joined(*size))
    }

    fn end(self, terms: Terms<'_>, report: &mut Report) {
        report.records = self.count;
        report.first = self.first - 1;
        report.head = self.head;
        (report.untied, report.unsigned) = (self.untied, self.unsigned);
        let end = self.next.map_or(0, |next| next - 1);
        if let Some(expected) = self.lacking(end) {
            report.find(Finding::Short { expected, found: end });
        }
        let outside = |size: &&u64| !(report.first..=end).contains(*size);
        for _ in 0..self.frontiers.keys().filter(outside).count() {
            report.find(Finding::Frontier);
        }
        let ends_within = |old: &u64| (report.first + 1..=end).contains(old);
        for _ in 0..self.proofs.keys().filter(|(old, _)| !ends_within(old)).count() {
            report.find(Finding::Consistency);
        }
        if self.untied > 0 && !terms.untied {
            report.find(Finding::Untied { first: self.first, records: self.untied });
        }
        if self.unsigned > terms.unsigned_max && !self.signed.is_empty() {
            report.find(Finding::Behind { records: self.unsigned });
        }
        let found = self.signed.last_key_value().map_or(0, |(size, _)| (*size).min(end));
        if let Some((seen, _)) = self.seen.filter(|(seen, _)| *seen > found) {
            report.find(Finding::PutBack { seen, found });
        }
    }
}
