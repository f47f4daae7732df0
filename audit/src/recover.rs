//! Taking up a trail where it was left, or where a crash left it.
//!
//! Only the last batch can be torn, for nothing is written before the one before it is synced.
//! What follows the last whole line is cut off if it can be such a rest; if there is more of it,
//! answered lines were damaged, and the trail is not opened. Nor is it with fewer records than are
//! remembered, or with others, or with a file among its own that is none of them.

mod strangers;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::TrailError;
use crate::checkpoint::{Checkpoint, Head};
use crate::file::{self, TrailFile};
use crate::intents::{OpenIntent, Search};
use crate::ledger::Ledger;
use crate::log::{Log, replace};
use crate::merkle::{TILE_LEAVES, Tree};
use crate::read::{self, CERTIFICATE_FILE, CHECKPOINT_FILE, ReadError, Reader};
use crate::tiles;

/// The longest rest of a torn batch, in bytes: a little more than may wait in memory.
const TORN_BYTES_MAX: u64 = 34 << 20;
/// Held locked by the process that writes.
pub(crate) const LOCK_FILE: &str = "audit.lock";
/// How long the lock is waited for: whoever verifies a log looks for a moment whether it is held.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// Longest line that is read back, in bytes.
pub(crate) const LINE_BYTES_MAX: usize = 64 << 10;

/// A trail ready to be continued.
pub(crate) struct Recovered {
    pub(crate) log: Log,
    pub(crate) next_sequence: u64,
    pub(crate) cut_bytes: u64,
    /// Changes without an outcome.
    pub(crate) open: Vec<OpenIntent>,
}

/// Opens the trail in this folder. It must hold what the anchor and the last checkpoint say.
pub(crate) fn open(dir: &Path, ledger: Ledger) -> Result<Recovered, TrailError> {
    let lock = lock(dir)?;
    let floor = floor(dir, &ledger);
    let expected = floor.map_or(0, |floor| floor.size);
    let firsts = file::firsts(dir).map_err(|source| failed(dir, source))?;
    let newest = firsts.last().copied();
    let lost = |found| TrailError::Lost { dir: dir.to_owned(), expected, found };
    if newest.is_none() && expected > 0 {
        return Err(lost(0));
    }
    strangers::refuse(dir, &firsts, expected)?;
    let (mut file, next_sequence, cut_bytes) = newest_file(dir, newest, lock)?;
    let size = next_sequence - 1;
    if size < expected {
        return Err(lost(size));
    }
    let tree = tree(dir, size, floor)?;
    let open_from = ledger.anchor.map_or(1, |anchor| anchor.open_from.max(1));
    let open = open_intents(dir, open_from, size)?;
    // Only now: records that are refused are evidence, and stay as they are. Whole lines that were
    // never answered may be in memory only: synced before more follow.
    file.trim().map_err(|source| failed(&file.path(), source))?;
    replace(dir, CERTIFICATE_FILE, ledger.certificate.as_bytes())
        .map_err(|source| failed(dir, source))?;
    let log = Log { file, tree, full: Vec::new(), ledger, signed: 0, signed_at: Instant::now() };
    Ok(Recovered { log, next_sequence, cut_bytes, open })
}

/// The largest head that is known: from outside the folder, or signed by our key.
fn floor(dir: &Path, ledger: &Ledger) -> Option<Head> {
    let note = read::read_note(&dir.join(CHECKPOINT_FILE)).ok();
    let signed = note.and_then(|note| Checkpoint::verified(&note, &ledger.key).ok());
    let anchored = ledger.anchor.map(|anchor| anchor.head);
    signed.map(|signed| signed.head).into_iter().chain(anchored).max_by_key(|head| head.size)
}

