//! That no text of a source is an option, a file or another role to `az`, and that what has no
//! command is told.

use serde_json::json;

use super::*;
use crate::plan::{Plan, plan};
use crate::read::FoundVersion;

const ID: &str = "00000000-0000-4000-8000-000000000001";

fn key(name: &str, tags: Value) -> FoundKey {
    let jwk = json!({"kty": "EC-HSM", "crv": "P-256", "x": "x", "y": "y", "key_ops": ["sign"]});
    let bundle = json!({"key": jwk, "attributes": {}, "tags": tags});
    let version = FoundVersion { version: "v".to_owned(), created: 1, bundle };
    FoundKey {
        name: name.to_owned(),
        is_whole: true,
        versions: vec![version],
        ..FoundKey::default()
    }
}

fn role(id: &str, name: &str) -> Value {
    json!({"name": id, "properties": {"roleName": name, "assignableScopes": ["/"],
        "permissions": [{"dataActions": ["a"]}]}})
}

fn assigned(principal: &str, scope: &str, role: &str) -> Value {
    json!({"name": "given", "properties": {"principalId": principal, "scope": scope,
        "roleDefinitionId": format!("x/{role}")}})
}

fn of(found: Found) -> Plan {
    plan(&Found { has_roles: true, is_listed: true, ..found }, &[]).unwrap()
}

fn of_keys(keys: Vec<FoundKey>) -> Plan {
    of(Found { keys, ..Found::default() })
}

fn of_role(name: &str) -> Plan {
    let mut found = Found::default();
    found.roles.insert("r".to_owned(), name.to_owned());
    found.assignments.push(assigned(ID, "/keys", "r"));
    of(found)
}

#[test]
fn times_are_those_of_the_calendar() {
    for (at, text) in [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_399, "2000-02-28T23:59:59Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (4_102_444_800, "2100-01-01T00:00:00Z"),
        (253_402_300_799, "9999-12-31T23:59:59Z"),
    ] {
        assert_eq!(utc(at).as_deref(), Some(text));
    }
    assert_eq!(utc(i64::MAX), None);
}

#[test]
fn names_and_tags_of_a_source_are_no_options_and_no_files() {
    let plan = of_keys(vec![
        key("--help", json!({})),
        key("a", json!({"team": "@/etc/passwd"})),
        key("b", json!({"-x": "y", "z": "w"})),
        key("c", json!({"team": "@/etc/passwd", "z": "w"})),
        key("d", json!({"@/etc/passwd": "y"})),
        key("e", json!({"esc": "\u{1b}]0;x\u{7}"})),
    ]);
    let [help, file] = plan.commands.as_slice() else { panic!("{plan:?}") };
    assert!(help.contains(" --name=--help --kty"), "{help}");
    assert!(file.ends_with(" '--tags=team=@/etc/passwd'"), "{file}");
    let told = plan.by_hand.join("\n");
    assert_eq!(plan.by_hand.len(), 4, "{told}");
    for says in ["key b: its tag \"-x\"", "key c: its tag \"team\"", "key d: its tag \"@/etc"] {
        assert!(told.contains(says) && told.contains("REST API"), "{told}");
    }
    assert!(told.contains("key e: its tag \"esc\"") && !told.contains('\u{1b}'), "{told}");
    for (at, key) in plan.keys.iter().enumerate() {
        let is_told = key.notes.iter().any(|note| note.contains("byHand"));
        assert_eq!(is_told, at > 1, "{key:?}");
    }
}

#[test]
fn a_role_is_named_so_that_az_takes_no_other() {
    let [command] = &of_role("-x: it's $(x)").commands[..] else { panic!() };
    assert!(command.contains(r" '--role=-x: it'\''s $(x)' --scope=/keys"), "{command}");
    for (name, says) in [
        ("@/etc/passwd", "nothing that az can be given safely"),
        ("a\u{202e}b", "nothing that az can be given safely"),
        ("a\nb", "nothing that az can be given safely"),
        ("", "nothing that az can be given safely"),
        (ID, "nothing that az can be given safely"),
        ("Microsoft.KeyVault/providers/x/y", "nothing that az can be given safely"),
    ] {
        let plan = of_role(name);
        assert!(plan.commands.is_empty(), "{plan:?}");
        assert!(plan.by_hand.len() == 1 && plan.by_hand[0].contains(says), "{plan:?}");
    }
    // One that somebody wrote, with the name of one that is built in.
    let mut found = Found::default();
    found.roles.insert("a".to_owned(), "Managed HSM Administrator".to_owned());
    found.roles.insert("r".to_owned(), "managed HSM administrator".to_owned());
    found.assignments.push(assigned(ID, "/keys", "r"));
    let plan = of(found);
    assert!(plan.commands.is_empty() && plan.by_hand[0].contains("more than one"), "{plan:?}");
}

