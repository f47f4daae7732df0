//! Who has a token and no role cannot fill the audit log with refusals, and nothing of that goes
//! unnoticed: beyond a budget they are counted, and the counts recorded.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use casemate_data_plane::{ConnectionFacts, Limits};
use http_body::Frame;
use serde_json::{Value, json};
use tokio::time::timeout;
use uuid::Uuid;

use crate::kit::{ADMIN, START, Setup, World, b64};

/// What the caller of a test may be refused with a record of its own.
const BUDGET: usize = 20;
const STORM: usize = 1_000;

fn limits() -> Limits {
    Limits { caller_refusals_max: BUDGET, caller_refusals_per_minute_max: 1, ..Limits::default() }
}

async fn world() -> World {
    World::with(Setup { limits: limits(), ..Setup::default() }).await
}

fn records(world: &World) -> Vec<Value> {
    world.audit.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// How many refusals the records tell of, one by one and by their counts.
fn told(records: &[Value]) -> u64 {
    let of = |record: &Value| match record["operationName"].as_str().unwrap() {
        "RefusalsCounted" | "FailuresCounted" => record["details"]["count"].as_u64().unwrap(),
        _ => 1,
    };
    records.iter().filter(|record| record["phase"] == "refusal").map(of).sum()
}

async fn storm(world: &World, principal: Uuid) -> Vec<u16> {
    let mut statuses = Vec::new();
    for call in 0..STORM {
        let path = format!("/keys/k{call}");
        statuses.push(world.call_as(principal, "GET", &path, Value::Null).await.status.as_u16());
    }
    statuses
}

#[tokio::test]
async fn a_caller_without_a_role_fills_no_disk_and_every_call_is_told_of() {
    let world = world().await;
    let stranger = Uuid::new_v4();
    let statuses = storm(&world, stranger).await;
    assert!(statuses[..BUDGET].iter().all(|status| *status == 403), "{statuses:?}");
    assert!(statuses[BUDGET..].iter().all(|status| *status == 429), "{statuses:?}");
    let seen = records(&world);
    assert_eq!(seen.len(), BUDGET + 1, "records of {STORM} calls");
    let last = &seen[BUDGET];
    assert_eq!(last["marks"], json!(["furtherRefusalsCounted"]));
    assert_eq!((&last["httpStatusCode"], &last["errorCode"]), (&json!(429), &json!("Throttled")));
    assert_eq!(world.plane.refusals_counted(), u64::try_from(STORM - BUDGET - 1).unwrap());

    world.plane.sum_up_refusals().await;
    let seen = records(&world);
    assert_eq!((seen.len(), told(&seen)), (BUDGET + 2, u64::try_from(STORM).unwrap()));
    let sum = &seen[BUDGET + 1];
    assert_eq!((&sum["phase"], &sum["resultType"]), (&json!("refusal"), &json!("Failed")));
    assert!(sum["identity"].as_str().unwrap().contains(&stranger.to_string()));
    assert_eq!(sum["callerIpAddress"], "127.0.0.1");
    world.plane.sum_up_refusals().await;
    assert_eq!(world.audit.count(), seen.len(), "what was told is not told again");
}

#[tokio::test]
async fn the_answer_is_that_of_the_api_and_says_when_to_come_again() {
    let world = world().await;
    let stranger = Uuid::new_v4();
    storm(&world, stranger).await;
    let reply = world.call_as(stranger, "GET", "/keys/k", Value::Null).await;
    assert_eq!(reply.code(), (429, "Throttled".to_owned()));
    assert_eq!(reply.headers["retry-after"], "60");
    assert!(reply.message().contains("have a role assigned"), "{}", reply.message());
    assert!(!reply.message().contains("/keys/k"), "it tells nothing of what was asked for");
}

#[tokio::test]
async fn counts_are_recorded_by_themselves_as_long_as_there_are_any() {
    let limits = Limits { refusals_summary_interval: Duration::from_millis(100), ..limits() };
    let world = World::with(Setup { limits, ..Setup::default() }).await;
    let stranger = Uuid::new_v4();
    storm(&world, stranger).await;
    for _ in 0..600 {
        if told(&records(&world)) == u64::try_from(STORM).unwrap() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let seen = records(&world);
    assert_eq!(told(&seen), u64::try_from(STORM).unwrap());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.audit.count(), seen.len(), "nothing is recorded of nothing");
}

#[tokio::test]
async fn a_count_that_finds_no_room_is_recorded_later() {
    let limits = Limits { refusals_summary_interval: Duration::from_millis(50), ..limits() };
    let world = World::with(Setup { limits, ..Setup::default() }).await;
    let stranger = Uuid::new_v4();
    for _ in 0..=BUDGET {
        world.call_as(stranger, "GET", "/keys/k", Value::Null).await;
    }
    world.audit.set_full(true);
    for _ in 0..10 {
        let reply = world.call_as(stranger, "GET", "/keys/k", Value::Null).await;
        assert_eq!(reply.status, 429);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    world.audit.set_full(false);
    for _ in 0..600 {
        if world.last_record()["operationName"] == "RefusalsCounted" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(world.last_record()["details"]["count"], 10);
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

#[tokio::test]
async fn every_way_to_be_refused_draws_on_the_same_budget() {
    let world = world().await;
    let stranger = Uuid::new_v4();
    let groups = vec![Uuid::new_v4().to_string(); 150].join(",");
    let explain = format!("/explain?principalId={}&groups={groups}", Uuid::new_v4());
    let facts = ConnectionFacts::new(SocketAddr::from(([127, 0, 0, 1], 50_000)));
    for _ in 0..BUDGET {
        for (method, path, body) in [
            ("GET", "/nothing", Value::Null),
            ("PATCH", "/keys", Value::Null),
            ("GET", "/keys/no_name", Value::Null),
            ("POST", "/keys/k/create", json!([])),
            ("POST", "/keys/k/sign", json!({"alg": "ES256", "value": "!"})),
            ("POST", "/securitydomain/download", json!({})),
            ("GET", "/audit/sinks", Value::Null),
            ("GET", explain.as_str(), Value::Null),
        ] {
            let reply = world.call_as(stranger, method, path, body).await;
            assert!(reply.status.is_client_error(), "{path}: {}", reply.status);
        }
        // One that hangs up.
        let request = world.request(stranger, "POST", "/keys/k/sign", "").map(|_| Silent);
        let gone = timeout(Duration::from_millis(5), world.plane.handle(request, &facts)).await;
        assert!(gone.is_err());
    }
    assert_eq!(world.audit.count(), BUDGET + 1);
    world.plane.sum_up_refusals().await;
    assert_eq!(told(&records(&world)), u64::try_from(BUDGET * 9).unwrap());
    let longest = world.audit.lines().iter().map(String::len).max().unwrap();
    assert!(longest < 4_096, "{longest} bytes");
}

#[tokio::test]
async fn what_a_caller_may_do_is_done_and_recorded_meanwhile() {
    let world = world().await;
    world.create("mine", json!({"kty": "RSA", "key_size": 2048})).await;
    let user = world.somebody("Managed HSM Crypto User", "/keys/mine").await;
    assert_eq!(storm(&world, user).await.last(), Some(&429));
    let before = world.audit.count();
    // Every try with a key is in the log, however many there were and whatever came of them.
    let wrong = json!({"alg": "RSA-OAEP-256", "value": b64(&[1; 256])});
    for _ in 0..BUDGET * 3 {
        let reply = world.call_as(user, "POST", "/keys/mine/decrypt", wrong.clone()).await;
        assert_eq!(reply.status, 400, "{}", reply.text);
    }
    assert_eq!(world.audit.count(), before + BUDGET * 3);
    let sign = json!({"alg": "RS256", "value": b64(&[1; 32])});
    let reply = world.call_as(user, "POST", "/keys/mine/sign", sign).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(world.last_record()["phase"], "use");
}

#[tokio::test]
async fn one_callers_storm_takes_nothing_from_another() {
    let world = world().await;
    storm(&world, Uuid::new_v4()).await;
    let before = world.audit.count();
    let reply = world.call_as(Uuid::new_v4(), "GET", "/keys/k", Value::Null).await;
    assert_eq!(reply.code(), (403, "AccessDenied".to_owned()));
    assert_eq!(world.call("GET", "/keys/none", Value::Null).await.status, 404);
    assert_eq!(world.audit.count(), before + 2, "each with its record");
}

#[tokio::test]
async fn who_is_sent_for_a_new_token_hears_of_it_beyond_the_budget_too() {
    let world = world().await;
    let token = world.token(ADMIN);
    world.validator.cut_off(ADMIN, START + 10);
    for _ in 0..STORM {
        let mut request = world.request(ADMIN, "GET", "/keys/k", "");
        let bearer = format!("Bearer {token}").parse().unwrap();
        request.headers_mut().insert("authorization", bearer);
        let reply = world.raw(request).await;
        assert_eq!(reply.status, 401);
        let challenge = reply.headers["www-authenticate"].to_str().unwrap();
        assert!(challenge.contains("claims="), "{challenge}");
    }
    assert_eq!(world.audit.count(), BUDGET + 1);
    world.plane.sum_up_refusals().await;
    assert_eq!(told(&records(&world)), u64::try_from(STORM).unwrap());
}

#[tokio::test]
async fn on_a_full_disk_nothing_is_counted_until_it_is_in_the_log_that_it_is() {
    let world = world().await;
    let stranger = Uuid::new_v4();
    let get = async || world.call_as(stranger, "GET", "/keys/k", Value::Null).await.status.as_u16();
    for _ in 0..BUDGET {
        assert_eq!(get().await, 403);
    }
    world.audit.set_full(true);
    for _ in 0..5 {
        assert_eq!(get().await, 503, "no record, no answer");
    }
    assert_eq!(world.plane.refusals_counted(), 0);
    world.audit.set_full(false);
    assert_eq!([get().await, get().await], [429; 2]);
    assert_eq!(world.last_record()["marks"], json!(["furtherRefusalsCounted"]));
    assert_eq!((world.audit.count(), world.plane.refusals_counted()), (BUDGET + 1, 1));
    world.plane.sum_up_refusals().await;
    assert_eq!(world.last_record()["details"]["count"], 1);
}

#[tokio::test]
async fn who_hangs_up_on_a_full_disk_is_not_counted_unnoticed() {
    let world = world().await;
    let stranger = Uuid::new_v4();
    let facts = ConnectionFacts::new(SocketAddr::from(([127, 0, 0, 1], 50_000)));
    let hang_up = async || {
        let request = world.request(stranger, "POST", "/keys/k/sign", "").map(|_| Silent);
        let gone = timeout(Duration::from_millis(5), world.plane.handle(request, &facts)).await;
        assert!(gone.is_err());
        // The record is put in line when the call is dropped, and waited for by a task.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    };
    for _ in 0..BUDGET {
        hang_up().await;
    }
    world.audit.set_full(true);
    for _ in 0..5 {
        hang_up().await;
    }
    assert_eq!((world.audit.count(), world.plane.refusals_counted()), (BUDGET, 0));
    world.audit.set_full(false);
    hang_up().await;
    assert_eq!(world.last_record()["marks"], json!(["furtherRefusalsCounted"]));
    hang_up().await;
    assert_eq!((world.audit.count(), world.plane.refusals_counted()), (BUDGET + 1, 1));
}

#[tokio::test]
async fn what_is_the_hsms_fault_is_told_as_such_and_takes_nothing_of_the_callers_budget() {
    let world = World::with(Setup { limits: limits(), group_source: true, ..Setup::default() });
    let world = world.await;
    let caller = Uuid::new_v4();
    let list = async |in_groups: bool| {
        let token = world.token_with(caller, |claims| {
            if in_groups {
                claims["hasgroups"] = json!(true);
            }
        });
        let mut request = world.request(caller, "GET", "/keys", "");
        let bearer = format!("Bearer {token}").parse().unwrap();
        request.headers_mut().insert("authorization", bearer);
        world.raw(request).await.status.as_u16()
    };
    // Nobody says which groups he is in: that is no fault of his.
    for _ in 0..STORM {
        assert_eq!(list(true).await, 503);
    }
    let count = world.audit.count();
    assert_eq!(count, BUDGET + 1, "they fill no disk either");
    assert_eq!(world.last_record()["marks"], json!(["furtherFailuresCounted"]));
    for _ in 0..BUDGET {
        assert_eq!(list(false).await, 403);
    }
    assert_eq!(list(false).await, 429);
    world.plane.sum_up_refusals().await;
    let (seen, all) = (records(&world), u64::try_from(STORM + BUDGET + 1).unwrap());
    assert_eq!(told(&seen), all);
    let mut counts = seen.iter().filter(|record| record["operationName"] == "FailuresCounted");
    let count = counts.next().unwrap();
    assert_eq!((&count["errorCode"], counts.next()), (&json!("ServiceUnavailable"), None));
}

#[tokio::test]
async fn an_old_token_of_a_caller_takes_nothing_of_his_budget() {
    let world = world().await;
    let user = world.somebody("Managed HSM Crypto User", "/keys/mine").await;
    let old = world.token(user);
    world.validator.cut_off(user, START + 10);
    for _ in 0..STORM {
        let mut request = world.request(user, "GET", "/keys/k", "");
        request.headers_mut().insert("authorization", format!("Bearer {old}").parse().unwrap());
        assert_eq!(world.raw(request).await.status, 401);
    }
    world.clock.advance(20);
    for _ in 0..BUDGET {
        assert_eq!(world.call_as(user, "GET", "/keys/k", Value::Null).await.status, 403);
    }
}

#[tokio::test]
async fn a_count_says_what_was_refused() {
    let world = world().await;
    let stranger = Uuid::new_v4();
    storm(&world, stranger).await;
    for _ in 0..2 {
        world.call_as(stranger, "POST", "/keys/k/sign", Value::Null).await;
    }
    world.call_as(stranger, "GET", "/nothing", Value::Null).await;
    world.plane.sum_up_refusals().await;
    let get = format!("KeyGet {}", STORM - BUDGET - 1);
    let operations = &world.last_record()["details"]["operations"];
    assert_eq!(*operations, json!([get, "KeySign 2", "UnknownOperation 1"]));
}
