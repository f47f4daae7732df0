//! Who may do what, as one text that people can read: `hsm/core/tests/role-table.txt`.

use std::fmt::Write;

use casemate_hsm::rbac::{Action, BUILT_IN_ROLES, built_in_role_named};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/role-table.txt");

fn table() -> String {
    let mut text = String::from(
        "Built-in roles of a managed HSM, and the data actions that each allows.\n\
         Rewritten by `cargo xtask golden`; a change here is a change of rights.\n",
    );
    for role in BUILT_IN_ROLES {
        writeln!(text, "\n{}  {}", role.id, role.name).unwrap();
        for action in role.actions.iter() {
            let mark = if action.is_reserved() { "  (granted by Administrators only)" } else { "" };
            writeln!(text, "    {}{mark}", action.name()).unwrap();
        }
        for action in role.control_actions {
            writeln!(text, "    {action}  (control action: allows nothing here)").unwrap();
        }
    }
    text.push_str("\nEach action, and the roles that allow it.\n\n");
    for action in Action::ALL {
        let roles: Vec<_> = BUILT_IN_ROLES
            .iter()
            .filter(|role| role.actions.contains(*action))
            .map(|role| role.name.trim_start_matches("Managed HSM "))
            .collect();
        let line = format!("{:<45}{}", action.short_name(), roles.join(", "));
        writeln!(text, "{}", line.trim_end()).unwrap();
    }
    text
}

#[test]
fn the_role_table_is_the_committed_one() {
    if std::env::var("CASEMATE_GOLDEN").as_deref() == Ok("write") {
        std::fs::write(TABLE, table()).unwrap();
    }
    let committed = std::fs::read_to_string(TABLE).unwrap();
    assert_eq!(table(), committed, "rights changed: run `cargo xtask golden` and review the diff");
}

#[test]
fn every_action_is_allowed_by_some_role() {
    for action in Action::ALL {
        let allowed = BUILT_IN_ROLES.iter().any(|role| role.actions.contains(*action));
        assert!(allowed, "{} is in no role", action.name());
    }
}

#[test]
fn duties_are_separated() {
    let role = |name: &str| built_in_role_named(&format!("managed hsm {name}")).unwrap();
    let administrator = role("administrator").actions;
    let user = role("crypto user").actions;
    let officer = role("crypto officer").actions;
    for action in Action::ALL.iter().filter(|action| action.short_name().starts_with("/keys/")) {
        assert!(!administrator.contains(*action), "{action:?}");
    }
    for action in [
        Action::DeletedKeysPurge,
        Action::DeletedKeysRecover,
        Action::RoleAssignmentsWrite,
        Action::SecurityDomainDownload,
    ] {
        assert!(!user.contains(action), "{action:?}");
    }
    for action in [Action::KeysSign, Action::KeysRead, Action::KeysDecrypt, Action::KeysCreate] {
        assert!(!officer.contains(action), "{action:?}");
    }
}
