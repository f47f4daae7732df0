//! Roles that people write: what they allow, who may write them, that a change counts at once.

use std::sync::Arc;

use casemate_hsm::rbac::{
    Action, AssignRefusal, DefineRefusal, Defined, DeleteDefinitionRefusal, Description,
    NewAssignment, NewDefinition, Permission, Permissions, Principal, Role, RoleName, Scope,
    Within, act, built_in_role_named,
};
use casemate_hsm::{Escalation, Separation, Settings};
use uuid::Uuid;

use crate::bench::{Bench, ROOT, settings};

const ALICE: Uuid = Uuid::from_u128(0xa11ce);
const BOB: Uuid = Uuid::from_u128(0xb0b);
const ROLE: Uuid = Uuid::from_u128(0x401e);

fn definition(id: Uuid, name: &str, allowed: &[Action]) -> NewDefinition {
    let one = Permission { data_actions: allowed.to_vec(), ..Permission::default() };
    NewDefinition {
        id,
        role_name: RoleName::new(name).unwrap(),
        description: Description::default(),
        permissions: Permissions::new(vec![one]).unwrap(),
        groups_known: true,
    }
}

async fn define(
    bench: &Bench,
    by: Uuid,
    id: Uuid,
    name: &str,
    allowed: &[Action],
) -> Result<Defined, DefineRefusal> {
    let permit = bench.permit::<act::RoleDefinitionsWrite>(by, "/");
    let intent = bench.intent().await;
    bench.hsm.write_definition(&permit, &intent, definition(id, name, allowed)).await
}

async fn undefine(bench: &Bench, by: Uuid, id: Uuid) -> Result<(), DeleteDefinitionRefusal> {
    let permit = bench.permit::<act::RoleDefinitionsDelete>(by, "/");
    bench.hsm.delete_definition(&permit, &bench.intent().await, id).await.map(drop)
}

async fn grant(
    bench: &Bench,
    by: Uuid,
    scope: &str,
    role: Uuid,
    to: Uuid,
) -> Result<Uuid, AssignRefusal> {
    let permit = bench.permit::<act::RoleAssignmentsWrite>(by, scope);
    let name = Uuid::from_u128(bench.hsm.sequence().into());
    let request = NewAssignment { name, role, principal: to, groups_known: true };
    let granted = bench.hsm.assign_role(&permit, &bench.intent().await, request).await;
    granted.map(|granted| granted.assignment.name)
}

fn built_in(name: &str) -> Uuid {
    built_in_role_named(&format!("Managed HSM {name}")).unwrap().id
}

#[tokio::test]
async fn a_written_role_allows_what_it_says_where_it_is_assigned() {
    let bench = Bench::new().await;
    define(&bench, ROOT, ROLE, "Signer", &[Action::KeysSign]).await.unwrap();
    grant(&bench, ROOT, "/keys/a", ROLE, ALICE).await.unwrap();
    assert!(bench.try_permit::<act::KeysSign>(ALICE, "/keys/A").is_ok());
    assert!(bench.try_permit::<act::KeysVerify>(ALICE, "/keys/a").is_err());
    assert!(bench.try_permit::<act::KeysSign>(ALICE, "/keys/b").is_err());
    let unknown = grant(&bench, ROOT, "/", Uuid::from_u128(9), ALICE).await;
    assert!(matches!(unknown, Err(AssignRefusal::RoleNotFound(_))));
    let bench = bench.restart().await;
    assert!(bench.try_permit::<act::KeysSign>(ALICE, "/keys/a").is_ok());
    assert!(bench.try_permit::<act::KeysVerify>(ALICE, "/keys/a").is_err());
}

