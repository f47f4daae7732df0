//! Reading a log without any key: its newest checkpoint, its certificate, its records from an
//! index on. For whoever ships, shows or checks records; the writer may be at work meanwhile.
//!
//! Nothing is verified here but form: what is read is as good as the folder it comes from.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checkpoint::Checkpoint;
use crate::file;
use crate::note::{NOTE_BYTES_MAX, NoteError};
use crate::recover::LINE_BYTES_MAX;

/// The file of the newest checkpoint.
pub(crate) const CHECKPOINT_FILE: &str = "checkpoint";
/// The file of the certificate.
pub(crate) const CERTIFICATE_FILE: &str = "certificate";
/// What the reader's buffer holds, in bytes.
const BUFFER_BYTES: usize = 256 << 10;

/// Why a log cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// A file or folder.
    #[error("{} cannot be read: check that it exists and that you may read it", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// A note that is none.
    #[error("{} is not what the log's writer wrote: run `casemate audit verify`", path.display())]
    Note {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: NoteError,
    },
    /// A record that should be there is not.
    #[error("record {index} is not in {}: run `casemate audit verify`", dir.display())]
    Missing {
        /// Its index, counted from 0.
        index: u64,
        /// The log's folder.
        dir: PathBuf,
    },
}

/// A log's folder, to be read.
#[derive(Clone, Debug)]
pub struct Reader {
    dir: PathBuf,
}

/// A place in a log: gives its records in order.
#[derive(Debug)]
pub struct Cursor {
    dir: PathBuf,
    open: Option<Open>,
    next: u64,
    line: Vec<u8>,
}

#[derive(Debug)]
struct Open {
    reader: BufReader<File>,
    /// The number of the file's first line.
    first: u64,
    /// Where the next line begins.
    offset: u64,
}

/// One record as it stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its index, counted from 0; its `seq` is one more.
    pub index: u64,
    /// Its bytes, the leaf of the tree: one line of JSON without the newline.
    pub bytes: &'a [u8],
}

impl Reader {
    /// A reader of the log in this folder.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The newest checkpoint; `None` before the first. Its signature is not looked at.
    ///
    /// # Errors
    /// When it cannot be read or is none.
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>, ReadError> {
        let path = self.dir.join(CHECKPOINT_FILE);
        let Some(note) = self.note(&path)? else { return Ok(None) };
        let read = Checkpoint::read(&note);
        read.map(Some).map_err(|source| ReadError::Note { path, source })
    }

    /// The certificate of the key that signs the checkpoints, if there is one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn certificate(&self) -> Result<Option<String>, ReadError> {
        self.note(&self.dir.join(CERTIFICATE_FILE))
    }

    /// A cursor at this index.
    #[must_use]
    pub fn from(&self, index: u64) -> Cursor {
        Cursor { dir: self.dir.clone(), open: None, next: index, line: Vec::new() }
    }

    fn note(&self, path: &Path) -> Result<Option<String>, ReadError> {
        match read_note(path) {
            Ok(note) => Ok(Some(note)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(ReadError::Note { path: path.to_owned(), source: NoteError::Form })
            }
            Err(error) => Err(failed(path, error)),
        }
    }
}

