//! Schedules: what they make, what they remove, and what becomes of them when something fails.

mod deaths;
mod faults;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use casemate_engine_port::{Curve, KeySpec};
use casemate_hsm::backup::{
    Job, JobFailure, JobState, Plan, RemovalFailure, ScheduleAccess, ScheduleName, ScheduleRefusal,
    ScheduleRequest, ScheduleStatus, ScheduleView, StartRefusal,
};
use casemate_hsm::rbac::act;
use casemate_hsm::{CommitRefusal, UnixSeconds};
use uuid::Uuid;

use crate::bench::{Bench, ROOT};
use crate::full_backup::{back_up, grant, read, restore, take_away, target};
use crate::shelf::Shelf;

const EC: KeySpec = KeySpec::Ec(Curve::P256);
const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
const TOKEN: &str = "sig=hunter2";

/// Each hour, three sets a chain; of chains the last two, and nothing for its age.
const HOURLY: Plan = Plan {
    every_minutes: 60,
    offset_minutes: 0,
    full_every: 3,
    keep_days: 0,
    keep_last: 2,
    enabled: true,
};

pub(super) fn named(name: &str) -> ScheduleName {
    ScheduleName::parse(name).unwrap()
}

fn request(uri: &str, token: Option<&str>, plan: Plan) -> ScheduleRequest {
    let access =
        token.map_or(ScheduleAccess::Kept, |token| ScheduleAccess::Token(token.to_owned()));
    ScheduleRequest { uri: uri.to_owned(), access, plan }
}

async fn try_set(
    bench: &Bench,
    who: Uuid,
    name: &str,
    request: ScheduleRequest,
) -> Result<ScheduleView, ScheduleRefusal> {
    let settings = bench.permit::<act::SettingsWrite>(who, "/");
    let backup = bench.permit::<act::BackupStart>(who, "/");
    let intent = bench.intent().await;
    bench.hsm.set_schedule((&settings, &backup), &intent, &named(name), &request).await
}

pub(super) async fn set(bench: &Bench, plan: Plan) {
    let request = request(target().uri(), Some(TOKEN), plan);
    try_set(bench, ROOT, "hourly", request).await.unwrap();
}

async fn ask(bench: &Bench) -> Result<ScheduleView, ScheduleRefusal> {
    let settings = bench.permit::<act::SettingsWrite>(ROOT, "/");
    let backup = bench.permit::<act::BackupStart>(ROOT, "/");
    let intent = bench.intent().await;
    bench.hsm.ask_schedule((&settings, &backup), &intent, &named("hourly")).await
}

async fn remove(bench: &Bench) -> Result<ScheduleView, ScheduleRefusal> {
    let settings = bench.permit::<act::SettingsWrite>(ROOT, "/");
    bench.hsm.remove_schedule(&settings, &bench.intent().await, &named("hourly")).await
}

pub(super) fn shown(bench: &Bench) -> ScheduleView {
    let settings = bench.permit::<act::SettingsWrite>(ROOT, "/");
    bench.hsm.show_schedule(&settings, &named("hourly")).unwrap()
}

fn status(bench: &Bench) -> ScheduleStatus {
    shown(bench).status
}

/// A run, if one is due, as the partition makes it.
pub(super) async fn run(bench: &Bench, shelf: &Shelf) -> Option<Job> {
    bench.hsm.settle_runs().await.unwrap();
    let run = bench.hsm.due_run()?;
    let begun = bench.hsm.begin_run(&run, &bench.intent().await, "dev").await.unwrap();
    let done = bench.hsm.back_up_scheduled(&run, &begun, shelf).await;
    let done = bench.hsm.note_run(&run, &begun, done).await;
    Some(bench.hsm.end_run(begun, done).await)
}

/// Removes what is due, until nothing is or something fails.
pub(super) async fn clean(bench: &Bench, shelf: &Shelf) -> Result<usize, RemovalFailure> {
    let mut done = 0;
    while let Some(removal) = bench.hsm.due_removal() {
        bench.hsm.remove_set(&removal, &bench.intent().await, shelf).await?;
        done += 1;
    }
    Ok(done)
}

/// An hour later: the run that is due, and its folder.
async fn next(bench: &Bench, shelf: &Shelf) -> String {
    bench.wait(HOUR);
    let job = run(bench, shelf).await.unwrap();
    assert_eq!(job.state, JobState::Succeeded);
    folder(&job)
}

fn folder(job: &Job) -> String {
    job.folder.as_ref().unwrap().rsplit('/').next().unwrap().to_owned()
}

