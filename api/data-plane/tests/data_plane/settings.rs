//! Settings through the API.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::kit::{Setup, World};

const ARM: &str = "/settings/AllowKeyManagementOperationsThroughARM";
const OCT_KEY_OPS: &str = "/settings/CasemateOctKeyOps";

#[tokio::test]
async fn they_are_listed_shown_and_changed_as_texts() {
    let world = World::new().await;
    let list = world.call("GET", "/settings", Value::Null).await;
    let arm = |value: &str| {
        let name = "AllowKeyManagementOperationsThroughARM";
        json!({"name": name, "value": value, "type": "boolean"})
    };
    assert_eq!((list.status.as_u16(), &list.json()["settings"][0]), (200, &arm("false")));
    assert_eq!(world.call("GET", ARM, Value::Null).await.json(), arm("false"));
    let changed = world.call("PATCH", ARM, json!({"value": "True"})).await;
    assert_eq!((changed.status.as_u16(), changed.json()), (200, arm("true")));
    let shown = world.call("GET", &ARM.to_lowercase(), Value::Null).await;
    assert_eq!(shown.json(), arm("true"));
    let list = world.call("GET", "/settings/", Value::Null).await.json();
    assert_eq!(list["settings"][0], arm("true"));
    assert!(list.get("nextLink").is_none());
}

#[tokio::test]
async fn a_change_leaves_intent_and_outcome() {
    let world = World::new().await;
    world.call("PATCH", ARM, json!({"value": "true"})).await;
    let lines = world.audit.lines();
    let last: Vec<Value> =
        lines[lines.len() - 2..].iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (record, phase) in last.iter().zip(["intent", "outcome"]) {
        assert_eq!(record["operationName"], "SettingUpdate");
        assert_eq!(record["phase"], phase);
        assert_eq!(record["permit"]["role"], "Managed HSM Administrator");
    }
    world.call("GET", "/settings", Value::Null).await;
    assert_eq!(world.last_record()["operationName"], "SettingList");
}

#[tokio::test]
async fn wrong_values_and_wrong_callers_are_refused_and_recorded() {
    let world = World::new().await;
    for body in [
        json!({}),
        json!({"value": true}),
        json!({"value": "yes"}),
        json!({"value": ""}),
        json!({"value": null}),
        json!([]),
    ] {
        let reply = world.call("PATCH", ARM, body.clone()).await;
        assert_eq!(reply.code(), (400, "BadParameter".to_owned()), "{body}");
        assert_eq!(world.last_record()["resultType"], "Failed");
    }
    let choices = world.call("PATCH", OCT_KEY_OPS, json!({"value": "both"})).await.message();
    assert!(choices.starts_with("The value of CasemateOctKeyOps is one of: omit, azure."));
    let strangers = [
        Uuid::new_v4(),
        world.somebody("Managed HSM Crypto Officer", "").await,
        world.somebody("Managed HSM Crypto User", "").await,
        world.somebody("Managed HSM Policy Administrator", "").await,
        world.somebody("Managed HSM Administrator", "/keys").await,
    ];
    for stranger in strangers {
        for (method, action) in [("GET", "read"), ("PATCH", "write")] {
            let reply = world.call_as(stranger, method, ARM, json!({"value": "true"})).await;
            assert_eq!(reply.code(), (403, "AccessDenied".to_owned()));
            let text = format!("Microsoft.KeyVault/managedHsm/settings/{action}/action on / (");
            assert!(reply.message().contains(&text), "{}", reply.message());
        }
    }
    let auditor = world.somebody("Managed HSM Crypto Auditor", "").await;
    assert_eq!(world.call_as(auditor, "GET", ARM, Value::Null).await.json()["value"], "false");
    let refused = world.call_as(auditor, "PATCH", ARM, json!({"value": "true"})).await;
    assert_eq!(refused.status, 403);
}

#[tokio::test]
async fn a_changed_mode_shows_in_the_next_answer() {
    let world = World::new().await;
    world.create("aes", json!({"kty": "oct-HSM"})).await;
    for (mode, is_listed) in [("azure", true), ("omit", false), ("AZURE", true)] {
        world.call("PATCH", OCT_KEY_OPS, json!({"value": mode})).await;
        let key = world.call("GET", "/keys/aes", Value::Null).await.json();
        assert_eq!(key["key"].get("key_ops").is_some(), is_listed, "{mode}");
    }
}

#[tokio::test]
async fn after_a_lost_log_nobody_is_served_before_an_administrator_has_accepted_it() {
    const ACCEPTED: &str = "/settings/CasemateAuditLossAccepted";
    let audit_lost = Some("812 records, given up by 'ada'");
    let world = World::with(Setup { audit_lost, ..Setup::default() }).await;
    let refused = async |method: &str, path: &str, body: Value| {
        let reply = world.call(method, path, body).await;
        assert_eq!(reply.code(), (503, "ServiceUnavailable".to_owned()), "{method} {path}");
        assert!(reply.text.contains("given up by 'ada'"), "{}", reply.text);
        assert!(reply.text.contains("CasemateAuditLossAccepted"), "{}", reply.text);
    };
    for (method, path) in [
        ("GET", "/keys"),
        ("POST", "/keys/k/create"),
        ("POST", "/rng"),
        ("PUT", "/restore"),
        ("PUT", "/audit/sinks"),
        ("GET", "/audit/usage?key=k"),
        ("POST", "/securitydomain/download"),
        ("GET", "/providers/Microsoft.Authorization/roleAssignments"),
    ] {
        refused(method, path, json!({})).await;
        assert_eq!(world.last_record()["phase"], "refusal", "it is recorded");
    }
    let shown = world.call("GET", ACCEPTED, Value::Null).await.json();
    assert_eq!(shown["value"], "false");
    // Neither anybody else nor another word lifts it.
    let stranger = Uuid::from_u128(0x77);
    let reply = world.call_as(stranger, "PATCH", ACCEPTED, json!({"value": "true"})).await;
    assert_eq!(reply.code(), (403, "AccessDenied".to_owned()));
    world.call("PATCH", ARM, json!({"value": "true"})).await;
    world.call("PATCH", ACCEPTED, json!({"value": "false"})).await;
    refused("GET", "/keys", Value::Null).await;
    let reply = world.call("PATCH", ACCEPTED, json!({"value": "true"})).await;
    assert_eq!(reply.status.as_u16(), 200, "{}", reply.text);
    assert_eq!(world.last_record()["operationName"], "SettingUpdate");
    assert_eq!(world.call("GET", "/keys", Value::Null).await.status.as_u16(), 200);
}

#[tokio::test]
async fn an_hsm_that_lost_nothing_asks_for_no_acceptance() {
    let world = World::new().await;
    assert_eq!(world.call("GET", "/keys", Value::Null).await.status.as_u16(), 200);
    let audit_lost = Some("812 records");
    let setup = Setup { audit_lost, activated: false, ..Setup::default() };
    let world = World::with(setup).await;
    let reply = world.call("GET", "/keys", Value::Null).await;
    assert!(reply.text.contains("not activated"), "{}", reply.text);
}
