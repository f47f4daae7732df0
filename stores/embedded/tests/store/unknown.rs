//! Refused transactions, lost answers, and a head that somebody else moved.

use std::sync::atomic::Ordering;

use casemate_store_port::{
    CommitError, Committed, Condition, OpenError, SealedStore, Store, Transaction,
};

use crate::cipher::{IDENTITY, cipher};
use crate::faults::{Fault, Faulty};
use crate::setup::{change, contents, create, done, embedded, folder, on, open, over, path, put};

#[tokio::test]
async fn a_lost_answer_to_a_done_change_is_found_by_reading() {
    let dir = folder();
    let faulty = Faulty::new(embedded(dir.path()));
    let store = over(faulty.clone()).await;
    done(&store, change(vec![put("a", "1")])).await;
    let before = faulty.commits();
    faulty.next(Fault::LoseAnswer);
    let generation = done(&store, change(vec![put("a", "2")])).await;
    assert_eq!(faulty.commits(), before + 1, "nothing is written again");
    done(&store, on("a", Condition::At(generation), vec![put("b", "3")])).await;
    drop((store, faulty));
    let (_, records) = open(dir.path(), Some(generation.0 + 1)).await.unwrap();
    assert_eq!(contents(&records), [("a", b"2".as_slice()), ("b", b"3")]);
}

#[tokio::test]
async fn a_change_that_vanished_is_told_as_not_written() {
    let dir = folder();
    let faulty = Faulty::new(embedded(dir.path()));
    let store = over(faulty.clone()).await;
    let generation = done(&store, change(vec![put("a", "1")])).await;
    let before = faulty.commits();
    faulty.next(Fault::Vanish);
    let outcome = store.commit(change(vec![put("a", "2"), put("b", "2")])).await;
    assert!(matches!(outcome, Err(CommitError::Unavailable(_))), "{outcome:?}");
    assert_eq!(faulty.commits(), before + 1, "nothing is written again");
    let next = done(&store, on("a", Condition::At(generation), vec![put("a", "3")])).await;
    assert!(next.0 > generation.0 + 1, "the vanished change has used up its number");
    drop((store, faulty));
    let (_, records) = open(dir.path(), Some(next.0)).await.unwrap();
    assert_eq!(contents(&records), [("a", b"3".as_slice())]);
}

#[tokio::test]
async fn an_outcome_that_cannot_be_found_out_stops_the_store() {
    for fault in [Fault::LoseAnswer, Fault::Vanish] {
        let dir = folder();
        let faulty = Faulty::new(embedded(dir.path()));
        let store = over(faulty.clone()).await;
        done(&store, change(vec![put("a", "1")])).await;
        faulty.unreadable.store(1, Ordering::SeqCst);
        let written = matches!(fault, Fault::LoseAnswer);
        faulty.next(fault);
        let outcome = store.commit(change(vec![put("a", "2")])).await;
        assert!(matches!(outcome, Err(CommitError::Unknown(_))), "{outcome:?}");
        let before = faulty.commits();
        for _ in 0..3 {
            let outcome = store.commit(change(vec![put("b", "3")])).await;
            assert!(matches!(outcome, Err(CommitError::Stopped)), "{outcome:?}");
        }
        assert_eq!(faulty.commits(), before, "a stopped store asks for nothing");
        assert_eq!(store.sequence(), 1, "what is not known to be durable is not counted");
        drop((store, faulty));
        let (_, records) = open(dir.path(), Some(1)).await.unwrap();
        let value: &[u8] = if written { b"2" } else { b"1" };
        assert_eq!(contents(&records), [("a", value)]);
    }
}

#[tokio::test]
async fn an_answer_lost_while_another_moves_the_head_stays_unknown() {
    let dir = folder();
    let faulty = Faulty::new(embedded(dir.path()));
    let store = over(faulty.clone()).await;
    let writes = vec![put("head", "somebody else's")];
    faulty.next(Fault::Overtake(Transaction { expect: Vec::new(), writes }));
    let outcome = store.commit(change(vec![put("a", "1")])).await;
    assert!(matches!(outcome, Err(CommitError::Unknown(_))), "{outcome:?}");
    let outcome = store.commit(change(vec![put("a", "1")])).await;
    assert!(matches!(outcome, Err(CommitError::Stopped)), "{outcome:?}");
}

