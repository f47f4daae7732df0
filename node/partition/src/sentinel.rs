//! Notices that the store has gone astray: a commit whose outcome nobody knows, or another writer.
//!
//! The sealed store takes nothing more then, until it is opened and verified anew; so the
//! partition ends, and its agent starts it again.

use std::sync::Arc;

use casemate_store_port::{
    BoxFuture, Entry, Outcome, Path, Revision, Store, StoreError, Transaction, Watch,
};
use tokio::sync::watch;

/// Tells when it is over.
pub(crate) struct Sentinel {
    astray: watch::Sender<bool>,
}

struct Guarded {
    store: Arc<dyn Store>,
    sentinel: Arc<Sentinel>,
}

impl Sentinel {
    /// All is well.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { astray: watch::Sender::new(false) })
    }

    /// The same store, watched. The sealed store expects its own head in every transaction, so one
    /// that is lost means that somebody else wrote it.
    pub(crate) fn guard(self: &Arc<Self>, store: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(Guarded { store, sentinel: Arc::clone(self) })
    }

    /// Waits until the store has gone astray.
    pub(crate) async fn astray(&self) {
        let mut astray = self.astray.subscribe();
        // The sender is ours, so the wait cannot fail.
        let _over = astray.wait_for(|astray| *astray).await;
    }
}

impl Store for Guarded {
    fn read_all(&self) -> BoxFuture<'_, Result<(Vec<Entry>, Revision), StoreError>> {
        self.store.read_all()
    }

    fn read<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        self.store.read(path)
    }

    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Outcome, StoreError>> {
        Box::pin(async move {
            let outcome = self.store.commit(transaction).await;
            use StoreError::{Damaged, Unknown};
            if matches!(outcome, Ok(Outcome::Lost) | Err(Unknown(_) | Damaged(_))) {
                self.sentinel.astray.send_replace(true);
            }
            outcome
        })
    }

    fn watch(&self, after: Revision) -> BoxFuture<'_, Result<Box<dyn Watch>, StoreError>> {
        self.store.watch(after)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use casemate_store_embedded::EmbeddedStore;
    use casemate_store_port::{Expect, Write};

    use super::*;

    #[tokio::test]
    async fn a_lost_head_is_noticed_and_an_ordinary_change_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let sentinel = Sentinel::new();
        let store = sentinel.guard(Arc::new(EmbeddedStore::open(dir.path()).unwrap()));
        let path = Path::new("head").unwrap();
        let transaction = Transaction {
            expect: vec![(path.clone(), Expect::Absent)],
            writes: vec![Write::Put(path, b"1".to_vec())],
        };
        store.commit(transaction.clone()).await.unwrap();
        let quiet = tokio::time::timeout(Duration::from_millis(20), sentinel.astray());
        assert!(quiet.await.is_err());
        assert_eq!(store.commit(transaction).await.unwrap(), Outcome::Lost);
        sentinel.astray().await;
    }
}
