//! Every built-in role, every operation, three scopes, over HTTPS: what is allowed is what the
//! committed role table says, to the letter, and what is not is refused in the original's words.
//!
//! Which operations there are is the published list, which the code is held against; one that is
//! not asked for here fails the test.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use casemate_system_tests::{casemate, token};
use casemate_test_kit::clients::Client;
use casemate_test_kit::process::eventually;
use casemate_test_kit::rest::{Answer, Rest};
use casemate_test_kit::{Dev, audit, places};
use serde_json::{Value, json};

const ROLES: &str = "/providers/Microsoft.Authorization";
const PREFIX: &str = "Microsoft.KeyVault/managedHsm";
/// The key of the narrowest scope. It comes and goes: only the right to try is looked at.
const KEY: &str = "matrix";

/// A key that is there all the time, and no scope of the matrix is at it.
const OTHER: &str = "other";
/// Role management, settings, backups and the security domain are the whole HSM's.
const ROOT: &str = "/";
/// Those who may have a right explained, beside having the right to read assignments.
const EXPLAINED_TO: [&str; 2] = ["Managed HSM Administrator", "Managed HSM Crypto Auditor"];
/// A job's end, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is asked and published with the operations of the API.
const LIST: &str = include_str!("../../../docs/operate/audit-operations.md");
/// From here on the list is of what nobody asks for.
const NOT_ASKED: &str = "## What the service does by itself";
/// What a path that means nothing is recorded as.
const MEANS_NOTHING: &str = "UnknownOperation";

/// One operation: how it is asked for, the action it needs, and where.
struct Operation {
    method: &'static str,
    path: String,
    body: Value,
    action: &'static str,
    scope: &'static str,
    /// Whoever has the right for a part of the scope is not refused: a list shows that part.
    in_part: bool,
    /// A second scope, which is known only when the first was allowed.
    then: Option<&'static str>,
    /// Of those who have the right, only these are answered; the others are told so.
    only: &'static [&'static str],
    /// What who may is answered, where it is always the same.
    answer: Option<u16>,
}

impl Operation {
    fn at(self, scope: &'static str) -> Self {
        Self { scope, ..self }
    }

    fn answered(self, status: u16) -> Self {
        Self { answer: Some(status), ..self }
    }
}

fn operation(method: &'static str, path: &str, body: Value, action: &'static str) -> Operation {
    let scope = if path.starts_with("/keys/") || path.starts_with("/deletedkeys/") {
        "/keys/matrix"
    } else if path.starts_with("/keys") || path.starts_with("/deletedkeys") {
        "/keys"
    } else {
        ROOT
    };
    let path = path.replace("KEY", KEY);
    let (in_part, then, only, answer) = (false, None, &[][..], None);
    Operation { method, path, body, action, scope, in_part, then, only, answer }
}

fn list(path: &str, action: &'static str) -> Operation {
    Operation { in_part: true, ..operation("GET", path, Value::Null, action) }
}

/// What some bodies hold.
struct Given {
    /// The backup of the key, and that of the other.
    backups: [Value; 2],
    /// A new quorum for the security domain, which nobody has approved.
    quorum: Value,
}

impl Given {
    /// Made by the Administrator of `dev`, who is a Crypto User too.
    fn by(dev: &Dev, admin: &mut Rest) -> Self {
        let backups = [KEY, OTHER].map(|key| {
            let made =
                admin.call("POST", &format!("/keys/{key}/create"), &json!({"kty": "EC-HSM"}));
            made.expect("it answers").expect_ok("a key");
            let backup = admin.ask("POST", &format!("/keys/{key}/backup"));
            json!({"value": backup.expect("it answers").expect_ok("a backup")["value"]})
        });
        let mut words = vec!["security-domain", "request", "--quorum", "2"];
        let officer = |at| dev.data_dir().join(format!("officers/officer-{at}.cer"));
        let officers = [1, 2, 3].map(|at| officer(at).display().to_string());
        words.extend(officers.iter().flat_map(|cer| ["--cert", cer.as_str()]));
        let client = Client::of(dev, &places::casemate(), dev.scratch());
        let quorum = client.words(words).succeed("a request");
        Self { backups, quorum: serde_json::from_str(&quorum).expect("a request is JSON") }
    }
}

