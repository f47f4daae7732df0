//! The sinks of the audit log: who may set them, what is shown, and what a missing copy means.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::kit::{World, b64};

const SECRET: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

fn sinks(secret: Option<&str>) -> Value {
    let mut hook = json!({
        "name": "hook", "kind": "webhook", "endpoint": "https://hook.example/audit",
        "trustAnchors": "-----BEGIN CERTIFICATE-----",
    });
    if let Some(secret) = secret {
        hook["secret"] = json!(secret);
    }
    json!({ "sinks": [{ "name": "archive", "kind": "file" }, hook], "synchronous": "hook" })
}

#[tokio::test]
async fn what_is_set_is_shown_without_its_secret_and_is_recorded() {
    let world = World::new().await;
    let empty = world.call("GET", "/audit/sinks", Value::Null).await.json();
    assert_eq!(empty["sinks"], json!([]));
    let set = world.call("PUT", "/audit/sinks", sinks(Some(SECRET))).await;
    assert_eq!(set.status, 200, "{}", set.text);
    assert!(!set.text.contains("whsec_"), "{}", set.text);
    let shown = world.call("GET", "/Audit/Sinks", Value::Null).await;
    assert_eq!(shown.json()["sinks"][1]["endpoint"], "https://hook.example/audit");
    assert_eq!(shown.json()["sinks"][0]["rotateBytes"], 64 << 20);
    assert_eq!(shown.json()["status"][0]["lag"], 2);
    assert!(!shown.text.contains("whsec_"), "{}", shown.text);
    let kept = world.call("PUT", "/audit/sinks", sinks(None)).await;
    assert_eq!(kept.status, 200, "the secret is kept: {}", kept.text);
    let lines = world.audit.lines();
    let of = |phase: &str| {
        let is = |line: &&String| {
            line.contains("\"AuditSinksSet\"") && line.contains(&format!("\"phase\":\"{phase}\""))
        };
        lines.iter().filter(is).count()
    };
    assert_eq!((of("intent"), of("outcome")), (2, 2));
    assert!(!lines.concat().contains("whsec_"), "no secret in a record");
}

#[tokio::test]
async fn nobody_but_an_administrator_sees_or_sets_them() {
    let world = World::new().await;
    let mut callers = vec![Uuid::new_v4()];
    for role in
        ["Crypto Officer", "Crypto User", "Policy Administrator", "Crypto Auditor", "Backup User"]
    {
        callers.push(world.somebody(&format!("Managed HSM {role}"), "").await);
    }
    for caller in callers {
        let read = world.call_as(caller, "GET", "/audit/sinks", Value::Null).await;
        assert_eq!(read.code(), (403, "AccessDenied".to_owned()));
        let set = world.call_as(caller, "PUT", "/audit/sinks", sinks(Some(SECRET))).await;
        assert_eq!(set.code(), (403, "AccessDenied".to_owned()));
    }
    let admin = world.somebody("Managed HSM Administrator", "").await;
    let set = world.call_as(admin, "PUT", "/audit/sinks", sinks(Some(SECRET))).await;
    assert_eq!(set.status, 200, "{}", set.text);
}

#[tokio::test]
async fn what_no_sink_can_be_is_refused_and_changes_nothing() {
    let world = World::new().await;
    world.call("PUT", "/audit/sinks", sinks(Some(SECRET))).await;
    let mut moved = sinks(None);
    moved["sinks"][1]["endpoint"] = json!("https://attacker.example/");
    let mut wrong = sinks(Some("no-secret-of-this-form"));
    wrong["sinks"][0]["keepFiles"] = json!("no-secret-of-this-form");
    let bodies = [
        Value::Null,
        json!({}),
        json!([]),
        json!({ "sinks": [], "synchronous": "hook" }),
        json!({ "sinks": [], "extra": 1 }),
        sinks(Some("no-secret-of-this-form")),
        wrong,
        moved,
    ];
    for body in bodies {
        let reply = world.call("PUT", "/audit/sinks", body.clone()).await;
        assert_eq!(reply.code(), (400, "BadParameter".to_owned()), "{body}");
        assert!(!reply.text.contains("no-secret-of-this-form"), "{}", reply.text);
    }
    let shown = world.call("GET", "/audit/sinks", Value::Null).await.json();
    assert_eq!(shown["sinks"][1]["endpoint"], "https://hook.example/audit");
    for (method, path) in [("POST", "/audit/sinks"), ("DELETE", "/audit/sinks")] {
        assert_eq!(world.call(method, path, Value::Null).await.status, 405, "{method} {path}");
    }
    for path in ["/audit", "/audit/sinks/hook", "/audit/other"] {
        assert_eq!(world.call("GET", path, Value::Null).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn without_the_synchronous_copy_no_result_leaves() {
    let world = World::new().await;
    world.create("k", json!({ "kty": "EC" })).await;
    let sign = json!({ "alg": "ES256", "value": b64(&[1; 32]) });
    let done = world.call("POST", "/keys/k/sign", sign.clone()).await;
    assert_eq!(done.status, 200);
    let records = u64::try_from(world.audit.count()).unwrap();
    assert_eq!(
        world.copies.waited_for.load(Ordering::SeqCst),
        records,
        "each record is waited for"
    );
    world.copies.missing.store(true, Ordering::SeqCst);
    for (method, path, body) in [
        ("POST", "/keys/k/sign", sign),
        ("GET", "/keys/k", Value::Null),
        ("GET", "/keys", Value::Null),
        ("DELETE", "/keys/k", Value::Null),
        ("POST", "/keys/other/create", json!({ "kty": "EC" })),
        ("GET", "/keys/no-such-key", Value::Null),
        ("POST", "/keys/k/sign", json!({ "alg": "none" })),
    ] {
        let reply = world.call(method, path, body).await;
        assert_eq!(reply.code(), (503, "ServiceUnavailable".to_owned()), "{method} {path}");
        assert!(reply.message().contains("'siem'"), "{}", reply.message());
    }
    let freed = world.call("PUT", "/audit/sinks", json!({ "sinks": [] })).await;
    assert_eq!(freed.status, 200, "who takes the sink out does not wait for it: {}", freed.text);
    world.copies.missing.store(false, Ordering::SeqCst);
    assert_eq!(world.call("GET", "/keys/k", Value::Null).await.status, 200, "nothing was deleted");
    assert_eq!(world.call("GET", "/keys/other", Value::Null).await.status, 404, "nothing was made");
}