/// The file to be written on, the next number, and how many torn bytes are to be cut off.
fn newest_file(
    dir: &Path,
    newest: Option<u64>,
    lock: File,
) -> Result<(TrailFile, u64, u64), TrailError> {
    let Some(first) = newest else {
        let file = file::create(dir, 1).map_err(|source| failed(dir, source))?;
        return Ok((TrailFile::new(dir.to_owned(), file, 1, 0, lock), 1, 0));
    };
    let path = dir.join(file::name(first));
    let opened = OpenOptions::new().read(true).write(true).open(&path);
    let file = opened.map_err(|source| failed(&path, source))?;
    let scan = scan(&file, first).map_err(|source| failed(&path, source))?;
    if scan.cut_bytes > TORN_BYTES_MAX {
        return Err(TrailError::Damaged { file: path, offset: scan.end });
    }
    let file = TrailFile::new(dir.to_owned(), file, first, scan.end, lock);
    Ok((file, scan.next_sequence, scan.cut_bytes))
}

/// The tree over all records, checked against the floor. Tiles below the floor are believed if they
/// give its root, as far as a power cut left them whole; otherwise everything is computed from the
/// records, and the tiles written anew.
fn tree(dir: &Path, size: u64, floor: Option<Head>) -> Result<Tree, TrailError> {
    let full = floor.map_or(0, |floor| floor.size / TILE_LEAVES);
    let known = tiles::whole_up_to(dir, full) * TILE_LEAVES;
    let tiles = Tree::from_tiles(known, |level, index| tiles::read(dir, level, index));
    if known > 0
        && let Ok(tiles) = tiles
        && let Some(tree) = grow(dir, tiles, size, floor)?
    {
        return Ok(tree);
    }
    let altered = || TrailError::Altered {
        dir: dir.to_owned(),
        size: floor.map_or(size, |floor| floor.size),
    };
    grow(dir, Tree::default(), size, floor)?.ok_or_else(altered)
}

/// Adds records up to this size and writes the tiles that become full; `None` if the floor's root
/// is another.
fn grow(
    dir: &Path,
    mut tree: Tree,
    size: u64,
    floor: Option<Head>,
) -> Result<Option<Tree>, TrailError> {
    let differs =
        |tree: &Tree| floor.is_some_and(|at| at.size == tree.size() && at.root != tree.root());
    if differs(&tree) {
        return Ok(None);
    }
    let mut cursor = Reader::new(dir).from(tree.size());
    let mut full = Vec::new();
    while let Some(entry) = cursor.next(size).map_err(|error| unread(dir, size, error))? {
        tree.push(entry.bytes, &mut full);
        if differs(&tree) {
            return Ok(None);
        }
        for tile in full.drain(..) {
            tiles::write(dir, &tile).map_err(|source| failed(dir, source))?;
        }
    }
    Ok(Some(tree))
}

fn open_intents(dir: &Path, open_from: u64, size: u64) -> Result<Vec<OpenIntent>, TrailError> {
    let mut search = Search::default();
    let mut cursor = Reader::new(dir).from(open_from - 1);
    while let Some(entry) = cursor.next(size).map_err(|error| unread(dir, size, error))? {
        search.see(entry.bytes);
    }
    Ok(search.found())
}

fn unread(dir: &Path, expected: u64, error: ReadError) -> TrailError {
    match error {
        ReadError::Io { path, source } => TrailError::Open { path, source },
        ReadError::Missing { index, dir } => TrailError::Lost { dir, expected, found: index },
        ReadError::Note { .. } => failed(dir, io::ErrorKind::InvalidData.into()),
    }
}

fn lock(dir: &Path) -> Result<File, TrailError> {
    let path = dir.join(LOCK_FILE);
    let opened =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let lock = opened.map_err(|source| failed(&path, source))?;
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(fs::TryLockError::WouldBlock) if Instant::now() < until => sleep(LOCK_PAUSE),
            Err(fs::TryLockError::WouldBlock) => {
                return Err(TrailError::InUse { dir: dir.to_owned() });
            }
            Err(fs::TryLockError::Error(source)) => return Err(failed(&path, source)),
        }
    }
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

pub(crate) fn is_line(line: &[u8], sequence: u64) -> bool {
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
