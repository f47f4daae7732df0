//! Bodies as committed files: a change of the contract shows in the diff. Written anew where
//! `CASEMATE_GOLDEN=write`.

use std::path::PathBuf;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::kit::{Reply, World, b64};

/// What differs from run to run is replaced by its name.
fn stable(reply: &Reply) -> String {
    let mut text = if reply.text.is_empty() {
        "(empty)".to_owned()
    } else {
        serde_json::to_string_pretty(&reply.json()).unwrap()
    };
    if let Some(id) = reply.headers.get("x-ms-request-id") {
        text = text.replace(id.to_str().unwrap(), "REQUEST-ID");
    }
    let key = reply.text.contains("\"key\"").then(|| reply.json());
    for member in ["n", "x", "y"] {
        if let Some(value) = key.as_ref().and_then(|json| json["key"][member].as_str()) {
            text = text.replace(value, &format!("({member})"));
        }
    }
    format!("{}\n{}\n", reply.status.as_u16(), versionless(&text))
}

/// Each 32 hexadecimal digits are some version.
fn versionless(text: &str) -> String {
    let words = text.split_inclusive(|c: char| !c.is_ascii_hexdigit());
    words
        .map(|word| {
            let digits = word.trim_end_matches(|c: char| !c.is_ascii_hexdigit());
            if digits.len() == 32 { word.replace(digits, "VERSION") } else { word.to_owned() }
        })
        .collect()
}

fn check(name: &str, reply: &Reply) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let text = stable(reply);
    if std::env::var("CASEMATE_GOLDEN").is_ok_and(|mode| mode == "write") {
        std::fs::write(&path, &text).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{name} differs; CASEMATE_GOLDEN=write rewrites it");
}

#[tokio::test]
async fn bundles_are_as_committed() {
    let world = World::new().await;
    let full = json!({
        "kty": "RSA", "tags": {"purpose": "test"},
        "attributes": {"nbf": 1_700_000_000, "exp": 1_900_000_000},
    });
    check("key-rsa.json", &world.call("POST", "/keys/rsa/create", full).await);
    let ec = json!({"kty": "EC", "crv": "P-384"});
    check("key-ec.json", &world.call("POST", "/keys/ec/create", ec).await);
    check("key-oct.json", &world.call("POST", "/keys/oct/create", json!({"kty": "oct"})).await);
    check("key-list.json", &world.call("GET", "/keys?maxresults=2", Value::Null).await);
    check("key-deleted.json", &world.call("DELETE", "/keys/ec", Value::Null).await);
    check("key-deleted-list.json", &world.call("GET", "/deletedkeys", Value::Null).await);
    check("key-purged.json", &world.call("DELETE", "/deletedkeys/ec", Value::Null).await);
    let definitions = "/providers/Microsoft.Authorization/roleDefinitions";
    check("role-definitions.json", &world.call("GET", definitions, Value::Null).await);
}

#[tokio::test]
async fn error_bodies_are_as_committed() {
    let world = World::new().await;
    let ec = || json!({"kty": "EC"});
    world.create("k", ec()).await;
    world.create("gone", ec()).await;
    world.create("off", json!({"kty": "EC", "attributes": {"enabled": false}})).await;
    world.call("DELETE", "/keys/gone", Value::Null).await;
    let sign = json!({"alg": "ES256", "value": b64(&[1; 32])});
    let wrong = json!({"alg": "RS256", "value": b64(&[1; 32])});
    for (name, method, path, body) in [
        ("error-not-found.json", "GET", "/keys/none", Value::Null),
        ("error-deleted-not-found.json", "GET", "/deletedkeys/k", Value::Null),
        ("error-path.json", "GET", "/secrets/s", Value::Null),
        ("error-name.json", "GET", "/keys/a_b", Value::Null),
        ("error-method.json", "PUT", "/rng", Value::Null),
        ("error-name-deleted.json", "POST", "/keys/gone/create", ec()),
        ("error-disabled.json", "POST", "/keys/off/sign", sign),
        ("error-algorithm.json", "POST", "/keys/k/sign", wrong),
        ("error-size.json", "POST", "/keys/k/create", json!({"kty": "RSA", "key_size": 1})),
        ("error-member.json", "POST", "/keys/k/create", json!({})),
        ("error-not-in-release.json", "POST", "/keys/k/rotate", Value::Null),
    ] {
        check(name, &world.call(method, path, body).await);
    }
    let stranger = Uuid::from_u128(5);
    let denied = world.call_as(stranger, "GET", "/keys/k", Value::Null).await;
    check("error-denied.json", &denied);
    world.audit.set_full(true);
    check("error-audit.json", &world.call("GET", "/keys/k", Value::Null).await);
}