/// The operations of the release, in an order in which a key is there when it is to be deleted, and
/// recovered before it could be purged: a purge would take the assignments made at the key along.
fn operations(given: &Given) -> Vec<Operation> {
    let keys = key_operations().into_iter().chain(key_backup_operations(given));
    let whole = domain_operations(given).into_iter().chain(job_operations());
    keys.chain(other_operations()).chain(grant_operations()).chain(whole).collect()
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

/// Whose key a backup is shows when it is opened, and whoever may restore some key may have that
/// done.
fn key_backup_operations(given: &Given) -> Vec<Operation> {
    let action = "/keys/restore/action";
    let restore = |body: &Value| {
        let restore = operation("POST", "/keys/restore", body.clone(), action).at("/keys");
        Operation { in_part: true, ..restore }
    };
    let [own, other] = &given.backups;
    vec![
        operation("POST", "/keys/KEY/backup", Value::Null, "/keys/backup/action"),
        restore(&json!({"value": "AAAA"})).answered(400),
        Operation { then: Some("/keys/matrix"), ..restore(own) },
        Operation { then: Some("/keys/other"), ..restore(other).answered(409) },
    ]
}

/// Given out again only with the officers' signatures, and an active HSM takes none; so the
/// Administrator is refused too, in other words than who may not.
fn domain_operations(given: &Given) -> Vec<Operation> {
    let of = |what: &str| format!("/securitydomain/{what}");
    let (download, upload, none) = (of("download"), of("upload"), Value::Null);
    let (status, sent) = (|what: &str| format!("{what}/pending"), json!({"value": "{}"}));
    let reads = "/securitydomain/transferkey/read";
    let again =
        operation("POST", &download, given.quorum.clone(), "/securitydomain/download/action");
    let rotate = of("rotate");
    let mut epoch = given.quorum.clone();
    epoch["rotation"] = json!({"epoch": 2});
    vec![
        again.answered(403),
        operation("POST", &rotate, epoch, "/securitydomain/download/action").answered(403),
        operation("GET", &status(&rotate), none.clone(), "/securitydomain/download/read")
            .answered(404),
        operation("GET", &status(&download), none.clone(), "/securitydomain/download/read")
            .answered(200),
        operation("GET", &upload, none.clone(), reads).answered(409),
        operation("POST", &upload, sent, "/securitydomain/upload/action").answered(409),
        operation("GET", &status(&upload), none, "/securitydomain/upload/read").answered(404),
    ]
}

/// Backups and restores of the whole HSM. There is nothing to be restored: the jobs that begin end
/// without a change.
fn job_operations() -> Vec<Operation> {
    let storage = json!({"storageResourceUri": "file:///matrix", "token": ""});
    let (backup, restore) = ("/backup/start/action", "/restore/start/action");
    let all = json!({"sasTokenParameters": storage, "folderToRestore": "mhsm-none"});
    let one = json!({"sasTokenParameters": storage, "folder": "mhsm-none"});
    let status = |of: &str| format!("/{of}/00000000000000000000000000000000/pending");
    let (backups, restores) = (status("backup"), status("restore"));
    // The Administrator alone has the right that is asked for first. It is disabled: nothing runs.
    let (schedules, set) = ("/backup/schedules", "/settings/write/action");
    let one_schedule = format!("{schedules}/matrix");
    let mut plan = storage.clone();
    plan["everyMinutes"] = json!(44_640);
    plan["enabled"] = json!(false);
    let run = format!("{one_schedule}/run");
    vec![
        operation("PUT", &one_schedule, plan, set).answered(200),
        operation("GET", schedules, Value::Null, set).answered(200),
        operation("GET", &one_schedule, Value::Null, set).answered(200),
        operation("POST", &run, Value::Null, set).answered(409),
        operation("DELETE", &one_schedule, Value::Null, set).answered(200),
        operation("POST", "/backup", storage.clone(), backup).answered(202),
        operation("POST", "/prebackup", storage, backup).answered(202),
        operation("GET", &backups, Value::Null, "/backup/status/action").answered(404),
        operation("PUT", "/restore", all.clone(), restore).answered(202),
        operation("PUT", "/prerestore", all, restore).answered(202),
        operation("PUT", "/keys/KEY/restore", one, restore).answered(202),
        operation("GET", &restores, Value::Null, "/restore/status/action").answered(404),
    ]
}

fn other_operations() -> Vec<Operation> {
    let definitions = format!("{ROLES}/roleDefinitions");
    let one = format!("{definitions}/00000000-0000-4000-8000-00000000000d");
    let write = json!({"properties": {"roleName": "matrix"}});
    let (setting, value) = ("/settings/CasemateSeparation", json!({"value": "warn"}));
    let usage = "/audit/usage?key=KEY";
    let usage = operation("GET", usage, Value::Null, "/keys/deletedKeys/read/action");
    let cut_off = "/principals/00000000-0000-4000-8000-00000000000d/cutOffTokens";
    vec![
        usage.at("/keys/matrix"),
        operation("POST", cut_off, Value::Null, "/settings/write/action").answered(200),
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
            Operation { only: &EXPLAINED_TO, ..explain(scope) },
        ];
        // A role path is at its scope, not below all keys.
        all.extend(made.into_iter().map(|operation| operation.at(scope)));
    }
    all
}

