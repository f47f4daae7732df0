//! What others have put, targets that keep or deny things, tokens that are set anew: a schedule
//! removes nothing but its own, goes on with what it can do, and says what it cannot.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use casemate_hsm::backup::{
    Folder, JobFailure, JobState, Objects, Plan, StartRefusal, TransferError,
};
use casemate_store_port::BoxFuture;

use super::{
    DAY, EC, HOUR, HOURLY, TOKEN, ask, can_be_restored, clean, failure, folder, folders,
    is_increment, next, request, run, set, status, target, try_set,
};
use crate::bench::{Bench, ROOT};
use crate::shelf::Shelf;

/// A run that began, and where it will put its set.
async fn begun(bench: &Bench) -> (casemate_hsm::backup::ScheduledRun, casemate_hsm::backup::Begun) {
    let run = bench.hsm.due_run().unwrap();
    let begun = bench.hsm.begin_run(&run, &bench.intent().await, "dev").await.unwrap();
    (run, begun)
}

#[tokio::test]
async fn what_lies_in_its_folder_and_is_anothers_stays() {
    // Another backup, whole; the parts of one; a manifest alone; and what is none at all.
    for objects in [&["manifest", "part-000000"][..], &["part-000000"], &["manifest"], &["x"]] {
        let (bench, shelf) = (Bench::new().await, Shelf::default());
        bench.make("a", EC).await;
        set(&bench, HOURLY).await;
        let whole = next(&bench, &shelf).await;
        bench.wait(HOUR);
        let (run, begun) = begun(&bench).await;
        let meant = begun.folder().name.clone();
        for object in objects {
            let bytes = match *object {
                "x" => b"no backup".to_vec(),
                object => shelf.get(&format!("{whole}/{object}")),
            };
            shelf.set(&format!("{meant}/{}", object.replace('x', "part-000000")), Some(bytes));
        }
        let before = shelf.objects.lock().unwrap().clone();
        let done = bench.hsm.back_up_scheduled(&run, &begun, &shelf).await;
        let taken = matches!(&done, Err(JobFailure::Transfer(TransferError::Taken(_))));
        assert!(taken, "{objects:?}: {done:?}");
        let done = bench.hsm.note_run(&run, &begun, done).await;
        let job = bench.hsm.end_run(begun, done).await;
        assert_eq!(failure(&job).0, "StorageAccountError");
        assert!(failure(&job).1.contains("nothing is ever put over one"), "{:?}", failure(&job));
        let put = shelf.objects.lock().unwrap().len() - before.len();
        clean(&bench, &shelf).await.unwrap();
        assert!(*shelf.objects.lock().unwrap() == before, "{objects:?}: {:?}", shelf.names());
        assert_eq!(shelf.removed.lock().unwrap().len(), put, "what it put itself went");
        assert_eq!((status(&bench).unfinished, status(&bench).sets), (0, 1));
        // The next run has a folder of its own.
        bench.wait(60);
        assert_eq!(super::run(&bench, &shelf).await.unwrap().state, JobState::Succeeded);
    }
}

#[tokio::test]
async fn what_another_put_into_its_folder_while_it_was_dead_stays() {
    let (bench, shelf) = (Bench::new().await, Arc::new(Shelf::default()));
    bench.make("a", EC).await;
    set(&bench, HOURLY).await;
    let whole = next(&bench, &shelf).await;
    bench.wait(HOUR);
    let (_, begun) = begun(&bench).await;
    // A whole backup of the same HSM, moved into the folder: it opens, and is of another run.
    for object in ["manifest", "part-000000"] {
        let bytes = shelf.get(&format!("{whole}/{object}"));
        shelf.set(&format!("{}/{object}", begun.folder().name), Some(bytes));
    }
    let before = shelf.objects.lock().unwrap().clone();
    let bench = bench.restart().await;
    bench.hsm.settle_runs().await.unwrap();
    assert_eq!(status(&bench).unfinished, 1);
    assert_eq!(clean(&bench, &shelf).await.unwrap(), 1);
    assert!(*shelf.objects.lock().unwrap() == before, "{:?}", shelf.names());
    assert!(shelf.removed.lock().unwrap().is_empty());
}

/// A target that says of every object that it is there.
#[derive(Default)]
struct Endless {
    asked: std::sync::atomic::AtomicUsize,
    removed: std::sync::atomic::AtomicUsize,
}

