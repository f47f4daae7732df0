//! A full disk: told as such, nothing lost, nothing in half, and usable again.
//!
//! As root on a file system of 8 MiB in a mount namespace of the test's own thread. Otherwise with
//! a limit on the size of files, which the system tells as another error: the outcome is then
//! unknown, the store stops, and what it acknowledged must be there when it is opened anew.

mod cipher;

use std::path::Path as FilePath;
use std::sync::Arc;

use casemate_store_embedded::EmbeddedStore;
use casemate_store_port::{
    Change, CommitError, Committed, Path, Record, SealedStore, Store, Write,
};
use cipher::{IDENTITY, cipher};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::geteuid;

/// More changes than fit, of 50 KB each.
const CHANGES_MAX: usize = 400;

#[test]
fn what_was_acknowledged_before_the_disk_was_full_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path().to_owned();
    // A thread of its own: its mounts and its blocked signal end with it.
    let test: fn(&FilePath) = if geteuid().is_root() { on_a_small_disk } else { under_a_limit };
    std::thread::spawn(move || test(&here)).join().unwrap();
}

fn on_a_small_disk(dir: &FilePath) {
    unshare(CloneFlags::CLONE_NEWNS).expect("root may have its own mounts");
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private mounts");
    mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), Some("size=8m")).expect("a mount");
    let (written, error, store) = block_on(fill(dir, true));
    let place = dir.display().to_string();
    assert!(matches!(&error, CommitError::Full { place: named } if *named == place), "{error:?}");
    // A full disk is not the end: room is made, and the same store goes on.
    std::fs::remove_file(dir.join("ballast")).expect("there is ballast");
    block_on(async {
        let outcome = store.commit(step(written)).await;
        assert!(matches!(outcome, Ok(Committed::Done(_))), "{outcome:?}");
    });
    let sequence = store.sequence();
    drop(store);
    check(&block_on(open(dir, sequence)).1, written + 1, written + 1);
}

fn under_a_limit(dir: &FilePath) {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGXFSZ);
    signals.thread_block().expect("the signal is blocked");
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).expect("the limit is read");
    setrlimit(Resource::RLIMIT_FSIZE, 4 << 20, hard).expect("the limit is set");
    let (written, error, store) = block_on(fill(dir, false));
    assert!(matches!(error, CommitError::Unknown(_)), "{error:?}");
    block_on(async {
        let outcome = store.commit(step(written)).await;
        assert!(matches!(outcome, Err(CommitError::Stopped)), "{outcome:?}");
    });
    let sequence = store.sequence();
    drop(store);
    setrlimit(Resource::RLIMIT_FSIZE, hard, hard).expect("the limit is lifted");
    check(&block_on(open(dir, sequence)).1, written, written + 1);
}

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(future)
}

/// Writes until it fails: how many were acknowledged, and how it failed.
async fn fill(dir: &FilePath, ballast: bool) -> (usize, CommitError, SealedStore) {
    if ballast {
        std::fs::write(dir.join("ballast"), vec![0; 2 << 20]).expect("there is room");
    }
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(dir).expect("the store opens"));
    let store = SealedStore::create(store, cipher(), IDENTITY).await.expect("there is room");
    for written in 0..CHANGES_MAX {
        match store.commit(step(written)).await {
            Ok(outcome) => assert!(matches!(outcome, Committed::Done(_)), "{outcome:?}"),
            Err(error) => return (written, error, store),
        }
    }
    unreachable!("{CHANGES_MAX} changes are more than there is room for")
}

async fn open(dir: &FilePath, floor: u64) -> (SealedStore, Vec<Record>) {
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(dir).expect("the store opens"));
    let opened = SealedStore::open(store, cipher(), IDENTITY, Some(floor)).await;
    opened.expect("everything fits the head")
}

/// Two records in one change.
fn step(number: usize) -> Change {
    let path = |name| Path::new(format!("n/{number:04}/{name}")).expect("a path");
    let put = |name| Write::Put(path(name), vec![7; 25_000]);
    Change { expect: Vec::new(), writes: vec![put("one"), put("two")] }
}

fn check(records: &[Record], least: usize, most: usize) {
    assert!(least > 10, "too few changes for a test: {least}");
    let changes = records.len() / 2;
    assert_eq!(records.len() % 2, 0, "a change in half");
    assert!((least..=most).contains(&changes), "{changes}, acknowledged {least}");
    for (number, pair) in records.chunks(2).enumerate() {
        for (record, name) in pair.iter().zip(["one", "two"]) {
            assert_eq!(record.path.as_str(), format!("n/{number:04}/{name}"));
            assert_eq!(record.value, vec![7; 25_000]);
        }
    }
}
