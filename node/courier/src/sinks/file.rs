//! Files of JSON lines: a copy of the log in the courier's folder, for whoever collects files.
//!
//! A file is named by the index of its first entry, so that names sort as entries do. What was
//! torn by a crash is cut off, and the files themselves say where to go on: no entry is twice in
//! them.

use std::borrow::Cow;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tokio::task::JoinHandle;

use crate::batch::Batch;
use crate::failure::SinkFailure;

/// Beginnings of lines that are no entries.
const NOTES: [&[u8]; 3] = [b"{\"certificate\":", b"{\"checkpoint\":", b"{\"frontier\":"];

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
    /// Held as long as these files may be written to.
    lock: Option<File>,
}

struct Open {
    file: File,
    bytes: u64,
    /// The index of the next entry.
    next: u64,
}

impl FileSink {
    pub(crate) fn new(folder: PathBuf, rotate_bytes: u64, keep_files: u64) -> Self {
        let files = Files { folder, rotate_bytes, keep_files, open: None, lock: None };
        Self { files: Some(files), work: None }
    }

    /// The index after the last entry in the files, if there are any; else none.
    pub(crate) async fn resume(&mut self, next: u64) -> Option<u64> {
        let found = self.on_thread(move |files| files.resume());
        // What fails here fails again at the first batch, and is reported then.
        found.await.ok()?;
        let known = self.files.as_ref()?.open.as_ref()?.next;
        (known != next).then_some(known)
    }

    pub(crate) async fn deliver(&mut self, batch: &Batch) -> Result<(), SinkFailure> {
        let (from, end, copy) = (batch.from(), batch.end(), batch.copy());
        let frontier = batch.frontier(from).map(|line| format!("{line}\n")).unwrap_or_default();
        let append = move |files: &mut Files| files.append(from, end, &frontier, &copy);
        self.on_thread(append).await.map_err(SinkFailure::File)
    }

