//! The door: open a trail, append to it, close it.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use crate::append::{Append, Batch};
use crate::memory::{Memory, MemoryTrail};
use crate::recover::Recovered;
use crate::{Call, Origin, Phase, Record, TrailError, Verdict, json, recover, writer};

/// Most bytes of records that wait for the disk. Each caller waits for its own record, so this is
/// reached only when the disk hangs.
const PENDING_BYTES_MAX: usize = 32 << 20;

/// Reads the time, in milliseconds since 1970-01-01T00:00:00Z.
pub type Millis = Arc<dyn Fn() -> i64 + Send + Sync>;

/// One HSM's audit trail. Cheap to clone; all clones append to the same trail.
#[derive(Clone)]
pub struct Trail {
    inner: Arc<Inner>,
}

enum Inner {
    File { shared: Arc<Shared>, thread: Mutex<Option<JoinHandle<()>>>, now: Millis },
    Memory(Arc<Memory>),
}

/// What the callers and the writer thread share.
pub(crate) struct Shared {
    pub(crate) dir: PathBuf,
    pub(crate) state: Mutex<State>,
    pub(crate) work: Condvar,
}

pub(crate) struct State {
    /// Lines not yet taken by the writer.
    pub(crate) pending: Vec<u8>,
    pub(crate) batch: Arc<Batch>,
    pub(crate) next_sequence: u64,
    pub(crate) line_end: Vec<u8>,
    /// How many they are.
    pub(crate) waiting: usize,
    /// The writer sleeps until so many wait; `usize::MAX` while it is awake.
    pub(crate) wake_at: usize,
    /// Why nothing more is taken.
    pub(crate) refused: Option<TrailError>,
}

thread_local! {
    /// Lines are formatted here, outside the lock.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(json::LINE_BYTES_USUAL));
}

impl Trail {
    /// Opens the trail in a folder, which exists, or begins one there; starts its writer thread.
    /// A torn last line is cut, and a record says so.
    pub fn open(dir: &Path, origin: &Origin<'_>, now: Millis) -> Result<Self, TrailError> {
        Self::continued(dir, recover::open(dir)?, origin, now)
    }

    fn continued(
        dir: &Path,
        recovered: Recovered,
        origin: &Origin<'_>,
        now: Millis,
    ) -> Result<Self, TrailError> {
        let cut_bytes = recovered.cut_bytes;
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            state: Mutex::new(State {
                pending: Vec::new(),
                batch: Arc::default(),
                next_sequence: recovered.next_sequence,
                line_end: origin.line_end(),
                waiting: 0,
                wake_at: usize::MAX,
                refused: None,
            }),
            work: Condvar::new(),
        });
        let thread = writer::start(Arc::clone(&shared), recovered.file)
            .map_err(|source| TrailError::Open { path: dir.to_owned(), source: source.into() })?;
        let trail =
            Self { inner: Arc::new(Inner::File { shared, thread: Mutex::new(Some(thread)), now }) };
        if cut_bytes > 0 {
            trail.record_cut(cut_bytes);
        }
        Ok(trail)
    }

    /// A trail that keeps its lines in memory, for tests of those who record.
    pub fn in_memory() -> (Self, MemoryTrail) {
        let memory = Arc::new(Memory::default());
        let trail = Self { inner: Arc::new(Inner::Memory(Arc::clone(&memory))) };
        (trail, MemoryTrail::new(memory))
    }

    /// Replaces what every later line says about its HSM: the tenant and the development mark are
    /// known only once the HSM's settings have been read.
    pub fn describe(&self, origin: &Origin<'_>) {
        match &*self.inner {
            Inner::File { shared, .. } => shared.state.lock().line_end = origin.line_end(),
            Inner::Memory(memory) => memory.describe(origin),
        }
    }

    /// Puts the record in line at once; the future answers when it is durable.
    pub fn append(&self, record: &Record<'_>) -> Append {
        SCRATCH.with_borrow_mut(|line| {
            line.clear();
            match &*self.inner {
                Inner::File { shared, now, .. } => {
                    json::line(line, now(), record);
                    shared.queue(line)
                }
                Inner::Memory(memory) => {
                    json::line(line, 0, record);
                    memory.append(line)
                }
            }
        })
    }

    /// Why the trail takes nothing until it is opened anew: a write or sync failed, so what the
    /// disk holds is not known. `None` while all is well, and while only space is lacking.
    pub fn failure(&self) -> Option<TrailError> {
        match &*self.inner {
            Inner::File { shared, .. } => {
                let refused = shared.state.lock().refused.clone();
                refused.filter(|refused| matches!(refused, TrailError::Failed { .. }))
            }
            Inner::Memory(_) => None,
        }
    }

    /// The number that the next record will have.
    pub fn next_sequence(&self) -> u64 {
        match &*self.inner {
            Inner::File { shared, .. } => shared.state.lock().next_sequence,
            Inner::Memory(memory) => memory.next_sequence(),
        }
    }

    /// Takes no more records, and returns when those in line are durable or refused. Blocks.
    pub fn close(&self) {
        let Inner::File { shared, thread, .. } = &*self.inner else { return };
        shared.refuse(TrailError::Closed);
        let writer = thread.lock().take();
        if let Some(writer) = writer {
            // A writer that panicked has left its batch unanswered, which its callers see.
            drop(writer.join());
        }
    }

    fn record_cut(&self, bytes: u64) {
        let description = format!("{bytes} bytes of an unanswered record were cut at start");
        // Not awaited: the next caller's record is durable only together with this one.
        let _on_its_way = self.append(&Record {
            phase: Phase::Service,
            operation: "AuditTailCut",
            call: &Call::default(),
            verdict: Verdict::Failure { status: None, code: "TornTail", description: &description },
            permit: None,
            key: None,
            intent: None,
        });
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let Self::File { shared, thread, .. } = self else { return };
        shared.refuse(TrailError::Closed);
        if let Some(writer) = thread.get_mut().take() {
            drop(writer.join());
        }
    }
}

