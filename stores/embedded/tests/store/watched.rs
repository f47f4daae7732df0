//! A second sealed store follows the first one by the store's watch.

use std::sync::Arc;
use std::time::Duration;

use casemate_store_port::{
    AppliedWrite, Event, OpenError, Record, SealedStore, Store, Watch, Write,
};

use crate::cipher::{IDENTITY, cipher};
use crate::setup::{change, delete, done, embedded, folder, over, path, put};

struct Pair {
    writer: SealedStore,
    follower: SealedStore,
    watch: Box<dyn Watch>,
    backend: Arc<dyn Store>,
    _dir: tempfile::TempDir,
}

impl Pair {
    async fn new() -> Self {
        let dir = folder();
        let backend = embedded(dir.path());
        let writer = over(backend.clone()).await;
        done(&writer, change(vec![put("a", "1"), put("b", "1")])).await;
        let opened = SealedStore::open(backend.clone(), cipher(), IDENTITY, None).await;
        let (follower, records) = opened.expect("it opens");
        assert_eq!(records.len(), 2);
        let watch = backend.watch(follower.revision()).await.expect("a watch");
        Self { writer, follower, watch, backend, _dir: dir }
    }

    async fn event(&mut self) -> Event {
        let event = tokio::time::timeout(Duration::from_secs(20), self.watch.next()).await;
        event.expect("an event comes within 20 s").expect("the watch goes on")
    }

    /// Refuses the event, and everything after it.
    fn refuse(&self, event: &Event) -> OpenError {
        let before = self.follower.sequence();
        let error = self.follower.apply(event).expect_err("the event must be refused");
        let next = Event { revision: casemate_store_port::Revision(u64::MAX), writes: Vec::new() };
        assert!(matches!(self.follower.apply(&next), Err(OpenError::Stopped)));
        assert_eq!(self.follower.sequence(), before);
        error
    }
}

fn applied(at: &str, value: &str, generation: casemate_store_port::Generation) -> AppliedWrite {
    AppliedWrite::Put(Record { path: path(at), value: value.into(), generation })
}

#[tokio::test]
async fn events_are_checked_and_taken_over() {
    let mut pair = Pair::new().await;
    let second = done(&pair.writer, change(vec![put("a", "2"), delete("b")])).await;
    let event = pair.event().await;
    let expected = [applied("a", "2", second), AppliedWrite::Delete(path("b"))];
    assert_eq!(pair.follower.apply(&event).unwrap(), expected);
    assert_eq!(pair.follower.sequence(), pair.writer.sequence());
    assert_eq!(pair.follower.apply(&event).unwrap(), [], "told twice is known already");
    let third = done(&pair.writer, change(vec![put("b", "3"), delete("never")])).await;
    let event = pair.event().await;
    let expected = [applied("b", "3", third), AppliedWrite::Delete(path("never"))];
    assert_eq!(pair.follower.apply(&event).unwrap(), expected);
    assert_eq!(pair.follower.revision(), event.revision);
}

#[tokio::test]
async fn own_changes_are_known_already() {
    let mut pair = Pair::new().await;
    done(&pair.writer, change(vec![put("a", "2")])).await;
    let event = pair.event().await;
    assert_eq!(pair.writer.apply(&event).unwrap(), []);
    done(&pair.writer, change(vec![put("a", "3")])).await;
}

#[tokio::test]
async fn a_follower_may_write_when_it_has_caught_up() {
    let mut pair = Pair::new().await;
    done(&pair.writer, change(vec![put("a", "2")])).await;
    let event = pair.event().await;
    pair.follower.apply(&event).unwrap();
    let own = done(&pair.follower, change(vec![put("c", "mine")])).await;
    // The claim, then the change.
    for _ in 0..2 {
        let event = pair.event().await;
        pair.writer.apply(&event).unwrap();
    }
    assert_eq!(pair.writer.sequence(), own.0);
    done(&pair.writer, change(vec![put("c", "theirs")])).await;
}

#[tokio::test]
async fn a_dropped_event_shows_at_the_next_one() {
    let mut pair = Pair::new().await;
    done(&pair.writer, change(vec![put("a", "2")])).await;
    done(&pair.writer, change(vec![put("b", "2")])).await;
    let _dropped = pair.event().await;
    let event = pair.event().await;
    let error = pair.refuse(&event);
    assert!(matches!(error, OpenError::Gap { sequence: 3 }), "{error}");
}

#[tokio::test]
async fn every_altered_event_is_refused() {
    type Alter = fn(&mut Vec<Write>);
    let alterations: [(&str, Alter); 7] = [
        ("a write dropped", |writes| writes.retain(|write| write.path().as_str() != "b")),
        ("the removal dropped", |writes| writes.retain(|write| !matches!(write, Write::Delete(_)))),
        ("the head dropped", |writes| writes.retain(|write| write.path().as_str() != "head")),
        ("a removal added", |writes| writes.push(delete("never/there"))),
        ("a removal added of a record", |writes| writes.push(delete("c"))),
        ("a write told twice", |writes| {
            let again = writes.first().cloned();
            writes.extend(again);
        }),
        ("a value altered", |writes| {
            if let Some(Write::Put(_, value)) = writes.first_mut() {
                value.push(0);
            }
        }),
    ];
    for (what, alter) in alterations {
        let mut pair = Pair::new().await;
        done(&pair.writer, change(vec![put("c", "1"), put("d", "1")])).await;
        let event = pair.event().await;
        pair.follower.apply(&event).unwrap();
        done(&pair.writer, change(vec![put("a", "2"), put("b", "2"), delete("d")])).await;
        let mut event = pair.event().await;
        alter(&mut event.writes);
        if what == "a removal added" {
            // Removing nothing changes nothing: such an event may pass.
            assert_eq!(pair.follower.apply(&event).unwrap().len(), 4);
            continue;
        }
        let error = pair.refuse(&event);
        let expected = match what {
            "the head dropped" => matches!(error, OpenError::HeadMissing),
            "a value altered" => matches!(error, OpenError::Unreadable { .. }),
            _ => matches!(error, OpenError::Gap { .. }),
        };
        assert!(expected, "{what}: {error}");
    }
}

#[tokio::test]
async fn an_older_event_told_as_new_is_refused() {
    let mut pair = Pair::new().await;
    done(&pair.writer, change(vec![put("a", "2")])).await;
    done(&pair.writer, change(vec![put("a", "3")])).await;
    let (mut old, new) = (pair.event().await, pair.event().await);
    pair.follower.apply(&old).unwrap();
    pair.follower.apply(&new).unwrap();
    old.revision = casemate_store_port::Revision(new.revision.0 + 1);
    let error = pair.refuse(&old);
    assert!(matches!(error, OpenError::RolledBack { sequence: 2, floor: 3 }), "{error}");
    assert!(pair.backend.read(&path("a")).await.unwrap().is_some());
}