#[tokio::test]
async fn a_changed_definition_counts_at_once_for_those_who_hold_the_role() {
    let bench = Bench::new().await;
    define(&bench, ROOT, ROLE, "Signer", &[Action::KeysSign]).await.unwrap();
    grant(&bench, ROOT, "/keys", ROLE, ALICE).await.unwrap();
    let permit = bench.permit::<act::KeysSign>(ALICE, "/keys/a");
    define(&bench, ROOT, ROLE, "Signer", &[Action::KeysSign, Action::KeysRead]).await.unwrap();
    assert!(bench.hsm.still_authorized(&permit).is_ok(), "what it keeps it goes on to allow");
    assert!(bench.hsm.still_allowed_by(&permit, permit.by()));
    define(&bench, ROOT, ROLE, "Reader", &[Action::KeysRead]).await.unwrap();
    assert!(bench.hsm.still_authorized(&permit).is_err());
    assert!(!bench.hsm.still_allowed_by(&permit, permit.by()));
    assert!(bench.hsm.while_authorized(&permit, |_| ()).is_err());
    assert!(bench.try_permit::<act::KeysRead>(ALICE, "/keys/a").is_ok());
}

#[tokio::test]
async fn a_deleted_role_leaves_assignments_that_allow_nothing_and_do_not_revive() {
    let bench = Bench::new().await;
    define(&bench, ROOT, ROLE, "Signer", &[Action::KeysSign]).await.unwrap();
    let name = grant(&bench, ROOT, "/keys", ROLE, ALICE).await.unwrap();
    let permit = bench.permit::<act::KeysSign>(ALICE, "/keys/a");
    undefine(&bench, ROOT, ROLE).await.unwrap();
    assert!(bench.hsm.still_authorized(&permit).is_err());
    assert!(matches!(undefine(&bench, ROOT, ROLE).await, Err(DeleteDefinitionRefusal::NotFound)));
    let again = define(&bench, ROOT, ROLE, "Signer", &[Action::KeysSign]).await;
    assert!(matches!(again, Err(DefineRefusal::WouldRevive(1))));
    let bench = bench.restart().await;
    assert!(bench.try_permit::<act::KeysSign>(ALICE, "/keys/a").is_err());
    let read = bench.permit::<act::RoleAssignmentsRead>(ROOT, "/keys");
    assert!(bench.hsm.assignment(&read, name).is_some(), "it is still shown");
    let permit = bench.permit::<act::RoleAssignmentsDelete>(ROOT, "/keys");
    bench.hsm.delete_assignment(&permit, &bench.intent().await, name).await.unwrap();
    define(&bench, ROOT, ROLE, "Signer", &[Action::KeysSign]).await.unwrap();
    assert!(bench.try_permit::<act::KeysSign>(ALICE, "/keys/a").is_err());
}

#[tokio::test]
async fn names_and_ids_of_roles_are_unique() {
    let bench = Bench::new().await;
    define(&bench, ROOT, ROLE, "Signer", &[]).await.unwrap();
    let other = Uuid::from_u128(2);
    for taken in ["Signer", "sIGNER", " signer ", "Signer.", "S-i-gner", "Signér"] {
        let refused = define(&bench, ROOT, other, taken, &[]).await;
        assert!(matches!(refused, Err(DefineRefusal::NameTaken(ROLE))), "{taken}");
    }
    for (id, name) in [
        (other, "managed hsm crypto user"),
        (other, "Managed HSM Crypt0 User"),
        (other, "Managed HSM Crypto User."),
        (built_in("Crypto User"), "Mine"),
    ] {
        let refused = define(&bench, ROOT, id, name, &[]).await;
        assert!(matches!(refused, Err(DefineRefusal::BuiltIn)), "{id} {name}");
    }
    define(&bench, ROOT, ROLE, "Signer", &[Action::KeysSign]).await.unwrap();
    // Without a name there is nothing to share.
    define(&bench, ROOT, other, "", &[]).await.unwrap();
    define(&bench, ROOT, Uuid::from_u128(3), "", &[]).await.unwrap();
    let refused = undefine(&bench, ROOT, built_in("Crypto User")).await;
    assert!(matches!(refused, Err(DeleteDefinitionRefusal::BuiltIn)));
}

#[tokio::test]
async fn definitions_are_written_at_the_root_alone() {
    let bench = Bench::new().await;
    for scope in ["/keys", "/keys/a", "/keys/a*"] {
        let permit = bench.permit::<act::RoleDefinitionsWrite>(ROOT, scope);
        let request = definition(ROLE, "Signer", &[]);
        let refused = bench.hsm.write_definition(&permit, &bench.intent().await, request).await;
        assert!(matches!(refused, Err(DefineRefusal::NotAtRoot)), "{scope}");
        let permit = bench.permit::<act::RoleDefinitionsDelete>(ROOT, scope);
        let refused = bench.hsm.delete_definition(&permit, &bench.intent().await, ROLE).await;
        assert!(matches!(refused, Err(DeleteDefinitionRefusal::NotAtRoot)), "{scope}");
    }
}

