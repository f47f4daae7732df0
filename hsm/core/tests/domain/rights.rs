//! Grants, removals, and that a removal is final.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use casemate_engine_port::{KeySpec, RsaSize, SignAlgorithm};
use casemate_hsm::keys::{Selector, SignRequest, UseRefusal};
use casemate_hsm::rbac::{
    AssignRefusal, AssignmentsFilter, DeleteAssignmentRefusal, NewAssignment, Principal, Scope,
    Within, act, built_in_role_named,
};
use casemate_hsm::{Escalation, Settings};
use uuid::Uuid;

use crate::bench::{Bench, ROOT, oct, settings};

const ALICE: Uuid = Uuid::from_u128(0xa11ce);
const BOB: Uuid = Uuid::from_u128(0xb0b);

fn role(name: &str) -> Uuid {
    built_in_role_named(&format!("Managed HSM {name}")).unwrap().id
}

async fn grant(
    bench: &Bench,
    by: Uuid,
    scope: &str,
    role_name: &str,
    to: Uuid,
) -> Result<Uuid, AssignRefusal> {
    let permit = bench.permit::<act::RoleAssignmentsWrite>(by, scope);
    let name = Uuid::from_u128(bench.hsm.sequence().into());
    let request = NewAssignment { name, role: role(role_name), principal: to, groups_known: true };
    let granted = bench.hsm.assign_role(&permit, &bench.intent().await, request).await;
    granted.map(|granted| granted.assignment.name)
}

async fn revoke(
    bench: &Bench,
    by: Uuid,
    scope: &str,
    name: Uuid,
) -> Result<(), DeleteAssignmentRefusal> {
    let permit = bench.permit::<act::RoleAssignmentsDelete>(by, scope);
    bench.hsm.delete_assignment(&permit, &bench.intent().await, name).await.map(drop)
}

#[tokio::test]
async fn nobody_may_anything_without_a_role() {
    let bench = Bench::new().await;
    let refused = bench.try_permit::<act::KeysRead>(ALICE, "/keys/a").err().unwrap();
    let text = refused.to_string();
    assert_eq!(
        text,
        "Not authorized to access Microsoft.KeyVault/managedHsm/keys/read/action on /keys/a"
    );
}

#[tokio::test]
async fn a_role_at_a_key_is_for_that_key_alone() {
    let bench = Bench::new().await;
    grant(&bench, ROOT, "/keys/Alpha", "Crypto User", ALICE).await.unwrap();
    assert!(bench.try_permit::<act::KeysSign>(ALICE, "/keys/alpha").is_ok());
    assert!(bench.try_permit::<act::KeysSign>(ALICE, "/keys/alpha2").is_err());
    assert!(bench.try_permit::<act::KeysSign>(ALICE, "/keys").is_err());
    assert!(bench.try_permit::<act::Rng>(ALICE, "/").is_err());
    assert!(bench.try_permit::<act::DeletedKeysPurge>(ALICE, "/keys/alpha").is_err());
}

#[tokio::test]
async fn a_group_in_the_token_counts() {
    let bench = Bench::new().await;
    grant(&bench, ROOT, "/keys", "Crypto User", BOB).await.unwrap();
    let member = Arc::new(Principal { id: ALICE, groups: vec![BOB] });
    let stranger = Arc::new(Principal { id: ALICE, groups: vec![] });
    let scope = || Scope::parse("/keys/x").unwrap();
    assert!(bench.hsm.authorize::<act::KeysSign>(&member, scope()).is_ok());
    assert!(bench.hsm.authorize::<act::KeysSign>(&stranger, scope()).is_err());
}

#[tokio::test]
async fn only_an_administrator_grants_and_takes_the_high_roles() {
    let bench = Bench::new().await;
    grant(&bench, ROOT, "/", "Crypto Officer", ALICE).await.unwrap();
    for high in ["Administrator", "Crypto Officer", "Policy Administrator", "Backup User"] {
        for to in [ALICE, BOB] {
            let refused = grant(&bench, ALICE, "/", high, to).await;
            assert!(matches!(refused, Err(AssignRefusal::ReservedRole { .. })), "{high}");
        }
    }
    let given = grant(&bench, ROOT, "/", "Policy Administrator", BOB).await.unwrap();
    let refused = revoke(&bench, ALICE, "/", given).await;
    assert!(matches!(refused, Err(DeleteAssignmentRefusal::ReservedRole { .. })));
    grant(&bench, ALICE, "/", "Crypto User", BOB).await.unwrap();
}