fn is_increment(job: &Job) -> bool {
    job.details.contains("were changed since")
}

/// The folders that hold something.
pub(super) fn folders(shelf: &Shelf) -> Vec<String> {
    let mut all: Vec<String> =
        shelf.names().iter().map(|name| name.split('/').next().unwrap().to_owned()).collect();
    all.dedup();
    all
}

/// Reads the whole backup.
pub(super) async fn can_be_restored(bench: &Bench, shelf: &Shelf, folder: &str) -> bool {
    let permit = bench.permit::<act::RestoreStart>(ROOT, "/");
    let intent = bench.intent().await;
    let begun = bench.hsm.begin_restore_check(&permit, &intent, &target(), folder).await.unwrap();
    let done = bench.hsm.check_restore(&begun, shelf).await;
    bench.hsm.end_job(begun, done).await.state == JobState::Succeeded
}

fn failure(job: &Job) -> (&str, &str) {
    match &job.state {
        JobState::Failed { code, message } => (code, message),
        JobState::InProgress | JobState::Succeeded => ("", ""),
    }
}

#[tokio::test]
async fn full_backups_and_increments_are_made_in_turn_and_hold_everything() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    set(&bench, HOURLY).await;
    let mut kinds = Vec::new();
    let mut last = String::new();
    for at in 0..7 {
        bench.make(&format!("k{at}"), EC).await;
        let job = run(&bench, &shelf).await.unwrap();
        kinds.push(is_increment(&job));
        last = folder(&job);
        assert!(run(&bench, &shelf).await.is_none(), "once an hour");
        bench.wait(HOUR);
    }
    assert_eq!(kinds, [false, true, true, false, true, true, false]);
    let view = status(&bench);
    assert_eq!((view.sets, view.chains, view.failures), (7, 3, 0));
    assert_eq!(view.last_folder, Some(last));
    for folder in folders(&shelf) {
        assert!(can_be_restored(&bench, &shelf, &folder).await, "{folder}");
    }
    let increment = folders(&shelf)[5].clone();
    let (bench, ..) = restore(bench, ROOT, &shelf, &increment).await;
    assert!(read(&bench, "k5").is_some() && read(&bench, "k6").is_none());
    // A schedule is the HSM's own: a restore leaves it as it was, and it goes on.
    assert_eq!(status(&bench).sets, 7);
    let job = run(&bench, &shelf).await.unwrap();
    assert!(is_increment(&job), "{}", job.details);
    assert!(can_be_restored(&bench, &shelf, &folder(&job)).await);
}

#[tokio::test]
async fn a_restart_forgets_nothing_and_missed_runs_are_made_once() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    set(&bench, HOURLY).await;
    run(&bench, &shelf).await.unwrap();
    let bench = bench.restart().await;
    assert!(run(&bench, &shelf).await.is_none());
    bench.wait(9 * HOUR);
    let bench = bench.restart().await;
    let job = run(&bench, &shelf).await.unwrap();
    assert!(is_increment(&job), "it knows its base");
    assert!(run(&bench, &shelf).await.is_none());
    ask(&bench).await.unwrap();
    let bench = bench.restart().await;
    assert!(run(&bench, &shelf).await.is_some(), "what was asked for is not forgotten");
    assert!(run(&bench, &shelf).await.is_none());
}

#[tokio::test]
async fn whole_chains_go_from_their_newest_set_on_and_nothing_else_does() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    bench.make("a", EC).await;
    let own = back_up(&bench, &shelf).await;
    set(&bench, HOURLY).await;
    let mut made = Vec::new();
    for _ in 0..6 {
        made.push(next(&bench, &shelf).await);
        assert_eq!(clean(&bench, &shelf).await.unwrap(), 0);
    }
    made.push(next(&bench, &shelf).await);
    assert_eq!(clean(&bench, &shelf).await.unwrap(), 3);
    let gone = ["manifest", "part-000000"];
    let gone: Vec<String> = [&made[2], &made[1], &made[0]]
        .iter()
        .flat_map(|folder| gone.map(|object| format!("{folder}/{object}")))
        .collect();
    assert_eq!(*shelf.removed.lock().unwrap(), gone);
    assert_eq!(folders(&shelf), [&[own][..], &made[3..]].concat());
    for folder in folders(&shelf) {
        assert!(can_be_restored(&bench, &shelf, &folder).await, "{folder}");
    }
    assert_eq!((status(&bench).sets, status(&bench).chains), (4, 2));
    assert_eq!(clean(&bench, &shelf).await.unwrap(), 0);
}

