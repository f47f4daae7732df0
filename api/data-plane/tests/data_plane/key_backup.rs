//! Backup and restore of single keys through the API.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::kit::{ADMIN, World, b64};

async fn backup(world: &World, key: &str) -> String {
    let reply = world.call("POST", &format!("/keys/{key}/backup"), Value::Null).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let body = reply.json();
    assert_eq!(body.as_object().unwrap().len(), 1, "nothing but the value: {body}");
    body["value"].as_str().unwrap().to_owned()
}

async fn delete_and_purge(world: &World, key: &str) {
    assert_eq!(world.call("DELETE", &format!("/keys/{key}"), Value::Null).await.status, 200);
    let reply = world.call("DELETE", &format!("/deletedkeys/{key}"), Value::Null).await;
    assert_eq!(reply.status, 204, "{}", reply.text);
}

fn value(value: &str) -> Value {
    json!({ "value": value })
}

#[tokio::test]
async fn a_purged_key_comes_back_with_its_versions_and_signs() {
    let world = World::new().await;
    let tags = json!({"kty": "EC", "tags": {"a": "b"}, "attributes": {"exp": 4_000_000_000_i64}});
    let first = world.create("K", tags).await;
    let second = world.create("k", json!({"kty": "EC"})).await;
    let blob = backup(&world, "k").await;
    delete_and_purge(&world, "k").await;
    let reply = world.call("POST", "/keys/restore", value(&blob)).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.json(), second, "the newest version, with all that it had");
    let id = first["key"]["kid"].as_str().unwrap().rsplit('/').next().unwrap();
    let back = world.call("GET", &format!("/keys/k/{id}"), Value::Null).await;
    assert_eq!(back.json(), first);
    let sign = json!({"alg": "ES256", "value": b64(&[1; 32])});
    let signed = world.call("POST", &format!("/keys/k/{id}/sign"), sign).await.json();
    let verify = json!({"alg": "ES256", "digest": b64(&[1; 32]), "value": signed["value"].clone()});
    let verified = world.call("POST", &format!("/keys/k/{id}/verify"), verify).await;
    assert_eq!(verified.json(), json!({"value": true}));
}

#[tokio::test]
async fn a_name_that_is_taken_or_deleted_is_a_conflict() {
    let world = World::new().await;
    world.create("k", json!({"kty": "EC"})).await;
    let blob = backup(&world, "k").await;
    let taken = world.call("POST", "/keys/restore", value(&blob)).await;
    assert_eq!(taken.code(), (409, "Conflict".to_owned()));
    assert!(taken.message().contains("does not overwrite"), "{}", taken.text);
    world.call("DELETE", "/keys/k", Value::Null).await;
    let deleted = world.call("POST", "/keys/restore", value(&blob)).await;
    assert_eq!(deleted.code(), (409, "Conflict".to_owned()));
    let inner = &deleted.json()["error"]["innererror"]["code"];
    assert_eq!(inner, "ObjectIsDeletedButRecoverable");
    let reply = world.call("POST", "/keys/k/backup", Value::Null).await;
    assert_eq!(reply.code(), (404, "KeyNotFound".to_owned()), "a deleted key has no backup");
}

#[tokio::test]
async fn what_is_no_backup_of_this_domain_is_refused_and_says_why() {
    let world = World::new().await;
    world.create("k", json!({"kty": "EC"})).await;
    let blob = backup(&world, "k").await;
    delete_and_purge(&world, "k").await;
    let swap = |at: usize, with: char| {
        let mut text: Vec<char> = blob.chars().collect();
        text[at] = if text[at] == with { 'A' } else { with };
        text.into_iter().collect::<String>()
    };
    let bytes = URL_SAFE_NO_PAD.decode(&blob).unwrap();
    let cut = b64(&bytes[..bytes.len() - 6]);
    let longer = b64(&[&bytes[..], &[0; 3]].concat());
    for (bad, says) in [
        (String::new(), "no backup"),
        ("AAAA".to_owned(), "no backup"),
        (swap(0, 'B'), "no backup"),
        (swap(25, 'B'), "another security domain"),
        (swap(60, 'B'), "altered"),
        (cut, "altered"),
        (longer, "altered"),
    ] {
        let reply = world.call("POST", "/keys/restore", value(&bad)).await;
        assert_eq!(reply.code(), (400, "BadParameter".to_owned()), "{bad}: {}", reply.text);
        assert!(reply.message().contains(says), "{says}: {}", reply.text);
        assert_eq!(world.last_record()["phase"], "refusal");
    }
    for bad in [json!({}), json!({"value": null}), json!({"value": "+/"}), Value::Null] {
        assert_eq!(world.call("POST", "/keys/restore", bad).await.status, 400);
    }
    assert_eq!(world.call("GET", "/keys/k", Value::Null).await.status, 404);
    let long = value(&"A".repeat(1024 * 1024));
    assert_eq!(world.call("POST", "/keys/restore", long).await.status, 413);
}

