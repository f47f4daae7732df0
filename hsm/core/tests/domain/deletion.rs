//! Deletion, recovery, purge, protection.

use casemate_engine_port::{Curve, KeySpec, SignAlgorithm};
use casemate_hsm::Settings;
use casemate_hsm::keys::{
    CreateKey, CreateRefusal, FindRefusal, NewAttributes, PurgeRefusal, Selector, SignRequest,
    Tags, UseRefusal,
};
use casemate_hsm::rbac::act;

use crate::bench::{Bench, ROOT, name, oct, settings};

const EC: KeySpec = KeySpec::Ec(Curve::P256);
const DAY: i64 = 86_400;

async fn delete(bench: &Bench, key: &str) {
    let permit = bench.permit::<act::KeysDelete>(ROOT, &format!("/keys/{key}"));
    bench.hsm.delete_key(&permit, &bench.intent().await).await.unwrap();
}

async fn purge(bench: &Bench, key: &str) -> Result<(), PurgeRefusal> {
    let permit = bench.permit::<act::DeletedKeysPurge>(ROOT, &format!("/keys/{key}"));
    bench.hsm.purge_key(&permit, &bench.intent().await).await.map(drop)
}

async fn recreate(bench: &Bench, key: &str) -> Result<(), CreateRefusal> {
    let permit = bench.permit(ROOT, &format!("/keys/{key}"));
    let attributes = NewAttributes::default();
    let request = CreateKey { spec: oct(), key_ops: None, attributes, tags: Tags::default() };
    bench.hsm.create_key(&permit, &bench.intent().await, request).await.map(drop)
}

#[tokio::test]
async fn a_deleted_key_is_silent_and_its_name_is_taken() {
    let bench = Bench::new().await;
    bench.make("a", EC).await;
    let sign = bench.permit::<act::KeysSign>(ROOT, "/keys/a");
    delete(&bench, "a").await;
    let read = bench.permit::<act::KeysRead>(ROOT, "/keys/a");
    assert!(matches!(bench.hsm.key(&read, Selector::Latest), Err(FindRefusal::NoSuchKey(_))));
    let request = SignRequest {
        version: Selector::Latest,
        algorithm: SignAlgorithm::Es256,
        input: vec![0; 32],
    };
    let refused = bench.hsm.sign(&sign, request, |_| {}).await;
    assert!(matches!(refused, Err(UseRefusal::Find(_))));
    assert!(matches!(recreate(&bench, "A").await, Err(CreateRefusal::NameIsDeleted(_))));
    let permit = bench.permit::<act::KeysDelete>(ROOT, "/keys/a");
    assert!(bench.hsm.delete_key(&permit, &bench.intent().await).await.is_err());
}

#[tokio::test]
async fn a_recovered_key_is_as_before() {
    let bench = Bench::new().await;
    let made = bench.make("a", EC).await;
    delete(&bench, "a").await;
    let bench = bench.restart().await;
    let permit = bench.permit::<act::DeletedKeysRead>(ROOT, "/keys/a");
    let deletion = bench.hsm.deleted_key(&permit).unwrap().item.deletion.unwrap();
    assert_eq!(deletion.purge_at.0 - deletion.at.0, 7 * DAY);
    let recover = bench.permit::<act::DeletedKeysRecover>(ROOT, "/keys/a");
    let back = bench.hsm.recover_key(&recover, &bench.intent().await).await.unwrap();
    assert_eq!(back.public, made.public);
    assert!(back.item.deletion.is_none());
    let again = bench.hsm.recover_key(&recover, &bench.intent().await).await;
    assert!(again.is_err());
}

#[tokio::test]
async fn a_purged_key_is_gone_from_store_and_memory() {
    let bench = Bench::new().await;
    for _ in 0..60 {
        bench.make("a", oct()).await;
    }
    bench.make("ab", EC).await;
    assert!(matches!(purge(&bench, "a").await, Err(PurgeRefusal::Find(_))), "not deleted yet");
    delete(&bench, "a").await;
    purge(&bench, "a").await.unwrap();
    let left: Vec<_> =
        bench.store.paths().into_iter().filter(|path| path.starts_with("keys/a/")).collect();
    assert_eq!(left, Vec::<String>::new());
    assert!(!bench.store.paths().contains(&"keys/a".to_owned()));
    let bench = bench.restart().await;
    let read = bench.permit::<act::DeletedKeysRead>(ROOT, "/keys/a");
    assert!(bench.hsm.deleted_key(&read).is_err());
    let other = bench.permit::<act::KeysRead>(ROOT, "/keys/ab");
    assert!(bench.hsm.key(&other, Selector::Latest).is_ok());
    recreate(&bench, "a").await.unwrap();
}

#[tokio::test]
async fn the_service_purges_when_the_retention_ends_and_not_before() {
    let bench = Bench::new().await;
    bench.make("a", EC).await;
    bench.make("b", EC).await;
    delete(&bench, "a").await;
    bench.wait(7 * DAY - 1);
    assert!(bench.hsm.due_for_purge().is_empty());
    let early = bench.hsm.purge_due_key(&bench.intent().await, &name("a")).await;
    assert!(matches!(early, Err(PurgeRefusal::NotDue)));
    let alive = bench.hsm.purge_due_key(&bench.intent().await, &name("b")).await;
    assert!(matches!(alive, Err(PurgeRefusal::Find(_))));
    bench.wait(1);
    assert_eq!(bench.hsm.due_for_purge(), [name("a")]);
    bench.hsm.purge_due_key(&bench.intent().await, &name("a")).await.unwrap();
    assert!(bench.hsm.due_for_purge().is_empty());
    let again = bench.hsm.purge_due_key(&bench.intent().await, &name("a")).await;
    assert!(matches!(again, Err(PurgeRefusal::Find(_))));
}

#[tokio::test]
async fn purge_protection_holds_until_the_retention_ends() {
    let bench = Bench::with(Settings { purge_protection: true, ..settings() }).await;
    let made = bench.make("a", EC).await;
    assert_eq!(made.item.recovery_level.name(), "CustomizedRecoverable");
    delete(&bench, "a").await;
    assert!(matches!(purge(&bench, "a").await, Err(PurgeRefusal::Protected { .. })));
    bench.wait(7 * DAY);
    assert!(matches!(purge(&bench, "a").await, Err(PurgeRefusal::Protected { .. })));
    bench.hsm.purge_due_key(&bench.intent().await, &name("a")).await.unwrap();
}
