//! Watches.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{Check, commit, delete, lose, next, ok, on, put, writes};
use casemate_store_port::{Event, Expect, Revision, Store, StoreError, Write};

pub(super) const CHECKS: &[Check] = &[
    |store| Box::pin(a_watch_tells_what_comes_after_in_order(store)),
    |store| Box::pin(a_watch_begins_after_the_given_revision(store)),
    |store| Box::pin(lost_and_refused_transactions_are_not_told(store)),
    |store| Box::pin(events_lead_from_one_reading_to_the_next(store)),
];

async fn a_watch_tells_what_comes_after_in_order(store: Arc<dyn Store>) {
    let before = commit(&store, writes(vec![put("old", "1")])).await;
    let mut watch = ok(store.watch(before).await, "a watch");
    let mut expected = Vec::new();
    for step in 0..20_u8 {
        let what = vec![put("a", [step]), put("b", [step]), delete("c")];
        let revision = commit(&store, writes(what.clone())).await;
        expected.push(Event { revision, writes: what });
    }
    for expected in expected {
        let mut event = next(&mut watch).await;
        // A store may order the writes of one transaction as it likes.
        event.writes.sort_by(|one, other| one.path().cmp(other.path()));
        assert_eq!(event, expected);
    }
}

async fn a_watch_begins_after_the_given_revision(store: Arc<dyn Store>) {
    let first = commit(&store, writes(vec![put("a", "1")])).await;
    let second = commit(&store, writes(vec![put("a", "2")])).await;
    let third = commit(&store, writes(vec![put("a", "3")])).await;
    let mut from_first = ok(store.watch(first).await, "a watch from the past");
    let mut from_last = ok(store.watch(third).await, "a watch from now");
    let fourth = commit(&store, writes(vec![put("a", "4")])).await;
    for revision in [second, third, fourth] {
        assert_eq!(next(&mut from_first).await.revision, revision);
    }
    assert_eq!(next(&mut from_last).await.revision, fourth);
}

async fn lost_and_refused_transactions_are_not_told(store: Arc<dyn Store>) {
    let before = commit(&store, writes(vec![put("a", "1")])).await;
    let mut watch = ok(store.watch(before).await, "a watch");
    lose(&store, on("a", Expect::Absent, vec![put("a", "2")])).await;
    let refused = store.commit(writes(vec![put("a", "3"), put("a", "4")])).await;
    assert!(matches!(refused, Err(StoreError::BadTransaction)), "{refused:?}");
    commit(&store, on("a", Expect::At(before), Vec::new())).await;
    let revision = commit(&store, writes(vec![put("a", "5")])).await;
    let event = next(&mut watch).await;
    assert_eq!(event, Event { revision, writes: vec![put("a", "5")] });
}

/// Eight writers at once: the events, applied to the first reading, give the last one.
async fn events_lead_from_one_reading_to_the_next(store: Arc<dyn Store>) {
    commit(&store, writes(vec![put("n/0", "start"), put("n/7", "start")])).await;
    let (entries, revision) = ok(store.read_all().await, "the first reading");
    let mut records: BTreeMap<_, _> =
        entries.into_iter().map(|entry| (entry.path, entry.value)).collect();
    let mut watch = ok(store.watch(revision).await, "a watch");
    let writers = (0..8_u8).map(|writer| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { write_about(&store, writer).await })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("a writer does not fail");
    }
    let (entries, last) = ok(store.read_all().await, "the last reading");
    let mut seen = revision;
    while seen < last {
        let event = next(&mut watch).await;
        assert!(event.revision > seen, "{:?} after {seen:?}", event.revision);
        seen = event.revision;
        for write in event.writes {
            match write {
                Write::Put(path, value) => records.insert(path, value),
                Write::Delete(path) => records.remove(&path),
            };
        }
    }
    assert_eq!(seen, last);
    let expected: BTreeMap<_, _> =
        entries.into_iter().map(|entry| (entry.path, entry.value)).collect();
    assert_eq!(records, expected, "events and readings disagree");
}

async fn write_about(store: &Arc<dyn Store>, writer: u8) -> Revision {
    let mut last = Revision(0);
    for step in 0..20_u8 {
        let (mine, other) = (format!("n/{writer}"), format!("n/{}", (writer + step) % 8));
        let what = match step % 3 {
            0 => vec![put(&mine, [writer, step])],
            1 => vec![delete(&other)],
            _ if mine == other => vec![put(&mine, [step])],
            _ => vec![put(&mine, [step]), put(&other, [writer])],
        };
        last = commit(store, writes(what)).await;
    }
    last
}
