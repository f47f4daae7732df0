//! What a store of records must do; shaped by etcd, the hardest one.
//!
//! A store maps paths to byte values. Every change is one transaction with preconditions on
//! revisions; an answer that never came is its own outcome. The sealing wrapper above it
//! ([`SealedStore`]) encrypts each record to its place and keeps the head record, so that nobody
//! who owns the store can change, drop, swap or put back a record unnoticed.
//!
//! This crate names no backend and contains no cipher: the cipher is handed in.

mod path;
mod sealed;
mod store;

pub use path::{Path, PathError};
pub use sealed::{
    AppliedWrite, CHANGE_BYTES_MAX, CHANGE_WRITES_MAX, Change, CipherError, CommitError, Committed,
    Condition, EarlierEpoch, FORMAT_VERSION, FormatError, ForwardError, Generation, Head, Header,
    OpenError, QUEUE_CHANGES_MAX, Record, RecordCipher, ResealError, SEAL_OVERHEAD_BYTES_MAX,
    SealedStore, StoreIdentity, decode_head, decode_record,
};
pub use store::{
    BoxFuture, Entry, Event, Expect, OPERATIONS_MAX, Outcome, Revision, Store, StoreError,
    TRANSACTION_BYTES_MAX, Transaction, Watch, Write,
};
