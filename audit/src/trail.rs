//! The door: open a trail, append to it, close it.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use crate::append::{Append, Batch};
use crate::intents::{Intents, OpenIntent};
use crate::memory::{Memory, MemoryTrail};
use crate::recover::Recovered;
use crate::usage::Told;
use crate::{
    Anchor, Call, KeyUsage, Ledger, Origin, Phase, Record, TrailError, UsageIndex, Verdict, json,
    recover, space, usage, writer,
};

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
    File { shared: Arc<Shared>, threads: Mutex<Vec<JoinHandle<()>>>, now: Millis },
    Memory(Arc<Memory>),
}

/// What the callers and the writer thread share.
pub(crate) struct Shared {
    pub(crate) dir: PathBuf,
    pub(crate) state: Mutex<State>,
    pub(crate) work: Condvar,
    /// How many records are durable.
    pub(crate) durable: AtomicU64,
    /// Who signs: the count of uses too.
    pub(crate) ledger: Ledger,
    /// Who used which key, if that is counted.
    pub(crate) usage: Mutex<Option<UsageIndex>>,
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
    /// The disk is nearly full: only what is owed for work already begun is taken.
    pub(crate) low: bool,
    /// How much of the disk is to stay free.
    pub(crate) reserve_bytes: u64,
    /// The folder as who frees its disk sees it.
    pub(crate) shown_dir: PathBuf,
    /// The last checkpoint.
    pub(crate) published: Option<Anchor>,
    pub(crate) intents: Intents,
    /// What an earlier process left without an outcome.
    pub(crate) left_open: Vec<OpenIntent>,
    /// The uses among the lines that wait.
    pub(crate) told: Vec<Told>,
}

thread_local! {
    /// Lines are formatted here, outside the lock.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(json::LINE_BYTES_USUAL));
}

impl Trail {
    /// Opens the trail in a folder, which exists, or begins one there; starts its writer thread.
    /// A torn last line is cut, and a record says so.
    ///
    /// # Errors
    /// When it cannot be read or written, is in use, or does not hold what is remembered of it.
    pub fn open(
        dir: &Path,
        origin: &Origin<'_>,
        ledger: Ledger,
        now: Millis,
    ) -> Result<Self, TrailError> {
        Self::continued(dir, recover::open(dir, ledger)?, origin, now)
    }

