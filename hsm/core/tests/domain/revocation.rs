//! Revocation while work of the revoked waits: what its answer finds undone stays undone.

use std::sync::Arc;
use std::time::Duration;

use casemate_engine_port::{Curve, KeySpec};
use casemate_hsm::CommitRefusal;
use casemate_hsm::keys::{
    CreateKey, CreateRefusal, NewAttributes, Page, PurgeRefusal, Selector, Tags, UpdateKey,
    UpdateRefusal,
};
use casemate_hsm::rbac::{NewAssignment, Within, act, built_in_role_named};
use uuid::Uuid;

use crate::bench::{Bench, ROOT, oct};

pub(crate) const MALLORY: Uuid = Uuid::from_u128(0xbad);
const WAITING: usize = 60;

/// Mallory's only role, by its name.
pub(crate) async fn employ(bench: &Bench, role: &str) -> Uuid {
    let permit = bench.permit::<act::RoleAssignmentsWrite>(ROOT, "/");
    let role = built_in_role_named(role).unwrap().id;
    let request =
        NewAssignment { name: Uuid::from_u128(1), role, principal: MALLORY, groups_known: true };
    let made = bench.hsm.assign_role(&permit, &bench.intent().await, request).await;
    made.unwrap().assignment.name
}

pub(crate) async fn dismiss(bench: &Bench, assignment: Uuid) {
    let permit = bench.permit::<act::RoleAssignmentsDelete>(ROOT, "/");
    let intent = bench.intent().await;
    bench.hsm.delete_assignment(&permit, &intent, assignment).await.unwrap();
}

/// What a try of Mallory's came to.
#[derive(Debug, PartialEq, Eq)]
enum Came {
    Done,
    Dismissed,
}

/// Time for what was started to come as far as it can.
async fn settled() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// Holds the store, has Mallory dismissed behind a change that is under way, starts his tries
/// behind that, and lets the store go. None of the tries, all decided while he held his role, may
/// come to anything; `seen` must not change after the dismissal has answered.
async fn too_late<T, F>(bench: &Arc<Bench>, role: Uuid, tries: Vec<F>, seen: impl Fn() -> T)
where
    T: PartialEq + std::fmt::Debug,
    F: Future<Output = Came> + Send + 'static,
{
    let store = Arc::clone(&bench.store);
    let held = store.gate.lock().await;
    let other = Arc::clone(bench);
    let under_way = tokio::spawn(async move { drop(other.make("other", oct()).await) });
    settled().await;
    let hr = Arc::clone(bench);
    let dismissal = tokio::spawn(async move { dismiss(&hr, role).await });
    settled().await;
    let tries: Vec<_> = tries.into_iter().map(tokio::spawn).collect();
    settled().await;
    drop(held);
    dismissal.await.unwrap();
    let at_once = seen();
    let sequence = bench.hsm.sequence();
    for one in tries {
        assert_eq!(one.await.unwrap(), Came::Dismissed);
    }
    under_way.await.unwrap();
    assert_eq!(seen(), at_once);
    assert_eq!(bench.hsm.sequence(), sequence, "nothing was stored after the removal");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changes_that_wait_for_their_turn_do_not_follow_a_removal() {
    let bench = Arc::new(Bench::new().await);
    bench.make("hot", KeySpec::Ec(Curve::P256)).await;
    let role = employ(&bench, "Managed HSM Crypto User").await;
    let mut tries = Vec::new();
    for number in 0..WAITING {
        let bench = Arc::clone(&bench);
        let permit = bench.permit::<act::KeysWrite>(MALLORY, "/keys/hot");
        tries.push(async move {
            let tags = [("n".to_owned(), number.to_string())].into();
            let request = UpdateKey {
                version: Selector::Latest,
                key_ops: None,
                attributes: NewAttributes::default(),
                tags: Some(Tags::new(tags).unwrap()),
            };
            match bench.hsm.update_key(&permit, &bench.intent().await, request).await {
                Ok(_) => Came::Done,
                Err(UpdateRefusal::Commit(CommitRefusal::NotAuthorized(_))) => Came::Dismissed,
                Err(other) => unreachable!("{other}"),
            }
        });
    }
    let read = bench.permit::<act::KeysRead>(ROOT, "/keys/hot");
    let tags = || bench.hsm.key(&read, Selector::Latest).unwrap().item.tags;
    too_late(&bench, role, tries, tags).await;
    assert!(tags().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn versions_that_wait_for_their_turn_do_not_follow_a_removal() {
    let bench = Arc::new(Bench::new().await);
    let role = employ(&bench, "Managed HSM Crypto User").await;
    let mut tries = Vec::new();
    for _ in 0..WAITING {
        let bench = Arc::clone(&bench);
        let permit = bench.permit::<act::KeysCreate>(MALLORY, "/keys/hot");
        tries.push(async move {
            let attributes = NewAttributes::default();
            let request =
                CreateKey { spec: oct(), key_ops: None, attributes, tags: Tags::default() };
            match bench.hsm.create_key(&permit, &bench.intent().await, request).await {
                Ok(_) => Came::Done,
                Err(CreateRefusal::Commit(CommitRefusal::NotAuthorized(_))) => Came::Dismissed,
                Err(other) => unreachable!("{other}"),
            }
        });
    }
    let read = bench.permit::<act::KeysRead>(ROOT, "/keys/hot");
    let versions = || {
        let versions = bench.hsm.key_versions(&read, &Page { after: None, items_max: 100 });
        versions.map_or(0, |page| page.items.len())
    };
    too_late(&bench, role, tries, versions).await;
    assert_eq!(versions(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn purges_do_not_begin_after_a_removal() {
    let bench = Arc::new(Bench::new().await);
    for number in 0..WAITING {
        let name = format!("k{number}");
        bench.make(&name, oct()).await;
        let permit = bench.permit::<act::KeysDelete>(ROOT, &format!("/keys/{name}"));
        bench.hsm.delete_key(&permit, &bench.intent().await).await.unwrap();
    }
    let role = employ(&bench, "Managed HSM Crypto Officer").await;
    let mut tries = Vec::new();
    for number in 0..WAITING {
        let bench = Arc::clone(&bench);
        let scope = format!("/keys/k{number}");
        let permit = bench.permit::<act::DeletedKeysPurge>(MALLORY, &scope);
        tries.push(async move {
            match bench.hsm.purge_key(&permit, &bench.intent().await).await {
                Ok(_) => Came::Done,
                Err(PurgeRefusal::Commit(CommitRefusal::NotAuthorized(_))) => Came::Dismissed,
                Err(other) => unreachable!("{other}"),
            }
        });
    }
    let left = || {
        let all = bench.permit::<Within<act::DeletedKeysRead>>(ROOT, "/keys");
        bench.hsm.deleted_keys(&all, &Page { after: None, items_max: 100 }).items.len()
    };
    too_late(&bench, role, tries, left).await;
    assert_eq!(left(), WAITING);
}
