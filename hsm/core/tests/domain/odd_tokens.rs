//! What the HSM does about an engine that cannot do all, fails at some keys, or takes its time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use casemate_engine_port::{Curve, Engine, EngineError, KeySpec, OctSize};
use casemate_hsm::backup::{JobFailure, JobState};
use casemate_hsm::keys::RestoreRefusal;
use casemate_hsm::rbac::act;
use casemate_hsm::security_domain::{RewrapFailure, RotateRefusal};

use crate::backup_compare;
use crate::bench::{Bench, DOMAIN, ROOT, oct};
use crate::full_backup;
use crate::key_backup;
use crate::odd_engine::{Fails, Odd, OddEngine};
use crate::rotation::{Kept, NEXT, demand, filled, request, rotate, sign};
use crate::shelf::{Beside, Shelf};

const EC: KeySpec = KeySpec::Ec(Curve::P256);
const GCM: &str = ": it was wrapped with CKM_AES_GCM, which this token does not do";

/// The same HSM over such an engine.
async fn with(
    bench: Bench,
    newest: (u32, u8),
    before: Option<(u32, u8)>,
    odd: Odd,
) -> (Bench, Arc<OddEngine>) {
    let mut engine = None;
    let around = |inner| -> Arc<dyn Engine> {
        let around = OddEngine::around(inner, odd);
        engine = Some(Arc::clone(&around));
        around
    };
    let bench = bench.restart_around(newest, before, around).await;
    (bench, engine.unwrap())
}

/// After the turn, while what is under the old secret is wrapped anew.
async fn turned(odd: Odd) -> (Bench, Arc<OddEngine>, Vec<(String, Vec<u8>)>) {
    let (bench, signed) = filled().await;
    rotate(&bench, &Kept::default(), &request()).await.unwrap();
    let (bench, engine) = with(bench, (2, NEXT), Some((1, DOMAIN)), odd).await;
    (bench, engine, signed)
}

#[tokio::test]
async fn a_backup_of_the_epoch_before_is_compared_with_what_was_wrapped_anew() {
    for loses_keys in [false, true] {
        let (bench, _) = filled().await;
        bench.make("secret", KeySpec::Oct(OctSize::B256)).await;
        let shelf = Shelf::default();
        let folder = full_backup::back_up(&bench, &shelf).await;
        rotate(&bench, &Kept::default(), &request()).await.unwrap();
        let odd = Odd { loses_keys, ..Odd::default() };
        let (bench, _) = with(bench, (2, NEXT), Some((1, DOMAIN)), odd).await;
        bench.hsm.bring_forward().await.unwrap();
        let compared = backup_compare::compare(&bench, &shelf, &folder, false).await;
        let says: Vec<String> = compared.differences.iter().map(ToString::to_string).collect();
        if loses_keys {
            let named = says.iter().filter(|one| one.starts_with("key 'secret', version "));
            let named: Vec<_> = named.collect();
            assert!(
                matches!(named[..], [one] if one.ends_with("key material differs")),
                "{says:?}"
            );
            let others = says.iter().filter(|one| one.contains("public part")).count();
            assert!(others > 0 && others + 1 == says.len(), "{says:?}");
        } else {
            assert_eq!((says, compared.worked), (Vec::new(), compared.counts.versions));
        }
    }
}

fn but(signed: &[(String, Vec<u8>)], key: &str) -> Vec<(String, Vec<u8>)> {
    signed.iter().filter(|(name, _)| name != key).cloned().collect()
}

