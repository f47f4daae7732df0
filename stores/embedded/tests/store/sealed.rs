//! The sealing wrapper over the embedded store: conditions, generations, limits, opening.

use casemate_store_embedded::DATABASE_FILE;
use casemate_store_port::{
    CHANGE_BYTES_MAX, CHANGE_WRITES_MAX, Change, CommitError, Committed, Condition, Generation,
    OPERATIONS_MAX, OpenError, SealedStore, StoreIdentity,
};

use crate::cipher::{IDENTITY, cipher};
use crate::setup::{
    change, contents, create, delete, done, embedded, folder, on, open, path, put, refusal,
};

#[tokio::test]
async fn what_was_committed_is_there_after_opening() {
    let dir = folder();
    let store = create(dir.path()).await;
    assert_eq!(store.sequence(), 0);
    let first = done(&store, change(vec![put("keys/a", "alpha"), put("keys/b", "beta")])).await;
    let second = done(&store, change(vec![delete("keys/a"), put("keys/c", "")])).await;
    assert_eq!((first, second), (Generation(1), Generation(2)));
    assert_eq!(store.sequence(), 2);
    drop(store);
    let (store, records) = open(dir.path(), Some(2)).await.unwrap();
    let expected: [(&str, &[u8]); 2] = [("keys/b", b"beta"), ("keys/c", b"")];
    assert_eq!(contents(&records), expected);
    assert_eq!(records[0].generation, first);
    assert_eq!(records[1].generation, second);
    assert_eq!(store.sequence(), 2);
}

#[tokio::test]
async fn conditions_hold_by_generation() {
    let dir = folder();
    let store = create(dir.path()).await;
    let first = done(&store, on("a", Condition::Absent, vec![put("a", "1")])).await;
    let stale = [
        on("a", Condition::Absent, vec![put("a", "x")]),
        on("a", Condition::At(Generation(first.0 + 1)), vec![put("a", "x")]),
        on("b", Condition::At(first), vec![put("b", "x")]),
    ];
    for change in stale {
        assert_eq!(store.commit(change).await.unwrap(), Committed::Lost);
    }
    let second = done(&store, on("a", Condition::At(first), vec![put("a", "2")])).await;
    let late = on("a", Condition::At(first), vec![delete("a")]);
    assert_eq!(store.commit(late).await.unwrap(), Committed::Lost);
    done(&store, on("a", Condition::At(second), vec![delete("a")])).await;
    done(&store, on("a", Condition::Absent, vec![put("a", "3")])).await;
    drop(store);
    let (_, records) = open(dir.path(), None).await.unwrap();
    assert_eq!(contents(&records), [("a", b"3".as_slice())]);
}

#[tokio::test]
async fn conditions_still_hold_after_opening() {
    let dir = folder();
    let store = create(dir.path()).await;
    let first = done(&store, change(vec![put("a", "1")])).await;
    drop(store);
    let (store, _) = open(dir.path(), None).await.unwrap();
    let stale = on("a", Condition::Absent, vec![put("a", "x")]);
    assert_eq!(store.commit(stale).await.unwrap(), Committed::Lost);
    let second = done(&store, on("a", Condition::At(first), vec![put("a", "2")])).await;
    assert!(second > first);
}

#[tokio::test]
async fn a_number_is_never_used_by_two_processes() {
    let dir = folder();
    drop(create(dir.path()).await);
    let mut last = 0;
    for _ in 0..3 {
        let (store, _) = open(dir.path(), Some(last)).await.unwrap();
        assert_eq!(store.sequence(), last, "opening alone writes nothing");
        let Generation(number) = done(&store, change(vec![put("a", "1")])).await;
        assert!(number > last + (1 << 20), "{number} after {last}");
        last = number;
        assert_eq!(done(&store, change(Vec::new())).await, Generation(last + 1));
        last += 1;
    }
}

#[tokio::test]
async fn changes_over_a_limit_are_refused_and_disturb_nothing() {
    let dir = folder();
    let store = create(dir.path()).await;
    let many = |count: usize| (0..count).map(|index| put(&format!("n/{index}"), "1")).collect();
    let looks = |count: usize| {
        (0..count).map(|index| (path(&format!("x/{index}")), Condition::Absent)).collect()
    };
    let too_big = CHANGE_BYTES_MAX - 1 - 141 + 1;
    let bad = [
        change(many(CHANGE_WRITES_MAX + 1)),
        change(vec![put("a", vec![0; too_big])]),
        change(vec![put("a", "1"), put("a", "2")]),
        change(vec![put("a", "1"), delete("a")]),
        change(vec![put("head", "1")]),
        change(vec![delete("head")]),
        Change { expect: looks(OPERATIONS_MAX + 1), writes: vec![put("a", "1")] },
    ];
    for change in bad {
        assert!(matches!(store.commit(change).await, Err(CommitError::BadChange)));
    }
    assert_eq!(store.sequence(), 0);
    done(&store, change(many(CHANGE_WRITES_MAX))).await;
    done(&store, change(vec![put("a", vec![0; too_big - 1])])).await;
    done(&store, Change { expect: looks(OPERATIONS_MAX), writes: Vec::new() }).await;
    drop(store);
    let (_, records) = open(dir.path(), Some(3)).await.unwrap();
    assert_eq!(records.len(), CHANGE_WRITES_MAX + 1);
}

#[tokio::test]
async fn nothing_of_a_value_is_in_the_file() {
    let dir = folder();
    let store = create(dir.path()).await;
    let secret = b"a value that must not be readable".as_slice();
    done(&store, change(vec![put("keys/planted", secret)])).await;
    let log = std::fs::read(dir.path().join("records.db-wal")).unwrap();
    drop(store);
    let file = std::fs::read(dir.path().join(DATABASE_FILE)).unwrap();
    let holds = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|found| found == part);
    assert!(holds(&log, b"keys/planted") && holds(&file, b"keys/planted"), "paths are in clear");
    for part in secret.chunks_exact(8) {
        assert!(!holds(&log, part) && !holds(&file, part), "{}", part.escape_ascii());
    }
}

#[tokio::test]
async fn an_empty_store_is_not_opened_and_a_used_one_not_created() {
    let dir = folder();
    assert!(matches!(refusal(dir.path(), None).await, OpenError::HeadMissing));
    drop(create(dir.path()).await);
    let again = SealedStore::create(embedded(dir.path()), cipher(), IDENTITY).await;
    assert!(matches!(again.err(), Some(OpenError::NotEmpty)));
    assert!(open(dir.path(), Some(0)).await.is_ok());
}

#[tokio::test]
async fn another_hsm_or_epoch_does_not_open_it() {
    let dir = folder();
    drop(create(dir.path()).await);
    let open_as = |identity| SealedStore::open(embedded(dir.path()), cipher(), identity, None);
    let other_hsm = open_as(StoreIdentity { hsm: [9; 16], ..IDENTITY }).await.err();
    assert!(matches!(other_hsm, Some(OpenError::Unreadable { path }) if path.as_str() == "head"));
    let other_epoch = open_as(StoreIdentity { epoch: 2, ..IDENTITY }).await.err();
    let Some(OpenError::OtherEpoch { path, found, expected }) = other_epoch else {
        unreachable!("another epoch is told as such, not as {other_epoch:?}")
    };
    assert_eq!((path.as_str(), found, expected), ("head", 1, 2));
}