fn explain(scope: &str) -> Operation {
    let asked = "principal=00000000-0000-4000-8000-00000000000d&action=keys/sign/action";
    let path = format!("/explain?{asked}&scope={scope}");
    operation("GET", &path, Value::Null, "/roleAssignments/read/action")
}

/// What this release does not have. Nobody has a right to it, and nobody is told that he lacks one.
const ABSENT: [(&str, &str); 12] = [
    ("POST", "/keys/matrix/rotate"),
    ("GET", "/keys/matrix/rotationpolicy"),
    ("PUT", "/keys/matrix/rotationpolicy"),
    ("GET", "/keys/matrix/attestation"),
    ("POST", "/keys/matrix/release"),
    ("POST", "/keys/matrix/securewrapkey"),
    ("POST", "/keys/matrix/secureunwrapkey"),
    ("GET", "/ekm"),
    ("POST", "/ekm/check"),
    ("DELETE", "/ekm"),
    ("PATCH", "/ekm"),
    ("POST", "/ekm/create"),
];

/// What can be asked for, by the names of the audit log.
fn published() -> BTreeSet<&'static str> {
    let asked = LIST.split(NOT_ASKED).next().expect("a text has a beginning");
    let rows = asked.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split('`').next()).filter(|name| *name != MEANS_NOTHING).collect()
}

/// A role's name, and the actions that it allows.
type Role = (String, BTreeSet<String>);

