//! A store whose answers get lost, whose transactions are refused or held back, on demand.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use casemate_store_port::{
    BoxFuture, Entry, Outcome, Path, Revision, Store, StoreError, Transaction, Watch,
};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// What happens to the next transaction.
pub(crate) enum Fault {
    /// It is not done, and the caller is told so.
    Refuse,
    /// It is not done for want of space.
    Full,
    /// It is done, but no answer comes.
    LoseAnswer,
    /// It is not done, and no answer comes.
    Vanish,
    /// It is done, somebody else writes the head after it, and no answer comes.
    Overtake(Transaction),
    /// It is done once the gate lets it.
    Hold(Arc<Semaphore>),
}

pub(crate) struct Faulty {
    store: Arc<dyn Store>,
    pub(crate) faults: Mutex<VecDeque<Fault>>,
    /// How many of the next reads fail.
    pub(crate) unreadable: AtomicUsize,
    /// How often `commit` was called.
    pub(crate) commits: AtomicUsize,
    /// The most writes in one transaction.
    pub(crate) widest: AtomicUsize,
}

impl Faulty {
    pub(crate) fn new(store: Arc<dyn Store>) -> Arc<Self> {
        let faults = Mutex::new(VecDeque::new());
        let (unreadable, commits, widest) =
            (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { store, faults, unreadable, commits, widest })
    }

    pub(crate) fn next(&self, fault: Fault) {
        self.faults.lock().push_back(fault);
    }

    pub(crate) fn commits(&self) -> usize {
        self.commits.load(Ordering::SeqCst)
    }

    async fn commit_faulty(&self, transaction: Transaction) -> Result<Outcome, StoreError> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        self.widest.fetch_max(transaction.writes.len(), Ordering::SeqCst);
        let fault = self.faults.lock().pop_front();
        match fault {
            None => self.store.commit(transaction).await,
            Some(Fault::Refuse) => Err(StoreError::Unavailable("refused by the test".into())),
            Some(Fault::Full) => Err(StoreError::Full { place: "the test".to_owned() }),
            Some(Fault::Vanish) => Err(StoreError::Unknown("vanished by the test".into())),
            Some(Fault::LoseAnswer) => {
                self.store.commit(transaction).await?;
                Err(StoreError::Unknown("answer lost by the test".into()))
            }
            Some(Fault::Overtake(other)) => {
                self.store.commit(transaction).await?;
                self.store.commit(other).await?;
                Err(StoreError::Unknown("overtaken by the test".into()))
            }
            Some(Fault::Hold(gate)) => {
                gate.acquire().await.expect("the gate is never closed").forget();
                self.store.commit(transaction).await
            }
        }
    }
}

impl Store for Faulty {
    fn read_all(&self) -> BoxFuture<'_, Result<(Vec<Entry>, Revision), StoreError>> {
        self.store.read_all()
    }

    fn read<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        let fails = |left: usize| left.checked_sub(1);
        if self.unreadable.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails).is_ok() {
            return Box::pin(async { Err(StoreError::Unavailable("unreadable".into())) });
        }
        self.store.read(path)
    }

    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Outcome, StoreError>> {
        Box::pin(self.commit_faulty(transaction))
    }

    fn watch(&self, after: Revision) -> BoxFuture<'_, Result<Box<dyn Watch>, StoreError>> {
        self.store.watch(after)
    }
}