#[tokio::test]
async fn an_engine_that_cannot_wrap_anew_begins_no_epoch() {
    let (bench, signed) = filled().await;
    let why = ": its token must let its user destroy a wrapping key";
    let odd = Odd { no_rewrap: Some(why), ..Odd::default() };
    let (bench, engine) = with(bench, (1, DOMAIN), None, odd).await;
    let (keeper, request) = (Kept::default(), request());
    let before = (bench.store.commits(), bench.store.paths());
    let refused = rotate(&bench, &keeper, &request).await.unwrap_err();
    assert!(matches!(refused, RotateRefusal::Engine { engine: "odd", .. }), "{refused}");
    assert!(refused.to_string().ends_with(&format!("so the secret stays{why}")), "{refused}");
    assert_eq!(*keeper.asked.lock().unwrap(), 0, "no secret was made");
    assert_eq!(*keeper.leaving.lock().unwrap(), None, "the node keeps one secret");
    assert_eq!(*keeper.reopened.lock().unwrap(), 0);
    assert_eq!((bench.store.commits(), bench.store.paths()), before);
    assert!(bench.hsm.last_turn().is_none());
    let threads = std::mem::take(&mut *engine.threads.lock().unwrap());
    assert!(!threads.is_empty() && !threads.contains(&thread::current().id()), "on the pool");
    demand(&bench, &signed).await;
    *engine.odd.lock().unwrap() = Odd::default();
    rotate(&bench, &keeper, &request).await.unwrap();
    assert_eq!(*keeper.asked.lock().unwrap(), 1, "the control");
}

#[tokio::test]
async fn a_version_that_opens_under_no_key_keeps_no_other_under_the_old_secret() {
    let broken = Odd { fails: Some(("key-3/", || EngineError::NotAuthentic)), ..Odd::default() };
    let (bench, _, signed) = turned(broken).await;
    bench.hsm.bring_forward().await.unwrap();
    assert_eq!(bench.hsm.left_behind().records, 0);
    let bench = bench.restart_in((2, NEXT), None).await;
    demand(&bench, &but(&signed, "key-3")).await;
    assert!(sign(&bench, "key-3").await.is_err(), "it is as it was, and no other key");
    assert!(bench.hsm.bring_forward().await.is_ok(), "nothing is left to do");
}

#[tokio::test]
async fn what_the_engine_fails_at_is_told_when_all_else_is_done() {
    let fails = Odd { fails: Some(("key-3/", || EngineError::Failed("test"))), ..Odd::default() };
    let (bench, engine, signed) = turned(fails).await;
    for _ in 0..2 {
        let failure = bench.hsm.bring_forward().await.unwrap_err();
        let text = failure.to_string();
        let RewrapFailure::Engine { key, version, .. } = failure else { panic!("{text}") };
        assert_eq!(key, "key-3");
        assert!(text.contains(&format!("'key-3', version {version}")), "{text}");
        assert_eq!(bench.hsm.left_behind().records, 0, "every record is brought forward");
    }
    // The epoch is not left, but nothing else is under it.
    let bench = bench.restart_in((2, NEXT), None).await;
    demand(&bench, &but(&signed, "key-3")).await;
    let odd = *engine.odd.lock().unwrap();
    let (bench, _) = with(bench, (2, NEXT), None, odd).await;
    assert!(bench.hsm.bring_forward().await.is_err(), "and it is told again");
    let bench = bench.restart_in((2, NEXT), Some((1, DOMAIN))).await;
    bench.hsm.bring_forward().await.unwrap();
    demand(&bench.restart_in((2, NEXT), None).await, &signed).await;
}

#[tokio::test]
async fn an_engine_that_is_away_is_not_asked_for_every_version() {
    let away = Odd { fails: Some(("", || EngineError::Unavailable("test"))), ..Odd::default() };
    let (bench, engine, signed) = turned(away).await;
    let failure = bench.hsm.bring_forward().await.unwrap_err();
    assert!(matches!(failure, RewrapFailure::Engine { .. }), "{failure}");
    let asked = engine.asked.load(Ordering::SeqCst);
    assert!(asked <= 8, "{asked} of more than a hundred");
    // One key that the engine has no room for keeps no other under the old secret.
    let full = Odd { fails: Some(("key-3/", || EngineError::Unavailable("x"))), ..Odd::default() };
    *engine.odd.lock().unwrap() = full;
    assert!(bench.hsm.bring_forward().await.is_err());
    let bench = bench.restart_in((2, NEXT), None).await;
    demand(&bench, &but(&signed, "key-3")).await;
}