#[tokio::test]
async fn a_chain_is_kept_for_its_days() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    let plan = Plan { full_every: 2, keep_days: 1, keep_last: 1, ..HOURLY };
    set(&bench, plan).await;
    let first = next(&bench, &shelf).await;
    let second = next(&bench, &shelf).await;
    let third = next(&bench, &shelf).await;
    bench.wait(DAY - HOUR - 1);
    assert_eq!(clean(&bench, &shelf).await.unwrap(), 0);
    bench.wait(1);
    assert_eq!(clean(&bench, &shelf).await.unwrap(), 2, "a day after its newest set");
    assert!(!folders(&shelf).contains(&first) && !folders(&shelf).contains(&second));
    bench.wait(1_000 * DAY);
    assert_eq!(clean(&bench, &shelf).await.unwrap(), 0, "the last one stays");
    assert_eq!(folders(&shelf), [third]);
    let disabled = Plan { enabled: false, ..plan };
    next(&bench, &shelf).await;
    next(&bench, &shelf).await;
    bench.wait(2 * DAY);
    set(&bench, disabled).await;
    assert!(bench.hsm.due_removal().is_none(), "nothing is removed while it is disabled");
}

#[tokio::test]
async fn where_the_base_is_gone_or_another_a_full_backup_is_made() {
    let plan = Plan { full_every: 100, ..HOURLY };
    for harm in 0..4 {
        let (bench, shelf) = (Bench::new().await, Shelf::default());
        bench.make("a", EC).await;
        let elsewhere = back_up(&bench, &shelf).await;
        set(&bench, plan).await;
        let first = next(&bench, &shelf).await;
        let second = next(&bench, &shelf).await;
        let harmed = if harm == 3 { &first } else { &second };
        let manifest = format!("{harmed}/manifest");
        let mut altered = shelf.get(&manifest);
        *altered.last_mut().unwrap() ^= 1;
        shelf.set(
            &manifest,
            match harm {
                0 => None,
                1 => Some(altered),
                2 => Some(shelf.get(&format!("{elsewhere}/manifest"))),
                _ => None,
            },
        );
        bench.wait(HOUR);
        let job = run(&bench, &shelf).await.unwrap();
        assert_eq!(job.state, JobState::Succeeded, "harm {harm}");
        assert!(!is_increment(&job), "harm {harm}: {}", job.details);
        assert!(can_be_restored(&bench, &shelf, &folder(&job)).await);
        assert_eq!(status(&bench).chains, 2);
        bench.wait(HOUR);
        let job = run(&bench, &shelf).await.unwrap();
        assert!(is_increment(&job), "and the next one rests on that");
        assert!(can_be_restored(&bench, &shelf, &folder(&job)).await);
    }
}

#[tokio::test]
async fn a_target_that_fails_is_told_tried_again_and_cleaned() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    bench.make("a", EC).await;
    set(&bench, HOURLY).await;
    // The part is put, the manifest is not.
    shelf.refuse_at.store(2, Ordering::SeqCst);
    let job = run(&bench, &shelf).await.unwrap();
    assert_eq!(failure(&job), ("StorageAccountError", "no"));
    let left = folders(&shelf);
    assert_eq!(left.len(), 1);
    let told = status(&bench);
    let why = told.last_failure.unwrap();
    assert_eq!((told.failures, told.sets, told.unfinished), (1, 0, 1));
    assert_eq!((why.code.as_str(), why.message.as_str()), ("StorageAccountError", "no"));
    assert_eq!(why.at, bench.hsm.now());
    for wait in [60, 120, 240, 480, 960] {
        bench.wait(wait - 1);
        assert!(run(&bench, &shelf).await.is_none(), "{wait}");
        bench.wait(1);
        assert!(run(&bench, &shelf).await.is_some(), "{wait}");
    }
    assert_eq!(status(&bench).failures, 6);
    let bench = bench.restart().await;
    assert_eq!(status(&bench).failures, 6, "a restart does not hide it");
    shelf.refuse_at.store(0, Ordering::SeqCst);
    assert_eq!(clean(&bench, &shelf).await.unwrap(), 6, "what unfinished runs left");
    assert!(shelf.names().is_empty(), "{:?}", shelf.names());
    ask(&bench).await.unwrap();
    let job = run(&bench, &shelf).await.unwrap();
    assert_eq!(job.state, JobState::Succeeded);
    let told = status(&bench);
    assert_eq!((told.failures, told.unfinished), (0, 0));
    assert!(told.last_failure.is_some(), "when it failed last stays known");
    assert!(!folders(&shelf).contains(&left[0]));
}