impl Objects for Endless {
    fn put<'a>(
        &'a self,
        _: &'a Folder,
        _: &'a str,
        _: Vec<u8>,
    ) -> BoxFuture<'a, Result<(), TransferError>> {
        Box::pin(async { Err(TransferError::Refused("no".to_owned())) })
    }

    fn get<'a>(
        &'a self,
        _: &'a Folder,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Vec<u8>, TransferError>> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            match asked % 2 {
                0 => Err(TransferError::TooLong),
                _ => Ok(name.as_bytes().to_vec()),
            }
        })
    }

    fn remove<'a>(&'a self, _: &'a Folder, _: &'a str) -> BoxFuture<'a, Result<(), TransferError>> {
        self.removed.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test]
async fn a_target_that_lists_without_end_is_not_asked_without_end() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    set(&bench, HOURLY).await;
    shelf.refuse_at.store(1, Ordering::SeqCst);
    run(&bench, &shelf).await.unwrap();
    let endless = Endless::default();
    let removal = bench.hsm.due_removal().unwrap();
    bench.hsm.remove_set(&removal, &bench.intent().await, &endless).await.unwrap();
    assert_eq!(endless.asked.load(Ordering::SeqCst), 2, "the manifest, and the first part");
    assert_eq!(endless.removed.load(Ordering::SeqCst), 0, "nothing of it was put by the run");
    assert_eq!(status(&bench).unfinished, 0);
}

#[tokio::test]
async fn a_run_that_was_asked_for_and_cannot_begin_fails_once_and_waits() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    set(&bench, HOURLY).await;
    next(&bench, &shelf).await;
    bench.wait(1);
    ask(&bench).await.unwrap();
    let due = bench.hsm.due_run().expect("it was asked for");
    let engine = casemate_engine_port::EngineError::Failed("random");
    let refused = JobFailure::NotBegun(Arc::new(StartRefusal::Engine(engine)));
    bench.hsm.fail_run(&due, &refused).await.unwrap();
    assert!(bench.hsm.due_run().is_none(), "it is not begun again at once");
    let told = status(&bench);
    let why = told.last_failure.unwrap();
    assert_eq!((told.failures, why.code.as_str()), (1, "InternalServerError"));
    assert_eq!((why.message, why.at), (refused.to_string(), bench.hsm.now()));
    for wait in [60, 120, 240] {
        bench.wait(wait - 1);
        assert!(bench.hsm.due_run().is_none(), "{wait}");
        bench.wait(1);
        let due = bench.hsm.due_run().expect("it is tried again");
        bench.hsm.fail_run(&due, &refused).await.unwrap();
    }
    let bench = bench.restart().await;
    assert!(bench.hsm.due_run().is_none(), "nor after a restart");
    ask(&bench).await.unwrap();
    assert_eq!(run(&bench, &shelf).await.unwrap().state, JobState::Succeeded, "asked anew");
}

#[tokio::test]
async fn a_run_that_was_asked_for_waits_for_the_job_under_way_and_is_not_lost() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    set(&bench, HOURLY).await;
    next(&bench, &shelf).await;
    ask(&bench).await.unwrap();
    let due = bench.hsm.due_run().unwrap();
    let permit = bench.permit::<casemate_hsm::rbac::act::BackupStart>(ROOT, "/");
    let intent = bench.intent().await;
    let other = bench.hsm.begin_backup(&permit, &intent, "dev", target(), None).await.unwrap();
    let busy = bench.hsm.begin_run(&due, &intent, "dev").await.unwrap_err();
    bench.hsm.fail_run(&due, &busy).await.unwrap();
    assert_eq!(status(&bench).failures, 0, "being busy is no failure");
    assert!(bench.hsm.due_run().is_none(), "nothing is tried while it is under way");
    bench.hsm.end_job(other, Err(JobFailure::NotRecorded)).await;
    assert_eq!(run(&bench, &shelf).await.unwrap().state, JobState::Succeeded);
    assert!(bench.hsm.due_run().is_none());
}

