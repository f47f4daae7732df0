//! What every store must do, as one suite that every store runs. For tests only.
//!
//! Each check gets an empty store of its own and fails by panicking, with the name of what was
//! broken. The suite knows no backend, and nothing of sealing.

mod preconditions;
mod reading;
mod watching;

use std::future::Future;
use std::sync::Arc;

use casemate_store_port::{
    BoxFuture, Entry, Event, Expect, Outcome, Path, Revision, Store, StoreError, Transaction, Write,
};

/// Runs everything. `make` gives a new, empty store each time. Needs a tokio runtime with timers.
pub async fn run<M, F>(make: M)
where
    M: Fn() -> F,
    F: Future<Output = Arc<dyn Store>>,
{
    let checks = [preconditions::CHECKS, reading::CHECKS, watching::CHECKS];
    for check in checks.into_iter().flatten() {
        check(make().await).await;
    }
}

/// One check of a new, empty store.
type Check = fn(Arc<dyn Store>) -> BoxFuture<'static, ()>;

fn path(text: &str) -> Path {
    Path::new(text).expect("the suite's paths are paths")
}

fn put(at: &str, value: impl Into<Vec<u8>>) -> Write {
    Write::Put(path(at), value.into())
}

fn delete(at: &str) -> Write {
    Write::Delete(path(at))
}

fn writes(writes: Vec<Write>) -> Transaction {
    Transaction { expect: Vec::new(), writes }
}

fn on(at: &str, expect: Expect, writes: Vec<Write>) -> Transaction {
    Transaction { expect: vec![(path(at), expect)], writes }
}

/// Commits what must happen.
async fn commit(store: &Arc<dyn Store>, transaction: Transaction) -> Revision {
    match ok(store.commit(transaction).await, "a commit") {
        Outcome::Committed(revision) => revision,
        Outcome::Lost => unreachable!("the transaction was lost, but its preconditions hold"),
    }
}

/// Commits what must lose.
async fn lose(store: &Arc<dyn Store>, transaction: Transaction) {
    let outcome = ok(store.commit(transaction).await, "a commit that must lose");
    assert_eq!(outcome, Outcome::Lost, "a precondition does not hold");
}

async fn read(store: &Arc<dyn Store>, at: &str) -> Option<Entry> {
    ok(store.read(&path(at)).await, "reading a record")
}

async fn value(store: &Arc<dyn Store>, at: &str) -> Option<Vec<u8>> {
    read(store, at).await.map(|entry| entry.value)
}

async fn all(store: &Arc<dyn Store>) -> Vec<(String, Vec<u8>)> {
    let (entries, _) = ok(store.read_all().await, "reading all records");
    entries.into_iter().map(|entry| (entry.path.as_str().to_owned(), entry.value)).collect()
}

fn ok<T>(result: Result<T, StoreError>, what: &str) -> T {
    result.expect(what)
}

/// The next event of a watch, which must come soon.
async fn next(watch: &mut Box<dyn casemate_store_port::Watch>) -> Event {
    let soon = tokio::time::timeout(std::time::Duration::from_secs(20), watch.next()).await;
    soon.expect("an event comes within 20 s").expect("the watch goes on")
}
