//! Why somebody may do something, or what is missing: told to those who oversee rights.

use casemate_hsm::rbac::{
    Action, ExplainRefusal, Explanation, NewAssignment, Principal, Question, act,
    built_in_role_named,
};
use uuid::Uuid;

use crate::bench::{Bench, ROOT};

const ALICE: Uuid = Uuid::from_u128(0xa11ce);
const GROUP: Uuid = Uuid::from_u128(0x9409);
const ASKER: Uuid = Uuid::from_u128(0xa5c);

async fn grant(bench: &Bench, scope: &str, role: &str, to: Uuid) -> Uuid {
    let permit = bench.permit::<act::RoleAssignmentsWrite>(ROOT, scope);
    let name = Uuid::from_u128(bench.hsm.sequence().into());
    let role = built_in_role_named(&format!("Managed HSM {role}")).unwrap().id;
    let request = NewAssignment { name, role, principal: to, groups_known: true };
    let granted = bench.hsm.assign_role(&permit, &bench.intent().await, request).await;
    granted.unwrap().assignment.name
}

fn explain(
    bench: &Bench,
    asker: Uuid,
    groups: &[Uuid],
    action: Action,
    scope: &str,
) -> Result<Explanation, ExplainRefusal> {
    let permit = bench.permit::<act::RoleAssignmentsRead>(asker, scope);
    let principal = Principal { id: ALICE, groups: groups.to_vec() };
    bench.hsm.explain(&permit, &Question { principal, action })
}

#[tokio::test]
async fn what_is_allowed_is_told_with_every_assignment_that_allows_it() {
    let bench = Bench::new().await;
    let own = grant(&bench, "/keys/a*", "Crypto User", ALICE).await;
    let shared = grant(&bench, "/keys", "Crypto User", GROUP).await;
    let told = explain(&bench, ROOT, &[], Action::KeysSign, "/keys/ab").unwrap();
    let names = |told: &Explanation| -> Vec<_> {
        told.allowed_by.iter().map(|(assignment, _)| assignment.name).collect()
    };
    assert_eq!(names(&told), [own]);
    assert!(told.missing.is_none() && told.elsewhere.is_empty());
    let told = explain(&bench, ROOT, &[GROUP], Action::KeysSign, "/keys/ab").unwrap();
    assert_eq!(names(&told), [own, shared]);
}

#[tokio::test]
async fn what_is_missing_is_the_nearest_role() {
    let bench = Bench::new().await;
    let missing = |action, scope: &str| {
        let told = explain(&bench, ROOT, &[], action, scope).unwrap();
        assert!(told.allowed_by.is_empty());
        let missing = told.missing.unwrap();
        assert_eq!(missing.scope.to_string(), scope);
        (missing.role.name.trim_start_matches("Managed HSM "), missing.is_reserved)
    };
    assert_eq!(missing(Action::KeysWrap, "/keys/a"), ("Crypto Service Encryption User", false));
    assert_eq!(missing(Action::KeysSign, "/keys/a"), ("Crypto User", false));
    assert_eq!(missing(Action::RoleAssignmentsWrite, "/"), ("Policy Administrator", true));
    // A role that it holds elsewhere is nearer than one that it does not know.
    grant(&bench, "/keys/b", "Crypto User", ALICE).await;
    assert_eq!(missing(Action::KeysWrap, "/keys/a"), ("Crypto User", false));
    let told = explain(&bench, ROOT, &[], Action::KeysWrap, "/keys/a").unwrap();
    assert_eq!(told.elsewhere.len(), 1);
}

#[tokio::test]
async fn every_action_has_a_role_that_would_allow_it() {
    let bench = Bench::new().await;
    for action in Action::ALL {
        let told = explain(&bench, ROOT, &[], *action, "/").unwrap();
        assert!(told.missing.unwrap().role.actions.contains(*action), "{action:?}");
    }
}

#[tokio::test]
async fn nothing_is_told_of_scopes_where_the_asker_may_not_read() {
    let bench = Bench::new().await;
    grant(&bench, "/keys/team-a-*", "Crypto Auditor", ASKER).await;
    let here = grant(&bench, "/keys/team-a-1", "Crypto Service Encryption User", ALICE).await;
    grant(&bench, "/keys/secret", "Crypto User", ALICE).await;
    grant(&bench, "/keys/team-b-*", "Crypto User", GROUP).await;
    let asked = |asker, action| explain(&bench, asker, &[GROUP], action, "/keys/team-a-2").unwrap();
    let told = asked(ASKER, Action::KeysSign);
    assert!(told.allowed_by.is_empty() && told.elsewhere.is_empty(), "{told:?}");
    // What is held where he may read is told.
    let told = asked(ASKER, Action::KeysWrap);
    let names: Vec<_> = told.elsewhere.iter().map(|(assignment, _)| assignment.name).collect();
    assert_eq!(names, [here]);
    let told = asked(ROOT, Action::KeysSign);
    assert_eq!(told.elsewhere.len(), 2, "an Administrator reads everywhere");
}

#[tokio::test]
async fn the_nearest_role_says_nothing_of_what_the_asker_may_not_read() {
    let bench = Bench::new().await;
    grant(&bench, "/keys/team-a-*", "Crypto Auditor", ASKER).await;
    let nearest = || {
        let told = explain(&bench, ASKER, &[], Action::KeysWrap, "/keys/team-a-2").unwrap();
        told.missing.unwrap().role.name
    };
    let before = nearest();
    grant(&bench, "/keys/secret", "Crypto User", ALICE).await;
    assert_eq!(nearest(), before, "as if there were no such assignment");
}

#[tokio::test]
async fn only_those_who_oversee_rights_there_are_told() {
    let bench = Bench::new().await;
    // Each of these may read role assignments, and is not told all the same.
    for role in ["Crypto User", "Crypto Officer", "Policy Administrator"] {
        let name = grant(&bench, "/", role, ASKER).await;
        let refused = explain(&bench, ASKER, &[], Action::KeysSign, "/keys/a");
        assert!(matches!(refused, Err(ExplainRefusal::NotForThem(_))), "{role}");
        let permit = bench.permit::<act::RoleAssignmentsDelete>(ROOT, "/");
        bench.hsm.delete_assignment(&permit, &bench.intent().await, name).await.unwrap();
    }
    grant(&bench, "/keys/a*", "Crypto Auditor", ASKER).await;
    assert!(explain(&bench, ASKER, &[], Action::KeysSign, "/keys/ab").is_ok());
    let elsewhere = bench.try_permit::<act::RoleAssignmentsRead>(ASKER, "/keys/b");
    assert!(elsewhere.is_err());
    // Reading there by another role does not help.
    grant(&bench, "/keys/b", "Crypto User", ASKER).await;
    let refused = explain(&bench, ASKER, &[], Action::KeysSign, "/keys/b");
    assert!(matches!(refused, Err(ExplainRefusal::NotForThem(_))));
}