#[tokio::test]
async fn as_in_the_original_an_officer_grants_everything_when_told_so() {
    let azure = Settings { escalation: Escalation::Azure, ..settings() };
    let bench = Bench::with(azure).await;
    grant(&bench, ROOT, "/", "Crypto Officer", ALICE).await.unwrap();
    grant(&bench, ALICE, "/", "Administrator", ALICE).await.unwrap();
}

#[tokio::test]
async fn the_same_grant_twice_and_a_taken_name_are_refused() {
    let bench = Bench::new().await;
    let first = grant(&bench, ROOT, "/keys", "Crypto User", ALICE).await.unwrap();
    let again = grant(&bench, ROOT, "/keys", "Crypto User", ALICE).await;
    assert!(matches!(again, Err(AssignRefusal::Duplicate(twin)) if twin == first));
    let permit = bench.permit::<act::RoleAssignmentsWrite>(ROOT, "/");
    let request = NewAssignment {
        name: first,
        role: role("Crypto User"),
        principal: BOB,
        groups_known: true,
    };
    let taken = bench.hsm.assign_role(&permit, &bench.intent().await, request).await;
    assert!(matches!(taken, Err(AssignRefusal::NameTaken(_))));
    let unknown = NewAssignment { name: BOB, role: BOB, principal: BOB, groups_known: true };
    let refused = bench.hsm.assign_role(&permit, &bench.intent().await, unknown).await;
    assert!(matches!(refused, Err(AssignRefusal::RoleNotFound(_))));
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let bench = Bench::new().await;
    let read = bench.permit::<Within<act::RoleAssignmentsRead>>(ROOT, "/");
    let all = bench.hsm.assignments(&read, AssignmentsFilter::AtScope);
    let mine = all.iter().find(|one| one.role == role("Administrator")).unwrap().name;
    let refused = revoke(&bench, ROOT, "/", mine).await;
    assert!(matches!(refused, Err(DeleteAssignmentRefusal::LastAdministrator)));
    // Whether Alice is there is not known, until she takes it away herself.
    grant(&bench, ROOT, "/", "Administrator", ALICE).await.unwrap();
    let refused = revoke(&bench, ROOT, "/", mine).await;
    assert!(matches!(refused, Err(DeleteAssignmentRefusal::OwnAdministrator)));
    revoke(&bench, ALICE, "/", mine).await.unwrap();
    assert!(bench.try_permit::<act::RoleAssignmentsWrite>(ALICE, "/").is_ok());
}

#[tokio::test]
async fn nobody_is_no_principal() {
    for escalation in [Escalation::Strict, Escalation::Azure] {
        let bench = Bench::with(Settings { escalation, ..settings() }).await;
        for (scope, role) in [("/", "Administrator"), ("/keys/a", "Crypto User")] {
            let refused = grant(&bench, ROOT, scope, role, Uuid::nil()).await;
            assert!(matches!(refused, Err(AssignRefusal::Nobody)), "{role}");
        }
    }
}

#[tokio::test]
async fn an_administrator_who_stays_one_through_a_group_may_go_himself() {
    let bench = Bench::new().await;
    let read = bench.permit::<Within<act::RoleAssignmentsRead>>(ROOT, "/");
    let all = bench.hsm.assignments(&read, AssignmentsFilter::AtScope);
    let mine = all.iter().find(|one| one.role == role("Administrator")).unwrap().name;
    let group = grant(&bench, ROOT, "/", "Administrator", BOB).await.unwrap();
    let member = Arc::new(Principal { id: ROOT, groups: vec![BOB] });
    let permit = bench.hsm.authorize(&member, Scope::Root).unwrap();
    bench.hsm.delete_assignment(&permit, &bench.intent().await, mine).await.unwrap();
    let last = bench.hsm.delete_assignment(&permit, &bench.intent().await, group).await;
    assert!(matches!(last, Err(DeleteAssignmentRefusal::LastAdministrator)));
}

