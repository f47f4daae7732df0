//! An HSM opens from exactly what it wrote, and from nothing else.

use std::fs;

use casemate_audit::TrailError;
use casemate_channel::{Confine, Limits, Seal};
use casemate_engine_port::Cost;
use casemate_hsm::{OpenFailure, PoolBusy, Turn, UnixSeconds};
use casemate_store_embedded::DATABASE_FILE;
use casemate_store_port::BoxFuture;
use serde_json::{Value, json};
use uuid::Uuid;

mod activation;
mod losses;
mod rotation;

use super::*;
use crate::clock::SystemClock;
use crate::ledger::{Remember, Remembered};
use crate::seal::Sealing;

struct Inline;

impl Pool for Inline {
    fn run(&self, _: Uuid, job: Box<dyn FnOnce() + Send>) -> Result<(), PoolBusy> {
        job();
        Ok(())
    }

    fn takes(&self, _: Uuid, cost: Cost) -> bool {
        cost == Cost::Pool
    }

    fn turn(&self, _: Uuid) -> BoxFuture<'_, Result<Turn, PoolBusy>> {
        Box::pin(async { Ok::<Turn, _>(Box::new(())) })
    }
}

struct Tokio;

impl Spawn for Tokio {
    fn spawn(&self, future: BoxFuture<'static, ()>) {
        drop(tokio::spawn(future));
    }
}

fn settings() -> Value {
    json!({
        "tenant": "11111111-1111-1111-1111-111111111111",
        "authority": "https://localhost:{port}/adfs",
        "issuers": [],
        "audiences": ["https://managedhsm.localhost:{port}"],
        "outbound": ["localhost:{port}"],
        "first_administrators": ["22222222-2222-2222-2222-222222222222"],
        "first_roles": ["Managed HSM Administrator"],
        "retention_days": 7,
        "purge_protection": false,
    })
}

fn start(dir: &tempfile::TempDir, settings: Option<Value>) -> Start {
    Start {
        version: casemate_channel::VERSION,
        hsm: "dev".to_owned(),
        names: Vec::new(),
        named_port: 8443,
        folder: dir.path().to_owned(),
        seal: Seal::Key { path: dir.path().join("seal.key") },
        engine: casemate_channel::Engine::default(),
        create: settings.map(|settings| CreationMessage { settings, development: true }),
        limits: Limits::default(),
        region: "local".to_owned(),
        threads: 1,
        confine: Confine::default(),
        shown_folder: dir.path().to_owned(),
        development: true,
    }
}

fn seal(start: &Start) -> NodeSeal {
    NodeSeal::open_or_create(
        &start.folder,
        Sealing::File(start.folder.join("seal.key")),
        UnixSeconds(0),
    )
    .unwrap()
}

async fn open(start: &Start) -> Result<(Arc<Hsm>, NodeSeal), Failure> {
    open_all(start).await.map(|(hsm, seal, _)| (hsm, seal))
}

async fn open_all(start: &Start) -> Result<(Arc<Hsm>, NodeSeal, Ledger), Failure> {
    open_under(start, seal(start)).await
}

async fn open_under(
    start: &Start,
    seal: NodeSeal,
) -> Result<(Arc<Hsm>, NodeSeal, Ledger), Failure> {
    let (hsm, seal, ledger, _) = open_with_identity(start, seal).await?;
    Ok((hsm, seal, ledger))
}

/// The same, and the record of the identity key.
async fn open_with_identity(
    start: &Start,
    mut seal: NodeSeal,
) -> Result<(Arc<Hsm>, NodeSeal, Ledger, Secret), Failure> {
    let (hsm, kept, keys) = open_kept(start, &mut seal).await?;
    let identity = kept.identity_record();
    let ledger = ledger(start, kept, &seal, &keys, UnixSeconds(0))?;
    Ok((hsm, seal, ledger, identity))
}

/// The HSM, and what its store keeps for others.
async fn open_kept(start: &Start, seal: &mut NodeSeal) -> Result<(Arc<Hsm>, Kept, Keys), Failure> {
    settle(start, seal).await?;
    let keys = keys(seal, false, None)?;
    let system = System {
        clock: Arc::new(SystemClock),
        pool: Arc::new(Inline),
        spawn: Arc::new(Tokio),
        counts: Arc::default(),
    };
    let (hsm, kept) = hsm(start, seal, &keys, system, &Sentinel::new()).await?;
    Ok((hsm, kept, keys))
}

