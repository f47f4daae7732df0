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

use super::*;
use crate::clock::SystemClock;

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
        create: settings.map(|settings| CreationMessage { settings, development: true }),
        limits: Limits::default(),
        region: "local".to_owned(),
        threads: 1,
        confine: Confine::default(),
    }
}

fn seal(start: &Start) -> NodeSeal {
    NodeSeal::open_or_create(&start.folder, &start.seal, UnixSeconds(0)).unwrap()
}

async fn open(start: &Start) -> Result<(Arc<Hsm>, NodeSeal), Failure> {
    open_all(start).await.map(|(hsm, seal, _)| (hsm, seal))
}

async fn open_all(start: &Start) -> Result<(Arc<Hsm>, NodeSeal, Ledger), Failure> {
    let mut seal = seal(start);
    let keys = keys(&seal, false)?;
    let system = System {
        clock: Arc::new(SystemClock),
        pool: Arc::new(Inline),
        spawn: Arc::new(Tokio),
        counts: Arc::default(),
    };
    let (hsm, kept) = hsm(start, &mut seal, &keys, system, &Sentinel::new()).await?;
    let ledger = ledger(start, kept, &seal, &keys, UnixSeconds(0))?;
    Ok((hsm, seal, ledger))
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
    let keys = keys(&seal, true).unwrap();
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
    let trail = trail(&message, &hsm, ledger.clone()).await.unwrap();
    let second = super::trail(&message, &hsm, ledger).await.err().unwrap();
    assert!(matches!(second, Failure::Audit(TrailError::InUse { .. })));
    trail.close();
    let file = dir.path().join(AUDIT_FOLDER).join("audit-00000000000000000001.jsonl");
    let text = fs::read_to_string(file).unwrap();
    let line: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(line["operationName"], "PartitionStart");
    assert_eq!(line["development"], true);
    assert_eq!(line["tenantId"], "11111111-1111-1111-1111-111111111111");
}