#[tokio::test]
async fn as_in_the_original_an_officer_may_take_administrators_away_but_the_last() {
    let azure = Settings { escalation: Escalation::Azure, ..settings() };
    let bench = Bench::with(azure).await;
    grant(&bench, ROOT, "/", "Crypto Officer", ALICE).await.unwrap();
    let given = grant(&bench, ROOT, "/", "Administrator", BOB).await.unwrap();
    revoke(&bench, ALICE, "/", given).await.unwrap();
    let read = bench.permit::<Within<act::RoleAssignmentsRead>>(ROOT, "/");
    let all = bench.hsm.assignments(&read, AssignmentsFilter::AtScope);
    let last = all.iter().find(|one| one.role == role("Administrator")).unwrap().name;
    let refused = revoke(&bench, ALICE, "/", last).await;
    assert!(matches!(refused, Err(DeleteAssignmentRefusal::LastAdministrator)));
}

#[tokio::test]
async fn two_administrators_who_take_each_other_away_at_once_leave_one() {
    for _ in 0..20 {
        let bench = Arc::new(Bench::new().await);
        let read = bench.permit::<Within<act::RoleAssignmentsRead>>(ROOT, "/");
        let all = bench.hsm.assignments(&read, AssignmentsFilter::AtScope);
        let of_root = all.iter().find(|one| one.role == role("Administrator")).unwrap().name;
        let of_alice = grant(&bench, ROOT, "/", "Administrator", ALICE).await.unwrap();
        let go = |by: Uuid, name: Uuid| {
            let bench = Arc::clone(&bench);
            tokio::spawn(async move { revoke(&bench, by, "/", name).await.is_ok() })
        };
        let (one, other) = (go(ROOT, of_alice), go(ALICE, of_root));
        assert!(one.await.is_ok_and(|done| done) != other.await.is_ok_and(|done| done));
    }
}

#[tokio::test]
async fn a_grant_that_may_be_to_oneself_is_refused_where_nobody_can_tell() {
    for (escalation, limited) in [(Escalation::Strict, true), (Escalation::Azure, false)] {
        let bench = Bench::with(Settings { escalation, ..settings() }).await;
        grant(&bench, ROOT, "/", "Crypto Officer", ALICE).await.unwrap();
        let unsure = |by: Uuid, to: Uuid| {
            let bench = &bench;
            async move {
                let permit = bench.permit::<act::RoleAssignmentsWrite>(by, "/keys");
                let role = role("Crypto User");
                let name = Uuid::new_v4();
                let request = NewAssignment { name, role, principal: to, groups_known: false };
                bench.hsm.assign_role(&permit, &bench.intent().await, request).await
            }
        };
        let refused = unsure(ALICE, BOB).await;
        let maybe = matches!(refused, Err(AssignRefusal::MaybeToOneself));
        assert_eq!(maybe, limited, "{refused:?}");
        assert_eq!(refused.is_err(), limited);
        // An Administrator may in any case, and so may whoever knows its groups.
        unsure(ROOT, Uuid::new_v4()).await.unwrap();
        grant(&bench, ALICE, "/keys", "Crypto User", Uuid::new_v4()).await.unwrap();
    }
}

