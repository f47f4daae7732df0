//! Rights by name prefix: a team has its own keys and sees no others. Lists show each caller what
//! it may see. A purged key takes the assignments made at it along.

use std::collections::BTreeSet;

use casemate_hsm::HsmLimits;
use casemate_hsm::keys::{CreateKey, NewAttributes, Page, Tags};
use casemate_hsm::rbac::{
    AssignRefusal, AssignmentsFilter, Granted, NewAssignment, Within, act, built_in_role_named,
};
use uuid::Uuid;

use crate::bench::{Bench, ROOT, name, oct};

const ALICE: Uuid = Uuid::from_u128(0xa11ce);
const BOB: Uuid = Uuid::from_u128(0xb0b);

async fn try_grant(
    bench: &Bench,
    by: Uuid,
    scope: &str,
    to: Uuid,
) -> Result<Granted, AssignRefusal> {
    let permit = bench.permit::<act::RoleAssignmentsWrite>(by, scope);
    let role = built_in_role_named("Managed HSM Crypto User").unwrap().id;
    let request = NewAssignment { name: Uuid::new_v4(), role, principal: to, groups_known: true };
    bench.hsm.assign_role(&permit, &bench.intent().await, request).await
}

async fn grant(bench: &Bench, by: Uuid, scope: &str, role: &str, to: Uuid) -> Uuid {
    let permit = bench.permit::<act::RoleAssignmentsWrite>(by, scope);
    let name = Uuid::from_u128(bench.hsm.sequence().into());
    let role = built_in_role_named(&format!("Managed HSM {role}")).unwrap().id;
    let request = NewAssignment { name, role, principal: to, groups_known: true };
    let granted = bench.hsm.assign_role(&permit, &bench.intent().await, request).await;
    granted.unwrap().assignment.name
}

/// All pages of the keys that somebody sees.
fn seen(bench: &Bench, who: Uuid, items_max: usize) -> Vec<String> {
    let permit = bench.permit::<Within<act::KeysRead>>(who, "/keys");
    let mut names = Vec::new();
    let mut page = Page { after: None, items_max };
    loop {
        let got = bench.hsm.keys(&permit, &page);
        assert!(got.items.len() <= items_max);
        names.extend(got.items.iter().map(|item| item.name.to_string()));
        match got.next {
            Some(next) => page.after = Some(next),
            None => return names,
        }
    }
}

#[tokio::test]
async fn a_team_makes_and_uses_keys_of_its_prefix_and_no_others() {
    let bench = Bench::new().await;
    grant(&bench, ROOT, "/keys/Team-A-*", "Crypto User", ALICE).await;
    let request = CreateKey {
        spec: oct(),
        key_ops: None,
        attributes: NewAttributes::default(),
        tags: Tags::default(),
    };
    let permit = bench.permit::<act::KeysCreate>(ALICE, "/keys/team-a-new");
    bench.hsm.create_key(&permit, &bench.intent().await, request).await.unwrap();
    assert!(bench.try_permit::<act::KeysEncrypt>(ALICE, "/keys/TEAM-A-NEW").is_ok());
    for other in ["/keys/team-b-new", "/keys/team-a", "/keys", "/", "/keys/team-*"] {
        assert!(bench.try_permit::<act::KeysCreate>(ALICE, other).is_err(), "{other}");
    }
    let bench = bench.restart().await;
    assert!(bench.try_permit::<act::KeysRead>(ALICE, "/keys/team-a-new").is_ok());
    assert!(bench.try_permit::<act::KeysRead>(ALICE, "/keys/team-b-new").is_err());
}

#[tokio::test]
async fn a_team_administers_itself_by_rights_at_its_prefix_alone() {
    let bench = Bench::new().await;
    grant(&bench, ROOT, "/keys/team-a-*", "Policy Administrator", ALICE).await;
    let made = grant(&bench, ALICE, "/keys/team-a-1", "Crypto User", BOB).await;
    grant(&bench, ALICE, "/keys/team-a-x*", "Crypto User", BOB).await;
    for other in ["/", "/keys", "/keys/team-b-1", "/keys/team-*", "/keys/t*"] {
        assert!(bench.try_permit::<act::RoleAssignmentsWrite>(ALICE, other).is_err(), "{other}");
    }
    let permit = bench.permit::<act::RoleAssignmentsDelete>(ALICE, "/keys/team-a-1");
    bench.hsm.delete_assignment(&permit, &bench.intent().await, made).await.unwrap();
}

