//! Files of JSON lines: a copy of the log in the courier's folder, for whoever collects files.
//!
//! A file is named by the index of its first entry, so that names sort as entries do. What was
//! torn by a crash is cut off, and the files themselves say where to go on: no entry is twice in
//! them.
//!
//! Each file can be verified by itself: it begins with the right edge of the tree, and one that
//! was left ends with what joins it to a signed root.

mod left;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tokio::task::JoinHandle;

use crate::batch::Batch;
use crate::failure::SinkFailure;
use left::Left;

/// Beginnings of lines that are no entries.
const NOTES: [&[u8]; 4] =
    [b"{\"certificate\":", b"{\"checkpoint\":", b"{\"frontier\":", b"{\"consistency\":"];
/// Most files that are joined at once; and so many that were left are looked at when a sink begins,
/// the newest: a courier joins them within moments while it runs.
const JOINED_MAX: usize = 64;

/// A folder of files. The work is done on a thread of its own, since a disk may hang.
pub(crate) struct FileSink {
    /// Here unless a thread has it.
    files: Option<Files>,
    /// The thread that has it.
    work: Option<JoinHandle<(Files, io::Result<()>)>>,
}

struct Files {
    folder: PathBuf,
    rotate_bytes: u64,
    keep_files: u64,
    open: Option<Open>,
    /// Files that were left and are not joined yet, the oldest first; none before they were looked
    /// for.
    left: Option<Vec<Left>>,
    /// Held as long as these files may be written to.
    lock: Option<File>,
}

struct Open {
    file: File,
    /// The index of the first entry.
    first: u64,
    bytes: u64,
    /// The index of the next entry.
    next: u64,
}

/// What is to be appended.
struct Piece {
    /// The index of its first entry.
    from: u64,
    /// The index after its last one.
    end: u64,
    /// The lines.
    copy: Vec<u8>,
    /// The line that ties the first entry to the tree, where a file was to begin with it.
    frontier: Option<String>,
    /// Whether a file was to begin with it.
    begins: bool,
}

impl FileSink {
    pub(crate) fn new(folder: PathBuf, rotate_bytes: u64, keep_files: u64) -> Self {
        let (open, left, lock) = (None, None, None);
        let files = Files { folder, rotate_bytes, keep_files, open, left, lock };
        Self { files: Some(files), work: None }
    }

    /// The index after the last entry in the files, if there are any; else none.
    pub(crate) async fn resume(&mut self, next: u64) -> Option<u64> {
        let found = self.on_thread(|files| files.resume(u64::MAX));
        // What fails here fails again at the first batch, and is reported then.
        found.await.ok()?;
        let known = self.files.as_ref()?.open.as_ref()?.next;
        (known != next).then_some(known)
    }

    pub(crate) async fn deliver(&mut self, batch: &Batch) -> Result<(), SinkFailure> {
        let piece = Piece {
            from: batch.from(),
            end: batch.end(),
            copy: batch.copy(),
            frontier: batch.frontier(batch.from()).map(|line| format!("{line}\n")),
            begins: self.begins(batch).is_some(),
        };
        self.on_thread(move |files| files.append(&piece)).await.map_err(SinkFailure::File)
    }

    /// The index of the batch's first entry, if a file begins with it.
    pub(crate) fn begins(&self, batch: &Batch) -> Option<u64> {
        let (from, end) = (batch.from(), batch.end());
        let goes_on = self.files.as_ref().is_some_and(|files| files.goes_on(from, end));
        (!goes_on).then_some(from)
    }

    /// After how many entries files end that were left and are not joined yet, of those that a
    /// checkpoint of this size is over.
    pub(crate) fn ended(&self, size: u64) -> Vec<u64> {
        let left = self.files.as_ref().and_then(|files| files.left.as_ref());
        let ends = left.into_iter().flatten().map(|left| left.end);
        ends.filter(|end| *end <= size).take(JOINED_MAX).collect()
    }

    /// Adds these lines to the files that end after so many entries each.
    pub(crate) async fn join(&mut self, joints: Vec<(u64, Vec<u8>)>) -> Result<(), SinkFailure> {
        self.on_thread(move |files| files.join(&joints)).await.map_err(SinkFailure::File)
    }

    /// Does the work on another thread; if that is given up, the files come back when it ends.
    #[expect(
        clippy::disallowed_methods,
        reason = "files are written; there is no cryptography here"
    )]
    async fn on_thread<W>(&mut self, work: W) -> io::Result<()>
    where
        W: FnOnce(&mut Files) -> io::Result<()> + Send + 'static,
    {
        if let Some(handle) = &mut self.work {
            let (files, _given_up) = handle.await.map_err(io::Error::other)?;
            self.files = Some(files);
            self.work = None;
        }
        let mut files = self.files.take().ok_or(io::ErrorKind::ResourceBusy)?;
        let handle = self.work.insert(tokio::task::spawn_blocking(move || {
            let done = work(&mut files);
            (files, done)
        }));
        let (files, done) = handle.await.map_err(io::Error::other)?;
        self.files = Some(files);
        self.work = None;
        done
    }
}