#[tokio::test]
async fn a_use_that_nobody_waits_for_any_more_is_not_begun() {
    for gone in [false, true] {
        let bench = Bench::new().await;
        bench.make("slow", KeySpec::Rsa(RsaSize::B2048)).await;
        let permit = bench.permit::<act::KeysSign>(ROOT, "/keys/slow");
        let (open, gate) = std::sync::mpsc::channel();
        *bench.pool.gate.lock().unwrap() = Some(gate);
        let request = SignRequest {
            version: Selector::Latest,
            algorithm: SignAlgorithm::Rs256,
            input: vec![1; 32],
        };
        let hsm = Arc::clone(&bench.hsm);
        let waiting = tokio::spawn(async move { hsm.sign(&permit, request, |_| {}).await });
        while bench.pool.gate.lock().unwrap().is_some() {
            tokio::task::yield_now().await;
        }
        if gone {
            waiting.abort();
            assert!(waiting.await.is_err());
        }
        let (asked, done) = (&bench.clock.1, &bench.pool.done);
        let (asked_before, done_before) = (asked.load(SeqCst), done.load(SeqCst));
        open.send(()).unwrap();
        while done.load(SeqCst) == done_before {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        // Before it is used, a key is asked whether the time is right.
        assert_eq!(asked.load(SeqCst) == asked_before, gone);
    }
}

#[tokio::test]
async fn an_assignment_is_found_at_its_own_scope_only() {
    let bench = Bench::new().await;
    let name = grant(&bench, ROOT, "/keys/a", "Crypto User", ALICE).await.unwrap();
    let at = |scope: &str| {
        let permit = bench.permit::<act::RoleAssignmentsRead>(ROOT, scope);
        bench.hsm.assignment(&permit, name).is_some()
    };
    assert!(at("/keys/a") && at("/keys/A"));
    assert!(!at("/keys/b") && !at("/keys") && !at("/"));
    let refused = revoke(&bench, ROOT, "/", name).await;
    assert!(matches!(refused, Err(DeleteAssignmentRefusal::NotFound)));
}

#[tokio::test]
async fn rights_survive_a_restart_and_so_does_their_removal() {
    let bench = Bench::new().await;
    let name = grant(&bench, ROOT, "/keys", "Crypto User", ALICE).await.unwrap();
    let kept = grant(&bench, ROOT, "/keys", "Crypto User", BOB).await.unwrap();
    revoke(&bench, ROOT, "/keys", name).await.unwrap();
    let bench = bench.restart().await;
    assert!(bench.try_permit::<act::KeysSign>(ALICE, "/keys/a").is_err());
    assert!(bench.try_permit::<act::KeysSign>(BOB, "/keys/a").is_ok());
    revoke(&bench, ROOT, "/keys", kept).await.unwrap();
}

#[tokio::test]
async fn a_permit_falls_with_its_assignment() {
    let bench = Bench::new().await;
    let name = grant(&bench, ROOT, "/keys", "Crypto User", ALICE).await.unwrap();
    let permit = bench.permit::<act::KeysSign>(ALICE, "/keys/a");
    grant(&bench, ROOT, "/keys", "Crypto User", BOB).await.unwrap();
    assert!(bench.hsm.still_authorized(&permit).is_ok(), "another change leaves it standing");
    revoke(&bench, ROOT, "/keys", name).await.unwrap();
    assert!(bench.hsm.still_authorized(&permit).is_err());
}

#[tokio::test]
async fn work_that_waited_in_the_queue_is_refused_after_a_removal() {
    let bench = Bench::new().await;
    bench.make("slow", KeySpec::Rsa(RsaSize::B2048)).await;
    bench.make("other", oct()).await;
    let name = grant(&bench, ROOT, "/keys", "Crypto User", ALICE).await.unwrap();
    let permit = bench.permit::<act::KeysSign>(ALICE, "/keys/slow");
    let (open, gate) = std::sync::mpsc::channel();
    *bench.pool.gate.lock().unwrap() = Some(gate);
    let request = SignRequest {
        version: Selector::Latest,
        algorithm: SignAlgorithm::Rs256,
        input: vec![1; 32],
    };
    let hsm = Arc::clone(&bench.hsm);
    let waiting = tokio::spawn(async move { hsm.sign(&permit, request, |_| {}).await });
    while bench.pool.gate.lock().unwrap().is_some() {
        tokio::task::yield_now().await;
    }
    revoke(&bench, ROOT, "/keys", name).await.unwrap();
    open.send(()).unwrap();
    let refused = waiting.await.unwrap();
    assert!(matches!(refused, Err(UseRefusal::NotAuthorized(_))), "{refused:?}");
}
