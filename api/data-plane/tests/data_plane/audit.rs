//! No record, no effect.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::kit::{ADMIN, World, b64};

#[tokio::test]
async fn changes_leave_an_intent_and_an_outcome_and_uses_one_record() {
    let world = World::new().await;
    let bundle = world.create("k", json!({"kty": "EC"})).await;
    let records: Vec<Value> =
        world.audit.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), 2);
    assert_eq!((&records[0]["phase"], &records[1]["phase"]), (&json!("intent"), &json!("outcome")));
    assert_eq!(records[1]["intent"], records[0]["seq"]);
    assert_eq!(records[1]["operationName"], "KeyCreate");
    assert_eq!(records[1]["httpStatusCode"], 200);
    let version = bundle["key"]["kid"].as_str().unwrap().rsplit('/').next().unwrap();
    assert_eq!(records[1]["key"]["version"], version);
    assert_eq!(records[1]["permit"]["role"], "Managed HSM Crypto User");
    let sign = json!({"alg": "ES256", "value": b64(&[1; 32])});
    world.call("POST", "/keys/k/sign", sign).await;
    let record = world.last_record();
    assert_eq!(world.audit.count(), 3);
    assert_eq!((&record["phase"], &record["resultType"]), (&json!("use"), &json!("Success")));
    assert_eq!(record["operationName"], "KeySign");
    assert_eq!(record["key"]["algorithm"], "ES256");
    assert_eq!(record["requestUri"], "/keys/k/sign");
    assert!(record["identity"].as_str().unwrap().contains(&ADMIN.to_string()));
}

#[tokio::test]
async fn refusals_are_recorded_too() {
    let world = World::new().await;
    let stranger = Uuid::new_v4();
    for (principal, method, path, body, status) in [
        (stranger, "GET", "/keys/k", Value::Null, 403),
        (ADMIN, "GET", "/keys/k", Value::Null, 404),
        (ADMIN, "GET", "/nothing", Value::Null, 404),
        (ADMIN, "POST", "/keys/k/create", json!({}), 400),
        (ADMIN, "GET", "/keys?maxresults=0", Value::Null, 400),
    ] {
        let before = world.audit.count();
        let reply = world.call_as(principal, method, path, body).await;
        assert_eq!(reply.status, status);
        assert_eq!(world.audit.count(), before + 1);
        let record = world.last_record();
        assert_eq!(record["phase"], "refusal", "{path}");
        assert_eq!(record["httpStatusCode"], status);
    }
    // A change that failed after its intent has its outcome.
    let reply = world.call("DELETE", "/keys/k", Value::Null).await;
    assert_eq!(reply.status, 404);
    assert_eq!(world.last_record()["phase"], "outcome");
    assert_eq!(world.last_record()["errorCode"], "KeyNotFound");
}

#[tokio::test]
async fn nothing_is_done_that_cannot_be_recorded() {
    let world = World::new().await;
    world.create("k", json!({"kty": "EC"})).await;
    world.audit.set_full(true);
    let sign = json!({"alg": "ES256", "value": b64(&[1; 32])});
    for (method, path, body) in [
        ("POST", "/keys/k/sign", sign.clone()),
        ("POST", "/keys/new/create", json!({"kty": "EC"})),
        ("DELETE", "/keys/k", Value::Null),
        ("GET", "/keys/k", Value::Null),
        ("GET", "/keys/none", Value::Null),
        ("GET", "/nothing", Value::Null),
        ("POST", "/rng", json!({"count": 16})),
    ] {
        let reply = world.call(method, path, body).await;
        assert_eq!(reply.code(), (503, "ServiceUnavailable".to_owned()), "{method} {path}");
        assert!(reply.message().contains("free some"), "{}", reply.message());
        assert_eq!(reply.json().as_object().unwrap().len(), 1);
        assert!(reply.headers.contains_key("retry-after"));
    }
    world.audit.set_full(false);
    assert_eq!(world.call("GET", "/keys/new", Value::Null).await.status, 404);
    assert_eq!(world.call("POST", "/keys/k/sign", sign).await.status, 200);
}

#[tokio::test]
async fn no_record_and_no_reply_holds_a_secret() {
    let world = World::new().await;
    let secret = b64(&[0xc3; 32]);
    let mut said = String::new();
    for body in [
        json!({"key": {"kty": "oct", "k": secret}}),
        json!({"key": secret}),
        json!({"key": {"kty": "EC", "crv": "P-256", "x": secret, "y": secret, "d": secret}}),
        json!({"key": {"kty": "oct", "k": format!("{secret}!")}}),
        json!({"key": {"kty": "oct", "k": [secret]}}),
    ] {
        said.push_str(&world.call("PUT", "/keys/k", body).await.text);
    }
    let plain = json!({"alg": "A256KW", "value": secret});
    let wrapped = world.call("POST", "/keys/k/wrapkey", plain).await.json();
    let unwrap = json!({"alg": "A256KW", "value": wrapped["value"]});
    let unwrapped = world.call("POST", "/keys/k/unwrapkey", unwrap).await;
    // The control: what must not be found can be found.
    assert!(unwrapped.text.contains(&secret));
    said.push_str(&world.audit.lines().concat());
    assert!(!said.contains(&secret));
}
