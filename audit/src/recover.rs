//! Taking up a trail where it was left, or where a crash left it.
//!
//! Only the last batch can be torn, for nothing is written before the one before it is synced.
//! What follows the last whole line is cut off if it can be such a rest; if there is more of it,
//! answered lines were damaged, and the trail is not opened.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::TrailError;
use crate::file::{self, TrailFile};

/// The longest rest of a torn batch, in bytes: a little more than may wait in memory.
const TORN_BYTES_MAX: u64 = 34 << 20;
/// Longest line that is read back, in bytes.
pub(crate) const LINE_BYTES_MAX: usize = 64 << 10;

/// A trail ready to be continued.
pub(crate) struct Recovered {
    pub(crate) file: TrailFile,
    pub(crate) next_sequence: u64,
    pub(crate) cut_bytes: u64,
}

/// Opens the trail in this folder.
pub(crate) fn open(dir: &Path) -> Result<Recovered, TrailError> {
    let lock = lock(dir)?;
    let Some(first) = newest(dir).map_err(|source| failed(dir, source))? else {
        let file = file::create(dir, 1).map_err(|source| failed(dir, source))?;
        return Ok(Recovered {
            file: TrailFile::new(dir.to_owned(), file, 0, lock),
            next_sequence: 1,
            cut_bytes: 0,
        });
    };
    let path = dir.join(file::name(first));
    let opened = OpenOptions::new().read(true).write(true).open(&path);
    let file = opened.map_err(|source| failed(&path, source))?;
    let scan = scan(&file, first).map_err(|source| failed(&path, source))?;
    if scan.cut_bytes > TORN_BYTES_MAX {
        return Err(TrailError::Damaged { file: path, offset: scan.end });
    }
    let mut file = TrailFile::new(dir.to_owned(), file, scan.end, lock);
    // Whole lines that were never answered may be in memory only: synced before more follow.
    file.trim().map_err(|source| failed(&path, source))?;
    Ok(Recovered { file, next_sequence: scan.next_sequence, cut_bytes: scan.cut_bytes })
}

fn lock(dir: &Path) -> Result<File, TrailError> {
    let path = dir.join("audit.lock");
    let opened =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let lock = opened.map_err(|source| failed(&path, source))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(TrailError::InUse { dir: dir.to_owned() }),
        Err(fs::TryLockError::Error(source)) => Err(failed(&path, source)),
    }
}

fn newest(dir: &Path) -> io::Result<Option<u64>> {
    let mut newest = None;
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        newest = newest.max(name.to_str().and_then(file::first_of));
    }
    Ok(newest)
}

struct Scan {
    /// Where the whole lines end.
    end: u64,
    next_sequence: u64,
    /// Bytes after them that are not zero, up to the last such.
    cut_bytes: u64,
}

/// Reads the file's lines until one is not whole or not the next.
fn scan(mut file: &File, first: u64) -> io::Result<Scan> {
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut scan = Scan { end: 0, next_sequence: first, cut_bytes: 0 };
    let mut line = Vec::with_capacity(LINE_BYTES_MAX);
    loop {
        line.clear();
        let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
        let read = io::Read::take(&mut reader, limit).read_until(b'\n', &mut line)?;
        if !is_line(&line, scan.next_sequence) {
            break;
        }
        scan.end += u64::try_from(read).unwrap_or(u64::MAX);
        scan.next_sequence += 1;
    }
    scan.cut_bytes = rest_bytes(&mut reader, &line)?;
    Ok(scan)
}

fn is_line(line: &[u8], sequence: u64) -> bool {
    let begin = format!("{{\"seq\":{sequence},");
    line.starts_with(begin.as_bytes()) && line.ends_with(b"}\n") && !line.contains(&0)
}

/// How many bytes there are from the beginning of the broken line to the last that is not zero.
fn rest_bytes(reader: &mut impl BufRead, line: &[u8]) -> io::Result<u64> {
    let mut seen = 0_u64;
    let mut last = 0_u64;
    let mut look = |bytes: &[u8]| {
        if let Some(at) = bytes.iter().rposition(|&byte| byte != 0) {
            last = seen + u64::try_from(at).unwrap_or(u64::MAX) + 1;
        }
        seen += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    };
    look(line);
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Ok(last);
        }
        look(bytes);
        let length = bytes.len();
        reader.consume(length);
    }
}

fn failed(path: &Path, source: io::Error) -> TrailError {
    TrailError::Open { path: PathBuf::from(path), source: Arc::new(source) }
}
