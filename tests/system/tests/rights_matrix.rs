//! Every built-in role, every operation, three scopes, over HTTPS: what is allowed is what the
//! committed role table says, to the letter, and what is not is refused in the original's words.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use casemate_system_tests::{casemate, token};
use casemate_test_kit::rest::Rest;
use casemate_test_kit::{Dev, audit};
use serde_json::{Value, json};

const ROLES: &str = "/providers/Microsoft.Authorization";
const PREFIX: &str = "Microsoft.KeyVault/managedHsm";
/// The key of the narrowest scope. It comes and goes: only the right to try is looked at.
const KEY: &str = "matrix";

/// One operation: how it is asked for, the action it needs, and where.
struct Operation {
    method: &'static str,
    path: String,
    body: Value,
    action: &'static str,
    scope: &'static str,
    /// A list is given to whoever may see a part of it.
    is_list: bool,
}

fn operation(method: &'static str, path: &str, body: Value, action: &'static str) -> Operation {
    let scope = if path.starts_with("/keys/") || path.starts_with("/deletedkeys/") {
        "/keys/matrix"
    } else if path.starts_with("/keys") || path.starts_with("/deletedkeys") {
        "/keys"
    } else {
        "/"
    };
    let path = path.replace("KEY", KEY);
    Operation { method, path, body, action, scope, is_list: false }
}

fn list(path: &str, action: &'static str) -> Operation {
    Operation { is_list: true, ..operation("GET", path, Value::Null, action) }
}

/// The operations of the release, in an order in which a key is there when it is to be deleted, and
/// recovered before it could be purged: a purge would take the assignments made at the key along.
fn operations() -> Vec<Operation> {
    key_operations().into_iter().chain(other_operations()).chain(grant_operations()).collect()
}

fn key_operations() -> Vec<Operation> {
    let some = || "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let sign = json!({"alg": "ES256", "value": some()});
    let verify = json!({"alg": "ES256", "digest": some(), "value": some()});
    let cipher = json!({"alg": "RSA-OAEP-256", "value": some()});
    let import = json!({"key": {"kty": "oct-HSM", "k": some()}});
    let ec = json!({"kty": "EC-HSM"});
    let none = || Value::Null;
    vec![
        operation("POST", "/keys/KEY/create", ec, "/keys/create"),
        operation("PUT", "/keys/KEY", import, "/keys/import/action"),
        operation("PATCH", "/keys/KEY", json!({}), "/keys/write/action"),
        operation("GET", "/keys/KEY", none(), "/keys/read/action"),
        operation("GET", "/keys/KEY/versions", none(), "/keys/read/action"),
        operation("POST", "/keys/KEY/encrypt", cipher.clone(), "/keys/encrypt/action"),
        operation("POST", "/keys/KEY/decrypt", cipher.clone(), "/keys/decrypt/action"),
        operation("POST", "/keys/KEY/wrapkey", cipher.clone(), "/keys/wrap/action"),
        operation("POST", "/keys/KEY/unwrapkey", cipher, "/keys/unwrap/action"),
        operation("POST", "/keys/KEY/sign", sign, "/keys/sign/action"),
        operation("POST", "/keys/KEY/verify", verify, "/keys/verify/action"),
        operation("DELETE", "/keys/KEY", none(), "/keys/delete"),
        operation("GET", "/deletedkeys/KEY", none(), "/keys/deletedKeys/read/action"),
        operation("POST", "/deletedkeys/KEY/recover", none(), "/keys/deletedKeys/recover/action"),
        operation("DELETE", "/deletedkeys/KEY", none(), "/keys/deletedKeys/delete"),
        list("/keys", "/keys/read/action"),
        list("/deletedkeys", "/keys/deletedKeys/read/action"),
        operation("POST", "/rng", json!({"count": 1}), "/rng/action"),
    ]
}

fn other_operations() -> Vec<Operation> {
    let definitions = format!("{ROLES}/roleDefinitions");
    let one = format!("{definitions}/00000000-0000-4000-8000-00000000000d");
    let write = json!({"properties": {"roleName": "matrix"}});
    let (setting, value) = ("/settings/CasemateSeparation", json!({"value": "warn"}));
    let usage = "/audit/usage?key=KEY";
    let usage = operation("GET", usage, Value::Null, "/keys/deletedKeys/read/action");
    vec![
        Operation { scope: "/keys/matrix", ..usage },
        operation("GET", "/audit/sinks", Value::Null, "/settings/write/action"),
        operation("PUT", "/audit/sinks", json!({"sinks": []}), "/settings/write/action"),
        list(&definitions, "/roleDefinitions/read/action"),
        list(&one, "/roleDefinitions/read/action"),
        operation("PUT", &one, write, "/roleDefinitions/write/action"),
        operation("DELETE", &one, Value::Null, "/roleDefinitions/delete/action"),
        operation("GET", "/settings", Value::Null, "/settings/read/action"),
        operation("GET", setting, Value::Null, "/settings/read/action"),
        operation("PATCH", setting, value, "/settings/write/action"),
    ]
}

