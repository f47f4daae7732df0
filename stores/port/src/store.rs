//! The port: read all, transact with preconditions, watch.

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;

use crate::Path;

/// Most preconditions, and most writes, in one transaction (etcd allows 128 of each by default).
pub const OPERATIONS_MAX: usize = 64;

/// Most bytes of paths, those of preconditions too, and values in one transaction (etcd's request
/// limit is 1.5 MiB).
pub const TRANSACTION_BYTES_MAX: usize = 1 << 20;

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The store's own count of transactions. Each transaction that writes gives all its records one
/// new revision, greater than every earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// A stored record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub path: Path,
    /// What it holds.
    pub value: Vec<u8>,
    /// The revision that last wrote it.
    pub revision: Revision,
}

/// What must hold for a transaction to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// There is no record at the path.
    Absent,
    /// The record at the path was last written at this revision.
    At(Revision),
}

/// One write of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Sets the value at a path.
    Put(Path, Vec<u8>),
    /// Removes the record at a path; removing nothing is no error.
    Delete(Path),
}

impl Write {
    /// Where it writes.
    pub fn path(&self) -> &Path {
        match self {
            Self::Put(path, _) | Self::Delete(path) => path,
        }
    }
}

/// Preconditions and writes that happen all together or not at all. A path is written at most once.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    /// What must hold.
    pub expect: Vec<(Path, Expect)>,
    /// What is then written.
    pub writes: Vec<Write>,
}

impl Transaction {
    /// Whether a store may take it: within the limits, and no path written twice.
    pub fn is_within_limits(&self) -> bool {
        let mut written = HashSet::new();
        let mut bytes: usize = self.expect.iter().map(|(path, _)| path.as_str().len()).sum();
        for write in &self.writes {
            let value = match write {
                Write::Put(_, value) => value.len(),
                Write::Delete(_) => 0,
            };
            bytes = bytes.saturating_add(write.path().as_str().len()).saturating_add(value);
            if !written.insert(write.path()) {
                return false;
            }
        }
        self.expect.len() <= OPERATIONS_MAX
            && self.writes.len() <= OPERATIONS_MAX
            && bytes <= TRANSACTION_BYTES_MAX
    }
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Durable, at this revision.
    Committed(Revision),
    /// A precondition did not hold; nothing was written.
    Lost,
}

/// Why a store gave no outcome.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// More than [`OPERATIONS_MAX`] writes or preconditions, more than [`TRANSACTION_BYTES_MAX`]
    /// bytes, or a path written twice. Nothing was written.
    #[error("the transaction is over the limit or writes a path twice")]
    BadTransaction,
    /// The store refused for want of space. Nothing was written.
    #[error("no space left in the store at {place}")]
    Full {
        /// The file system or store that is full.
        place: String,
    },
    /// The store could not be reached or failed before it began. Nothing was written.
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The transaction may or may not have happened: find out by reading, never by writing again.
    #[error("the store gave no answer: the outcome is unknown")]
    Unknown(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What was read is not what this store wrote.
    #[error("the store is damaged: {0}")]
    Damaged(String),
}

/// What a watch tells: one transaction's writes, in order of revisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The revision of the transaction.
    pub revision: Revision,
    /// What it wrote.
    pub writes: Vec<Write>,
}

/// A stream of events. `None`: the watch has ended or fell too far behind, and the watcher must
/// read everything anew.
pub trait Watch: Send {
    /// Waits for the next event.
    fn next(&mut self) -> BoxFuture<'_, Option<Event>>;
}

/// A store of records.
pub trait Store: Send + Sync + 'static {
    /// All records as of one revision, in order of paths, and that revision.
    fn read_all(&self) -> BoxFuture<'_, Result<(Vec<Entry>, Revision), StoreError>>;

    /// One record, with what every transaction answered before this call has written. It settles
    /// a transaction that ended in [`StoreError::Unknown`] before this call: what it wrote is seen
    /// now, or never will be.
    fn read<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Option<Entry>, StoreError>>;

    /// Does a transaction. After [`Outcome::Committed`] it survives `kill -9` and power loss.
    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Outcome, StoreError>>;

    /// Watches every transaction after this revision.
    fn watch(&self, after: Revision) -> BoxFuture<'_, Result<Box<dyn Watch>, StoreError>>;
}