impl Shared {
    fn queue(&self, line: &[u8]) -> Append {
        let mut state = self.state.lock();
        if let Some(refused) = &state.refused {
            return Append::refused(refused.clone());
        }
        if state.pending.len() + line.len() > PENDING_BYTES_MAX {
            return Append::refused(TrailError::Overloaded { dir: self.dir.clone() });
        }
        let state = &mut *state;
        let sequence = state.next_sequence;
        state.next_sequence += 1;
        json::assemble(&mut state.pending, sequence, line, &state.line_end);
        let append = Append::queued(sequence, Arc::clone(&state.batch));
        state.waiting += 1;
        if state.waiting >= state.wake_at {
            state.wake_at = usize::MAX;
            self.work.notify_one();
        }
        append
    }

    /// Takes nothing more, unless it already does not.
    fn refuse(&self, why: TrailError) {
        self.state.lock().refused.get_or_insert(why);
        self.work.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn append(trail: &Trail) -> Append {
        trail.append(&Record {
            phase: Phase::Use,
            operation: "KeySign",
            call: &Call::default(),
            verdict: Verdict::Success,
            permit: None,
            key: None,
            intent: None,
        })
    }

    #[tokio::test]
    async fn after_a_failed_write_nothing_more_is_taken_until_it_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut recovered = recover::open(dir.path()).unwrap();
        let path = dir.path().join("audit-00000000000000000001.jsonl");
        recovered.file.file = File::open(path).unwrap();
        let now: Millis = Arc::new(|| 0);
        let trail =
            Trail::continued(dir.path(), recovered, &Origin::default(), Arc::clone(&now)).unwrap();
        for _ in 0..3 {
            assert!(matches!(append(&trail).await, Err(TrailError::Failed { .. })));
        }
        assert!(matches!(trail.failure(), Some(TrailError::Failed { .. })));
        drop(trail);
        let trail = Trail::open(dir.path(), &Origin::default(), now).unwrap();
        assert_eq!(append(&trail).await.unwrap().sequence(), 1);
        assert!(trail.failure().is_none());
    }

    #[tokio::test]
    async fn files_follow_each_other_and_only_the_newest_is_continued() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let mut recovered = recover::open(dir.path()).unwrap();
            recovered.file.file_bytes_max = 1000;
            let trail = Trail::continued(dir.path(), recovered, &Origin::default(), Arc::new(|| 0));
            let trail = trail.unwrap();
            for _ in 0..10 {
                append(&trail).await.unwrap();
            }
        }
        let mut names: Vec<PathBuf> =
            std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.retain(|name| name.extension().is_some_and(|end| end == "jsonl"));
        names.sort();
        assert!(names.len() > 2, "{names:?}");
        let mut expected = 1;
        for name in names {
            let text = std::fs::read_to_string(&name).unwrap();
            let begins = format!("audit-{expected:020}.jsonl");
            assert_eq!(name.file_name().unwrap(), begins.as_str());
            assert!(text.len() <= 1000);
            for line in text.lines() {
                assert!(line.starts_with(&format!("{{\"seq\":{expected},")), "{line}");
                expected += 1;
            }
        }
        assert_eq!(expected, 21);
    }
}