#[tokio::test]
async fn a_team_fills_its_share_of_assignments_and_not_the_room_of_others() {
    let bench = Bench::new().await;
    grant(&bench, ROOT, "/keys/team-a-*", "Policy Administrator", ALICE).await;
    grant(&bench, ROOT, "/keys", "Policy Administrator", BOB).await;
    // Five are there, and there is room for 40: a share is four.
    let limits = HsmLimits { assignments_max: 40, ..HsmLimits::default() };
    let bench = bench.restart_within(limits).await;
    let someone = Uuid::from_u128;
    for to in 0..3 {
        let scope = format!("/keys/team-a-{to}");
        grant(&bench, ALICE, &scope, "Crypto User", someone(to + 100)).await;
    }
    let refused = try_grant(&bench, ALICE, "/keys/team-a-9", someone(200)).await.unwrap_err();
    assert!(matches!(refused, AssignRefusal::ShareIsUsed { share: 4, .. }), "{refused}");
    grant(&bench, BOB, "/keys/team-a-9", "Crypto User", someone(201)).await;
    for to in 9..36 {
        grant(&bench, BOB, "/keys/x", "Crypto User", someone(to + 300)).await;
    }
    let refused = try_grant(&bench, BOB, "/keys/x", someone(400)).await.unwrap_err();
    assert!(matches!(refused, AssignRefusal::RestIsKept(36)), "{refused}");
    let refused = try_grant(&bench, ALICE, "/keys/team-a-9", someone(400)).await.unwrap_err();
    assert!(matches!(refused, AssignRefusal::RestIsKept(36)), "{refused}");
    for to in 36..40 {
        grant(&bench, ROOT, "/keys/x", "Crypto User", someone(to + 500)).await;
    }
    let refused = try_grant(&bench, ROOT, "/keys/x", someone(600)).await.unwrap_err();
    assert!(matches!(refused, AssignRefusal::TooMany(40)), "{refused}");
}

#[tokio::test]
async fn lists_show_each_caller_what_it_may_see_in_any_page_size() {
    let bench = Bench::new().await;
    for key in ["alone", "Team-a-1", "team-a-2", "team-a-20", "team-b-1", "team", "zoo", "a"] {
        bench.make(key, oct()).await;
    }
    for (scope, role) in [
        ("/keys/team-a-*", "Crypto User"),
        ("/keys/TEAM-A-2*", "Crypto Auditor"),
        ("/keys/zoo", "Crypto Service Encryption User"),
        ("/keys/missing", "Crypto User"),
        ("/keys/alone", "Crypto Service Release User"),
    ] {
        grant(&bench, ROOT, scope, role, ALICE).await;
    }
    grant(&bench, ROOT, "/keys", "Crypto Auditor", BOB).await;
    for items_max in 1..=9 {
        let mine = seen(&bench, ALICE, items_max);
        assert_eq!(mine, ["Team-a-1", "team-a-2", "team-a-20", "zoo"], "{items_max}");
        assert_eq!(seen(&bench, BOB, items_max).len(), 8, "{items_max}");
    }
    // Releasing is not reading, and nobody without reading gets a list at all.
    let nobody = Uuid::from_u128(9);
    assert!(bench.try_permit::<Within<act::KeysRead>>(nobody, "/keys").is_err());
    grant(&bench, ROOT, "/keys/alone", "Crypto Service Release User", nobody).await;
    assert!(bench.try_permit::<Within<act::KeysRead>>(nobody, "/keys").is_err());
    assert!(bench.try_permit::<Within<act::DeletedKeysRead>>(ALICE, "/keys").is_ok());
}

#[tokio::test]
async fn a_page_begins_after_its_place_whatever_the_place_is() {
    let bench = Bench::new().await;
    for key in ["b1", "b2", "b3", "d"] {
        bench.make(key, oct()).await;
    }
    grant(&bench, ROOT, "/keys/b*", "Crypto User", ALICE).await;
    grant(&bench, ROOT, "/keys/d", "Crypto User", ALICE).await;
    let permit = bench.permit::<Within<act::KeysRead>>(ALICE, "/keys");
    for (after, wanted) in [
        ("a", 4),
        ("b", 4),
        ("B1", 3),
        ("b2x", 2),
        ("b3", 1),
        ("c", 1),
        ("cz", 1),
        ("d", 0),
        ("e", 0),
    ] {
        let page = Page { after: Some(after.to_owned()), items_max: 25 };
        assert_eq!(bench.hsm.keys(&permit, &page).items.len(), wanted, "{after}");
    }
}

#[tokio::test]
async fn a_list_falls_with_the_last_part_of_it() {
    let bench = Bench::new().await;
    let made = grant(&bench, ROOT, "/keys/b*", "Crypto User", ALICE).await;
    let permit = bench.permit::<Within<act::KeysRead>>(ALICE, "/keys");
    assert!(bench.hsm.still_authorized(&permit).is_ok());
    let remove = bench.permit::<act::RoleAssignmentsDelete>(ROOT, "/keys/b*");
    bench.hsm.delete_assignment(&remove, &bench.intent().await, made).await.unwrap();
    assert!(bench.hsm.still_authorized(&permit).is_err());
}

