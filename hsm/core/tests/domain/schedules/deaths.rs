//! Deaths and refusals of the store at every step of a run and of a removal.
//!
//! Whatever happened: every set that is remembered and not on its way out can be restored, and in
//! the end nothing lies there but what is remembered.

use std::sync::atomic::Ordering;
use std::time::Duration;

use casemate_hsm::backup::Plan;

use super::{HOUR, HOURLY, can_be_restored, clean, folders, run, set, shown};
use crate::bench::Bench;
use crate::shelf::Shelf;

/// Longer than any step takes.
const STEP: Duration = Duration::from_millis(250);

/// Two sets a chain, and one chain kept.
const PLAN: Plan = Plan { full_every: 2, keep_last: 1, ..HOURLY };

/// One chain, and a full backup after it: the chain is due for its removal.
async fn prepared() -> (Bench, Shelf) {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    bench.make("a", super::EC).await;
    set(&bench, PLAN).await;
    for _ in 0..3 {
        run(&bench, &shelf).await.unwrap();
        bench.wait(HOUR);
    }
    shelf.asked.store(0, Ordering::SeqCst);
    (bench, shelf)
}

/// A run, and all removals.
async fn work(bench: &Bench, shelf: &Shelf) {
    // A refusal is what the test is about.
    let _refused = bench.hsm.settle_runs().await;
    if let Some(due) = bench.hsm.due_run()
        && let Ok(begun) = bench.hsm.begin_run(&due, &bench.intent().await, "dev").await
    {
        let done = bench.hsm.back_up_scheduled(&due, &begun, shelf).await;
        let done = bench.hsm.note_run(&due, &begun, done).await;
        bench.hsm.end_run(begun, done).await;
    }
    let _refused = clean(bench, shelf).await;
}

/// After a day all is as it should be.
async fn heals(bench: Bench, shelf: &Shelf, what: &str) {
    let bench = bench.restart().await;
    bench.wait(24 * HOUR);
    for _ in 0..2 {
        run(&bench, shelf).await;
        clean(&bench, shelf).await.unwrap();
        bench.wait(HOUR);
    }
    let status = shown(&bench).status;
    assert_eq!((status.failures, status.unfinished), (0, 0), "{what}");
    assert!(status.running.is_none() && status.removal_failure.is_none(), "{what}");
    let lie_there = folders(shelf);
    assert_eq!(lie_there.len(), status.sets, "{what}: {lie_there:?}");
    assert!((1..=2).contains(&status.chains), "{what}: {}", status.chains);
    for folder in lie_there {
        assert!(can_be_restored(&bench, shelf, &folder).await, "{what}: {folder}");
    }
}

#[tokio::test]
async fn a_death_at_any_step_leaves_nothing_half_done_for_good() {
    let mut steps = 0;
    loop {
        let (bench, shelf) = prepared().await;
        shelf.hang_at.store(steps + 1, Ordering::SeqCst);
        let ended = tokio::time::timeout(STEP, work(&bench, &shelf)).await.is_ok();
        shelf.hang_at.store(0, Ordering::SeqCst);
        heals(bench, &shelf, &format!("a death at object {}", steps + 1)).await;
        if ended {
            break;
        }
        steps += 1;
    }
    // The base is read, then again with its chain; a part and the manifest are put; four go.
    assert!(steps >= 7, "{steps} steps were tried");
}

#[tokio::test]
async fn a_store_that_refuses_at_any_step_leaves_nothing_half_done_for_good() {
    let mut refused_at = 0;
    loop {
        let (bench, shelf) = prepared().await;
        let before = bench.store.commits();
        bench.store.refuse_after(Some(refused_at));
        work(&bench, &shelf).await;
        let done = bench.store.commits() - before;
        bench.store.refuse_after(None);
        heals(bench, &shelf, &format!("the store refused after {refused_at} changes")).await;
        if done < refused_at {
            break;
        }
        refused_at += 1;
    }
    assert!(refused_at >= 6, "{refused_at} steps were tried");
}

#[tokio::test]
async fn a_target_that_fails_at_any_step_leaves_nothing_half_done_for_good() {
    let mut steps = 0;
    loop {
        let (bench, shelf) = prepared().await;
        shelf.refuse_at.store(steps + 1, Ordering::SeqCst);
        work(&bench, &shelf).await;
        let asked = shelf.asked.load(Ordering::SeqCst);
        shelf.refuse_at.store(0, Ordering::SeqCst);
        heals(bench, &shelf, &format!("the target failed from object {} on", steps + 1)).await;
        if asked <= steps {
            break;
        }
        steps += 1;
    }
    assert!(steps >= 7, "{steps} steps were tried");
}