#[tokio::test]
async fn what_an_immutable_target_keeps_is_told_and_removed_when_it_may_be() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    set(&bench, Plan { full_every: 1, keep_last: 1, ..HOURLY }).await;
    let first = next(&bench, &shelf).await;
    let second = next(&bench, &shelf).await;
    shelf.is_immutable.store(true, Ordering::SeqCst);
    let refused = clean(&bench, &shelf).await;
    assert!(matches!(refused, Err(RemovalFailure::Transfer(_))));
    let told = status(&bench);
    let why = told.removal_failure.unwrap();
    assert_eq!(
        (why.code.as_str(), why.message.as_str()),
        ("StorageAccountError", "no, it is kept")
    );
    assert_eq!((told.sets, told.failures), (2, 0), "that is no failure of a run");
    bench.wait(HOUR - 1);
    assert!(bench.hsm.due_removal().is_none(), "it is not asked all the time");
    bench.wait(1);
    assert!(bench.hsm.due_removal().is_some());
    assert!(can_be_restored(&bench, &shelf, &first).await, "what it keeps is a backup");
    // Nothing rests on what is on its way out; runs go on meanwhile.
    let third = next(&bench, &shelf).await;
    shelf.is_immutable.store(false, Ordering::SeqCst);
    bench.wait(DAY);
    assert_eq!(clean(&bench, &shelf).await.unwrap(), 2);
    assert!(status(&bench).removal_failure.is_none());
    assert_eq!(folders(&shelf), [third]);
    assert_ne!(first, second);
}

#[tokio::test]
async fn one_job_at_a_time_and_being_busy_is_no_failure() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    set(&bench, Plan { full_every: 1, keep_last: 1, ..HOURLY }).await;
    next(&bench, &shelf).await;
    next(&bench, &shelf).await;
    bench.wait(HOUR);
    let (run, removal) = (bench.hsm.due_run().unwrap(), bench.hsm.due_removal().unwrap());
    let permit = bench.permit::<act::BackupStart>(ROOT, "/");
    let intent = bench.intent().await;
    let begun = bench.hsm.begin_backup(&permit, &intent, "dev", target(), None).await.unwrap();
    assert!(bench.hsm.due_run().is_none() && bench.hsm.due_removal().is_none());
    let busy = bench.hsm.begin_run(&run, &intent, "dev").await.unwrap_err();
    let is_busy = |refusal: &StartRefusal| matches!(refusal, StartRefusal::Busy(_));
    assert!(matches!(&busy, JobFailure::NotBegun(refusal) if is_busy(refusal)), "{busy}");
    bench.hsm.fail_run(&run, &busy).await.unwrap();
    let removed = bench.hsm.remove_set(&removal, &intent, &shelf).await;
    assert!(matches!(removed, Err(RemovalFailure::Busy)), "a restore may read it");
    assert!(shelf.removed.lock().unwrap().is_empty());
    let told = status(&bench);
    assert_eq!((told.failures, told.removal_failure), (0, None));
    bench.hsm.end_job(begun, Err(JobFailure::NotRecorded)).await;
    assert!(bench.hsm.due_run().is_some() && bench.hsm.due_removal().is_some());
}

/// What an Administrator does to a schedule while it runs.
async fn end(bench: &Bench, how: usize) {
    match how {
        0 => drop(remove(bench).await.unwrap()),
        1 => set(bench, Plan { enabled: false, ..HOURLY }).await,
        2 => {
            let elsewhere = request("https://b.example/c", Some(TOKEN), HOURLY);
            try_set(bench, ROOT, "hourly", elsewhere).await.unwrap();
        }
        _ => {
            remove(bench).await.unwrap();
            set(bench, HOURLY).await;
        }
    }
}

