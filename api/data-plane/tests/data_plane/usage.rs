//! Who still uses this key: for auditors alone, and recorded like any reading.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::kit::{ADMIN, World, b64};

const AUDITOR: &str = "Managed HSM Crypto Auditor";
const CRYPTO_USER: &str = "Managed HSM Crypto User";

#[tokio::test]
async fn an_auditor_sees_who_used_a_key_last_and_how_often() {
    let world = World::new().await;
    world.create("pay", json!({"kty": "EC"})).await;
    world.create("other", json!({"kty": "EC"})).await;
    let sign = json!({"alg": "ES256", "value": b64(&[1; 32])});
    for path in ["/keys/pay/sign", "/keys/PAY/sign", "/keys/other/sign"] {
        assert_eq!(world.call("POST", path, sign.clone()).await.status, 200);
    }
    assert_eq!(world.call("GET", "/keys/pay", Value::Null).await.status, 200);
    let auditor = world.somebody(AUDITOR, "").await;
    let reply = world.call_as(auditor, "GET", "/audit/usage?key=Pay", Value::Null).await;
    assert_eq!(reply.status, 200, "{}", reply.json());
    let [used] = reply.json()["uses"].as_array().unwrap().clone().try_into().unwrap();
    assert_eq!((&used["count"], &used["lastOperation"]), (&json!(2), &json!("KeySign")));
    assert_eq!(used["objectId"], ADMIN.to_string());
    let [read] = reply.json()["reads"].as_array().unwrap().clone().try_into().unwrap();
    assert_eq!((&read["count"], &read["lastOperation"]), (&json!(1), &json!("KeyGet")));
    let record = world.last_record();
    assert_eq!(record["operationName"], "AuditUsageGet");
    assert_eq!(record["key"]["name"], "Pay");
    assert_eq!(record["phase"], "use");
}

#[tokio::test]
async fn reading_a_key_or_asking_for_its_usage_is_no_use() {
    let world = World::new().await;
    world.create("idle", json!({"kty": "EC"})).await;
    let auditor = world.somebody(AUDITOR, "").await;
    for _ in 0..2 {
        assert_eq!(world.call("GET", "/keys/idle", Value::Null).await.status, 200);
        let reply = world.call_as(auditor, "GET", "/audit/usage?key=idle", Value::Null).await;
        assert_eq!((reply.status.as_u16(), &reply.json()["uses"]), (200, &json!([])));
        assert_eq!(reply.json()["reads"].as_array().unwrap().len(), 1, "the asker is not there");
    }
}

#[tokio::test]
async fn nobody_else_does_and_nonsense_is_refused() {
    let world = World::new().await;
    let user = world.somebody(CRYPTO_USER, "").await;
    for (principal, method, path, status) in [
        (Uuid::new_v4(), "GET", "/audit/usage?key=pay", 403),
        (user, "GET", "/audit/usage?key=pay", 403),
        (user, "GET", "/audit/usage", 400),
        (user, "GET", "/audit/usage?key=a/b", 400),
        (user, "POST", "/audit/usage?key=pay", 405),
        (user, "GET", "/audit", 404),
        (user, "GET", "/audit/usage/pay", 404),
    ] {
        let reply = world.call_as(principal, method, path, Value::Null).await;
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.json());
    }
}