#[tokio::test]
async fn only_an_administrator_writes_what_leads_to_the_top() {
    let bench = Bench::new().await;
    grant(&bench, ROOT, "/", built_in("Policy Administrator"), ALICE).await.unwrap();
    let reserved = || Action::ALL.iter().copied().filter(|action| action.is_reserved());
    for action in reserved() {
        let refused = define(&bench, ALICE, ROLE, "Climb", &[Action::KeysRead, action]).await;
        assert!(matches!(refused, Err(DefineRefusal::Reserved(found)) if found == action));
    }
    // What another holds is widened neither, nor is what an Administrator gave taken away.
    define(&bench, ALICE, ROLE, "Reader", &[Action::KeysRead]).await.unwrap();
    grant(&bench, ALICE, "/", ROLE, BOB).await.unwrap();
    let backup = Action::BackupStart;
    let refused = define(&bench, ALICE, ROLE, "Reader", &[Action::KeysRead, backup]).await;
    assert!(matches!(refused, Err(DefineRefusal::Reserved(_))));
    define(&bench, ROOT, ROLE, "Reader", &[Action::KeysRead, backup]).await.unwrap();
    // What is there already may stay, beside a change of the rest.
    define(&bench, ALICE, ROLE, "Reader", &[backup]).await.unwrap();
    let refused = define(&bench, ALICE, ROLE, "Reader", &[Action::KeysRead]).await;
    assert!(matches!(refused, Err(DefineRefusal::Reserved(_))));
    let refused = undefine(&bench, ALICE, ROLE).await;
    assert!(matches!(refused, Err(DeleteDefinitionRefusal::Reserved(_))));
    let refused = grant(&bench, ALICE, "/", ROLE, ALICE).await;
    assert!(matches!(refused, Err(AssignRefusal::ReservedRole { .. })));
}

#[tokio::test]
async fn nobody_but_an_administrator_gives_more_to_itself() {
    let bench = Bench::new().await;
    grant(&bench, ROOT, "/", built_in("Policy Administrator"), ALICE).await.unwrap();
    define(&bench, ALICE, ROLE, "Reader", &[Action::KeysRead]).await.unwrap();
    let refused = grant(&bench, ALICE, "/", ROLE, ALICE).await;
    assert!(matches!(refused, Err(AssignRefusal::ToOneself)));
    grant(&bench, ROOT, "/", ROLE, ALICE).await.unwrap();
    let more = &[Action::KeysRead, Action::KeysSign];
    let refused = define(&bench, ALICE, ROLE, "Reader", more).await;
    assert!(matches!(refused, Err(DefineRefusal::ToOneself)));
    define(&bench, ALICE, ROLE, "Reader", &[]).await.unwrap();
    // The group that its token lists is itself.
    let member = Arc::new(Principal { id: ALICE, groups: vec![BOB] });
    let permit = bench.hsm.authorize::<act::RoleAssignmentsWrite>(&member, Scope::Root).unwrap();
    let request = NewAssignment { name: BOB, role: ROLE, principal: BOB, groups_known: true };
    let refused = bench.hsm.assign_role(&permit, &bench.intent().await, request).await;
    assert!(matches!(refused, Err(AssignRefusal::ToOneself)));
    // An Administrator may, and it is told.
    let made = define(&bench, ROOT, Uuid::from_u128(5), "Mine", &[Action::Rng]).await.unwrap();
    assert!(!made.to_oneself);
    grant(&bench, ROOT, "/", made.definition.id, ROOT).await.unwrap();
    let more = &[Action::Rng, Action::KeysRead];
    let made = define(&bench, ROOT, Uuid::from_u128(5), "Mine", more).await.unwrap();
    assert!(made.to_oneself);
}

