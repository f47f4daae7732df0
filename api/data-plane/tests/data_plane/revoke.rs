//! Revocation is final: what waited when it answered does not act any more.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::kit::{GATE_ALL, Reply, World, b64, raw};

/// Starts an RSA signature that waits for the pool, lets `meanwhile` happen, then lets it go on.
async fn sign_while(world: &World, user: Uuid, meanwhile: impl AsyncFnOnce()) -> Reply {
    let shut = world.pool_gate.acquire_many(GATE_ALL).await.unwrap();
    let body = json!({"alg": "RS256", "value": b64(&[1; 32])}).to_string();
    let request: Request<_> = world.request(user, "POST", "/keys/k/sign", body);
    let plane = Arc::clone(&world.plane);
    let waiting = tokio::spawn(async move { raw(&plane, request).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    meanwhile().await;
    drop(shut);
    waiting.await.unwrap()
}

#[tokio::test]
async fn a_signature_that_waited_is_not_made_without_a_right() {
    let world = World::new().await;
    world.create("k", json!({"kty": "RSA"})).await;
    let user = Uuid::new_v4();
    let path = world.grant(user, "Managed HSM Crypto User", "/keys/k").await;
    let good = sign_while(&world, user, async || {}).await;
    assert_eq!(good.status, 200);
    let reply = sign_while(&world, user, async || {
        assert_eq!(world.call("DELETE", &path, Value::Null).await.status, 200);
    })
    .await;
    assert_eq!(reply.code(), (403, "AccessDenied".to_owned()));
    assert_eq!(world.last_record()["phase"], "refusal");
}

#[tokio::test]
async fn a_signature_that_waited_is_not_made_with_a_disabled_or_deleted_key() {
    let world = World::new().await;
    world.create("k", json!({"kty": "RSA"})).await;
    let user = world.somebody("Managed HSM Crypto User", "").await;
    let reply = sign_while(&world, user, async || {
        let off = json!({"attributes": {"enabled": false}});
        assert_eq!(world.call("PATCH", "/keys/k", off).await.status, 200);
    })
    .await;
    assert_eq!(reply.code(), (403, "Forbidden".to_owned()));
    let on = json!({"attributes": {"enabled": true}});
    assert_eq!(world.call("PATCH", "/keys/k", on).await.status, 200);
    let reply = sign_while(&world, user, async || {
        assert_eq!(world.call("DELETE", "/keys/k", Value::Null).await.status, 200);
    })
    .await;
    assert_eq!(reply.code(), (404, "KeyNotFound".to_owned()));
}