/// The committed table: the roles by their ids.
fn table() -> BTreeMap<String, Role> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../hsm/core/tests/role-table.txt");
    let text = fs::read_to_string(file).expect("the role table is committed");
    let mut roles = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines().take_while(|line| !line.starts_with("Each action")) {
        let words: Vec<_> = line.split_whitespace().collect();
        match line.strip_prefix("    ") {
            Some(_) if line.contains("allows nothing here") => {}
            Some(_) => {
                let entry: &mut Role = roles.get_mut(&current).expect("an action follows its role");
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

/// The scope that the caller is told to lack the right at; none if it is not refused.
fn lacking(one: &Operation, role: &Role, scope: &str) -> Option<&'static str> {
    let is_definition = one.in_part && one.path.contains("roleDefinitions");
    let in_part = one.in_part && (is_definition || covers(one.scope, scope));
    let first = role.1.contains(one.action) && (covers(scope, one.scope) || in_part);
    if !first {
        return Some(if is_definition { ROOT } else { one.scope });
    }
    one.then.filter(|then| !covers(scope, then))
}

/// Whether the operation was allowed; anything else than the table says ends the test.
fn judged(one: &Operation, answer: &Answer, role: &Role, scope: &str) -> bool {
    let Operation { method, path, action, .. } = one;
    let what =
        format!("{} at {scope}: {method} {path}: {} {}", role.0, answer.status, answer.text());
    let Some(asked) = lacking(one, role, scope) else {
        assert_ne!(answer.code(), "AccessDenied", "{what}");
        assert!(answer.status != 401 && answer.status < 500, "{what}");
        let told = one.only.is_empty() || one.only.contains(&role.0.as_str());
        let expected = if told { one.answer } else { Some(403) };
        assert!(expected.is_none_or(|expected| answer.status == expected), "{what}");
        return true;
    };
    assert_eq!((answer.status, answer.code().as_str()), (403, "AccessDenied"), "{what}");
    let text = format!("Not authorized to access {PREFIX}{action} on {asked} (Activity");
    assert!(answer.text().contains(&text), "{what}");
    false
}

/// Asks for the operation, and waits for the job that it may begin.
fn asked(one: &Operation, who: &mut Rest, admin: &mut Rest) -> Answer {
    let answer = match &one.body {
        Value::Null => who.ask(one.method, &one.path),
        body => who.call(one.method, &one.path, body),
    };
    let answer = answer.expect("it answers");
    if let Some(url) = answer.header("azure-asyncoperation") {
        let status = format!("/{}", url.splitn(4, '/').nth(3).expect("the URL has a path"));
        let ended = || {
            let job = admin.ask("GET", &status).expect("it answers").expect_ok("a status");
            job["status"] != "InProgress"
        };
        assert!(eventually(PATIENCE, ended), "the job does not end: {}", answer.text());
    }
    answer
}

#[test]
fn every_role_does_what_the_table_says_and_nothing_else() {
    let dev = Dev::fresh();
    let mut admin = dev.rest();
    let given = Given::by(&dev, &mut admin);
    let (mut allowed, mut denied) = (0, 0);
    let operations = operations(&given);
    let roles = table();
    assert_eq!(roles.len(), 10, "all built-in roles are in the table");
    let before = audit::records(dev.data_dir()).len();
    for (at, (id, role)) in roles.iter().enumerate() {
        for (which, scope) in ["/", "/keys", "/keys/matrix"].into_iter().enumerate() {
            let mut who = holder(&dev, &mut admin, id, scope, 3 * at + which);
            for one in &operations {
                let answer = asked(one, &mut who, &mut admin);
                let count = match judged(one, &answer, role, scope) {
                    true => &mut allowed,
                    false => &mut denied,
                };
                *count += 1;
            }
            for (method, path) in ABSENT {
                let answer = who.ask(method, path).expect("it answers");
                answer.expect_refusal(400, "NotSupported", path);
            }
        }
    }
    assert_eq!(allowed + denied, 10 * 3 * operations.len());
    assert!(allowed > 250 && denied > 900, "{allowed} allowed, {denied} denied");
    let after = audit::records(dev.data_dir());
    let refused = after[before..].iter().filter(|record| record["errorCode"] == "AccessDenied");
    assert_eq!(refused.count(), denied, "each refusal has its record");
    let names = after[before..].iter().filter_map(|record| record["operationName"].as_str());
    let names: BTreeSet<_> = names.collect();
    let published = published();
    assert!(published.len() > 45, "the list was not read: {published:?}");
    let missing: Vec<_> = published.difference(&names).collect();
    assert!(missing.is_empty(), "not in the matrix: {missing:?}");
    dev.stop();
}