#[tokio::test]
async fn as_in_the_original_anything_is_written_when_told_so() {
    let azure = Settings { escalation: Escalation::Azure, ..settings() };
    let bench = Bench::with(azure).await;
    grant(&bench, ROOT, "/", built_in("Policy Administrator"), ALICE).await.unwrap();
    define(&bench, ALICE, ROLE, "Climb", &[Action::SecurityDomainDownload]).await.unwrap();
    grant(&bench, ALICE, "/", ROLE, ALICE).await.unwrap();
    undefine(&bench, ALICE, ROLE).await.unwrap();
}

#[tokio::test]
async fn duties_together_are_told_or_refused_as_the_settings_say() {
    let bench = Bench::new().await;
    let user = built_in("Crypto User");
    grant(&bench, ROOT, "/keys/a*", user, ALICE).await.unwrap();
    let permit = bench.permit::<act::RoleAssignmentsWrite>(ROOT, "/keys/b");
    let officer = NewAssignment {
        name: BOB,
        role: built_in("Crypto Officer"),
        principal: ALICE,
        groups_known: true,
    };
    let elsewhere = bench.hsm.assign_role(&permit, &bench.intent().await, officer.clone()).await;
    assert!(elsewhere.unwrap().together.is_none(), "no key is under both");
    let permit = bench.permit::<act::RoleAssignmentsWrite>(ROOT, "/");
    let request = NewAssignment { name: ALICE, ..officer.clone() };
    let granted = bench.hsm.assign_role(&permit, &bench.intent().await, request).await.unwrap();
    assert_eq!(granted.together.unwrap().principal, ALICE);

    let apart = Settings { separation: Separation::Refuse, ..settings() };
    let bench = Bench::with_roles(apart, &["Administrator"]).await;
    grant(&bench, ROOT, "/keys/a*", user, ALICE).await.unwrap();
    let refused = grant(&bench, ROOT, "/", built_in("Crypto Officer"), ALICE).await;
    assert!(matches!(refused, Err(AssignRefusal::KeptApart(_))));
    define(&bench, ROOT, ROLE, "Mixed", &[Action::KeysRead]).await.unwrap();
    grant(&bench, ROOT, "/keys/ab", ROLE, ALICE).await.unwrap();
    let refused =
        define(&bench, ROOT, ROLE, "Mixed", &[Action::KeysRead, Action::DeletedKeysPurge]).await;
    assert!(matches!(refused, Err(DefineRefusal::KeptApart(_))));
    grant(&bench, ROOT, "/keys/b", built_in("Crypto Officer"), ALICE).await.unwrap();
}

#[tokio::test]
async fn first_roles_that_are_kept_apart_make_no_hsm() {
    let apart = Settings { separation: Separation::Refuse, ..settings() };
    let refused = Bench::try_with(apart, &["Administrator", "Crypto User"]).await;
    assert!(refused.err().unwrap().to_string().contains("managing rights"));
}

#[tokio::test]
async fn roles_are_listed_the_built_in_ones_first() {
    let bench = Bench::new().await;
    let read = bench.permit::<Within<act::RoleDefinitionsRead>>(ROOT, "/");
    for number in [3, 1, 2] {
        let name = format!("Role {number}");
        define(&bench, ROOT, Uuid::from_u128(number), &name, &[]).await.unwrap();
        bench.wait(1);
    }
    let names: Vec<_> =
        bench.hsm.definitions(&read).iter().map(|role| role.name().to_owned()).collect();
    assert_eq!(names[10..], ["Role 3", "Role 1", "Role 2"]);
    let found = bench.hsm.definition(&read, Uuid::from_u128(2)).unwrap();
    assert!(matches!(found, Role::Custom(_)));
    assert!(bench.hsm.definition(&read, Uuid::from_u128(77)).is_none());
    // Who may read definitions anywhere reads them all: they are not of a scope.
    grant(&bench, ROOT, "/keys/a", built_in("Crypto User"), ALICE).await.unwrap();
    assert!(bench.try_permit::<Within<act::RoleDefinitionsRead>>(ALICE, "/").is_ok());
    assert!(bench.try_permit::<Within<act::RoleDefinitionsRead>>(BOB, "/").is_err());
}