#[tokio::test]
async fn a_schedule_that_is_ended_while_it_runs_sends_nothing_more() {
    for how in 0..4 {
        let (bench, shelf) = (Bench::new().await, Arc::new(Shelf::default()));
        bench.make("a", EC).await;
        set(&bench, HOURLY).await;
        let run = bench.hsm.due_run().unwrap();
        let begun = bench.hsm.begin_run(&run, &bench.intent().await, "dev").await.unwrap();
        let gate = shelf.gate.lock().await;
        let meanwhile = async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            end(&bench, how).await;
            drop(gate);
        };
        let (done, ()) =
            tokio::join!(bench.hsm.back_up_scheduled(&run, &begun, &*shelf), meanwhile);
        assert!(matches!(done, Err(JobFailure::ScheduleEnded)), "{how}");
        assert!(shelf.names().iter().all(|name| !name.ends_with("manifest")), "{how}");
        let done = bench.hsm.note_run(&run, &begun, done).await;
        let job = bench.hsm.end_run(begun, done).await;
        assert_eq!(failure(&job).0, "ScheduleEnded");
        if how > 0 {
            assert_eq!((status(&bench).failures, status(&bench).sets), (0, 0), "{how}");
        }
        let again = bench.hsm.begin_run(&run, &bench.intent().await, "dev").await;
        let ended = matches!(again, Err(JobFailure::ScheduleEnded));
        assert!(ended, "an old run is none of the new schedule: {how}");
    }
}

#[tokio::test]
async fn a_schedule_that_is_ended_removes_nothing_more() {
    for how in 0..4 {
        let (bench, shelf) = (Bench::new().await, Shelf::default());
        set(&bench, Plan { full_every: 1, keep_last: 1, ..HOURLY }).await;
        next(&bench, &shelf).await;
        next(&bench, &shelf).await;
        let removal = bench.hsm.due_removal().unwrap();
        end(&bench, how).await;
        let removed = bench.hsm.remove_set(&removal, &bench.intent().await, &shelf).await;
        assert!(matches!(removed, Err(RemovalFailure::ScheduleEnded)), "{how}");
        assert_eq!(folders(&shelf).len(), 2, "{how}");
        assert!(bench.hsm.due_removal().is_none(), "what others made is not removed: {how}");
    }
}

#[tokio::test]
async fn a_set_that_is_to_be_kept_after_all_is_left_alone() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    let plan = Plan { full_every: 1, keep_last: 1, ..HOURLY };
    set(&bench, plan).await;
    next(&bench, &shelf).await;
    next(&bench, &shelf).await;
    let removal = bench.hsm.due_removal().unwrap();
    set(&bench, Plan { keep_last: 2, ..plan }).await;
    let removed = bench.hsm.remove_set(&removal, &bench.intent().await, &shelf).await;
    assert!(matches!(removed, Err(RemovalFailure::ScheduleEnded)));
    assert_eq!((folders(&shelf).len(), status(&bench).sets), (2, 2));
    assert!(shelf.removed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_change_of_the_plan_keeps_what_was_made_and_another_place_begins_anew() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    set(&bench, HOURLY).await;
    next(&bench, &shelf).await;
    let plan = Plan { keep_last: 3, ..HOURLY };
    let view = try_set(&bench, ROOT, "hourly", request(target().uri(), None, plan)).await.unwrap();
    assert_eq!((view.status.sets, view.plan.keep_last, view.set_by), (1, 3, ROOT));
    bench.wait(HOUR);
    let run = bench.hsm.due_run().unwrap();
    assert_eq!(run.target().expose_token(), TOKEN, "the token was kept");
    assert!(run.base().is_some());
    let elsewhere = request("https://b.example/c", None, plan);
    let refused = try_set(&bench, ROOT, "hourly", elsewhere).await;
    assert!(matches!(refused, Err(ScheduleRefusal::TokenIsNeeded)));
    let elsewhere = request("https://b.example/c", Some("sig=2"), plan);
    let view = try_set(&bench, ROOT, "hourly", elsewhere).await.unwrap();
    assert_eq!((view.status.sets, view.status.last_run), (0, None));
    assert!(bench.hsm.due_run().unwrap().base().is_none());
    // Back again: what lies there was forgotten, and is no base and nothing to remove.
    set(&bench, HOURLY).await;
    assert_eq!(status(&bench).sets, 0);
}

