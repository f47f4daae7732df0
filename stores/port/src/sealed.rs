//! The sealing wrapper over any store, as specified in `docs/design/records.md`.
//!
//! It encrypts each record to its place, keeps the head record that vouches for all others, and
//! groups concurrent changes into one transaction. It knows no key and no backend, repairs
//! nothing, and never tries a transaction again.
//!
//! Invariant: what it hands out fits the head, and a number of the sequence is used only once.

mod apply;
mod batch;
mod beside;
mod bring_forward;
mod cipher;
mod codec;
mod commit;
mod create;
mod head;
mod open;
mod place;
mod reseal;
mod settle;
mod state;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::Shared;
use parking_lot::Mutex;

use crate::{BoxFuture, Path, Revision, Store, Write};

pub use apply::AppliedWrite;
pub use batch::{CHANGE_BYTES_MAX, CHANGE_WRITES_MAX};
pub use bring_forward::ForwardError;
pub use cipher::{CipherError, RecordCipher, SEAL_OVERHEAD_BYTES_MAX};
pub use codec::{FORMAT_VERSION, FormatError, Header, decode_record};
pub use commit::{CommitError, QUEUE_CHANGES_MAX};
pub use head::{Head, decode_head};
pub use open::OpenError;
pub use place::EarlierEpoch;
pub use reseal::ResealError;

use batch::Waiting;
use place::Sealer;
use state::State;

/// Whose records these are, and under which domain secret they are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreIdentity {
    /// The HSM's id.
    pub hsm: [u8; 16],
    /// The number of the domain secret.
    pub epoch: u32,
}

/// The HSM's change sequence at the change that last wrote a record. Changes are totally ordered
/// by it; numbers only grow, with gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// A record that was opened and fits the head. The value is plaintext: the caller wipes it.
#[derive(PartialEq, Eq)]
pub struct Record {
    /// Where it is.
    pub path: Path,
    /// What it holds, in clear.
    pub value: Vec<u8>,
    /// The change that last wrote it.
    pub generation: Generation,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("path", &self.path)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

/// What must hold at a path for a change to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// There is no record.
    Absent,
    /// The record was last written by this change.
    At(Generation),
}

/// Writes that happen together, if all conditions hold, or not at all. Values are plaintext; they
/// are wiped when the change is sealed or given up.
#[derive(Default)]
pub struct Change {
    /// What must hold.
    pub expect: Vec<(Path, Condition)>,
    /// What is then written; each path once, and never `head`.
    pub writes: Vec<Write>,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// Durable; its records carry this generation.
    Done(Generation),
    /// A condition did not hold; nothing was written.
    Lost,
}

/// The records of one HSM, sealed, in a store that it alone writes.
///
/// Needs no runtime. The transaction under way belongs to the store, not to a caller: it is one
/// shared future that every waiting caller drives. So a caller that is dropped, or that is not
/// polled for a while, holds up nobody; its change, once begun, happens or not as if it had waited.
pub struct SealedStore {
    inner: Arc<Inner>,
    /// The transaction under way. Outside `inner`, which it owns a share of: no cycle.
    work: Mutex<Option<Work>>,
}

/// One turn: takes the waiting changes, commits them, answers them.
type Work = Shared<BoxFuture<'static, ()>>;

struct Inner {
    store: Arc<dyn Store>,
    sealer: Sealer,
    state: Mutex<State>,
    queue: Mutex<VecDeque<Waiting>>,
    /// The sequence of `state`, readable without its lock, which is held while records are sealed.
    sequence: AtomicU64,
}

impl SealedStore {
    fn new(store: Arc<dyn Store>, sealer: Sealer, state: State) -> Self {
        let sequence = AtomicU64::new(state.head.sequence);
        let state = Mutex::new(state);
        let queue = Mutex::new(VecDeque::new());
        let inner = Arc::new(Inner { store, sealer, state, queue, sequence });
        Self { inner, work: Mutex::new(None) }
    }

    /// The sequence of the last change that is known to be durable. To be remembered outside the
    /// store: it is the `floor` of the next [`SealedStore::open`].
    pub fn sequence(&self) -> u64 {
        self.inner.sequence.load(Ordering::Acquire)
    }

    /// Whose records they are, and in which epoch they are sealed.
    pub fn identity(&self) -> StoreIdentity {
        self.inner.sealer.identity
    }

    /// Whether it takes no change any more and must be opened anew.
    pub fn is_stopped(&self) -> bool {
        self.inner.state.lock().stopped
    }

    /// The store's revision of the head that was last verified: watch the store after it, and hand
    /// the events to [`SealedStore::apply`].
    pub fn revision(&self) -> Revision {
        self.inner.state.lock().head_revision
    }
}