fn grant_operations() -> Vec<Operation> {
    let guid = "00000000-0000-4000-8000-000000000000";
    let grant = json!({"properties": {
        "principalId": guid, "roleDefinitionId": "21dbd100-6940-42c2-9190-5d6cb909625c"}});
    let mut all = Vec::new();
    for (path, scope) in [("", "/"), ("/keys", "/keys"), ("/keys/KEY", "/keys/matrix")] {
        let assignments = format!("{path}{ROLES}/roleAssignments");
        let one = format!("{assignments}/{guid}");
        let made = [
            list(&assignments, "/roleAssignments/read/action"),
            operation("GET", &one, Value::Null, "/roleAssignments/read/action"),
            operation("PUT", &one, grant.clone(), "/roleAssignments/write/action"),
            operation("DELETE", &one, Value::Null, "/roleAssignments/delete/action"),
        ];
        // A role path is at its scope, not below all keys.
        all.extend(made.into_iter().map(|operation| Operation { scope, ..operation }));
    }
    all
}

/// The committed table: each role's id and name with the actions it allows.
fn table() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../hsm/core/tests/role-table.txt");
    let text = fs::read_to_string(file).expect("the role table is committed");
    let mut roles = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines().take_while(|line| !line.starts_with("Each action")) {
        let words: Vec<_> = line.split_whitespace().collect();
        match line.strip_prefix("    ") {
            Some(_) if line.contains("allows nothing here") => {}
            Some(_) => {
                let entry: &mut (String, BTreeSet<String>) =
                    roles.get_mut(&current).expect("an action follows its role");
                entry.1.insert(words[0].trim_start_matches(PREFIX).to_owned());
            }
            None if words.len() > 2 && words[0].len() == 36 => {
                current = words[0].to_owned();
                roles.insert(current.clone(), (words[1..].join(" "), BTreeSet::new()));
            }
            None => {}
        }
    }
    roles
}

fn covers(wide: &str, narrow: &str) -> bool {
    wide == "/" || wide == narrow || (wide == "/keys" && narrow.starts_with("/keys/"))
}

/// A principal that holds the role at the scope and nothing else, asking on its own connection.
fn holder(dev: &Dev, admin: &mut Rest, role: &str, scope: &str, number: usize) -> Rest {
    let app = casemate(dev, &["dev", "identity", "add-app", &format!("matrix-{number}")]);
    let text = |of: &str| app[of].as_str().expect("add-app prints it").to_owned();
    let at = scope.trim_end_matches('/');
    let guid = format!("00000000-0000-4000-9000-{number:012}");
    let path = format!("{at}{ROLES}/roleAssignments/{guid}");
    let body = json!({"properties": {"principalId": text("objectId"), "roleDefinitionId": role}});
    admin.call("PUT", &path, &body).expect("it answers").expect_ok("a grant");
    let token = token(dev, &text("appId"), &text("secret"));
    dev.anonymous().with_token(&token)
}

#[test]
fn every_role_does_what_the_table_says_and_nothing_else() {
    let dev = Dev::fresh();
    let mut admin = dev.rest();
    let (mut allowed, mut denied) = (0, 0);
    let operations = operations();
    let roles = table();
    assert_eq!(roles.len(), 10, "all built-in roles are in the table");
    let before = audit::records(dev.data_dir()).len();
    for (at, (role, (name, actions))) in roles.iter().enumerate() {
        for (which, scope) in ["/", "/keys", "/keys/matrix"].into_iter().enumerate() {
            let mut who = holder(&dev, &mut admin, role, scope, 3 * at + which);
            for one in &operations {
                let Operation { method, path, body, action, .. } = one;
                let answer = match body {
                    Value::Null => who.ask(method, path),
                    body => who.call(method, path, body),
                };
                let answer = answer.expect("it answers");
                let what = format!("{name} at {scope}: {method} {path}: {}", answer.text());
                let is_definition = path.contains("roleDefinitions");
                let reaches = covers(scope, one.scope)
                    || (one.is_list && (is_definition || covers(one.scope, scope)));
                let wanted = actions.contains(*action) && reaches;
                let is_denied = answer.code() == "AccessDenied";
                assert_eq!(!is_denied, wanted, "{what}");
                if wanted {
                    allowed += 1;
                    assert!(answer.status != 401 && answer.status < 500, "{what}");
                    continue;
                }
                denied += 1;
                assert_eq!(answer.status, 403, "{what}");
                let asked = if is_definition && *method == "GET" { "/" } else { one.scope };
                let text =
                    format!("Not authorized to access {PREFIX}{action} on {asked} (Activity");
                assert!(answer.text().contains(&text), "{what}");
            }
        }
    }
    assert_eq!(allowed + denied, 10 * 3 * operations.len());
    assert!(allowed > 150 && denied > 400, "{allowed} allowed, {denied} denied");
    let after = audit::records(dev.data_dir());
    let refused = after[before..].iter().filter(|record| record["errorCode"] == "AccessDenied");
    assert_eq!(refused.count(), denied, "each refusal has its record");
    dev.stop();
}
