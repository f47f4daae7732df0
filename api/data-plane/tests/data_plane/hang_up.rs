//! A client that hangs up in the midst of a change cannot cut it in two.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::kit::{ADMIN, GATE_ALL, World, raw};

#[tokio::test]
async fn a_change_that_has_begun_runs_to_its_end() {
    let world = World::new().await;
    let shut = world.store_gate.acquire_many(GATE_ALL).await.unwrap();
    let request = world.request(ADMIN, "POST", "/keys/k/create", json!({"kty": "EC"}).to_string());
    let plane = Arc::clone(&world.plane);
    let client = tokio::spawn(async move { raw(&plane, request).await });
    eventually(|| world.audit.count() == 1).await;
    assert_eq!(world.last_record()["phase"], "intent");
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
    assert_eq!(world.audit.count(), 1);
    drop(shut);
    eventually(|| world.audit.count() == 2).await;
    assert_eq!(world.last_record()["phase"], "outcome");
    assert_eq!(world.last_record()["resultType"], "Success");
    assert_eq!(world.call("GET", "/keys/k", Value::Null).await.status, 200);
}

async fn eventually(mut holds: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it did not come to pass within ten seconds");
}
