//! A change of the secret for any number of records: one transaction decides, and the records are
//! brought forward while everything else goes on.

use std::path::Path as FilePath;
use std::sync::atomic::Ordering;

use casemate_store_port::{
    Change, CommitError, Committed, Condition, EarlierEpoch, Expect, ForwardError, OpenError,
    Outcome, Record, ResealError, SealedStore, Store, StoreIdentity, Transaction, Write,
};

use crate::cipher::{IDENTITY, cipher, cipher_of};
use crate::faults::{Fault, Faulty};
use crate::setup::{
    change, contents, create, delete, done, embedded, folder, on, open, over, path, put,
};

const NEXT: StoreIdentity = StoreIdentity { epoch: 2, ..IDENTITY };

async fn turn(store: &SealedStore, change: Change) -> Result<u64, ResealError> {
    store.turn(cipher_of(5), NEXT, change).await.map(|generation| generation.0)
}

async fn open_both(dir: &FilePath) -> Result<(SealedStore, Vec<Record>), OpenError> {
    open_both_over(embedded(dir)).await
}

async fn open_both_over(
    store: std::sync::Arc<dyn Store>,
) -> Result<(SealedStore, Vec<Record>), OpenError> {
    let earlier = EarlierEpoch { epoch: 1, cipher: cipher() };
    SealedStore::open_after_turn(store, cipher_of(5), NEXT, earlier, None).await
}

async fn open_next(dir: &FilePath) -> Result<Vec<Record>, OpenError> {
    let opened = SealedStore::open(embedded(dir), cipher_of(5), NEXT, None).await;
    opened.map(|(_, records)| records)
}

/// A store of so many records, turned.
async fn turned(dir: &FilePath, records: usize) {
    let store = create(dir).await;
    for part in 0..records.div_ceil(40) {
        let names = (part * 40..records.min(part * 40 + 40)).map(|at| format!("r/{at:05}"));
        let writes = names.map(|name| put(&name, name.clone())).collect();
        done(&store, change(writes)).await;
    }
    turn(&store, Change::default()).await.expect("it is turned");
}

#[tokio::test]
async fn one_transaction_decides_and_every_record_is_still_there() {
    let dir = folder();
    let store = create(dir.path()).await;
    let first = done(&store, change(vec![put("a", "1"), put("b", "2"), put("c", "3")])).await;
    let writes = vec![put("b", "4"), delete("c"), put("d", "5")];
    let turned = turn(&store, change(writes)).await.unwrap();
    assert!(turned > first.0 && store.sequence() == turned && store.is_stopped());
    let after = store.commit(change(vec![put("a", "6")])).await;
    assert!(matches!(after, Err(CommitError::Stopped)), "the old secret takes nothing");
    drop(store);
    let old = open(dir.path(), None).await.map(drop);
    assert!(matches!(old, Err(OpenError::OtherEpoch { found: 2, expected: 1, .. })), "{old:?}");
    let early = open_next(dir.path()).await;
    assert!(matches!(early, Err(OpenError::OtherEpoch { found: 1, expected: 2, .. })));
    let (store, records) = open_both(dir.path()).await.unwrap();
    assert_eq!(contents(&records), [("a", b"1".as_slice()), ("b", b"4"), ("d", b"5")]);
    let generations: Vec<u64> = records.iter().map(|record| record.generation.0).collect();
    assert_eq!(generations, [first.0, turned, turned]);
    assert_eq!(store.behind(), 1, "what was written with it is of the new epoch");
    assert_eq!(store.bring_forward().await.unwrap(), 0);
    drop((store, records));
    let records = open_next(dir.path()).await.unwrap();
    assert_eq!(contents(&records), [("a", b"1".as_slice()), ("b", b"4"), ("d", b"5")]);
    assert_eq!(records[0].generation, first, "brought forward, and unchanged");
}

#[tokio::test]
async fn it_goes_on_after_an_end_at_every_transaction() {
    let dir = folder();
    turned(dir.path(), 300).await;
    let mut left = 300;
    while left > 0 {
        let (store, records) = open_both(dir.path()).await.unwrap();
        assert_eq!(records.len(), 300);
        assert!(records.iter().all(|one| one.path.as_str().as_bytes() == one.value));
        assert_eq!(store.behind(), left);
        let now = store.bring_forward().await.unwrap();
        assert!(now < left, "each transaction brings some forward");
        left = now;
    }
    assert_eq!(open_next(dir.path()).await.unwrap().len(), 300);
}

#[tokio::test]
async fn changes_go_on_meanwhile_and_their_conditions_hold_before_and_after() {
    let dir = folder();
    turned(dir.path(), 200).await;
    let (store, records) = open_both(dir.path()).await.unwrap();
    let at = |name: &str| {
        let record = records.iter().find(|one| one.path.as_str() == name).unwrap();
        Condition::At(record.generation)
    };
    let (early, late) = ("r/00000", "r/00199");
    let changed = store.commit(on(late, at(late), vec![put(late, "new")])).await.unwrap();
    assert!(matches!(changed, Committed::Done(_)));
    assert_eq!(store.behind(), 199, "a change brings its record forward");
    done(&store, change(vec![delete("r/00198"), put("s", "more")])).await;
    assert_eq!(store.behind(), 198);
    store.bring_forward().await.unwrap();
    let changed = store.commit(on(early, at(early), vec![put(early, "new")])).await.unwrap();
    assert!(matches!(changed, Committed::Done(_)), "its generation is the one that was known");
    let stale = store.commit(on(late, at(late), vec![put(late, "stale")])).await.unwrap();
    assert_eq!(stale, Committed::Lost);
    while store.bring_forward().await.unwrap() > 0 {}
    drop(store);
    let records = open_next(dir.path()).await.unwrap();
    let new = records.iter().filter(|record| record.value == b"new").count();
    assert_eq!((records.len(), new), (200, 2));
}