#[tokio::test]
async fn who_may_back_up_may_not_restore_and_the_reverse() {
    let world = World::new().await;
    world.create("mine", json!({"kty": "EC"})).await;
    world.create("other", json!({"kty": "EC"})).await;
    let (mine, other) = (backup(&world, "mine").await, backup(&world, "other").await);
    delete_and_purge(&world, "mine").await;
    delete_and_purge(&world, "other").await;
    let backs_up = world.somebody("Managed HSM Backup User", "").await;
    let restores = world.somebody("Managed HSM Restore User", "/keys/mine").await;
    let nobody = Uuid::new_v4();
    for (who, what, on) in [
        (backs_up, &mine, "/keys"),
        (nobody, &mine, "/keys"),
        (nobody, &"AAAA".to_owned(), "/keys"),
        (restores, &other, "/keys/other"),
    ] {
        let reply = world.call_as(who, "POST", "/keys/restore", value(what)).await;
        assert_eq!(reply.code(), (403, "AccessDenied".to_owned()), "{}", reply.text);
        assert!(reply.message().contains(&format!("keys/restore/action on {on}")));
    }
    let reply = world.call_as(restores, "POST", "/keys/restore", value(&mine)).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let reply = world.call_as(restores, "POST", "/keys/mine/backup", Value::Null).await;
    assert_eq!(reply.code(), (403, "AccessDenied".to_owned()));
    let reply = world.call_as(backs_up, "POST", "/keys/mine/backup", Value::Null).await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn a_backup_leaves_one_record_and_a_restore_an_intent_and_an_outcome() {
    let world = World::new().await;
    let bundle = world.create("k", json!({"kty": "EC"})).await;
    let blob = backup(&world, "k").await;
    let record = world.last_record();
    assert_eq!((&record["phase"], &record["operationName"]), (&json!("use"), &json!("KeyBackup")));
    assert_eq!(record["permit"]["role"], "Managed HSM Crypto User");
    let version = bundle["key"]["kid"].as_str().unwrap().rsplit('/').next().unwrap();
    assert_eq!(record["key"]["version"], version);
    delete_and_purge(&world, "k").await;
    let before = world.audit.count();
    world.call("POST", "/keys/restore", value(&blob)).await;
    let lines = world.audit.lines();
    let records: Vec<Value> =
        lines[lines.len() - 2..].iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(world.audit.count(), before + 2);
    assert_eq!((&records[0]["phase"], &records[1]["phase"]), (&json!("intent"), &json!("outcome")));
    assert_eq!(records[0]["key"]["name"], "k", "the intent names the key that the backup is of");
    assert_eq!(records[1]["key"]["version"], version);
    assert_eq!(records[1]["operationName"], "KeyRestore");
    assert!(lines.iter().all(|line| !line.contains(&blob[100..140])), "no backup in the log");
}

#[tokio::test]
async fn nothing_is_backed_up_that_cannot_be_recorded() {
    let world = World::new().await;
    world.create("k", json!({"kty": "EC"})).await;
    world.audit.set_full(true);
    let reply = world.call_as(ADMIN, "POST", "/keys/k/backup", Value::Null).await;
    assert_eq!(reply.status, 503, "{}", reply.text);
    assert!(reply.json().get("value").is_none());
}