#[test]
fn who_has_which_role_is_a_command_or_is_told() {
    let mut found = Found::default();
    found.roles.insert("r".to_owned(), "Own".to_owned());
    let mut conditional = assigned(ID, "/", "r");
    conditional["properties"]["condition"] = json!("x");
    let cases = [
        (assigned(ID, "/", "r"), ""),
        (assigned(ID, "/keys/-pay", "r"), ""),
        (assigned("$(x)", "/", "r"), "no GUID"),
        (assigned("", "/", "r"), "no GUID"),
        (assigned("-0000000-0000-4000-8000-000000000001", "/", "r"), "no GUID"),
        (assigned(ID, "", "r"), "its scope"),
        (assigned(ID, "keys", "r"), "its scope"),
        (assigned(ID, "/keys/pay'; x", "r"), "its scope"),
        (assigned(ID, "/keys/pay/0123", "r"), "its scope"),
        (assigned(ID, "/subscriptions/x", "r"), "its scope"),
        (assigned(ID, "/", "other"), "not told"),
        (conditional, "a condition"),
        (json!({}), "no GUID"),
        (json!("\u{1b}[2J"), "no GUID"),
    ];
    for (item, says) in cases {
        let plan = of(Found { assignments: vec![item], ..found.clone() });
        let told = plan.by_hand.join("\n");
        assert_eq!(plan.commands.len() + plan.by_hand.len(), 1, "{plan:?}");
        assert!(told.contains(says) && told.is_empty() == says.is_empty(), "{says}: {told}");
    }
}

#[test]
fn a_role_that_az_cannot_say_is_told_and_so_are_its_assignments() {
    let change = |member: &str, value: Value| {
        let mut item = role("r", "Own \u{1b}[2J");
        item["properties"][member] = value;
        item
    };
    let sets = json!([{"actions": ["a"]}, {"notActions": ["b"]}]);
    for (item, says) in [
        (change("permissions", sets), "other than one set"),
        (change("permissions", json!([])), "other than one set"),
        (change("permissions", json!("x")), "other than one set"),
        (change("permissions", json!([{"actions": "x"}])), "not as the API"),
        (change("permissions", json!([{"actions": [1]}])), "not as the API"),
        (change("permissions", json!([{"condition": "x"}])), "not as the API"),
        (change("assignableScopes", json!(["/keys/a"])), "not for the scope `/` alone"),
        (change("assignableScopes", json!([])), "not for the scope `/` alone"),
        (change("roleName", json!(1)), "no name"),
    ] {
        let mut found = Found::default();
        found.roles.insert("r".to_owned(), "Own".to_owned());
        found.definitions.push(item);
        found.assignments.push(assigned(ID, "/", "r"));
        let plan = of(found);
        let [definition, assignment] = plan.by_hand.as_slice() else { panic!("{plan:?}") };
        assert!(plan.commands.is_empty() && definition.contains(says), "{says}: {plan:?}");
        assert!(!definition.contains('\u{1b}'), "{definition}");
        assert!(assignment.contains("made by hand first"), "{assignment}");
    }
}

#[test]
fn a_definition_is_one_word_that_begins_with_a_brace() {
    let mut item = role("r", "@/etc/passwd");
    item["properties"]["description"] = json!("=@/etc/passwd it's\n\u{202e}");
    let plan = of(Found { definitions: vec![item], ..Found::default() });
    let [command] = plan.commands.as_slice() else { panic!("{plan:?}") };
    assert!(command.contains("HSM '--role-definition={"), "{command}");
    assert!(command.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{command}");
}

#[test]
fn a_vault_leads_to_its_access_policies() {
    let plan = plan(&Found { is_listed: true, ..Found::default() }, &[]).unwrap();
    assert!(plan.by_hand[0].contains("access policies"), "{plan:?}");
}

#[test]
fn a_time_or_tags_of_another_form_are_told() {
    for (member, value, says) in
        [("exp", json!("x"), "its exp is no time"), ("nbf", json!(i64::MAX), "its nbf is no time")]
    {
        let mut key = key("a", Value::Null);
        key.versions[0].bundle["attributes"][member] = value;
        let plan = of_keys(vec![key]);
        assert!(plan.commands.is_empty() && plan.by_hand[0].contains(says), "{plan:?}");
    }
    let plan = of_keys(vec![key("a", json!(["x"]))]);
    assert!(plan.commands.is_empty() && plan.by_hand[0].contains("its tag"), "{plan:?}");
}