#[tokio::test]
async fn no_thread_that_serves_waits_for_the_engine_in_a_backup_or_restore() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    bench.make("a", EC).await;
    let (bench, engine) = with(bench, (1, DOMAIN), None, Odd::default()).await;
    let (here, mut seen) = (thread::current().id(), 0);
    let mut demand_pool = |what: &str| {
        let threads = engine.threads.lock().unwrap();
        assert!(threads.len() > seen, "{what} asks the engine");
        assert!(!threads.contains(&here), "{what} asks it on the thread that serves");
        seen = threads.len();
    };
    let blob = key_backup::back_up(&bench, "a").await.unwrap();
    demand_pool("the backup of a key");
    let taken = key_backup::restore(&bench, &blob).await;
    assert!(matches!(taken, Err(RestoreRefusal::NameIsTaken(_))));
    assert_eq!(engine.asked.load(Ordering::SeqCst), 1, "a name that is taken needs no engine");
    let folder = full_backup::back_up(&bench, &shelf).await;
    demand_pool("a full backup");
    let (begun, prepared) =
        full_backup::prepare(&bench, ROOT, &shelf, &Beside::default(), &folder).await;
    demand_pool("a full restore");
    let done = prepared.map(|prepared| prepared.done().clone());
    assert_eq!(bench.hsm.end_job(begun, done).await.state, JobState::Succeeded);
    full_backup::purge(&bench, "a").await;
    key_backup::restore(&bench, &blob).await.unwrap();
    demand_pool("the restore of a key");
}

#[tokio::test]
async fn a_full_restore_of_what_the_engine_cannot_use_changes_nothing() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    bench.make("a", EC).await;
    bench.make("b", EC).await;
    bench.make("o", oct()).await;
    let (bench, engine) = with(bench, (1, DOMAIN), None, Odd::default()).await;
    let folder = full_backup::back_up(&bench, &shelf).await;
    let blob = key_backup::back_up(&bench, "b").await.unwrap();
    let odd = |fails: Option<Fails>, holds_no| {
        *engine.odd.lock().unwrap() = Odd { fails, holds_no, ..Odd::default() };
    };
    let check = async || {
        let permit = bench.permit::<act::RestoreStart>(ROOT, "/");
        let (intent, target) = (bench.intent().await, full_backup::target());
        let begun = bench.hsm.begin_restore_check(&permit, &intent, &target, &folder).await;
        let begun = begun.unwrap();
        let done = bench.hsm.check_restore(&begun, &shelf).await;
        bench.hsm.end_job(begun, done).await.state
    };
    odd(Some(("keys/b/", || EngineError::Unsupported(GCM))), None);
    let failure = full_backup::refused(&bench, &shelf, &folder).await;
    assert_eq!(failure.code(), "Conflict");
    assert!(failure.to_string().contains(GCM), "{failure}");
    assert!(matches!(failure, JobFailure::Material { key, .. } if key.to_string() == "b"));
    assert!(matches!(check().await, JobState::Failed { message, .. } if message.contains(GCM)));
    odd(None, Some(oct()));
    let failure = full_backup::refused(&bench, &shelf, &folder).await;
    assert_eq!(failure.code(), "Conflict");
    let text = failure.to_string();
    assert!(text.contains("'o'") && text.contains(": it is odd"), "{text}");
    assert!(matches!(failure, JobFailure::Unsupported { engine: "odd", .. }));
    assert!(matches!(check().await, JobState::Failed { .. }));
    // One broken version keeps no other from being restored.
    odd(Some(("keys/b/", || EngineError::NotAuthentic)), None);
    assert_eq!(check().await, JobState::Succeeded);
    // Nor is a single key restored that this engine does not open.
    odd(Some(("keys/b/", || EngineError::Unsupported(GCM))), None);
    full_backup::purge(&bench, "b").await;
    let refused = key_backup::restore(&bench, &blob).await;
    assert!(matches!(refused, Err(RestoreRefusal::Engine(EngineError::Unsupported(GCM)))));
    assert!(full_backup::read(&bench, "b").is_none());
}
