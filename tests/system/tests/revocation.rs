//! Revocation is final, over HTTPS: 64 connections use keys by one role without a pause, RSA-4096
//! signatures that wait for the pool among them, while the role is taken away again and again.
//!
//! `CASEMATE_REVOCATIONS` says how often.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use casemate_system_tests::{casemate, token};
use casemate_test_kit::rest::Rest;
use casemate_test_kit::{Dev, audit};
use serde_json::{Value, json};

/// Removals where nothing else is said.
const REVOCATIONS: u64 = 12;
/// Removals by one run of the server, so that its records fit into memory.
const REVOCATIONS_PER_SERVER: u64 = 50;
const CONNECTIONS: usize = 64;
/// How many of them sign with RSA-4096.
const COSTLY: usize = 24;
/// How long the role is held, and then not held, each time.
const HELD: Duration = Duration::from_millis(60);
const NOT_HELD: Duration = Duration::from_millis(40);
const ROLES: &str = "/keys/providers/Microsoft.Authorization/roleAssignments";
const CRYPTO_USER: &str = "21dbd100-6940-42c2-9190-5d6cb909625b";

/// What all connections share.
#[derive(Default)]
struct Shared {
    /// Odd while the role is held.
    turn: AtomicU64,
    done: AtomicBool,
    successes: AtomicU64,
    /// Answered with 403 although begun while the role was held.
    overtaken: AtomicU64,
    /// Costly ones among them.
    overtaken_costly: AtomicU64,
    /// Successes begun after the removal was answered and answered before the next grant.
    too_late: AtomicU64,
}

/// Uses a key without a pause until all is done.
fn hammer(mut who: Rest, path: &str, body: &Value, is_costly: bool, shared: &Shared) {
    while !shared.done.load(Ordering::SeqCst) {
        let before = shared.turn.load(Ordering::SeqCst);
        let answer = who.call("POST", path, body).expect("the server answers");
        let after = shared.turn.load(Ordering::SeqCst);
        let held = before % 2 == 1;
        match answer.status {
            200 => {
                shared.successes.fetch_add(1, Ordering::SeqCst);
                if !held && after == before {
                    shared.too_late.fetch_add(1, Ordering::SeqCst);
                }
            }
            403 if held => {
                shared.overtaken.fetch_add(1, Ordering::SeqCst);
                shared.overtaken_costly.fetch_add(u64::from(is_costly), Ordering::SeqCst);
            }
            // Nobody asks a server in vain as fast as it can.
            403 => thread::sleep(Duration::from_millis(2)),
            429 => thread::sleep(Duration::from_millis(1)),
            other => unreachable!("{path}: {other} {}", answer.text()),
        }
    }
}

/// Grants and removes so often; the names of the assignments, in order.
fn revoke(admin: &mut Rest, principal: &str, times: u64, shared: &Shared) -> Vec<String> {
    let body = json!({"properties": {"principalId": principal, "roleDefinitionId": CRYPTO_USER}});
    let mut names = Vec::new();
    for number in 0..times {
        let name = format!("00000000-0000-4000-a000-{number:012}");
        let path = format!("{ROLES}/{name}");
        // The turn is told before the grant: nothing that it allows is then called too late.
        shared.turn.fetch_add(1, Ordering::SeqCst);
        admin.call("PUT", &path, &body).expect("it answers").expect_ok("a grant");
        thread::sleep(HELD);
        admin.ask("DELETE", &path).expect("it answers").expect_ok("a removal");
        shared.turn.fetch_add(1, Ordering::SeqCst);
        thread::sleep(NOT_HELD);
        names.push(name);
    }
    names
}

/// In the log: no use under an assignment after the outcome of its removal.
fn judge(records: &[Value], names: &[String]) -> usize {
    let mut removed = BTreeMap::new();
    let mut uses = 0;
    for record in records {
        let seq = record["seq"].as_u64().expect("a record has its number");
        let success = record["resultType"] == "Success";
        if success && record["operationName"] == "RoleAssignmentDelete" {
            let path = record["requestUri"].as_str().unwrap_or_default();
            removed.insert(path.rsplit('/').next().unwrap_or_default().to_owned(), seq);
        }
        let by = record["permit"]["assignment"].as_str().unwrap_or_default();
        if success && record["phase"] == "use" && names.iter().any(|name| name == by) {
            uses += 1;
            assert!(!removed.contains_key(by), "{seq} after {}: {record}", removed[by]);
        }
    }
    assert_eq!(names.iter().filter(|name| removed.contains_key(*name)).count(), names.len());
    uses
}

fn run(times: u64) {
    let dev = Dev::fresh();
    let mut admin = dev.rest();
    for (key, kind) in [
        ("slow", json!({"kty": "RSA-HSM", "key_size": 4096})),
        ("quick", json!({"kty": "oct-HSM", "key_size": 256})),
    ] {
        let path = format!("/keys/{key}/create");
        admin.call("POST", &path, &kind).expect("it answers").expect_ok(key);
    }
    let app = casemate(&dev, &["dev", "identity", "add-app", "hammer"]);
    let text = |of: &str| app[of].as_str().expect("add-app prints it").to_owned();
    let who = dev.anonymous().with_token(&token(&dev, &text("appId"), &text("secret")));
    let shared = Arc::new(Shared::default());
    let digest = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let names = thread::scope(|scope| {
        for number in 0..CONNECTIONS {
            let (who, shared) = (who.twin(), Arc::clone(&shared));
            let costly = number < COSTLY;
            let (path, body) = match costly {
                true => ("/keys/slow/sign", json!({"alg": "RS256", "value": digest})),
                false => ("/keys/quick/encrypt", json!({"alg": "A256GCM", "value": digest})),
            };
            scope.spawn(move || hammer(who, path, &body, costly, &shared));
        }
        let names = revoke(&mut admin, &text("objectId"), times, &shared);
        shared.done.store(true, Ordering::SeqCst);
        names
    });
    let of = |count: &AtomicU64| count.load(Ordering::SeqCst);
    assert_eq!(of(&shared.too_late), 0, "successes begun after a removal was answered");
    let uses = judge(&audit::records(dev.data_dir()), &names);
    assert!(uses > 0 && of(&shared.successes) > 0, "nobody used a key: that shows nothing");
    assert!(of(&shared.overtaken) > 0, "no removal overtook a call: that shows nothing");
    assert!(of(&shared.overtaken_costly) > 0, "no removal overtook a signature that waited");
    dev.stop();
}

#[test]
fn nothing_is_answered_under_a_removed_assignment() {
    let times = std::env::var("CASEMATE_REVOCATIONS").ok().and_then(|text| text.parse().ok());
    let mut left: u64 = times.unwrap_or(REVOCATIONS);
    while left > 0 {
        let now = left.min(REVOCATIONS_PER_SERVER);
        run(now);
        left -= now;
    }
}
