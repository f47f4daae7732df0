//! Many callers at once, and callers that go away.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};
use std::time::Duration;

use casemate_store_port::{
    CHANGE_WRITES_MAX, CommitError, Committed, Condition, Generation, QUEUE_CHANGES_MAX,
};
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::faults::{Fault, Faulty};
use crate::setup::{change, contents, create, done, embedded, folder, on, open, over, put};

/// One look at a future, by a task that never looks again by itself.
fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> bool {
    future.poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_at_once_each_get_their_own_number() {
    let dir = folder();
    let faulty = Faulty::new(embedded(dir.path()));
    let store = Arc::new(over(faulty.clone()).await);
    let creates = (0..500).map(|index| {
        let store = Arc::clone(&store);
        let at = format!("keys/k{index:03}");
        tokio::spawn(async move {
            done(&store, on(&at, Condition::Absent, vec![put(&at, at.clone())])).await
        })
    });
    let mut numbers = Vec::new();
    for create in creates.collect::<Vec<_>>() {
        numbers.push(create.await.unwrap().0);
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=500).collect::<Vec<_>>());
    assert!(faulty.commits() < 400, "they share transactions: {}", faulty.commits());
    assert!(faulty.widest.load(Ordering::SeqCst) <= CHANGE_WRITES_MAX + 1);
    drop((store, faulty));
    let (_, records) = open(dir.path(), Some(500)).await.unwrap();
    assert_eq!(records.len(), 500);
    assert!(records.iter().all(|record| record.path.as_str().as_bytes() == record.value));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_is_answered_finds_all_earlier_changes_followed_up_in_their_order() {
    let dir = folder();
    let store = Arc::new(create(dir.path()).await);
    let followed = Arc::new(Mutex::new(Vec::new()));
    let changes = (0..300).map(|index| {
        let (store, followed) = (Arc::clone(&store), Arc::clone(&followed));
        tokio::spawn(async move {
            let change = change(vec![put(&format!("keys/k{index}"), "x")]);
            let follow = Arc::clone(&followed);
            let then = move |generation: Generation| follow.lock().push(generation.0);
            let outcome = store.commit_then(change, then).await.unwrap();
            let Committed::Done(own) = outcome else { unreachable!("it has no condition") };
            let followed = followed.lock();
            let earlier = &followed[..usize::try_from(own.0).unwrap()];
            assert!(earlier.iter().copied().eq(1..=own.0), "{own:?}: {followed:?}");
        })
    });
    for one in changes.collect::<Vec<_>>() {
        one.await.unwrap();
    }
    assert_eq!(followed.lock().len(), 300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_with_one_condition_exactly_one_wins() {
    let dir = folder();
    let store = Arc::new(create(dir.path()).await);
    let mut current = done(&store, change(vec![put("shared", "0")])).await;
    for round in 0..10_u8 {
        let tries = (0..50_u8).map(|index| {
            let store = Arc::clone(&store);
            let own = format!("own/{index}");
            let writes = vec![put("shared", [round, index]), put(&own, [round])];
            let change = on("shared", Condition::At(current), writes);
            tokio::spawn(async move { (index, store.commit(change).await.unwrap()) })
        });
        let mut winners = Vec::new();
        for one in tries.collect::<Vec<_>>() {
            if let (index, Committed::Done(generation)) = one.await.unwrap() {
                winners.push((index, generation));
            }
        }
        let [(_, generation)] = winners[..] else { unreachable!("one wins, not {winners:?}") };
        current = generation;
    }
    drop(store);
    assert_eq!(open(dir.path(), Some(current.0)).await.unwrap().0.sequence(), current.0);
}

#[tokio::test]
async fn changes_of_one_path_that_wait_together_are_done_in_order() {
    let dir = folder();
    let store = create(dir.path()).await;
    let all = (0..100_u8).map(|step| store.commit(change(vec![put("a", [step])])));
    let outcomes = join_all(all).await;
    let numbers: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
    let expected: Vec<_> = (1..=100).map(|number| Committed::Done(Generation(number))).collect();
    assert_eq!(numbers, expected);
    drop(store);
    assert_eq!(contents(&open(dir.path(), None).await.unwrap().1), [("a", [99].as_slice())]);
}

#[tokio::test]
async fn big_changes_share_no_transaction_but_are_all_done() {
    let dir = folder();
    let store = create(dir.path()).await;
    let big = |index: u8| change(vec![put(&format!("big/{index}"), vec![index; 400_000])]);
    for outcome in join_all((0..10).map(|index| store.commit(big(index)))).await {
        assert!(matches!(outcome, Ok(Committed::Done(_))), "{outcome:?}");
    }
    drop(store);
    assert_eq!(open(dir.path(), Some(10)).await.unwrap().1.len(), 10);
}

/// The one who began a transaction goes away in its midst; those behind it must not notice.
#[tokio::test]
async fn a_dropped_first_caller_strands_nobody() {
    let dir = folder();
    let faulty = Faulty::new(embedded(dir.path()));
    let store = Arc::new(over(faulty.clone()).await);
    for round in 0..20_u8 {
        let gate = Arc::new(Semaphore::new(0));
        faulty.next(Fault::Hold(gate.clone()));
        let at = format!("r/{round}");
        let followers = {
            let mut first = pin!(store.commit(change(vec![put(&at, "first")])));
            assert!(!poll_once(first.as_mut()), "it waits at the gate");
            let follow = |name: &str| {
                let (store, change) =
                    (store.clone(), change(vec![put(&format!("{at}/{name}"), [round])]));
                tokio::spawn(async move { store.commit(change).await })
            };
            let followers = [follow("x"), follow("y"), follow("z")];
            tokio::task::yield_now().await;
            followers
            // Here the first one is dropped, its transaction under way.
        };
        gate.add_permits(1);
        for follower in followers {
            let outcome = tokio::time::timeout(Duration::from_secs(20), follower).await;
            let outcome = outcome.expect("nobody is stranded").unwrap();
            assert!(matches!(outcome, Ok(Committed::Done(_))), "{outcome:?}");
        }
    }
    drop((store, faulty));
    let (_, records) = open(dir.path(), None).await.unwrap();
    assert_eq!(records.len(), 80, "a transaction once begun is done, its caller there or not");
}

/// As with a lock held by a future that nobody polls: the first caller is neither dropped nor
/// looked at again, and still holds up nobody.
#[tokio::test]
async fn a_first_caller_that_is_not_polled_holds_up_nobody() {
    let dir = folder();
    let faulty = Faulty::new(embedded(dir.path()));
    let store = over(faulty.clone()).await;
    let gate = Arc::new(Semaphore::new(0));
    faulty.next(Fault::Hold(gate.clone()));
    let mut first = pin!(store.commit(change(vec![put("a", "first")])));
    assert!(!poll_once(first.as_mut()));
    gate.add_permits(1);
    let second = store.commit(on("b", Condition::Absent, vec![put("b", "second")]));
    let second = tokio::time::timeout(Duration::from_secs(20), second).await;
    assert_eq!(second.expect("nobody holds it up").unwrap(), Committed::Done(Generation(2)));
    assert_eq!(first.await.unwrap(), Committed::Done(Generation(1)));
}

#[tokio::test]
async fn everybody_gone_in_the_midst_is_settled_by_the_next_caller() {
    let dir = folder();
    let faulty = Faulty::new(embedded(dir.path()));
    let store = over(faulty.clone()).await;
    let gate = Arc::new(Semaphore::new(0));
    faulty.next(Fault::Hold(gate.clone()));
    {
        let mut begun = pin!(store.commit(change(vec![put("a", "begun")])));
        assert!(!poll_once(begun.as_mut()));
        let mut waiting = pin!(store.commit(change(vec![put("b", "not begun")])));
        assert!(!poll_once(waiting.as_mut()));
    }
    gate.add_permits(1);
    let next = done(&store, on("a", Condition::At(Generation(1)), vec![put("c", "next")])).await;
    assert_eq!(next, Generation(2));
    drop((store, faulty));
    let (_, records) = open(dir.path(), Some(2)).await.unwrap();
    let expected: [(&str, &[u8]); 2] = [("a", b"begun"), ("c", b"next")];
    assert_eq!(contents(&records), expected, "what was not begun never happens");
}

#[tokio::test]
async fn more_than_may_wait_are_refused_as_busy() {
    let dir = folder();
    let faulty = Faulty::new(embedded(dir.path()));
    let store = over(faulty.clone()).await;
    let gate = Arc::new(Semaphore::new(0));
    faulty.next(Fault::Hold(gate.clone()));
    let mut first = pin!(store.commit(change(Vec::new())));
    assert!(!poll_once(first.as_mut()));
    let mut waiting: Vec<_> =
        (0..QUEUE_CHANGES_MAX).map(|_| Box::pin(store.commit(change(Vec::new())))).collect();
    assert!(waiting.iter_mut().all(|waiting| !poll_once(waiting.as_mut())));
    let refused = store.commit(change(Vec::new())).await;
    assert!(matches!(refused, Err(CommitError::Busy)), "{refused:?}");
    gate.add_permits(1);
    for outcome in join_all(waiting).await {
        assert!(matches!(outcome, Ok(Committed::Done(_))), "{outcome:?}");
    }
}
