//! A client that hangs up in the midst of a change cannot cut it in two, and one that hangs up in
//! the midst of anything else leaves a record all the same.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use casemate_data_plane::ConnectionFacts;
use http_body::Frame;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::kit::{ADMIN, GATE_ALL, World, b64, raw};

/// How long a client waits that then hangs up.
const SHORT: Duration = Duration::from_millis(100);

fn sign() -> String {
    json!({"alg": "RS256", "value": b64(&[1; 32])}).to_string()
}

/// A body that never comes.
struct Silent;

impl http_body::Body for Silent {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Pending
    }
}

/// The answers that were counted under the status of those who hung up.
fn hung_up(world: &World) -> u64 {
    let answers = world.plane.meter().answers();
    let gone = answers.iter().filter(|one| one.status == 499);
    gone.map(|one| one.times.count()).sum()
}

#[tokio::test]
async fn a_use_that_its_caller_does_not_wait_for_has_one_record() {
    let world = World::new().await;
    let key = world.create("slow", json!({"kty": "RSA", "key_size": 2048})).await;
    let shut = world.pool_gate.acquire_many(GATE_ALL).await.unwrap();
    let before = world.audit.count();
    let request = world.request(ADMIN, "POST", "/keys/slow/sign", sign());
    assert!(timeout(SHORT, world.raw(request)).await.is_err());
    assert_eq!(world.audit.count(), before + 1);
    let record = world.last_record();
    let word = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        ["phase", "operationName", "resultType", "errorCode"].map(word),
        ["use", "KeySign", "Unknown", "Abandoned"]
    );
    let version = key["key"]["kid"].as_str().unwrap().rsplit('/').next().unwrap();
    assert_eq!(record["key"]["version"], version);
    assert_eq!(record["key"]["algorithm"], "RS256");
    assert!(record["permit"]["assignment"].is_string() && word("identity").contains("app-1"));
    assert_eq!(hung_up(&world), 1);
    drop(shut);
    let request = world.request(ADMIN, "POST", "/keys/slow/sign", sign());
    assert_eq!(world.raw(request).await.status, 200);
    assert_eq!(world.audit.count(), before + 2, "the one that was given up has no second record");
    assert_eq!(hung_up(&world), 1);
}

#[tokio::test]
async fn a_call_given_up_before_its_body_is_there_has_one_record() {
    let world = World::new().await;
    for (path, operation) in [("/keys/k/sign", "KeySign"), ("/keys/k/create", "KeyCreate")] {
        let before = world.audit.count();
        let request = world.request(ADMIN, "POST", path, "").map(|_| Silent);
        let facts = ConnectionFacts::new(SocketAddr::from(([127, 0, 0, 1], 50_000)));
        assert!(timeout(SHORT, world.plane.handle(request, &facts)).await.is_err());
        assert_eq!(world.audit.count(), before + 1, "{path}");
        let record = world.last_record();
        assert_eq!(record["operationName"], operation);
        assert_eq!(
            (&record["phase"], &record["errorCode"]),
            (&"refusal".into(), &"Abandoned".into())
        );
        assert_eq!(record["key"]["name"], "k");
        assert_eq!(record.get("permit"), None, "nothing was allowed yet");
    }
}

#[tokio::test]
async fn a_caller_that_was_not_believed_leaves_none() {
    let world = World::new().await;
    let mut request = world.request(ADMIN, "POST", "/keys/k/sign", "").map(|_| Silent);
    request.headers_mut().insert("authorization", "Bearer no".parse().unwrap());
    let facts = ConnectionFacts::new(SocketAddr::from(([127, 0, 0, 1], 50_000)));
    assert!(timeout(SHORT, world.plane.handle(request, &facts)).await.is_err());
    assert_eq!(world.audit.count(), 0);
}

#[tokio::test]
async fn who_stays_has_one_record_and_is_not_counted_as_gone() {
    let world = World::new().await;
    for (path, status) in [("/keys", 200), ("/keys/none", 404), ("/nothing", 404)] {
        let before = world.audit.count();
        assert_eq!(world.call("GET", path, Value::Null).await.status, status);
        assert_eq!(world.audit.count(), before + 1, "{path}");
    }
    assert_eq!(hung_up(&world), 0);
}

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
