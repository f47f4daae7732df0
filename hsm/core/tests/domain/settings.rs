//! Settings: who reads and changes them, that a change is durable and in force at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use casemate_hsm::rbac::{AssignRefusal, BUILT_IN_ROLES, NewAssignment, act, built_in_role_named};
use casemate_hsm::{
    ChangeSettingRefusal, CommitRefusal, Escalation, OctKeyOps, SETTINGS, Setting, Settings,
    setting,
};
use uuid::Uuid;

use crate::bench::{Bench, ROOT, settings};

const ALICE: Uuid = Uuid::from_u128(0xa11ce);

fn named(name: &str) -> &'static Setting {
    setting(name).unwrap()
}

fn escalation() -> &'static Setting {
    named("CasemateEscalation")
}

async fn change(
    bench: &Bench,
    setting: &'static Setting,
    value: &str,
) -> Result<&'static str, ChangeSettingRefusal> {
    let permit = bench.permit::<act::SettingsWrite>(ROOT, "/");
    let intent = bench.intent().await;
    bench.hsm.change_setting(&permit, &intent, setting, value).await.map(|shown| shown.value)
}

fn value(bench: &Bench, setting: &'static Setting) -> &'static str {
    let permit = bench.permit::<act::SettingsRead>(ROOT, "/");
    bench.hsm.shown_setting(&permit, setting).value
}

async fn grant(bench: &Bench, by: Uuid, role: &str) -> Result<Uuid, AssignRefusal> {
    let permit = bench.permit::<act::RoleAssignmentsWrite>(by, "/");
    let role = built_in_role_named(role).unwrap().id;
    let request =
        NewAssignment { name: Uuid::new_v4(), role, principal: ALICE, groups_known: true };
    let made = bench.hsm.assign_role(&permit, &bench.intent().await, request).await;
    made.map(|made| made.assignment.name)
}

#[tokio::test]
async fn administrators_change_them_and_auditors_read_them() {
    for role in BUILT_IN_ROLES {
        let bench = Bench::new().await;
        let permit = bench.permit::<act::RoleAssignmentsWrite>(ROOT, "/");
        let request = NewAssignment {
            name: Uuid::new_v4(),
            role: role.id,
            principal: ALICE,
            groups_known: true,
        };
        bench.hsm.assign_role(&permit, &bench.intent().await, request).await.unwrap();
        let reads = bench.try_permit::<act::SettingsRead>(ALICE, "/").is_ok();
        let writes = bench.try_permit::<act::SettingsWrite>(ALICE, "/").is_ok();
        let expected = match role.name {
            "Managed HSM Administrator" => (true, true),
            "Managed HSM Crypto Auditor" => (true, false),
            _ => (false, false),
        };
        assert_eq!((reads, writes), expected, "{}", role.name);
    }
}

#[tokio::test]
async fn a_change_holds_at_once_and_after_a_restart() {
    let mut bench = Bench::new().await;
    for setting in SETTINGS {
        let first = value(&bench, setting);
        let other = *setting.kind.values().iter().find(|one| **one != first).unwrap();
        assert_eq!(change(&bench, setting, &other.to_uppercase()).await.unwrap(), other);
        assert_eq!(value(&bench, setting), other);
    }
    assert_eq!(bench.hsm.settings().oct_key_ops, OctKeyOps::Azure);
    let before = Settings::clone(&bench.hsm.settings());
    bench = bench.restart().await;
    assert_eq!(**bench.hsm.settings(), before);
    for setting in SETTINGS {
        change(&bench, setting, setting.kind.values()[0]).await.unwrap();
    }
    bench = bench.restart().await;
    for setting in SETTINGS {
        assert_eq!(value(&bench, setting), setting.kind.values()[0], "{setting:?}");
    }
}

#[tokio::test]
async fn a_wrong_value_changes_nothing() {
    let bench = Bench::new().await;
    let sequence = bench.hsm.sequence();
    for setting in SETTINGS {
        for bad in ["", "maybe", " true", "strict "] {
            let refused = change(&bench, setting, bad).await.unwrap_err();
            assert!(matches!(refused, ChangeSettingRefusal::Value(_)), "{setting:?} {bad:?}");
        }
    }
    // What is as it shall be is not written again.
    change(&bench, escalation(), "strict").await.unwrap();
    assert_eq!(bench.hsm.sequence(), sequence);
    assert_eq!(**bench.hsm.settings(), settings());
}

#[tokio::test]
async fn a_change_that_is_not_stored_is_not_in_force() {
    let bench = Bench::new().await;
    bench.store.full.store(true, Ordering::SeqCst);
    let refused = change(&bench, escalation(), "azure").await.unwrap_err();
    assert!(matches!(refused, ChangeSettingRefusal::Commit(CommitRefusal::Store(_))));
    assert_eq!(bench.hsm.settings().escalation, Escalation::Strict);
}

#[tokio::test]
async fn strict_mode_holds_from_the_answer_on() {
    let bench = Bench::with(Settings { escalation: Escalation::Azure, ..settings() }).await;
    grant(&bench, ROOT, "Managed HSM Crypto Officer").await.unwrap();
    let revision = bench.hsm.rights_revision();
    change(&bench, escalation(), "strict").await.unwrap();
    assert!(bench.hsm.rights_revision() > revision);
    let refused = grant(&bench, ALICE, "Managed HSM Administrator").await;
    assert!(matches!(refused, Err(AssignRefusal::ReservedRole { .. })));
}

/// A grant that was decided under the old mode and then waited must not be stored under the new.
#[tokio::test]
async fn no_grant_of_the_old_mode_is_stored_after_the_change() {
    let bench = Bench::with(Settings { escalation: Escalation::Azure, ..settings() }).await;
    grant(&bench, ROOT, "Managed HSM Crypto Officer").await.unwrap();
    let bench = Arc::new(bench);
    let shut = bench.store.gate.lock().await;
    let spawned = |name: &'static str| {
        let bench = Arc::clone(&bench);
        async move {
            match name {
                "strict" => change(&bench, escalation(), "strict").await.is_ok(),
                _ => grant(&bench, ALICE, "Managed HSM Administrator").await.is_ok(),
            }
        }
    };
    let changing = tokio::spawn(spawned("strict"));
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let climbing = tokio::spawn(spawned("climb"));
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    drop(shut);
    assert!(changing.await.unwrap());
    assert!(!climbing.await.unwrap(), "the grant was decided again under strict");
}

#[tokio::test]
async fn who_lost_the_role_changes_nothing() {
    let bench = Bench::new().await;
    let name = grant(&bench, ROOT, "Managed HSM Administrator").await.unwrap();
    let permit = bench.permit::<act::SettingsWrite>(ALICE, "/");
    let removal = bench.permit::<act::RoleAssignmentsDelete>(ROOT, "/");
    bench.hsm.delete_assignment(&removal, &bench.intent().await, name).await.unwrap();
    let intent = bench.intent().await;
    let refused = bench.hsm.change_setting(&permit, &intent, escalation(), "azure").await;
    let refused = refused.unwrap_err();
    assert!(matches!(refused, ChangeSettingRefusal::Commit(CommitRefusal::NotAuthorized(_))));
    assert_eq!(bench.hsm.settings().escalation, Escalation::Strict);
}
