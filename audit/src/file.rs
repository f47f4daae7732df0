//! The file that a trail is being written to.
//!
//! Zeros are written ahead of the lines, so that a sync changes no length and allocates nothing;
//! the rest of them is cut off when the file is left. What is not zero is whole lines, except
//! after a crash, which `recover` repairs.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A file longer than this is left and another begun, in bytes.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Zeros are written ahead in steps of this many bytes.
pub(crate) const AHEAD_BYTES: usize = 1 << 20;

/// The newest file of a trail, and where its lines end.
pub(crate) struct TrailFile {
    pub(crate) dir: PathBuf,
    pub(crate) file: File,
    /// Where the lines end.
    pub(crate) end: u64,
    /// Where the zeros end.
    pub(crate) allocated: u64,
    pub(crate) file_bytes_max: u64,
    /// Held for as long as the trail is open: one process writes a trail.
    pub(crate) _lock: File,
}

/// Why lines are not durable.
pub(crate) enum WriteFailure {
    /// There was no space; the file is as before.
    Full(io::Error),
    /// It is not known what the disk holds.
    Broken(io::Error),
}

impl TrailFile {
    /// The newest file, opened and repaired.
    pub(crate) fn new(dir: PathBuf, file: File, end: u64, lock: File) -> Self {
        Self { dir, file, end, allocated: end, file_bytes_max: FILE_BYTES_MAX, _lock: lock }
    }

    /// Makes lines durable, the first of which has this number.
    pub(crate) fn write(&mut self, first: u64, lines: &[u8]) -> Result<(), WriteFailure> {
        let length = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        if self.end > 0 && self.end + length > self.file_bytes_max {
            self.rotate(first)?;
        }
        self.write_ahead(length);
        if let Err(error) = self.file.write_all_at(lines, self.end) {
            return Err(self.undo(error));
        }
        // After a failed sync the kernel may have dropped the pages: never tried again.
        self.file.sync_data().map_err(WriteFailure::Broken)?;
        self.end += length;
        self.allocated = self.allocated.max(self.end);
        Ok(())
    }

    /// Cuts off the zeros.
    pub(crate) fn trim(&mut self) -> io::Result<()> {
        self.file.set_len(self.end)?;
        self.allocated = self.end;
        self.file.sync_data()
    }

    /// Writes zeros beyond the coming lines. That this fails is no error yet: there may be room
    /// for the lines themselves.
    fn write_ahead(&mut self, length: u64) {
        static ZEROS: [u8; AHEAD_BYTES] = [0; AHEAD_BYTES];
        while self.end + length > self.allocated {
            let step = u64::try_from(AHEAD_BYTES).unwrap_or(u64::MAX);
            if self.file.write_all_at(&ZEROS, self.allocated).is_err() {
                // What remains of them is cut off again with the lines, should they fail too.
                return;
            }
            self.allocated += step;
        }
    }

    /// Takes back what a failed write may have left behind.
    fn undo(&mut self, error: io::Error) -> WriteFailure {
        if let Err(error) = self.file.set_len(self.end) {
            return WriteFailure::Broken(error);
        }
        self.allocated = self.end;
        failure(error)
    }

    fn rotate(&mut self, first: u64) -> Result<(), WriteFailure> {
        self.trim().map_err(WriteFailure::Broken)?;
        let file = create(&self.dir, first).map_err(failure)?;
        self.file = file;
        self.end = 0;
        self.allocated = 0;
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

/// The number in a file's name, if it is one of ours.
pub(crate) fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("audit-")?.strip_suffix(".jsonl")?;
    let whole = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    whole.then(|| digits.parse().ok()).flatten()
}

fn failure(error: io::Error) -> WriteFailure {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            WriteFailure::Full(error)
        }
        _ => WriteFailure::Broken(error),
    }
}
