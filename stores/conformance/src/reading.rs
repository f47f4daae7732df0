//! What is read, and its revisions.

use std::sync::Arc;

use crate::{Check, all, commit, delete, ok, path, put, read, value, writes};
use casemate_store_port::{Revision, Store, TRANSACTION_BYTES_MAX};

pub(super) const CHECKS: &[Check] = &[
    |store| Box::pin(an_empty_store_holds_nothing(store)),
    |store| Box::pin(all_records_come_in_order_of_paths(store)),
    |store| Box::pin(values_of_every_length_come_back(store)),
    |store| Box::pin(revisions_grow_and_belong_to_a_transaction(store)),
    |store| Box::pin(what_was_answered_is_read(store)),
    |store| Box::pin(a_dropped_caller_leaves_a_whole_transaction_or_none(store)),
];

async fn an_empty_store_holds_nothing(store: Arc<dyn Store>) {
    assert_eq!(all(&store).await, []);
    assert_eq!(read(&store, "head").await, None);
}

async fn all_records_come_in_order_of_paths(store: Arc<dyn Store>) {
    // In order of bytes: `-` and `.` before `/`, digits before letters.
    let sorted = ["a", "a-b", "a.b", "a/b", "a/b/c", "a0", "a_b", "ab", "b", "keys/1", "keys/2"];
    for at in sorted.iter().rev() {
        commit(&store, writes(vec![put(at, *at)])).await;
    }
    let (entries, revision) = ok(store.read_all().await, "reading all records");
    let found: Vec<_> = entries.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(found, sorted);
    let newest = entries.iter().map(|entry| entry.revision).max();
    assert_eq!(newest, Some(revision), "the reading's revision is the last transaction's");
}

async fn values_of_every_length_come_back(store: Arc<dyn Store>) {
    let pattern = |length: usize| -> Vec<u8> { (0..=u8::MAX).cycle().take(length).collect() };
    let longest = TRANSACTION_BYTES_MAX - 1;
    for length in [0, 1, 255, 256, 1_500, 4_061, 4_096, 65_536, 300_000, longest] {
        commit(&store, writes(vec![put("v", pattern(length))])).await;
        assert_eq!(value(&store, "v").await, Some(pattern(length)), "{length} bytes");
    }
}

async fn revisions_grow_and_belong_to_a_transaction(store: Arc<dyn Store>) {
    let mut last = Revision(0);
    for step in 0..20_u8 {
        let at = format!("r/{}", step % 3);
        let revision = commit(&store, writes(vec![put(&at, [step]), put("both", [step])])).await;
        assert!(revision > last, "{revision:?} after {last:?}");
        for at in [at.as_str(), "both"] {
            assert_eq!(read(&store, at).await.map(|entry| entry.revision), Some(revision));
        }
        last = revision;
        let removed = commit(&store, writes(vec![delete("both")])).await;
        assert!(removed > last, "a removal has a revision too");
        last = removed;
    }
}

async fn what_was_answered_is_read(store: Arc<dyn Store>) {
    for step in 0..50_u8 {
        commit(&store, writes(vec![put("w", [step])])).await;
        assert_eq!(value(&store, "w").await, Some(vec![step]));
        assert_eq!(all(&store).await, [("w".to_owned(), vec![step])]);
    }
}

async fn a_dropped_caller_leaves_a_whole_transaction_or_none(store: Arc<dyn Store>) {
    for step in 0..50_u8 {
        let both = writes(vec![put("one", [step]), put("two", [step])]);
        let owner = Arc::clone(&store);
        let task = tokio::spawn(async move { owner.commit(both).await.is_ok() });
        if step % 2 == 0 {
            tokio::task::yield_now().await;
        }
        task.abort();
        let aborted = task.await;
        // In one reading: the transaction may still be on its way.
        let (found, _) = ok(store.read_all().await, "reading all records");
        let values: Vec<_> = found.iter().map(|entry| &entry.value).collect();
        let whole = values.is_empty() || values.len() == 2 && values.first() == values.last();
        assert!(whole, "half a transaction after {aborted:?}: {values:?}");
    }
    let read = store.read(&path("one")).await;
    assert!(read.is_ok(), "dropped callers leave the store usable");
}
