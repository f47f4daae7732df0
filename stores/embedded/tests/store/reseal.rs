//! Everything sealed anew, in one transaction: before it the old secret counts, after it the new.

use std::path::Path as FilePath;
use std::sync::atomic::Ordering;

use casemate_store_port::{
    Change, CommitError, OpenError, Record, ResealError, SealedStore, Store, StoreIdentity,
};

use crate::cipher::{IDENTITY, cipher};
use crate::faults::{Fault, Faulty};
use crate::setup::{change, contents, create, delete, done, embedded, folder, open, over, put};

const NEXT: StoreIdentity = StoreIdentity { epoch: 2, ..IDENTITY };

async fn reseal(store: &SealedStore, change: Change) -> Result<u64, ResealError> {
    store.reseal(cipher(), NEXT, change).await.map(|generation| generation.0)
}

async fn open_next(dir: &FilePath, floor: u64) -> Result<Vec<Record>, OpenError> {
    let opened = SealedStore::open(embedded(dir), cipher(), NEXT, Some(floor)).await;
    opened.map(|(_, records)| records)
}

#[tokio::test]
async fn everything_is_there_under_the_next_secret_and_under_no_other() {
    let dir = folder();
    let store = create(dir.path()).await;
    done(&store, change(vec![put("a", "1"), put("b", "2"), put("c", "3")])).await;
    let writes = vec![put("b", "4"), delete("c"), put("d", "5")];
    let generation = reseal(&store, change(writes)).await.unwrap();
    assert_eq!(store.sequence(), generation, "to be remembered");
    assert!(store.is_stopped());
    let after = store.commit(change(vec![put("a", "6")])).await;
    assert!(matches!(after, Err(CommitError::Stopped)), "the old secret takes nothing");
    let twice = reseal(&store, Change::default()).await;
    assert!(matches!(twice, Err(ResealError::Commit(CommitError::Stopped))));
    drop(store);
    let records = open_next(dir.path(), generation).await.unwrap();
    let expected = [("a", b"1".as_slice()), ("b", b"4"), ("d", b"5")];
    assert_eq!(contents(&records), expected);
    assert!(records.iter().all(|record| record.generation.0 == generation));
    let old = open(dir.path(), None).await.map(drop);
    assert!(matches!(old, Err(OpenError::OtherEpoch { found: 2, expected: 1, .. })));
}

#[tokio::test]
async fn a_refusal_leaves_everything_as_it_was_and_it_can_be_tried_again() {
    let dir = folder();
    let faulty = Faulty::new(embedded(dir.path()));
    let store = over(faulty.clone()).await;
    done(&store, change(vec![put("a", "1")])).await;
    for fault in [Fault::Refuse, Fault::Full, Fault::Vanish] {
        // The change that goes before it, which claims the numbers.
        let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(1));
        faulty.next(Fault::Hold(gate));
        faulty.next(fault);
        let refused = reseal(&store, change(vec![put("b", "2")])).await;
        let refused = refused.expect_err("the store refuses");
        assert!(
            matches!(
                refused,
                ResealError::Commit(CommitError::Unavailable(_) | CommitError::Full { .. })
            ),
            "{refused:?}"
        );
        assert!(!store.is_stopped());
        done(&store, change(vec![put("a", "1")])).await;
    }
    let generation = reseal(&store, Change::default()).await.unwrap();
    drop((store, faulty));
    assert_eq!(contents(&open_next(dir.path(), generation).await.unwrap()), [("a", &b"1"[..])]);
}

#[tokio::test]
async fn an_answer_that_got_lost_is_found_by_reading_or_stops_the_store() {
    for readable in [true, false] {
        let dir = folder();
        let faulty = Faulty::new(embedded(dir.path()));
        let store = over(faulty.clone()).await;
        done(&store, change(vec![put("a", "1")])).await;
        let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(1));
        faulty.next(Fault::Hold(gate));
        faulty.next(Fault::LoseAnswer);
        faulty.unreadable.store(usize::from(!readable), Ordering::SeqCst);
        let outcome = reseal(&store, Change::default()).await;
        assert_eq!(outcome.is_ok(), readable, "{outcome:?}");
        if !readable {
            assert!(matches!(
                outcome,
                Err(ResealError::Commit(CommitError::Unknown(_)) | ResealError::Open(_))
            ));
        }
        assert!(store.is_stopped(), "what the store holds is found out by opening it");
        drop((store, faulty));
        assert!(open_next(dir.path(), 0).await.is_ok(), "it was written");
    }
}

#[tokio::test]
async fn what_was_changed_beneath_it_is_not_sealed_anew() {
    let dir = folder();
    let other = embedded(dir.path());
    let store = over(other.clone()).await;
    done(&store, change(vec![put("a", "1"), put("b", "2")])).await;
    let path = casemate_store_port::Path::new("a").unwrap();
    let writes = vec![casemate_store_port::Write::Delete(path)];
    let stolen = casemate_store_port::Transaction { expect: Vec::new(), writes };
    Store::commit(&*other, stolen).await.unwrap();
    let refused = reseal(&store, Change::default()).await;
    assert!(matches!(refused, Err(ResealError::Open(OpenError::Missing { .. }))), "{refused:?}");
    assert!(store.is_stopped());
}

#[tokio::test]
async fn more_than_one_transaction_holds_is_refused_whole() {
    let dir = folder();
    let store = create(dir.path()).await;
    for part in 0..4 {
        let writes = (0..20).map(|at| put(&format!("r/{part}-{at}"), "x")).collect();
        done(&store, change(writes)).await;
    }
    let refused = reseal(&store, Change::default()).await;
    assert!(matches!(refused, Err(ResealError::TooMany { records: 80 })), "{refused:?}");
    assert!(!store.is_stopped(), "nothing was written");
    done(&store, change(vec![put("a", "1")])).await;
}