#[tokio::test]
async fn a_backup_whose_end_was_not_stored_is_not_told_as_one() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    bench.make("a", EC).await;
    set(&bench, HOURLY).await;
    let (run, begun) = begun(&bench).await;
    let done = bench.hsm.back_up_scheduled(&run, &begun, &shelf).await;
    assert!(done.is_ok());
    bench.store.refuse_after(Some(0));
    let done = bench.hsm.note_run(&run, &begun, done).await;
    assert!(matches!(&done, Err(JobFailure::Store(_))), "{done:?}");
    bench.store.refuse_after(None);
    let job = bench.hsm.end_run(begun, done).await;
    assert_eq!(failure(&job).0, "InternalServerError");
    assert_eq!(job.folder, None, "no place is told");
    bench.hsm.settle_runs().await.unwrap();
    let told = status(&bench);
    assert_eq!((told.sets, told.last_folder, told.failures), (0, None, 1));
    assert_eq!(told.last_failure.unwrap().code, "Interrupted");
    assert_eq!(clean(&bench, &shelf).await.unwrap(), 1, "what is no set is removed, being its own");
    assert!(shelf.names().is_empty(), "{:?}", shelf.names());
}

#[tokio::test]
async fn a_manifest_that_was_not_put_makes_no_set() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    bench.make("a", EC).await;
    set(&bench, HOURLY).await;
    let (run, begun) = begun(&bench).await;
    shelf.set(&format!("{}/manifest", begun.folder().name), Some(b"another's".to_vec()));
    let done = bench.hsm.back_up_scheduled(&run, &begun, &shelf).await;
    let done = bench.hsm.note_run(&run, &begun, done).await;
    let job = bench.hsm.end_run(begun, done).await;
    assert!(matches!(job.state, JobState::Failed { .. }));
    let told = status(&bench);
    assert_eq!((told.sets, told.last_folder, told.last_success), (0, None, None));
}

/// Removes all that is due at this moment, whatever fails; how many removals were tried.
async fn clean_all(bench: &Bench, shelf: &Shelf) -> usize {
    let mut tried = 0;
    while let Some(removal) = bench.hsm.due_removal() {
        // Of what the target keeps the status tells.
        let _kept = bench.hsm.remove_set(&removal, &bench.intent().await, shelf).await;
        tried += 1;
        assert!(tried < 1_000, "it never ends");
    }
    tried
}

#[tokio::test]
async fn what_the_target_keeps_holds_up_nothing_else_and_is_told() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    bench.make("a", EC).await;
    set(&bench, Plan { full_every: 1, keep_last: 1, ..HOURLY }).await;
    // The first run leaves a part, which the target keeps.
    shelf.refuse_at.store(2, Ordering::SeqCst);
    run(&bench, &shelf).await.unwrap();
    shelf.refuse_at.store(0, Ordering::SeqCst);
    let left = folders(&shelf)[0].clone();
    let mut made = Vec::new();
    for _ in 0..4 {
        made.push(next(&bench, &shelf).await);
    }
    shelf.kept.lock().unwrap().extend([left.clone(), made[1].clone()]);
    assert_eq!(clean_all(&bench, &shelf).await, 4);
    assert_eq!(
        folders(&shelf),
        [left.clone(), made[1].clone(), made[3].clone()],
        "all others went"
    );
    let told = status(&bench);
    let why = told.removal_failure.unwrap();
    assert_eq!((told.kept, told.unfinished, told.sets), (2, 1, 2));
    assert_eq!(why.message, "no, it is kept");
    assert_eq!(clean_all(&bench, &shelf).await, 0, "it is not asked all the time");
    let fifth = next(&bench, &shelf).await;
    assert_eq!(clean_all(&bench, &shelf).await, 3, "an hour later: both again, and the next");
    assert_eq!(folders(&shelf), [left.clone(), made[1].clone(), fifth.clone()]);
    let bench = bench.restart().await;
    assert_eq!(status(&bench).kept, 2);
    assert!(status(&bench).removal_failure.is_some(), "another's removal does not hide it");
    shelf.kept.lock().unwrap().clear();
    bench.wait(DAY);
    clean_all(&bench, &shelf).await;
    assert_eq!(folders(&shelf), [fifth]);
    let told = status(&bench);
    assert_eq!((told.kept, told.unfinished, told.removal_failure), (0, 0, None));
}

#[tokio::test]
async fn a_target_that_lets_nothing_go_is_not_asked_about_all_of_it_each_hour() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    set(&bench, Plan { full_every: 1, keep_last: 1, ..HOURLY }).await;
    for _ in 0..40 {
        next(&bench, &shelf).await;
    }
    shelf.is_immutable.store(true, Ordering::SeqCst);
    assert_eq!(clean_all(&bench, &shelf).await, 17, "then it is given up for a while");
    assert_eq!(status(&bench).kept, 17);
    bench.wait(HOUR - 1);
    assert_eq!(clean_all(&bench, &shelf).await, 0);
    bench.wait(1);
    assert_eq!(clean_all(&bench, &shelf).await, 1);
    assert_eq!(status(&bench).kept, 18, "one that was not tried yet comes first");
    shelf.is_immutable.store(false, Ordering::SeqCst);
    bench.wait(2 * DAY);
    clean_all(&bench, &shelf).await;
    assert_eq!((folders(&shelf).len(), status(&bench).kept), (1, 0));
}