    /// The index of the batch's first entry, if a file begins with it.
    pub(crate) fn begins(&self, batch: &Batch) -> Option<u64> {
        let from = batch.from();
        let goes_on = self.files.as_ref().is_some_and(|files| files.goes_on(from));
        (!goes_on && batch.end() > from).then_some(from)
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
    /// Opens the newest file and cuts off what is torn.
    fn resume(&mut self) -> io::Result<()> {
        let Some(first) = self.firsts()?.pop() else { return Ok(()) };
        self.lock()?;
        let mut file = OpenOptions::new().read(true).write(true).open(self.path(first))?;
        let (bytes, entries) = whole_lines(&file)?;
        file.set_len(bytes)?;
        file.seek(SeekFrom::Start(bytes))?;
        self.open = Some(Open { file, bytes, next: first + entries });
        Ok(())
    }

    /// Appends and syncs. What stands there already, from a try that was given up, is cut first.
    fn append(&mut self, from: u64, end: u64, frontier: &str, copy: &[u8]) -> io::Result<()> {
        let in_order = self.open.as_ref().is_some_and(|open| open.next == from);
        if !in_order {
            self.open = None;
            self.resume()?;
        }
        let mut lines = Cow::Borrowed(copy);
        if !self.goes_on(from) {
            self.begin(from)?;
            // So that the file can be tied to a signed root without those before it.
            lines = Cow::Owned([frontier.as_bytes(), copy].concat());
        }
        let Some(open) = &mut self.open else { return Err(io::ErrorKind::NotFound.into()) };
        let written = open.file.write_all(&lines).and_then(|()| open.file.sync_data());
        if let Err(error) = written {
            // Read anew at the next try: what the file holds is not known.
            self.open = None;
            return Err(error);
        }
        open.bytes += u64::try_from(lines.len()).unwrap_or_default();
        open.next = end;
        Ok(())
    }

    /// Whether an entry of this index belongs into the file that is open.
    fn goes_on(&self, from: u64) -> bool {
        let goes_on = |open: &Open| open.next == from && open.bytes < self.rotate_bytes;
        self.open.as_ref().is_some_and(goes_on)
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
        self.open = Some(Open { file, bytes: 0, next: from });
        let firsts = self.firsts()?;
        let kept = usize::try_from(self.keep_files).unwrap_or(usize::MAX);
        for first in firsts.iter().take(firsts.len().saturating_sub(kept)) {
            fs::remove_file(self.path(*first))?;
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

/// How many bytes the whole lines take, and how many of them are entries.
fn whole_lines(file: &File) -> io::Result<(u64, u64)> {
    let mut reader = BufReader::new(file);
    let (mut bytes, mut entries) = (0, 0);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Ok((bytes, entries));
        }
        bytes += u64::try_from(read).unwrap_or_default();
        entries += u64::from(!NOTES.iter().any(|begin| line.starts_with(begin)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::batch::{Bounds, Chunk};
    use crate::checkpoint::Checkpoint;

    fn batch(from: u64, count: u64) -> Batch {
        let lines: String = (from..from + count).map(|at| format!("{{\"seq\":{at}}}\n")).collect();
        let chunk = Arc::new(Chunk::new(from, lines.into_bytes()));
        let mut batch = chunk.batch(from, Bounds { entries_max: 99, bytes_max: 9_999 }).unwrap();
        let text = format!("o\n{}\nr\n", from + count);
        batch.checkpoint = Checkpoint::parse(text, Some("c\n".to_owned())).map(Arc::new);
        batch
    }

    fn entries(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.retain(|name| name.extension().is_some());
        names.sort();
        let text: String = names.iter().map(|name| fs::read_to_string(name).unwrap()).collect();
        let is_entry = |line: &&str| line.starts_with("{\"seq");
        text.lines().filter(is_entry).map(str::to_owned).collect()
    }

    fn expected(until: u64) -> Vec<String> {
        (0..until).map(|at| format!("{{\"seq\":{at}}}")).collect()
    }

    #[tokio::test]
    async fn files_follow_each_other_and_go_on_where_they_ended() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("files");
        for round in 0..3 {
            let mut sink = FileSink::new(folder.clone(), 100, 99);
            let begin = round * 20;
            assert_eq!(sink.resume(0).await, (round > 0).then_some(begin));
            for at in 0..4 {
                sink.deliver(&batch(begin + at * 5, 5)).await.unwrap();
            }
        }
        assert_eq!(entries(&folder), expected(60));
        assert!(fs::read_dir(&folder).unwrap().count() > 3);
    }

    #[tokio::test]
    async fn a_torn_end_is_cut_and_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("files");
        let mut sink = FileSink::new(folder.clone(), 1 << 20, 99);
        sink.deliver(&batch(0, 5)).await.unwrap();
        drop(sink);
        let path = folder.join(format!("audit-{:020}.jsonl", 0));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{text}{{\"seq\":5}}\n{{\"se")).unwrap();
        let mut sink = FileSink::new(folder.clone(), 1 << 20, 99);
        assert_eq!(sink.resume(5).await, Some(6));
        sink.deliver(&batch(6, 4)).await.unwrap();
        assert_eq!(entries(&folder), expected(10));
    }

    #[tokio::test]
    async fn a_batch_out_of_order_begins_a_file_and_old_files_go() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("files");
        let mut sink = FileSink::new(folder.clone(), 1, 2);
        for at in 0..5 {
            sink.deliver(&batch(at * 5, 5)).await.unwrap();
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 3, "two, and the lock");
        let mut second = FileSink::new(folder.clone(), 1, 2);
        assert!(second.deliver(&batch(25, 5)).await.is_err(), "one writes at a time");
        drop(sink);
        second.deliver(&batch(25, 5)).await.unwrap();
        assert_eq!(entries(&folder).len(), 10);
    }

    #[tokio::test]
    async fn each_file_begins_with_what_ties_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("files");
        let mut sink = FileSink::new(folder.clone(), 100, 99);
        for at in 0..6 {
            let mut next = batch(at * 5, 5);
            let begins = sink.begins(&next);
            assert_eq!(
                sink.begins(&Batch::of_checkpoint(7, next.checkpoint.clone().unwrap())),
                None
            );
            next.tie(at * 5, &format!("{}\n", at * 5));
            sink.deliver(&next).await.unwrap();
            let path = folder.join(format!("audit-{:020}.jsonl", at * 5));
            assert_eq!(path.exists(), begins == Some(at * 5), "{at}");
            if let Ok(text) = fs::read_to_string(path) {
                let line = format!("{{\"frontier\":\"{}\\n\"}}\n", at * 5);
                assert!(text.starts_with(&line) && text.matches("frontier").count() == 1);
            }
        }
        assert_eq!(entries(&folder), expected(30));
        drop(sink);
        let mut sink = FileSink::new(folder.clone(), 100, 99);
        assert_eq!(sink.resume(0).await, Some(30), "it is no entry");
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_used_is_a_failure() {
        let dir = tempfile::tempdir().unwrap();
        let blocked = dir.path().join("file");
        fs::write(&blocked, "").unwrap();
        let mut sink = FileSink::new(blocked, 1, 2);
        assert_eq!(sink.resume(0).await, None);
        assert!(matches!(sink.deliver(&batch(0, 1)).await, Err(SinkFailure::File(_))));
    }
}