    pub(crate) fn continued(
        dir: &Path,
        recovered: Recovered,
        origin: &Origin<'_>,
        now: Millis,
    ) -> Result<Self, TrailError> {
        let Recovered { log, next_sequence, cut_bytes, open } = recovered;
        let mut intents = Intents::default();
        open.iter().for_each(|intent| intents.begin(intent.recorded.sequence()));
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            state: Mutex::new(State {
                pending: Vec::new(),
                batch: Arc::default(),
                next_sequence,
                line_end: origin.line_end(),
                waiting: 0,
                wake_at: usize::MAX,
                refused: None,
                low: false,
                reserve_bytes: space::RESERVE_BYTES,
                shown_dir: dir.to_owned(),
                published: None,
                intents,
                left_open: open,
                told: Vec::new(),
            }),
            work: Condvar::new(),
            durable: AtomicU64::new(next_sequence - 1),
            ledger: log.ledger.clone(),
            usage: Mutex::new(None),
        });
        let thread = writer::start(Arc::clone(&shared), log)
            .map_err(|source| TrailError::Open { path: dir.to_owned(), source: source.into() })?;
        let trail = Self {
            inner: Arc::new(Inner::File { shared, threads: Mutex::new(vec![thread]), now }),
        };
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

    /// From now on no new work is taken with less than this much of the disk free. Below what may
    /// wait in memory and a little more, work under way may find no room for its outcome.
    pub fn keep_free(&self, bytes: u64) {
        if let Inner::File { shared, .. } = &*self.inner {
            shared.state.lock().reserve_bytes = bytes;
        }
    }

    /// From now on messages about a full disk name this folder: a process that sees its own folder
    /// as the root would name one that nobody outside finds.
    pub fn call_it(&self, dir: &Path) {
        if let Inner::File { shared, .. } = &*self.inner {
            shared.state.lock().shown_dir = dir.to_owned();
        }
    }

    /// Whether no new work is taken because the disk is nearly full.
    pub fn is_low(&self) -> bool {
        match &*self.inner {
            Inner::File { shared, .. } => shared.state.lock().low,
            Inner::Memory(_) => false,
        }
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
        #[cfg(feature = "no-records")]
        if record.phase == Phase::Use {
            return Append::dropped();
        }
        SCRATCH.with_borrow_mut(|line| {
            line.clear();
            match &*self.inner {
                Inner::File { shared, now, .. } => {
                    let places = json::line(line, now(), record);
                    shared.queue(line, record, places)
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
                refused.filter(|refused| {
                    matches!(refused, TrailError::Failed { .. } | TrailError::Removed { .. })
                })
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

    /// How many records are durable: those below this index may be read.
    pub fn durable(&self) -> u64 {
        match &*self.inner {
            Inner::File { shared, .. } => shared.durable(),
            Inner::Memory(memory) => memory.next_sequence() - 1,
        }
    }

    /// What the last checkpoint says, to be remembered outside the trail's folder.
    pub fn published(&self) -> Option<Anchor> {
        match &*self.inner {
            Inner::File { shared, .. } => shared.state.lock().published,
            Inner::Memory(_) => None,
        }
    }

    /// Changes that an earlier process began and whose outcome it did not record. Each is owed one,
    /// and is handed out once.
    pub fn take_left_open(&self) -> Vec<OpenIntent> {
        match &*self.inner {
            Inner::File { shared, .. } => std::mem::take(&mut shared.state.lock().left_open),
            Inner::Memory(_) => Vec::new(),
        }
    }

    /// Takes no more records, and returns when those in line are durable or refused. Blocks.
    pub fn close(&self) {
        let Inner::File { shared, threads, .. } = &*self.inner else { return };
        shared.refuse(TrailError::Closed);
        join(std::mem::take(&mut *threads.lock()));
    }

    /// Counts from now on who uses which key, and keeps the count in this file, which lies outside
    /// the trail's folder. A trail in memory counts when it is asked.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn follow_usage(&self, path: &Path) -> Result<(), TrailError> {
        let Inner::File { shared, threads, .. } = &*self.inner else { return Ok(()) };
        let failed =
            |source: io::Error| TrailError::Open { path: path.to_owned(), source: source.into() };
        threads.lock().push(usage::start(shared, path).map_err(failed)?);
        Ok(())
    }

    /// Who used a key, as far as it was counted: about a second behind the records.
    pub fn usage(&self, key: &str) -> KeyUsage {
        match &*self.inner {
            Inner::File { shared, .. } => {
                let index = shared.usage.lock();
                let of = |index: &UsageIndex| index.of_key(key, shared.durable());
                index.as_ref().map(of).unwrap_or_default()
            }
            Inner::Memory(memory) => memory.usage(key),
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
        let Self::File { shared, threads, .. } = self else { return };
        shared.refuse(TrailError::Closed);
        join(std::mem::take(threads.get_mut()));
    }
}

/// The writer first: what counts the records then sees all of them.
fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        thread.thread().unpark();
        // A writer that panicked has left its batch unanswered, which its callers see.
        drop(thread.join());
    }
}

impl Shared {
    /// How many records are durable.
    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Whether nothing more is taken.
    pub(crate) fn has_ended(&self) -> bool {
        self.state.lock().refused.is_some()
    }

    fn queue(&self, line: &[u8], record: &Record<'_>, places: json::Places) -> Append {
        let mut state = self.state.lock();
        if let Some(refused) = &state.refused {
            return Append::refused(refused.clone());
        }
        if state.low && !record.phase.is_owed() {
            let source = Arc::new(space::nearly_full(state.reserve_bytes));
            return Append::refused(TrailError::Full { dir: state.shown_dir.clone(), source });
        }
        if state.pending.len() + line.len() > PENDING_BYTES_MAX {
            return Append::refused(TrailError::Overloaded { dir: state.shown_dir.clone() });
        }
        let state = &mut *state;
        let sequence = state.next_sequence;
        state.next_sequence += 1;
        let begin = state.pending.len();
        let at = json::assemble(&mut state.pending, sequence, line, &state.line_end);
        state.told.extend(Told::of(record, begin, places.shifted(at)));
        if record.verdict == Verdict::Pending {
            state.intents.begin(sequence);
        }
        if let Some(intent) = record.intent {
            state.intents.end(sequence, intent.sequence());
        }
        let append = Append::queued(sequence, Arc::clone(&state.batch));
        state.waiting += 1;
        if state.waiting >= state.wake_at {
            state.wake_at = usize::MAX;
            self.work.notify_one();
        }
        append
    }

    /// Takes nothing more, unless it already does not.
    pub(crate) fn refuse(&self, why: TrailError) {
        self.state.lock().refused.get_or_insert(why);
        self.work.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::testing::ledger;

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
        let mut recovered = recover::open(dir.path(), ledger()).unwrap();
        let path = dir.path().join("audit-00000000000000000001.jsonl");
        recovered.log.file.file = File::open(path).unwrap();
        let now: Millis = Arc::new(|| 0);
        let trail =
            Trail::continued(dir.path(), recovered, &Origin::default(), Arc::clone(&now)).unwrap();
        for _ in 0..3 {
            assert!(matches!(append(&trail).await, Err(TrailError::Failed { .. })));
        }
        assert!(matches!(trail.failure(), Some(TrailError::Failed { .. })));
        drop(trail);
        let trail = Trail::open(dir.path(), &Origin::default(), ledger(), now).unwrap();
        assert_eq!(append(&trail).await.unwrap().sequence(), 1);
        assert!(trail.failure().is_none());
    }

    #[tokio::test]
    async fn files_follow_each_other_and_only_the_newest_is_continued() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let mut recovered = recover::open(dir.path(), ledger()).unwrap();
            recovered.log.file.file_bytes_max = 1000;
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
        for name in &names {
            let text = std::fs::read_to_string(name).unwrap();
            let begins = format!("audit-{expected:020}.jsonl");
            assert_eq!(name.file_name().unwrap(), begins.as_str());
            assert!(text.len() <= 1000);
            for line in text.lines() {
                assert!(line.starts_with(&format!("{{\"seq\":{expected},")), "{line}");
                expected += 1;
            }
        }
        assert_eq!(expected, 21);
        for name in &names[..names.len() - 1] {
            let good = std::fs::read(name).unwrap();
            for harm in [None, Some(&good[..good.len() - 1]), Some(&good[..300]), Some(&b""[..])] {
                match harm {
                    None => std::fs::remove_file(name).unwrap(),
                    Some(bytes) => std::fs::write(name, bytes).unwrap(),
                }
                let refused = recover::open(dir.path(), ledger()).err();
                assert!(matches!(refused, Some(TrailError::Lost { .. })), "{refused:?}");
            }
            std::fs::write(name, good).unwrap();
        }
        assert!(recover::open(dir.path(), ledger()).is_ok(), "all files are back");
    }

    #[tokio::test]
    async fn a_nearly_full_disk_takes_only_what_is_owed_and_recovers_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        let origin = Origin::default();
        let trail = Trail::open(dir.path(), &origin, ledger(), Arc::new(|| 0)).unwrap();
        let Inner::File { shared, .. } = &*trail.inner else { unreachable!() };
        let call = Call::default();
        let of = |phase, verdict, intent| Record {
            phase,
            operation: "KeyCreate",
            call: &call,
            verdict,
            permit: None,
            key: None,
            intent,
        };
        let intent = trail.append(&of(Phase::Intent, Verdict::Pending, None)).await.unwrap();
        shared.state.lock().low = true;
        for phase in [Phase::Intent, Phase::Use, Phase::Refusal] {
            let refused = trail.append(&of(phase, Verdict::Success, None)).await.unwrap_err();
            assert!(matches!(refused, TrailError::Full { .. }), "{phase:?}: {refused}");
        }
        shared.state.lock().low = true;
        let outcome = of(Phase::Outcome, Verdict::Success, Some(&intent));
        assert!(trail.append(&outcome).await.is_ok(), "a change under way still ends");
        let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while append(&trail).await.is_err() {
            assert!(std::time::Instant::now() < until, "there is space, and it is not seen");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn each_use_is_counted_once_whoever_counts_it() {
        const CALLERS: u64 = 8;
        const USES: u64 = 400;
        let dir = tempfile::tempdir().unwrap();
        let (log, index) = (dir.path().join("audit"), dir.path().join("usage.json"));
        std::fs::create_dir(&log).unwrap();
        let trail = Trail::open(&log, &Origin::default(), ledger(), Arc::new(|| 0)).unwrap();
        let used = |trail: &Trail| {
            let key = crate::KeyFacts { name: "Pay", ..crate::KeyFacts::default() };
            trail.append(&Record {
                phase: Phase::Use,
                operation: "KeySign",
                call: &Call::default(),
                verdict: Verdict::Success,
                permit: None,
                key: Some(key),
                intent: None,
            })
        };
        // Some are there before anybody counts, and are read from the log.
        used(&trail).await.unwrap();
        trail.follow_usage(&index).unwrap();
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                let trail = trail.clone();
                tokio::spawn(async move {
                    for _ in 0..USES {
                        used(&trail).await.unwrap();
                        // Who asks has the index for a moment: the writer then leaves it.
                        trail.usage("pay");
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
        let all = CALLERS * USES + 1;
        let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while trail.usage("pay").covered < all {
            assert!(std::time::Instant::now() < until, "{:?}", trail.usage("pay"));
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let [row] = trail.usage("pay").rows.try_into().unwrap();
        assert_eq!(row.count, all);
    }

    #[tokio::test]
    async fn uses_are_counted_behind_the_records_and_taken_up_again() {
        let dir = tempfile::tempdir().unwrap();
        let (log, index) = (dir.path().join("audit"), dir.path().join("usage.json"));
        std::fs::create_dir(&log).unwrap();
        for round in 1..=3 {
            let trail = Trail::open(&log, &Origin::default(), ledger(), Arc::new(|| 0)).unwrap();
            trail.follow_usage(&index).unwrap();
            let key = crate::KeyFacts { name: "Pay", ..crate::KeyFacts::default() };
            let used = trail.append(&Record {
                phase: Phase::Use,
                operation: "KeySign",
                call: &Call::default(),
                verdict: Verdict::Success,
                permit: None,
                key: Some(key),
                intent: None,
            });
            used.await.unwrap();
            let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
            while trail.usage("pay").covered < round {
                assert!(std::time::Instant::now() < until, "it is not counted");
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            assert_eq!(trail.usage("PAY").rows[0].count, round);
            assert!(trail.usage("other").rows.is_empty());
            trail.close();
            assert!(index.exists(), "kept for the next start");
            let forged = r#"{"version":2,"covered":1,"left_out":0,"rows":[]}"#;
            match round {
                1 => std::fs::write(&index, forged).unwrap(),
                2 => std::fs::remove_file(&index).unwrap(),
                _ => {}
            }
        }
    }
}