#[tokio::test]
async fn a_token_that_is_set_anew_opens_the_target_from_the_next_object_on() {
    let (bench, shelf) = (Bench::new().await, Arc::new(Shelf::default()));
    bench.make("a", EC).await;
    let plan = Plan { full_every: 1, keep_last: 1, ..HOURLY };
    set(&bench, plan).await;
    let (run, begun) = begun(&bench).await;
    let gate = shelf.gate.lock().await;
    let meanwhile = async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let anew = request(target().uri(), Some("sig=anew"), plan);
        try_set(&bench, ROOT, "hourly", anew).await.unwrap();
        drop(gate);
    };
    let (done, ()) = tokio::join!(bench.hsm.back_up_scheduled(&run, &begun, &*shelf), meanwhile);
    let done = bench.hsm.note_run(&run, &begun, done).await;
    assert_eq!(bench.hsm.end_run(begun, done).await.state, JobState::Succeeded);
    let opened = std::mem::take(&mut *shelf.opened.lock().unwrap());
    assert_eq!(opened, [TOKEN, "sig=anew"], "the part was on its way, the manifest was not");
    next(&bench, &shelf).await;
    let removal = bench.hsm.due_removal().unwrap();
    let last = request(target().uri(), Some("sig=last"), plan);
    try_set(&bench, ROOT, "hourly", last).await.unwrap();
    shelf.opened.lock().unwrap().clear();
    bench.hsm.remove_set(&removal, &bench.intent().await, &*shelf).await.unwrap();
    let opened = std::mem::take(&mut *shelf.opened.lock().unwrap());
    assert_eq!(opened, ["sig=last", "sig=last"], "a removal, too");
}

#[tokio::test]
async fn a_base_that_may_not_be_read_makes_a_full_backup() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    bench.make("a", EC).await;
    set(&bench, Plan { full_every: 100, ..HOURLY }).await;
    next(&bench, &shelf).await;
    *shelf.unreadable.lock().unwrap() = Some(TransferError::Denied("may not".to_owned()));
    bench.wait(HOUR);
    let job = run(&bench, &shelf).await.unwrap();
    assert_eq!(job.state, JobState::Succeeded);
    assert!(!is_increment(&job), "{}", job.details);
    *shelf.unreadable.lock().unwrap() = None;
    assert!(can_be_restored(&bench, &shelf, &folder(&job)).await);
}

#[tokio::test]
async fn a_base_that_cannot_be_reached_fails_with_its_reason_and_not_for_ever() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    bench.make("a", EC).await;
    set(&bench, Plan { full_every: 100, ..HOURLY }).await;
    next(&bench, &shelf).await;
    bench.wait(HOUR);
    *shelf.unreadable.lock().unwrap() = Some(TransferError::Refused("it is frozen".to_owned()));
    for wait in [60, 120, 240] {
        let job = run(&bench, &shelf).await.unwrap();
        assert_eq!(failure(&job), ("StorageAccountError", "it is frozen"), "{wait}");
        bench.wait(wait);
    }
    let job = run(&bench, &shelf).await.unwrap();
    assert_eq!(job.state, JobState::Succeeded);
    assert!(!is_increment(&job), "{}", job.details);
    assert_eq!(status(&bench).failures, 0);
    *shelf.unreadable.lock().unwrap() = None;
    bench.wait(HOUR);
    assert!(is_increment(&run(&bench, &shelf).await.unwrap()), "and then as before");
}

#[tokio::test]
async fn a_base_that_cannot_be_reached_for_a_moment_makes_no_full_backup() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    bench.make("a", EC).await;
    set(&bench, Plan { full_every: 100, ..HOURLY }).await;
    next(&bench, &shelf).await;
    bench.wait(HOUR);
    *shelf.unreadable.lock().unwrap() = Some(TransferError::Refused("no answer".to_owned()));
    run(&bench, &shelf).await.unwrap();
    bench.wait(60);
    run(&bench, &shelf).await.unwrap();
    bench.wait(120);
    *shelf.unreadable.lock().unwrap() = None;
    let job = run(&bench, &shelf).await.unwrap();
    assert!(is_increment(&job), "{}", job.details);
}
