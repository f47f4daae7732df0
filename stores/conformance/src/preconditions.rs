//! Preconditions, limits and races.

use std::sync::Arc;

use crate::{Check, all, commit, delete, lose, ok, on, path, put, read, value, writes};
use casemate_store_port::{
    Expect, OPERATIONS_MAX, Outcome, Path, Revision, Store, StoreError, TRANSACTION_BYTES_MAX,
    Transaction, Write,
};

pub(super) const CHECKS: &[Check] = &[
    |store| Box::pin(absent_holds_only_without_a_record(store)),
    |store| Box::pin(at_holds_only_at_the_last_revision(store)),
    |store| Box::pin(a_lost_transaction_writes_nothing(store)),
    |store| Box::pin(preconditions_without_writes_only_look(store)),
    |store| Box::pin(removing_nothing_is_no_error(store)),
    |store| Box::pin(limits_are_kept_and_what_is_over_writes_nothing(store)),
    |store| Box::pin(no_update_is_lost(store)),
];

async fn absent_holds_only_without_a_record(store: Arc<dyn Store>) {
    commit(&store, on("a", Expect::Absent, vec![put("a", "1")])).await;
    lose(&store, on("a", Expect::Absent, vec![put("a", "2")])).await;
    assert_eq!(value(&store, "a").await, Some(b"1".to_vec()));
    commit(&store, writes(vec![delete("a")])).await;
    commit(&store, on("a", Expect::Absent, vec![put("a", "3")])).await;
    assert_eq!(value(&store, "a").await, Some(b"3".to_vec()));
}

async fn at_holds_only_at_the_last_revision(store: Arc<dyn Store>) {
    let first = commit(&store, writes(vec![put("a", "1")])).await;
    lose(&store, on("b", Expect::At(first), vec![put("b", "x")])).await;
    let second = commit(&store, on("a", Expect::At(first), vec![put("a", "2")])).await;
    lose(&store, on("a", Expect::At(first), vec![put("a", "x")])).await;
    lose(&store, on("a", Expect::At(Revision(second.0 + 1)), vec![put("a", "x")])).await;
    lose(&store, on("a", Expect::At(Revision(0)), vec![put("a", "x")])).await;
    commit(&store, writes(vec![delete("a")])).await;
    lose(&store, on("a", Expect::At(second), vec![put("a", "x")])).await;
    // The same value written again is another revision: no precondition holds by its look.
    commit(&store, writes(vec![put("a", "2")])).await;
    lose(&store, on("a", Expect::At(second), vec![put("a", "x")])).await;
    assert_eq!(value(&store, "a").await, Some(b"2".to_vec()));
}

async fn a_lost_transaction_writes_nothing(store: Arc<dyn Store>) {
    let revision = commit(&store, writes(vec![put("a", "1"), put("b", "1")])).await;
    let expect = vec![
        (path("a"), Expect::At(revision)),
        (path("b"), Expect::At(Revision(revision.0 + 1))),
        (path("c"), Expect::Absent),
    ];
    let writes = vec![put("a", "2"), put("c", "2"), delete("b")];
    lose(&store, Transaction { expect, writes }).await;
    let expected = [("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"1".to_vec())];
    assert_eq!(all(&store).await, expected);
}

async fn preconditions_without_writes_only_look(store: Arc<dyn Store>) {
    let revision = commit(&store, writes(vec![put("a", "1")])).await;
    commit(&store, on("a", Expect::At(revision), Vec::new())).await;
    lose(&store, on("a", Expect::Absent, Vec::new())).await;
    assert_eq!(read(&store, "a").await.map(|entry| entry.revision), Some(revision));
}

async fn removing_nothing_is_no_error(store: Arc<dyn Store>) {
    commit(&store, writes(vec![delete("a")])).await;
    commit(&store, writes(vec![delete("a"), put("b", "1")])).await;
    assert_eq!(all(&store).await, [("b".to_owned(), b"1".to_vec())]);
}

async fn limits_are_kept_and_what_is_over_writes_nothing(store: Arc<dyn Store>) {
    let paths = |count: usize| (0..count).map(|index| path(&format!("n/{index:03}")));
    let many = |count| writes(paths(count).map(|at| Write::Put(at, vec![1])).collect());
    refuse(&store, many(OPERATIONS_MAX + 1)).await;
    refuse(&store, writes(vec![put("a", "1"), put("a", "2")])).await;
    refuse(&store, writes(vec![put("a", "1"), delete("a")])).await;
    refuse(&store, writes(vec![put("a", vec![0; TRANSACTION_BYTES_MAX])])).await;
    let half = TRANSACTION_BYTES_MAX / 2;
    refuse(&store, writes(vec![put("a", vec![0; half]), put("b", vec![0; half])])).await;
    let expect = paths(OPERATIONS_MAX + 1).map(|at| (at, Expect::Absent)).collect();
    refuse(&store, Transaction { expect, writes: vec![put("a", "1")] }).await;
    assert_eq!(all(&store).await, []);

    commit(&store, many(OPERATIONS_MAX)).await;
    commit(&store, writes(vec![put("a", vec![7; TRANSACTION_BYTES_MAX - 1])])).await;
    let expect = paths(OPERATIONS_MAX + 1).skip(OPERATIONS_MAX).map(|at| (at, Expect::Absent));
    commit(&store, Transaction { expect: expect.collect(), writes: vec![delete("a")] }).await;
    assert_eq!(all(&store).await.len(), OPERATIONS_MAX);
}

async fn refuse(store: &Arc<dyn Store>, transaction: Transaction) {
    let refused = store.commit(transaction).await;
    assert!(matches!(refused, Err(StoreError::BadTransaction)), "over the limit: {refused:?}");
}

/// Eight writers count up one record, each reading and then writing at what it read.
async fn no_update_is_lost(store: Arc<dyn Store>) {
    const WRITERS: u64 = 8;
    const STEPS: u64 = 20;
    commit(&store, writes(vec![put("count", 0_u64.to_be_bytes())])).await;
    let writers = (0..WRITERS).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for _ in 0..STEPS {
                while !count_up(&store, path("count")).await {}
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("a writer does not fail");
    }
    let total = value(&store, "count").await;
    assert_eq!(total, Some((WRITERS * STEPS).to_be_bytes().to_vec()), "an update was lost");
}

async fn count_up(store: &Arc<dyn Store>, at: Path) -> bool {
    let entry = ok(store.read(&at).await, "reading the count").expect("the count is there");
    let count = u64::from_be_bytes(entry.value.try_into().expect("the count has 8 bytes")) + 1;
    let expect = vec![(at.clone(), Expect::At(entry.revision))];
    let writes = vec![Write::Put(at, count.to_be_bytes().to_vec())];
    let outcome = ok(store.commit(Transaction { expect, writes }).await, "counting up");
    outcome != Outcome::Lost
}
