//! The suite of the port.

use std::sync::Arc;

use casemate_store_conformance as conformance;
use casemate_store_embedded::EmbeddedStore;
use casemate_store_port::{
    BoxFuture, Entry, Outcome, Path, Revision, Store, StoreError, Transaction, Watch,
};
use tempfile::TempDir;

use crate::setup::folder;

/// The store with its folder, which goes when the store goes.
struct InFolder(EmbeddedStore, TempDir);

impl Store for InFolder {
    fn read_all(&self) -> BoxFuture<'_, Result<(Vec<Entry>, Revision), StoreError>> {
        assert!(self.1.path().exists());
        self.0.read_all()
    }

    fn read<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        self.0.read(path)
    }

    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Outcome, StoreError>> {
        self.0.commit(transaction)
    }

    fn watch(&self, after: Revision) -> BoxFuture<'_, Result<Box<dyn Watch>, StoreError>> {
        self.0.watch(after)
    }
}

async fn make() -> Arc<dyn Store> {
    let dir = folder();
    let store = EmbeddedStore::open(dir.path()).expect("the store opens");
    Arc::new(InFolder(store, dir))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_does_what_every_store_must() {
    conformance::run(make).await;
}