#[tokio::test]
async fn what_was_created_opens_again_with_its_mark() {
    let dir = tempfile::tempdir().unwrap();
    let (hsm, seal) = open(&start(&dir, Some(settings()))).await.unwrap();
    let sequence = hsm.sequence();
    assert!(sequence > 0);
    assert_eq!(seal.last_sequence(), sequence, "remembered before anybody is told");
    drop(hsm);
    // A crash before the agent heard of it: the creation is sent again, and changes nothing.
    let other = json!({ "retention_days": 90 });
    for create in [None, Some(other)] {
        let (hsm, _) = open(&start(&dir, create)).await.unwrap();
        assert!(hsm.settings().development);
        assert_eq!(hsm.settings().retention_days.days(), 7);
        assert_eq!(hsm.sequence(), sequence);
    }
}

#[tokio::test]
async fn a_creation_that_was_interrupted_is_done_anew() {
    let dir = tempfile::tempdir().unwrap();
    let message = start(&dir, Some(settings()));
    let seal = seal(&message);
    let keys = keys(&seal, true, None).unwrap();
    let store = Arc::new(EmbeddedStore::open(dir.path()).unwrap());
    drop(SealedStore::create(store, keys.records, seal.identity()).await.unwrap());
    assert!(open(&message).await.is_ok());
}

#[tokio::test]
async fn an_emptied_store_is_not_taken_for_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&start(&dir, Some(settings()))).await.unwrap());
    fs::remove_file(dir.path().join(DATABASE_FILE)).unwrap();
    for create in [None, Some(settings())] {
        let failure = open(&start(&dir, create)).await.err().unwrap();
        assert!(matches!(failure, Failure::Emptied { .. }), "{}", failure.text());
    }
}

#[tokio::test]
async fn an_older_copy_of_the_whole_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (hsm, mut seal) = open(&start(&dir, Some(settings()))).await.unwrap();
    seal.remember(hsm.sequence() + 1).unwrap();
    drop((hsm, seal));
    let failure = open(&start(&dir, None)).await.err().unwrap();
    assert_eq!((failure.code(), failure.lasts()), ("rolled-back", true));
}

#[tokio::test]
async fn another_seal_does_not_open_the_store() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&start(&dir, Some(settings()))).await.unwrap());
    fs::remove_file(dir.path().join("seal.bin")).unwrap();
    fs::remove_file(dir.path().join("seal.key")).unwrap();
    let failure = open(&start(&dir, Some(settings()))).await.err().unwrap();
    assert_eq!((failure.code(), failure.lasts()), ("tampered", true), "{}", failure.text());
}

#[tokio::test]
async fn settings_that_are_none_create_nothing() {
    let mut nobody = settings();
    nobody["first_administrators"] = json!([]);
    let mut unknown_role = settings();
    unknown_role["first_roles"] = json!(["Managed HSM Emperor"]);
    let mut short = settings();
    short["retention_days"] = json!(6);
    for bad in [nobody, unknown_role, short, json!({}), json!(null)] {
        let dir = tempfile::tempdir().unwrap();
        let failure = open(&start(&dir, Some(bad.clone()))).await.err().unwrap();
        let refused = matches!(
            failure,
            Failure::Settings(_)
                | Failure::Domain(OpenFailure::NoAdministrator | OpenFailure::NoSuchRole(_))
        );
        assert!(refused && failure.lasts(), "{bad}: {}", failure.text());
        assert!(open(&start(&dir, Some(settings()))).await.is_ok(), "{bad} left a trace");
    }
}

#[tokio::test]
async fn the_trail_begins_with_the_start_and_is_ours_alone() {
    let dir = tempfile::tempdir().unwrap();
    let message = start(&dir, Some(settings()));
    let (hsm, _, ledger) = open_all(&message).await.unwrap();
    let trail = trail(&message, &Door::from(&hsm), ledger.clone(), &[]).await.unwrap();
    let second = super::trail(&message, &Door::from(&hsm), ledger, &[]).await.err().unwrap();
    assert!(matches!(second, Failure::Audit(TrailError::InUse { .. })));
    trail.close();
    let file = dir.path().join(AUDIT_FOLDER).join("audit-00000000000000000001.jsonl");
    let text = fs::read_to_string(file).unwrap();
    let line: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(line["operationName"], "PartitionStart");
    assert_eq!(line["development"], true);
    assert_eq!(line["tenantId"], "11111111-1111-1111-1111-111111111111");
}

/// A trail that was closed in order, and remembered.
async fn remembered(message: &Start) {
    let (hsm, _, ledger) = open_all(message).await.unwrap();
    let trail = trail(message, &Door::from(&hsm), ledger, &[]).await.unwrap();
    trail.close();
    Remember::new().now(&trail, &Door::from(&hsm)).await;
}