#[tokio::test]
async fn a_refused_change_can_be_made_again() {
    let dir = folder();
    let faulty = Faulty::new(embedded(dir.path()));
    let store = over(faulty.clone()).await;
    faulty.next(Fault::Refuse);
    let outcome = store.commit(change(vec![put("a", "1")])).await;
    assert!(matches!(outcome, Err(CommitError::Unavailable(_))), "{outcome:?}");
    faulty.next(Fault::Full);
    let outcome = store.commit(change(vec![put("a", "1")])).await;
    assert!(matches!(&outcome, Err(CommitError::Full { place }) if place == "the test"));
    done(&store, on("a", Condition::Absent, vec![put("a", "1")])).await;
}

#[tokio::test]
async fn a_refused_claim_is_told_to_those_who_wait() {
    let dir = folder();
    drop(create(dir.path()).await);
    let faulty = Faulty::new(embedded(dir.path()));
    let (store, _) = SealedStore::open(faulty.clone(), cipher(), IDENTITY, None).await.unwrap();
    faulty.next(Fault::Full);
    let outcome = store.commit(change(vec![put("a", "1")])).await;
    assert!(matches!(outcome, Err(CommitError::Full { .. })), "{outcome:?}");
    faulty.next(Fault::Vanish);
    let outcome = store.commit(change(vec![put("a", "1")])).await;
    assert!(matches!(outcome, Err(CommitError::Unavailable(_))), "{outcome:?}");
    faulty.next(Fault::LoseAnswer);
    done(&store, change(vec![put("a", "1")])).await;
}

#[tokio::test]
async fn a_head_moved_by_another_stops_the_store() {
    let dir = folder();
    let backend = embedded(dir.path());
    let store = over(backend.clone()).await;
    let (other, _) = SealedStore::open(backend.clone(), cipher(), IDENTITY, None).await.unwrap();
    done(&other, change(vec![put("a", "the other's")])).await;
    let outcome = store.commit(change(vec![put("a", "mine")])).await;
    assert!(matches!(outcome, Err(CommitError::HeadMoved)), "{outcome:?}");
    let outcome = store.commit(change(vec![put("b", "mine")])).await;
    assert!(matches!(outcome, Err(CommitError::Stopped)), "{outcome:?}");
    done(&other, change(vec![put("b", "the other's")])).await;
    drop((store, other, backend));
    let (_, records) = open(dir.path(), None).await.unwrap();
    let expected: [(&str, &[u8]); 2] = [("a", b"the other's"), ("b", b"the other's")];
    assert_eq!(contents(&records), expected);
}

/// A head that the store refused but kept is older than every head acknowledged later, also after
/// the process has gone: the remembered sequence tells it.
#[tokio::test]
async fn a_refused_head_shown_later_is_below_the_floor() {
    let dir = folder();
    let backend = embedded(dir.path());
    let keeper = Faulty::new(backend.clone());
    let store = over(keeper.clone()).await;
    done(&store, change(vec![put("role", "granted")])).await;
    // The store does what it then denies.
    keeper.unreadable.store(1, Ordering::SeqCst);
    keeper.next(Fault::LoseAnswer);
    let denied = store.commit(change(vec![put("role", "granted to the thief")])).await;
    assert!(matches!(denied, Err(CommitError::Unknown(_))));
    let (shown_later, _) = backend.read_all().await.unwrap();
    // It offers the state before that, and takes a revocation.
    let other = folder();
    let store = create(other.path()).await;
    done(&store, change(vec![put("role", "granted")])).await;
    drop(store);
    let (store, _) = open(other.path(), Some(1)).await.unwrap();
    let revoked = done(&store, change(vec![put("role", "revoked")])).await;
    drop(store);
    let third = folder();
    let thief = embedded(third.path());
    for entry in shown_later {
        let writes = vec![casemate_store_port::Write::Put(entry.path, entry.value)];
        thief.commit(Transaction { expect: Vec::new(), writes }).await.unwrap();
    }
    let refused = SealedStore::open(thief, cipher(), IDENTITY, Some(revoked.0)).await.err();
    assert!(matches!(refused, Some(OpenError::RolledBack { sequence: 2, .. })), "{refused:?}");
}

#[tokio::test]
async fn losers_are_answered_without_a_transaction() {
    let dir = folder();
    let faulty = Faulty::new(embedded(dir.path()));
    let store = over(faulty.clone()).await;
    done(&store, change(vec![put("a", "1")])).await;
    let before = faulty.commits();
    let lost = store.commit(on("a", Condition::Absent, vec![put("a", "2")])).await;
    assert_eq!(lost.unwrap(), Committed::Lost);
    assert_eq!(faulty.commits(), before);
    assert!(faulty.read(&path("a")).await.unwrap().is_some());
}