#[tokio::test]
async fn whole_stores_and_records_of_the_epoch_before_cannot_be_put_back() {
    let dir = folder();
    let raw = embedded(dir.path());
    let store = over(raw.clone()).await;
    done(&store, change(vec![put("a", "1"), put("b", "2")])).await;
    let (old, _) = raw.read_all().await.unwrap();
    turn(&store, Change::default()).await.unwrap();
    let (store, _) = open_both_over(raw.clone()).await.unwrap();
    assert_eq!(store.bring_forward().await.unwrap(), 0);
    let (new, _) = raw.read_all().await.unwrap();
    let write = async |entries: &[casemate_store_port::Entry]| {
        let writes = entries.iter().map(|one| Write::Put(one.path.clone(), one.value.clone()));
        let transaction = Transaction { expect: Vec::new(), writes: writes.collect() };
        assert!(matches!(raw.commit(transaction).await.unwrap(), Outcome::Committed(_)));
    };
    for entry in old.iter().filter(|entry| entry.path.as_str() != "head") {
        write(std::slice::from_ref(entry)).await;
        let refused = open_both_over(raw.clone()).await.map(drop);
        assert!(matches!(refused, Err(OpenError::Replaced { .. })), "{refused:?}");
        write(&new).await;
    }
    write(&old).await;
    let refused = open_both_over(raw.clone()).await.map(drop);
    let found = matches!(refused, Err(OpenError::OtherEpoch { found: 1, expected: 2, .. }));
    assert!(found, "the old secret vouches for nothing any more: {refused:?}");
    write(&new).await;
    assert!(open_both_over(raw.clone()).await.is_ok());
}

#[tokio::test]
async fn what_was_altered_beneath_is_not_brought_forward() {
    let dir = folder();
    let raw = embedded(dir.path());
    let store = over(raw.clone()).await;
    done(&store, change(vec![put("a", "1")])).await;
    let (older, _) = raw.read_all().await.unwrap();
    done(&store, change(vec![put("a", "2")])).await;
    turn(&store, Change::default()).await.unwrap();
    let (store, _) = open_both_over(raw.clone()).await.unwrap();
    let entry = older.iter().find(|entry| entry.path.as_str() == "a").unwrap();
    let writes = vec![Write::Put(path("a"), entry.value.clone())];
    raw.commit(Transaction { expect: Vec::new(), writes }).await.unwrap();
    let refused = store.bring_forward().await;
    let altered = matches!(refused, Err(ForwardError::Open(OpenError::Replaced { .. })));
    assert!(altered, "{refused:?}");
    assert_eq!(store.behind(), 1);
}

#[tokio::test]
async fn a_condition_that_fails_or_records_left_behind_refuse_the_turn() {
    let dir = folder();
    let store = create(dir.path()).await;
    done(&store, change(vec![put("a", "1")])).await;
    let lost = turn(&store, on("a", Condition::Absent, vec![put("b", "2")])).await;
    assert!(matches!(lost, Err(ResealError::Lost)), "{lost:?}");
    assert!(!store.is_stopped(), "nothing was written");
    done(&store, change(vec![put("a", "1")])).await;
    turn(&store, Change::default()).await.unwrap();
    drop(store);
    let (store, _) = open_both(dir.path()).await.unwrap();
    let third = StoreIdentity { epoch: 3, ..IDENTITY };
    for _ in 0..2 {
        let early = store.turn(cipher_of(7), third, Change::default()).await;
        assert!(matches!(early, Err(ResealError::Behind { records: 1 })), "{early:?}");
        assert!(!store.is_stopped());
    }
    assert_eq!(store.bring_forward().await.unwrap(), 0);
    assert!(store.turn(cipher_of(7), third, Change::default()).await.is_ok());
}

#[tokio::test]
async fn a_store_that_refuses_or_does_not_answer_leaves_one_side_or_the_other() {
    for fault in [Fault::Refuse, Fault::Full, Fault::Vanish, Fault::LoseAnswer] {
        let dir = folder();
        let faulty = Faulty::new(embedded(dir.path()));
        let store = over(faulty.clone()).await;
        done(&store, change(vec![put("a", "1")])).await;
        let is_lost = matches!(fault, Fault::LoseAnswer);
        // The change that goes before it, which claims the numbers.
        faulty.next(Fault::Hold(std::sync::Arc::new(tokio::sync::Semaphore::new(1))));
        faulty.next(fault);
        faulty.unreadable.store(0, Ordering::SeqCst);
        let outcome = turn(&store, Change::default()).await;
        assert_eq!(outcome.is_ok(), is_lost, "{outcome:?}");
        assert_eq!(store.is_stopped(), is_lost);
        drop((store, faulty));
        match is_lost {
            true => assert!(open_both(dir.path()).await.is_ok()),
            false => assert!(open(dir.path(), None).await.is_ok()),
        }
    }
}

#[tokio::test]
async fn an_entry_of_the_epoch_before_that_is_planted_is_refused() {
    let dir = folder();
    turned(dir.path(), 1).await;
    let raw = embedded(dir.path());
    let (entries, _) = raw.read_all().await.unwrap();
    let entry = entries.iter().find(|entry| entry.path.as_str() == "r/00000").unwrap();
    let transaction = Transaction {
        expect: vec![(path("r/00001"), Expect::Absent)],
        writes: vec![Write::Put(path("r/00001"), entry.value.clone())],
    };
    raw.commit(transaction).await.unwrap();
    let refused = open_both_over(raw).await.map(drop);
    assert!(matches!(refused, Err(OpenError::Unreadable { .. })), "bound to its place");
}