#[tokio::test]
async fn a_trail_that_is_gone_or_older_than_remembered_is_not_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let message = start(&dir, Some(settings()));
    let (audit, older) = (dir.path().join(AUDIT_FOLDER), dir.path().join("older"));
    remembered(&message).await;
    fs::create_dir(&older).unwrap();
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    };
    copy(&audit, &older);
    remembered(&message).await;
    for put_back in [false, true] {
        fs::remove_dir_all(&audit).unwrap();
        if put_back {
            fs::create_dir(&audit).unwrap();
            copy(&older, &audit);
        }
        let (hsm, _, ledger) = open_all(&message).await.unwrap();
        let failure = trail(&message, &Door::from(&hsm), ledger, &[]).await.err().unwrap();
        assert_eq!((failure.code(), failure.lasts()), ("audit", true), "{}", failure.text());
        assert!(matches!(failure, Failure::Audit(TrailError::Lost { .. })));
    }
}

#[tokio::test]
async fn a_strangers_file_in_the_trail_is_named_and_nothing_is_given_up_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut message = start(&dir, Some(settings()));
    remembered(&message).await;
    message.shown_folder = "/where/it/lies".into();
    for first in [0_u64, 7_000, u64::MAX] {
        let name = format!("audit-{first:020}.jsonl");
        let stray = dir.path().join(AUDIT_FOLDER).join(&name);
        fs::write(&stray, "x").unwrap();
        let (hsm, _, ledger) = open_all(&message).await.unwrap();
        let failure = trail(&message, &Door::from(&hsm), ledger, &[]).await.err().unwrap();
        assert_eq!((failure.code(), failure.lasts()), ("audit", true), "{}", failure.text());
        assert!(failure.text().contains(&format!("/where/it/lies/{AUDIT_FOLDER}/{name} ")));
        let kept = Remembered::default();
        let failure = crate::loss::or_given_up(&message, &hsm, &kept, failure).await;
        assert!(matches!(failure, Failure::Audit(TrailError::Stray { .. })), "{}", failure.text());
        fs::remove_file(stray).unwrap();
    }
    remembered(&message).await;
}

#[tokio::test]
async fn a_lost_audit_key_is_replaced_under_the_same_identity() {
    let dir = tempfile::tempdir().unwrap();
    let message = start(&dir, Some(settings()));
    let keys = || {
        let reader = casemate_audit::Reader::new(&dir.path().join(AUDIT_FOLDER));
        casemate_audit::Certificate::read(&reader.certificate().unwrap().unwrap()).unwrap()
    };
    remembered(&message).await;
    let first = keys();
    remembered(&message).await;
    assert_eq!(keys(), first, "kept across starts");
    fs::remove_file(dir.path().join("audit.key")).unwrap();
    remembered(&message).await;
    assert_ne!(keys().log, first.log);
    assert_eq!(keys().identity, first.identity);
    let folder = dir.path().join(AUDIT_FOLDER);
    let clean = |key| casemate_audit::verify::folder(&folder, Some(key)).is_clean();
    assert!(clean(&first.identity), "the whole log is signed by the new key");
    assert!(!clean(&first.log), "who trusted the old key notices");
}

#[tokio::test]
async fn changes_that_a_crash_left_open_get_their_outcome() {
    let dir = tempfile::tempdir().unwrap();
    let message = start(&dir, Some(settings()));
    let (hsm, _, ledger) = open_all(&message).await.unwrap();
    let first = trail(&message, &Door::from(&hsm), ledger, &[]).await.unwrap();
    let call = Call { consistency: hsm.sequence(), ..Call::default() };
    let intent = first.append(&AuditRecord {
        phase: Phase::Intent,
        operation: "KeyCreate",
        call: &call,
        verdict: Verdict::Pending,
        permit: None,
        key: Some(casemate_audit::KeyFacts { name: "never", ..Default::default() }),
        intent: None,
    });
    let intent = intent.await.unwrap().sequence();
    first.close();
    drop((first, hsm));
    remembered(&message).await;
    let text =
        fs::read_to_string(dir.path().join(AUDIT_FOLDER).join("audit-00000000000000000001.jsonl"));
    let records: Vec<Value> =
        text.unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let outcomes: Vec<_> = records.iter().filter(|one| one["intent"] == intent).collect();
    let [outcome] = outcomes.as_slice() else { panic!("{outcomes:?}") };
    assert_eq!(
        (&outcome["resultType"], &outcome["errorCode"]),
        (&json!("Failed"), &json!("Interrupted"))
    );
    remembered(&message).await;
}