impl Cursor {
    /// The next record below `size`, the size of a checkpoint or what [`crate::Trail::durable`]
    /// says; `None` when there is none below it. May be asked again with a larger size.
    ///
    /// # Errors
    /// When a record below `size` is not there.
    pub fn next(&mut self, size: u64) -> Result<Option<Entry<'_>>, ReadError> {
        if self.next >= size {
            return Ok(None);
        }
        let missing = ReadError::Missing { index: self.next, dir: self.dir.clone() };
        self.next_written()?.ok_or(missing).map(Some)
    }

    /// The next record if it is there whole, whatever any checkpoint says: it may not be durable.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn next_written(&mut self) -> Result<Option<Entry<'_>>, ReadError> {
        if !self.read_line()? {
            return Ok(None);
        }
        let index = self.next;
        self.next += 1;
        let bytes = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        Ok(Some(Entry { index, bytes }))
    }

    /// The record that was given last; empty before the first.
    #[must_use]
    pub fn last(&self) -> &[u8] {
        self.line.strip_suffix(b"\n").unwrap_or(&self.line)
    }

    /// Whether nothing but space set aside follows the records that were given: what else stands
    /// there is being written this moment, or is damaged.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn is_at_end(&self) -> Result<bool, ReadError> {
        let firsts = file::firsts(&self.dir).map_err(|error| failed(&self.dir, error))?;
        let Some(&first) = firsts.last() else { return Ok(true) };
        if first > self.next + 1 {
            return Ok(false);
        }
        let path = self.dir.join(file::name(first));
        let known = self.place().filter(|(open, _)| *open == first).map(|(_, offset)| offset);
        let rest = File::open(&path).and_then(|file| is_zero_behind(file, first, self.next, known));
        rest.map_err(|error| failed(&path, error))
    }

    /// The file that was read last: the number of its first line, and where the next line begins.
    pub(crate) fn place(&self) -> Option<(u64, u64)> {
        self.open.as_ref().map(|open| (open.first, open.offset))
    }

    /// The index of the next record.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.next
    }

    /// Reads the next record's line, from its file or the one that follows.
    fn read_line(&mut self) -> Result<bool, ReadError> {
        if let Some(open) = &mut self.open
            && whole_line(open, &mut self.line, self.next).map_err(|e| failed(&self.dir, e))?
        {
            return Ok(true);
        }
        let firsts = file::firsts(&self.dir).map_err(|error| failed(&self.dir, error))?;
        let sequence = self.next + 1;
        let Some(&first) = firsts.iter().rev().find(|&&first| first <= sequence) else {
            return Ok(false);
        };
        if self.open.as_ref().is_some_and(|open| open.first == first) {
            return Ok(false);
        }
        let path = self.dir.join(file::name(first));
        let opened = File::open(&path).map_err(|error| failed(&path, error))?;
        let reader = BufReader::with_capacity(BUFFER_BYTES, opened);
        let mut open = Open { reader, first, offset: 0 };
        for index in first - 1..=self.next {
            if !whole_line(&mut open, &mut self.line, index).map_err(|e| failed(&path, e))? {
                return Ok(false);
            }
        }
        self.open = Some(open);
        Ok(true)
    }
}

/// Reads the line of this record. What was read ahead may have been written since: then it is read
/// again.
fn whole_line(open: &mut Open, line: &mut Vec<u8>, index: u64) -> io::Result<bool> {
    for again in [false, true] {
        if again {
            open.reader.seek(SeekFrom::Start(open.offset))?;
        }
        line.clear();
        let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
        let read = io::Read::take(&mut open.reader, limit).read_until(b'\n', line)?;
        if crate::recover::is_line(line, index + 1) {
            open.offset += u64::try_from(read).unwrap_or(u64::MAX);
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a file holds zeros only behind the records below this index. `known` is where they end,
/// if that is known.
fn is_zero_behind(file: File, first: u64, next: u64, known: Option<u64>) -> io::Result<bool> {
    let mut open = Open { reader: BufReader::with_capacity(BUFFER_BYTES, file), first, offset: 0 };
    if let Some(offset) = known {
        open.reader.seek(SeekFrom::Start(offset))?;
        return is_zero(&mut open.reader);
    }
    let mut line = Vec::new();
    for index in first - 1..next {
        if !whole_line(&mut open, &mut line, index)? {
            return Ok(false);
        }
    }
    open.reader.seek(SeekFrom::Start(open.offset))?;
    is_zero(&mut open.reader)
}

/// Whether all the rest is zeros.
pub(crate) fn is_zero(file: &mut impl Read) -> io::Result<bool> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(true),
            read if buffer[..read].iter().all(|&byte| byte == 0) => {}
            _ => return Ok(false),
        }
    }
}

/// Reads a file that holds a note.
pub(crate) fn read_note(path: &Path) -> io::Result<String> {
    let limit = u64::try_from(NOTE_BYTES_MAX).unwrap_or(u64::MAX) + 1;
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    if bytes.len() > NOTE_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}

fn failed(path: &Path, source: io::Error) -> ReadError {
    ReadError::Io { path: path.to_owned(), source: Arc::new(source) }
}