impl Files {
    /// Opens the newest file and cuts off what is torn, and the entries from this index on.
    fn resume(&mut self, from: u64) -> io::Result<()> {
        let mut firsts = self.firsts()?;
        let Some(first) = firsts.pop() else { return Ok(()) };
        self.lock()?;
        let mut file = OpenOptions::new().read(true).write(true).open(self.path(first))?;
        // What is older than the file was not torn: a batch out of order begins another one.
        let most = from.checked_sub(first).unwrap_or(u64::MAX);
        let (bytes, entries) = whole_lines(&file, most)?;
        file.set_len(bytes)?;
        file.seek(SeekFrom::Start(bytes))?;
        self.open = Some(Open { file, first, bytes, next: first + entries });
        if self.left.is_none() {
            let mut left = Vec::new();
            for first in firsts.into_iter().rev().take(JOINED_MAX) {
                left.extend(Left::find(&self.path(first), first)?);
            }
            left.reverse();
            self.left = Some(left);
        }
        Ok(())
    }

    /// Appends and syncs. What stands there already, from a try that was given up, is cut first.
    fn append(&mut self, piece: &Piece) -> io::Result<()> {
        let in_order = self.open.as_ref().is_some_and(|open| open.next == piece.from);
        if !in_order {
            self.open = None;
            self.resume(piece.from)?;
        }
        let mut lines = Vec::new();
        if !self.goes_on(piece.from, piece.end) {
            // Seen only now: the next try brings what a file begins with.
            if !piece.begins {
                return Err(io::ErrorKind::Interrupted.into());
            }
            self.begin(piece.from)?;
            // So that the file can be tied to a signed root without those before it.
            lines.extend_from_slice(piece.frontier.as_deref().unwrap_or_default().as_bytes());
        }
        lines.extend_from_slice(&piece.copy);
        let Some(open) = &mut self.open else { return Err(io::ErrorKind::NotFound.into()) };
        let written = open.file.write_all(&lines).and_then(|()| open.file.sync_data());
        if let Err(error) = written {
            // Read anew at the next try: what the file holds is not known.
            self.open = None;
            return Err(error);
        }
        open.bytes += u64::try_from(lines.len()).unwrap_or_default();
        open.next = piece.end;
        Ok(())
    }

    /// Whether entries of these indexes belong into the file that is open. A checkpoint alone does,
    /// however long the file is: it is over what stands there.
    fn goes_on(&self, from: u64, end: u64) -> bool {
        let has_room = |open: &Open| end == from || open.bytes < self.rotate_bytes;
        self.open.as_ref().is_some_and(|open| open.next == from && has_room(open))
    }

    /// Joins files that were left. One that was removed meanwhile needs nothing.
    fn join(&mut self, joints: &[(u64, Vec<u8>)]) -> io::Result<()> {
        let mut left = self.left.take().unwrap_or_default();
        let mut done = Ok(());
        left.retain(|left| {
            let found = joints.iter().find(|(end, _)| *end == left.end);
            let Some((_, joint)) = found.filter(|_| done.is_ok()) else { return true };
            done = left.join(&self.path(left.first), joint);
            done.is_err()
        });
        self.left = Some(left);
        done
    }

    /// A thread of earlier settings may still be at work here, if the disk is slow.
    fn lock(&mut self) -> io::Result<()> {
        if self.lock.is_none() {
            let path = self.folder.join("lock");
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(path)?;
            file.try_lock().map_err(io::Error::from)?;
            self.lock = Some(file);
        }
        Ok(())
    }

    fn begin(&mut self, from: u64) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        self.lock()?;
        let path = self.path(from);
        let file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        File::open(&self.folder)?.sync_all()?;
        let left = self.left.get_or_insert_default();
        let before = self.open.replace(Open { file, first: from, bytes: 0, next: from });
        left.extend(before.filter(|open| open.next > open.first).map(Left::from));
        let firsts = self.firsts()?;
        let kept = usize::try_from(self.keep_files).unwrap_or(usize::MAX);
        let (gone, kept) = firsts.split_at(firsts.len().saturating_sub(kept));
        for first in gone {
            fs::remove_file(self.path(*first))?;
        }
        if let Some(left) = &mut self.left {
            left.retain(|left| left.first != from && kept.contains(&left.first));
        }
        Ok(())
    }

    fn path(&self, first: u64) -> PathBuf {
        self.folder.join(format!("audit-{first:020}.jsonl"))
    }

    /// The first indexes of all files, in order.
    fn firsts(&self) -> io::Result<Vec<u64>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut firsts = Vec::new();
        for entry in entries {
            firsts.extend(first_of(Path::new(&entry?.file_name())));
        }
        firsts.sort_unstable();
        Ok(firsts)
    }
}

fn first_of(name: &Path) -> Option<u64> {
    name.to_str()?.strip_prefix("audit-")?.strip_suffix(".jsonl")?.parse().ok()
}

/// How many bytes the whole lines take, and how many of them are entries: up to so many of those.
fn whole_lines(file: &File, most: u64) -> io::Result<(u64, u64)> {
    let mut reader = BufReader::new(file);
    let (mut bytes, mut entries) = (0, 0);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        let is_entry = is_entry(&line);
        if line.last() != Some(&b'\n') || (is_entry && entries == most) {
            return Ok((bytes, entries));
        }
        bytes += u64::try_from(read).unwrap_or_default();
        entries += u64::from(is_entry);
    }
}

fn is_entry(line: &[u8]) -> bool {
    !NOTES.iter().any(|begin| line.starts_with(begin))
}

#[cfg(test)]
mod tests;
