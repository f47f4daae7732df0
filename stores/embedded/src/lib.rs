//! The store of records for one machine, on SQLite: one database per HSM, opened by its partition
//! alone.
//!
//! One thread owns the database and does everything in the order in which it was asked; what waits
//! meanwhile shares the next sync of the disk. It knows nothing of what the values mean, and seals
//! nothing.
//!
//! Invariant: an outcome is answered only after SQLite has synced it; after a commit whose outcome
//! is unknown nothing is answered any more, until the database is opened anew and recovered.

mod database;
mod failure;
mod transact;
mod watch;
mod writer;

use std::path::Path as FilePath;
use std::thread::JoinHandle;

use casemate_store_port::{
    BoxFuture, Entry, Outcome, Path, Revision, Store, StoreError, Transaction, Watch,
};
use tokio::sync::{mpsc, oneshot};

pub use database::{DATABASE_FILE, SCHEMA_VERSION};
pub use watch::WATCH_EVENTS_MAX;
pub use writer::QUEUE_REQUESTS_MAX;

use writer::{Request, Writer};

/// A SQLite database as a store. Dropping it ends its thread, after what was asked is done, and
/// closes the database.
pub struct EmbeddedStore {
    /// `None` only while it is dropped.
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl EmbeddedStore {
    /// Opens the database in this folder, or creates it there with mode 0600. The folder must
    /// exist. A database that another process holds open is refused.
    pub fn open(dir: &FilePath) -> Result<Self, StoreError> {
        let writer = Writer::open(dir)?;
        let (requests, inbox) = mpsc::channel(QUEUE_REQUESTS_MAX);
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || writer.run(inbox))
            .map_err(|error| StoreError::Unavailable(Box::new(error)))?;
        Ok(Self { requests: Some(requests), thread: Some(thread) })
    }

    /// Hands a request to the thread; waits while the queue is full.
    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Request,
    ) -> Result<T, StoreError> {
        let (answer, receiver) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or_else(|| unavailable(Ended))?;
        requests.send(request(answer)).await.map_err(|_| unavailable(Ended))?;
        receiver.await.map_err(|_| StoreError::Unknown(Box::new(Ended)))?
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // Waits for the last sync. A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl Store for EmbeddedStore {
    fn read_all(&self) -> BoxFuture<'_, Result<(Vec<Entry>, Revision), StoreError>> {
        Box::pin(self.ask(Request::ReadAll))
    }

    fn read<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        Box::pin(self.ask(|answer| Request::Read(path.clone(), answer)))
    }

    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Outcome, StoreError>> {
        Box::pin(async move {
            if !transaction.is_within_limits() {
                return Err(StoreError::BadTransaction);
            }
            self.ask(|answer| Request::Commit(transaction, answer)).await
        })
    }

    fn watch(&self, after: Revision) -> BoxFuture<'_, Result<Box<dyn Watch>, StoreError>> {
        Box::pin(async move {
            let watch = self.ask(|answer| Request::Watch(after, answer)).await?;
            Ok::<Box<dyn Watch>, _>(Box::new(watch))
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the thread of the store has ended")]
struct Ended;

fn unavailable(error: Ended) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}