#[tokio::test]
async fn assignments_are_shown_to_those_who_may_read_them_there() {
    let bench = Bench::new().await;
    grant(&bench, ROOT, "/keys/team-a-*", "Policy Administrator", ALICE).await;
    let wide = grant(&bench, ROOT, "/", "Crypto User", BOB).await;
    let team = grant(&bench, ROOT, "/keys/team-a-*", "Crypto User", BOB).await;
    let one = grant(&bench, ROOT, "/keys/team-a-1", "Crypto User", BOB).await;
    let other = grant(&bench, ROOT, "/keys/team-b-1", "Crypto User", BOB).await;
    let shown = |who: Uuid, scope: &str, filter| -> BTreeSet<Uuid> {
        let permit = bench.permit::<Within<act::RoleAssignmentsRead>>(who, scope);
        bench.hsm.assignments(&permit, filter).iter().map(|one| one.name).collect()
    };
    let of_bob = AssignmentsFilter::Principal(BOB);
    assert_eq!(shown(ROOT, "/", of_bob), [wide, team, one, other].into());
    assert_eq!(shown(ALICE, "/", of_bob), [team, one].into());
    assert_eq!(shown(ALICE, "/keys/team-a-1", of_bob), [team, one].into());
    assert_eq!(shown(ALICE, "/keys/team-a-*", AssignmentsFilter::All).len(), 2);
    for hidden in ["/", "/keys"] {
        assert_eq!(shown(ALICE, hidden, AssignmentsFilter::AtScope), [].into(), "{hidden}");
    }
    let refused = bench.try_permit::<Within<act::RoleAssignmentsRead>>(ALICE, "/keys/team-b-1");
    assert!(refused.is_err());
}

#[tokio::test]
async fn purging_a_key_removes_the_assignments_made_at_it_and_no_others() {
    let bench = Bench::new().await;
    bench.make("Pay", oct()).await;
    let mut at_key = Vec::new();
    for number in 0..70 {
        let who = Uuid::from_u128(1000 + number);
        at_key.push((who, grant(&bench, ROOT, "/keys/PAY", "Crypto User", who).await));
    }
    let prefix = grant(&bench, ROOT, "/keys/pay*", "Crypto User", ALICE).await;
    let longer = grant(&bench, ROOT, "/keys/pay2", "Crypto User", ALICE).await;
    let (first, _) = at_key[0];
    let permit = bench.permit::<act::KeysRead>(first, "/keys/pay");
    let delete = bench.permit::<act::KeysDelete>(ROOT, "/keys/pay");
    bench.hsm.delete_key(&delete, &bench.intent().await).await.unwrap();
    assert!(bench.hsm.still_authorized(&permit).is_ok(), "a deleted key keeps its assignments");
    let purge = bench.permit::<act::DeletedKeysPurge>(ROOT, "/keys/pay");
    bench.hsm.purge_key(&purge, &bench.intent().await).await.unwrap();
    assert!(bench.hsm.still_authorized(&permit).is_err());
    let bench = bench.restart().await;
    // A new key of the name is no longer theirs.
    bench.make("pay", oct()).await;
    for (who, _) in at_key {
        assert!(bench.try_permit::<act::KeysRead>(who, "/keys/pay").is_err());
    }
    let there = bench.permit::<act::RoleAssignmentsRead>(ROOT, "/keys/pay*");
    assert!(bench.hsm.assignment(&there, prefix).is_some());
    let there = bench.permit::<act::RoleAssignmentsRead>(ROOT, "/keys/pay2");
    assert!(bench.hsm.assignment(&there, longer).is_some());
    let paths = bench.store.paths();
    assert_eq!(paths.iter().filter(|path| path.starts_with("rbac/assignments/")).count(), 5);
}

#[tokio::test]
async fn a_purge_that_broke_off_among_the_assignments_is_finished_later() {
    let bench = Bench::new().await;
    bench.make("pay", oct()).await;
    for number in 0..60 {
        grant(&bench, ROOT, "/keys/pay", "Crypto User", Uuid::from_u128(1000 + number)).await;
    }
    let delete = bench.permit::<act::KeysDelete>(ROOT, "/keys/pay");
    bench.hsm.delete_key(&delete, &bench.intent().await).await.unwrap();
    let purge = bench.permit::<act::DeletedKeysPurge>(ROOT, "/keys/pay");
    let before = bench.store.commits();
    // The transaction that begins it and one batch of removals, then the store takes no more.
    bench.store.refuse_after(Some(2));
    assert!(bench.hsm.purge_key(&purge, &bench.intent().await).await.is_err());
    assert_eq!(bench.store.commits(), before + 2);
    bench.store.refuse_after(None);
    let bench = bench.restart().await;
    assert_eq!(bench.hsm.due_for_purge(), [name("pay")]);
    let intent = bench.intent().await;
    bench.hsm.purge_due_key(&intent, &name("pay")).await.unwrap();
    let paths = bench.store.paths();
    assert_eq!(paths.iter().filter(|path| path.starts_with("rbac/assignments/")).count(), 3);
    assert!(!paths.iter().any(|path| path.starts_with("keys/pay")));
}
