//! What the tests have in common: a store in a folder of its own, short ways to write changes.

use std::path::Path as FilePath;
use std::sync::Arc;

use casemate_store_embedded::EmbeddedStore;
use casemate_store_port::{
    Change, Committed, Condition, Generation, OpenError, Path, Record, SealedStore, Store, Write,
};
use tempfile::TempDir;

use crate::cipher::{IDENTITY, cipher};

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

pub(crate) fn embedded(dir: &FilePath) -> Arc<dyn Store> {
    Arc::new(EmbeddedStore::open(dir).expect("the store opens"))
}

/// A new HSM in a new store.
pub(crate) async fn create(dir: &FilePath) -> SealedStore {
    over(embedded(dir)).await
}

pub(crate) async fn over(store: Arc<dyn Store>) -> SealedStore {
    SealedStore::create(store, cipher(), IDENTITY).await.expect("the head is created")
}

pub(crate) async fn open(
    dir: &FilePath,
    floor: Option<u64>,
) -> Result<(SealedStore, Vec<Record>), OpenError> {
    SealedStore::open(embedded(dir), cipher(), IDENTITY, floor).await
}

/// Why the store does not open.
pub(crate) async fn refusal(dir: &FilePath, floor: Option<u64>) -> OpenError {
    open(dir, floor).await.err().expect("the store must be refused")
}

pub(crate) fn path(text: &str) -> Path {
    Path::new(text).expect("a path")
}

pub(crate) fn put(at: &str, value: impl Into<Vec<u8>>) -> Write {
    Write::Put(path(at), value.into())
}

pub(crate) fn delete(at: &str) -> Write {
    Write::Delete(path(at))
}

pub(crate) fn change(writes: Vec<Write>) -> Change {
    Change { expect: Vec::new(), writes }
}

pub(crate) fn on(at: &str, condition: Condition, writes: Vec<Write>) -> Change {
    Change { expect: vec![(path(at), condition)], writes }
}

/// Commits what must happen.
pub(crate) async fn done(store: &SealedStore, change: Change) -> Generation {
    match store.commit(change).await.expect("the change is done") {
        Committed::Done(generation) => generation,
        Committed::Lost => unreachable!("the conditions hold"),
    }
}

pub(crate) fn contents(records: &[Record]) -> Vec<(&str, &[u8])> {
    records.iter().map(|record| (record.path.as_str(), record.value.as_slice())).collect()
}
