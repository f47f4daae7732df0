//! The file that a trail is being written to.
//!
//! Space is set aside in steps, so that lines lie together and a full disk shows early; it reads
//! as zeros, and what is left of it is cut off when the file is left. What is not zero is whole
//! lines, except after a crash, which `recover` repairs.
//!
//! Zeros are written ahead, in smaller steps, together with lines that are synced anyway: a file
//! system that only set space aside has to note with each sync which part of it was written, and
//! pays two more writes for that.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{FallocateFlags, PosixFadviseAdvice, fallocate, posix_fadvise};

/// A file longer than this is left and another begun, in bytes.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Space is set aside in steps of this many bytes.
const AHEAD_BYTES: i64 = 8 << 20;
/// Zeros are written ahead in steps of this many bytes.
const ZEROS_BYTES: usize = 1 << 20;
/// What is written of them at once.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// The newest file of a trail, and where its lines end.
pub(crate) struct TrailFile {
    pub(crate) dir: PathBuf,
    pub(crate) file: File,
    /// The number of its first line.
    pub(crate) first: u64,
    /// Where the lines end.
    pub(crate) end: u64,
    /// Where the space set aside ends.
    pub(crate) allocated: u64,
    /// Where the zeros end that were written.
    zeroed: u64,
    pub(crate) file_bytes_max: u64,
    /// Held for as long as the trail is open: one process writes a trail.
    pub(crate) _lock: File,
}

/// Why lines are not durable.
#[derive(Debug)]
pub(crate) enum WriteFailure {
    /// There was no space; the file is as before.
    Full(io::Error),
    /// It is not known what the disk holds.
    Broken(io::Error),
    /// The file was removed, replaced or cut by somebody else.
    Gone,
}

impl TrailFile {
    /// The newest file, opened and repaired.
    pub(crate) fn new(dir: PathBuf, file: File, first: u64, end: u64, lock: File) -> Self {
        let file_bytes_max = FILE_BYTES_MAX;
        Self { dir, file, first, end, allocated: end, zeroed: end, file_bytes_max, _lock: lock }
    }

    /// Makes lines durable, the first of which has this number.
    pub(crate) fn write(&mut self, first: u64, lines: &[u8]) -> Result<(), WriteFailure> {
        let length = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        if self.end > 0 && self.end + length > self.file_bytes_max {
            self.rotate(first)?;
        }
        let facts = self.file.metadata().map_err(WriteFailure::Broken)?;
        if facts.len() < self.end {
            return Err(WriteFailure::Gone);
        }
        self.allocate(length);
        if let Err(error) = self.file.write_all_at(lines, self.end) {
            return Err(self.undo(error));
        }
        self.write_zeros(self.end + length);
        // After a failed sync the kernel may have dropped the pages: never tried again.
        self.file.sync_data().map_err(WriteFailure::Broken)?;
        // Lines in a file that nobody can find any more are not durable.
        let facts = self.file.metadata().map_err(WriteFailure::Broken)?;
        if facts.nlink() == 0 {
            return Err(WriteFailure::Gone);
        }
        self.end += length;
        self.allocated = self.allocated.max(self.end);
        Ok(())
    }

    /// Whether the file's name still leads to this very file, and it is as long as it was.
    pub(crate) fn is_in_place(&self) -> bool {
        let (Ok(ours), Ok(found)) = (self.file.metadata(), fs::metadata(self.path())) else {
            return false;
        };
        (ours.dev(), ours.ino()) == (found.dev(), found.ino()) && found.len() >= self.end
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.join(name(self.first))
    }

    /// Cuts off the space that was not needed.
    pub(crate) fn trim(&mut self) -> io::Result<()> {
        self.file.set_len(self.end)?;
        (self.allocated, self.zeroed) = (self.end, self.end);
        self.file.sync_data()
    }

    /// Has the file system set space aside, which reads as zeros. That this fails is no error yet:
    /// there may be room for the lines themselves.
    fn allocate(&mut self, length: u64) {
        while self.end + length > self.allocated {
            let at = i64::try_from(self.allocated).unwrap_or(i64::MAX);
            if fallocate(&self.file, FallocateFlags::empty(), at, AHEAD_BYTES).is_err() {
                return;
            }
            self.allocated += AHEAD_BYTES.unsigned_abs();
            self.forget_written();
        }
    }

    /// Writes zeros behind lines that end here, as far as space was set aside. That this fails
    /// costs speed only; what is written of them are zeros, as before.
    fn write_zeros(&mut self, lines_end: u64) {
        if lines_end <= self.zeroed {
            return;
        }
        let step = u64::try_from(ZEROS_BYTES).unwrap_or(u64::MAX);
        let until = (lines_end + step).min(self.allocated);
        let mut at = lines_end;
        while at < until {
            let left = usize::try_from(until - at).unwrap_or(usize::MAX);
            let zeros = ZEROS.get(..left).unwrap_or(&ZEROS);
            match self.file.write_at(zeros, at) {
                Ok(0) | Err(_) => break,
                Ok(written) => at += u64::try_from(written).unwrap_or(u64::MAX),
            }
        }
        self.zeroed = at;
    }

    /// Gives the pages of durable lines back: nobody reads them, and the next lines are then
    /// written into memory that is warm. That this fails costs speed only.
    fn forget_written(&self) {
        let end = i64::try_from(self.end).unwrap_or(i64::MAX);
        let _unneeded = posix_fadvise(&self.file, 0, end, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    }

    /// Takes back what a failed write may have left behind.
    fn undo(&mut self, error: io::Error) -> WriteFailure {
        if let Err(error) = self.file.set_len(self.end) {
            return WriteFailure::Broken(error);
        }
        (self.allocated, self.zeroed) = (self.end, self.end);
        failure(error)
    }

    fn rotate(&mut self, first: u64) -> Result<(), WriteFailure> {
        self.trim().map_err(WriteFailure::Broken)?;
        let file = create(&self.dir, first).map_err(failure)?;
        self.file = file;
        self.first = first;
        (self.end, self.allocated, self.zeroed) = (0, 0, 0);
        Ok(())
    }
}

/// Begins a file for lines from this number on, and makes its name durable.
pub(crate) fn create(dir: &Path, first: u64) -> io::Result<File> {
    let path = dir.join(name(first));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    file.sync_all()?;
    File::open(dir)?.sync_all()?;
    Ok(file)
}

/// The name of the file whose first line has this number; names sort as their numbers do.
pub(crate) fn name(first: u64) -> String {
    format!("audit-{first:020}.jsonl")
}

/// The number in a file's name, if it is one of ours: records are counted from 1.
pub(crate) fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("audit-")?.strip_suffix(".jsonl")?;
    let whole = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    whole.then(|| digits.parse().ok()).flatten().filter(|&first| first > 0)
}

/// The numbers of the first lines of all files, in order.
pub(crate) fn firsts(dir: &Path) -> io::Result<Vec<u64>> {
    let mut firsts = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        firsts.extend(name.to_str().and_then(first_of));
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// Tells a full disk from a broken one.
pub(crate) fn failure(error: io::Error) -> WriteFailure {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            WriteFailure::Full(error)
        }
        _ => WriteFailure::Broken(error),
    }
}