#[tokio::test]
async fn a_permit_that_fell_sets_and_asks_for_nothing() {
    let bench = Bench::new().await;
    set(&bench, HOURLY).await;
    let admin = Uuid::from_u128(92);
    let role = grant(&bench, admin, "Administrator").await;
    let settings = bench.permit::<act::SettingsWrite>(admin, "/");
    let backup = bench.permit::<act::BackupStart>(admin, "/");
    take_away(&bench, role).await;
    grant(&bench, admin, "Backup User").await;
    let (intent, name) = (bench.intent().await, named("other"));
    let request = request(target().uri(), Some(TOKEN), HOURLY);
    let permits = (&settings, &backup);
    let fell = |refusal: ScheduleRefusal| {
        let is = matches!(refusal, ScheduleRefusal::Commit(CommitRefusal::NotAuthorized(_)));
        assert!(is, "{refusal}");
    };
    fell(bench.hsm.set_schedule(permits, &intent, &name, &request).await.unwrap_err());
    fell(bench.hsm.ask_schedule(permits, &intent, &named("hourly")).await.unwrap_err());
    fell(bench.hsm.remove_schedule(&settings, &intent, &named("hourly")).await.unwrap_err());
    // Whose right to back up alone has fallen, either.
    let own = bench.permit::<act::SettingsWrite>(ROOT, "/");
    let gone = Uuid::from_u128(93);
    let role = grant(&bench, gone, "Backup User").await;
    let fallen = bench.permit::<act::BackupStart>(gone, "/");
    take_away(&bench, role).await;
    let permits = (&own, &fallen);
    fell(bench.hsm.set_schedule(permits, &intent, &name, &request).await.unwrap_err());
    fell(bench.hsm.ask_schedule(permits, &intent, &named("hourly")).await.unwrap_err());
    let all = bench.hsm.show_schedules(&own);
    assert_eq!(all.len(), 1);
}

#[tokio::test]
async fn it_goes_on_when_the_administrator_who_set_it_has_gone() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    let admin = Uuid::from_u128(92);
    let role = grant(&bench, admin, "Administrator").await;
    let request = request(target().uri(), Some(TOKEN), HOURLY);
    try_set(&bench, admin, "hourly", request).await.unwrap();
    take_away(&bench, role).await;
    assert!(run(&bench, &shelf).await.is_some());
    assert_eq!(shown(&bench).set_by, admin, "who set it is shown");
}

#[tokio::test]
async fn there_is_an_end_to_schedules_and_what_is_not_there_is_told() {
    let bench = Bench::new().await;
    for at in 0..8 {
        let request = request(target().uri(), Some(TOKEN), HOURLY);
        try_set(&bench, ROOT, &format!("s{at}"), request).await.unwrap();
    }
    let more = request(target().uri(), Some(TOKEN), HOURLY);
    let refused = try_set(&bench, ROOT, "hourly", more).await;
    assert!(matches!(refused, Err(ScheduleRefusal::TooMany)));
    let again = request(target().uri(), None, Plan { enabled: false, ..HOURLY });
    try_set(&bench, ROOT, "s3", again).await.unwrap();
    assert!(matches!(ask(&bench).await, Err(ScheduleRefusal::NoSuchSchedule(_))));
    assert!(matches!(remove(&bench).await, Err(ScheduleRefusal::NoSuchSchedule(_))));
    let settings = bench.permit::<act::SettingsWrite>(ROOT, "/");
    let intent = bench.intent().await;
    bench.hsm.remove_schedule(&settings, &intent, &named("s0")).await.unwrap();
    set(&bench, Plan { enabled: false, ..HOURLY }).await;
    assert!(matches!(ask(&bench).await, Err(ScheduleRefusal::Disabled(_))));
    let bench = bench.restart().await;
    let settings = bench.permit::<act::SettingsWrite>(ROOT, "/");
    let all = bench.hsm.show_schedules(&settings);
    let names: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["hourly", "s1", "s2", "s3", "s4", "s5", "s6", "s7"]);
}

#[tokio::test]
async fn those_that_are_due_take_turns_and_what_is_measured_is_told() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    for name in ["a", "b", "c"] {
        let request = request(target().uri(), Some(TOKEN), HOURLY);
        try_set(&bench, ROOT, name, request).await.unwrap();
    }
    bench.wait(HOUR);
    let mut ran = Vec::new();
    while let Some(due) = bench.hsm.due_run() {
        ran.push(due.name().to_string());
        run(&bench, &shelf).await.unwrap();
    }
    assert_eq!(ran, ["a", "b", "c"]);
    bench.wait(2 * HOUR);
    shelf.refuse_at.store(1, Ordering::SeqCst);
    shelf.asked.store(0, Ordering::SeqCst);
    run(&bench, &shelf).await.unwrap();
    let facts = bench.hsm.schedule_facts();
    let of = |at: usize| (facts[at].age_s, facts[at].every_s, facts[at].failures, facts[at].sets);
    assert_eq!((of(0), of(1)), ((7_200, 3_600, 1, 1), (7_200, 3_600, 0, 1)));
    assert!(facts.iter().all(|one| one.enabled));
    assert_eq!(bench.hsm.now(), UnixSeconds(1_700_000_000 + 3 * HOUR));
}
