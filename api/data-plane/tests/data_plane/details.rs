//! The record of a change says what was changed, not only where; that of a failed use, which
//! version; and each by which id its caller knows it.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::kit::{ADMIN, World, b64};

const OFFICER: &str = "515eb02d-2335-4d2d-92f2-b1cbdf9c3778";

/// The last records of a change, its intent and its outcome.
fn change(world: &World) -> (Value, Value) {
    let lines = world.audit.lines();
    let [.., intent, outcome] = lines.as_slice() else { panic!("too few records") };
    let parse = |line: &String| serde_json::from_str::<Value>(line).unwrap();
    let (intent, outcome) = (parse(intent), parse(outcome));
    assert_eq!((&intent["phase"], &outcome["phase"]), (&"intent".into(), &"outcome".into()));
    assert_eq!(intent["operationName"], outcome["operationName"]);
    (intent["details"].clone(), outcome["details"].clone())
}

/// Both records say the same.
fn same(world: &World) -> Value {
    let (intent, outcome) = change(world);
    assert_eq!(intent, outcome);
    outcome
}

fn roles(kind: &str, scope: &str) -> String {
    format!("{scope}/providers/Microsoft.Authorization/{kind}/{}", Uuid::new_v4())
}

#[tokio::test]
async fn a_grant_and_its_removal_say_who_holds_which_role_where() {
    let world = World::new().await;
    let principal = Uuid::new_v4();
    let path = roles("roleAssignments", "/keys/team-*");
    let body = json!({"properties": {"roleDefinitionId": OFFICER, "principalId": principal}});
    assert_eq!(world.call("PUT", &path, body.clone()).await.status, 201);
    let expected = json!({
        "roleDefinitionId": OFFICER, "roleName": "Managed HSM Crypto Officer",
        "principalId": principal, "scope": "/keys/team-*",
    });
    assert_eq!(same(&world), expected);
    assert_eq!(world.call("PUT", &path, body).await.status, 409);
    assert_eq!(same(&world), expected, "a grant that was refused says what was asked");
    assert_eq!(world.call("DELETE", &path, Value::Null).await.status, 200);
    assert_eq!(same(&world), expected, "what was taken away");
    assert_eq!(world.call("DELETE", &path, Value::Null).await.status, 404);
    assert_eq!(same(&world), Value::Null, "nothing was there");
}

#[tokio::test]
async fn a_definition_says_what_it_adds_and_takes() {
    let world = World::new().await;
    let path = roles("roleDefinitions", "");
    let action = |name: &str| format!("Microsoft.KeyVault/managedHsm/keys/{name}/action");
    let body = |name: &str, actions: &[&str]| {
        let actions: Vec<_> = actions.iter().map(|one| action(one)).collect();
        json!({"properties": {"roleName": name, "permissions": [{"dataActions": actions}]}})
    };
    for (name, actions, details) in [
        (
            "one",
            &["sign", "verify"][..],
            json!({"roleName": "one", "dataActionsRemoved": [],
                "dataActionsAdded": [action("sign"), action("verify")]}),
        ),
        (
            "two",
            &["verify", "decrypt"],
            json!({"roleName": "two", "roleNameBefore": "one",
                "dataActionsAdded": [action("decrypt")], "dataActionsRemoved": [action("sign")]}),
        ),
    ] {
        assert_eq!(world.call("PUT", &path, body(name, actions)).await.status, 201);
        let mut told = same(&world);
        for list in ["dataActionsAdded", "dataActionsRemoved"] {
            told[list].as_array_mut().unwrap().sort_by_key(|one| one.as_str().map(str::to_owned));
        }
        assert_eq!(told, details);
    }
    assert_eq!(world.call("DELETE", &path, Value::Null).await.status, 200);
    let told = same(&world);
    assert_eq!((&told["roleName"], &told["dataActionsAdded"]), (&json!("two"), &json!([])));
    assert_eq!(told["dataActionsRemoved"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn settings_and_cut_offs_say_their_values() {
    let world = World::new().await;
    let setting = "/settings/CasemateEscalation";
    assert_eq!(world.call("PATCH", setting, json!({"value": "azure"})).await.status, 200);
    let told = json!({"setting": "CasemateEscalation", "from": "strict", "to": "azure"});
    assert_eq!(same(&world), told);
    let bad = "x\"}".repeat(1_000);
    assert_eq!(world.call("PATCH", setting, json!({"value": bad})).await.status, 400);
    let (_, outcome) = change(&world);
    assert_eq!(outcome["from"], "azure");
    assert!(outcome["to"].as_str().unwrap().len() <= 512, "what was asked, but not all of it");
    let principal = Uuid::new_v4();
    let path = format!("/principals/{principal}/cutOffTokens");
    assert_eq!(world.call("POST", &path, Value::Null).await.status, 200);
    let (intent, outcome) = change(&world);
    assert_eq!(intent, json!({"principalId": principal}));
    assert_eq!(outcome["principalId"], principal.to_string());
    assert!(outcome["notBefore"].as_i64().is_some());
}

#[tokio::test]
async fn sinks_are_told_by_name_and_place_and_their_secrets_never() {
    let world = World::new().await;
    let secret = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let hook = |name: &str| {
        json!({"name": name, "kind": "webhook", "endpoint": "https://siem.example/in/hidden-path",
            "trustAnchors": "-----BEGIN CERTIFICATE-----", "secret": secret})
    };
    let alerts = json!({"name": "pager", "kind": "alerts", "secret": secret,
        "trustAnchors": "-----BEGIN CERTIFICATE-----",
        "endpoint": "https://pager.example:8443/", "rules": {"roleChange": false}});
    let first = json!({"sinks": [hook("siem")], "synchronous": "siem"});
    let reply = world.call("PUT", "/audit/sinks", first).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let told = same(&world);
    let siem = told["sinks"][0].as_str().unwrap().to_owned();
    let mark = siem.strip_prefix("siem webhook siem.example ").unwrap();
    assert!(mark.len() == 16 && mark.bytes().all(|byte| byte.is_ascii_hexdigit()), "{siem}");
    assert_eq!((&told["synchronous"], &told["synchronousBefore"]), (&json!("siem"), &json!("")));
    assert_eq!((&told["traces"], &told["tracesBefore"]), (&json!(""), &json!("")));
    let traces = json!({"endpoint": "https://traces.example/v1/traces",
        "trustAnchors": "-----BEGIN CERTIFICATE-----", "secret": "Bearer hidden-path"});
    let second = json!({"sinks": [alerts], "traces": traces});
    let reply = world.call("PUT", "/audit/sinks", second).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let told = same(&world);
    assert_eq!(told["sinksBefore"], json!([siem]));
    assert_eq!(told["traces"], "traces.example");
    let pager = told["sinks"][0].as_str().unwrap();
    assert!(pager.starts_with("pager alerts pager.example:8443 "), "{pager}");
    assert!(pager.contains("\"roleChange\":false"), "which alerts were turned off: {pager}");
    // The same host on another path is another place.
    for (path, trust) in [("/in/elsewhere", ""), ("/in/hidden-path", "\nother")] {
        let mut other = hook("siem");
        other["endpoint"] = json!(format!("https://siem.example{path}"));
        other["trustAnchors"] = json!(format!("-----BEGIN CERTIFICATE-----{trust}"));
        let reply = world.call("PUT", "/audit/sinks", json!({"sinks": [other]})).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let told = same(&world)["sinks"][0].as_str().unwrap().to_owned();
        assert!(told.starts_with("siem webhook siem.example ") && told != siem, "{told}");
    }
    let files = json!({"sinks": [{"name": "disk", "kind": "file", "keepFiles": 3}]});
    assert_eq!(world.call("PUT", "/audit/sinks", files).await.status, 200);
    let told = same(&world);
    assert!(told["sinks"][0].as_str().unwrap().ends_with(" 3"), "{told}");
    let all = world.audit.lines().concat();
    assert!(!all.contains(&secret[6..]) && !all.contains("hidden-path"));
}

#[tokio::test]
async fn a_key_says_as_what_it_was_made_and_what_was_changed() {
    let world = World::new().await;
    let asked = json!({"kty": "EC", "key_ops": ["sign"], "tags": {"team": "hidden-value"},
        "attributes": {"enabled": true, "exp": 2_000_000_000}});
    world.create("k", asked).await;
    let (intent, outcome) = change(&world);
    let facts = json!({"keyType": "EC-HSM P-256", "keyOps": ["sign"], "enabled": "true",
        "exp": 2_000_000_000});
    assert_eq!(intent, facts);
    let mut made = facts;
    made["tags"] = json!(["team"]);
    assert_eq!(outcome, made);
    let asked = json!({"key_ops": ["sign", "verify"], "tags": {},
        "attributes": {"enabled": false, "nbf": 1_900_000_000, "exp": 2_100_000_000}});
    assert_eq!(world.call("PATCH", "/keys/k", asked).await.status, 200);
    let told = json!({
        "keyOpsBefore": ["sign"], "keyOps": ["sign", "verify"],
        "enabledBefore": "true", "enabled": "false", "nbf": 1_900_000_000,
        "expBefore": 2_000_000_000, "exp": 2_100_000_000, "tagsBefore": ["team"], "tags": [],
    });
    assert_eq!(same(&world), told);
    let only = json!({"attributes": {"enabled": true}});
    assert_eq!(world.call("PATCH", "/keys/k", only).await.status, 200);
    assert_eq!(same(&world), json!({"enabledBefore": "false", "enabled": "true"}));
    let none = json!({"attributes": {"enabled": true}});
    assert_eq!(world.call("PATCH", "/keys/none", none).await.status, 404);
    assert_eq!(same(&world), json!({"enabled": "true"}), "there was none before");
    assert!(!world.audit.lines().concat().contains("hidden-value"));
}

#[tokio::test]
async fn a_purge_says_which_assignments_went_with_the_key() {
    let world = World::new().await;
    world.create("gone", json!({"kty": "EC"})).await;
    let principal = world.somebody("Managed HSM Crypto Officer", "/keys/gone").await;
    world.somebody("Managed HSM Crypto Officer", "/keys/other").await;
    assert_eq!(world.call("DELETE", "/keys/gone", Value::Null).await.status, 200);
    assert_eq!(world.call("DELETE", "/deletedkeys/gone", Value::Null).await.status, 204);
    let told = same(&world);
    assert_eq!(told["assignmentsRemoved"], 1);
    let [one] = told["assignments"].as_array().unwrap().as_slice() else { panic!("{told}") };
    let one = one.as_str().unwrap();
    assert!(one.ends_with(&format!("role {OFFICER} principal {principal}")), "{one}");
}

#[tokio::test]
async fn a_question_is_recorded_whether_it_is_answered_or_not() {
    let world = World::new().await;
    let (asked, group, stranger) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
    let path = format!(
        "/explain?principal={asked}&scope=/keys/pay&groups={group}\
         &action=Microsoft.KeyVault/managedHsm/keys/sign/action"
    );
    let details = json!({
        "principalId": asked, "groups": [group], "scope": "/keys/pay",
        "action": "Microsoft.KeyVault/managedHsm/keys/sign/action",
    });
    for (who, status) in [(ADMIN, 200), (stranger, 403)] {
        assert_eq!(world.call_as(who, "GET", &path, Value::Null).await.status, status);
        assert_eq!(world.last_record()["details"], details);
    }
}

#[tokio::test]
async fn a_failed_use_says_which_version_it_was_about() {
    let world = World::new().await;
    let version = |bundle: &Value| {
        bundle["key"]["kid"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
    };
    let good = version(&world.create("k", json!({"kty": "EC"})).await);
    let off = json!({"kty": "EC", "attributes": {"enabled": false}});
    let off = version(&world.create("off", off).await);
    let oct = version(&world.create("oct", json!({"kty": "oct-HSM"})).await);
    let gcm = json!({"alg": "A256GCM", "value": b64(&[1; 16]), "iv": b64(&[0; 12]),
        "tag": b64(&[0; 16])});
    for (path, body, expected) in [
        ("/keys/k/sign", json!({"alg": "ES256", "value": b64(&[1; 31])}), &good),
        ("/keys/k/sign", json!({"alg": "RS256", "value": b64(&[1; 32])}), &good),
        ("/keys/off/sign", json!({"alg": "ES256", "value": b64(&[1; 32])}), &off),
        ("/keys/oct/decrypt", gcm.clone(), &oct),
        ("/keys/oct/unwrapkey", json!({"alg": "A256KW", "value": b64(&[1; 24])}), &oct),
    ] {
        let reply = world.call("POST", path, body).await;
        assert!(reply.status.is_client_error(), "{path}: {}", reply.text);
        assert_eq!(world.last_record()["key"]["version"], **expected, "{path}");
    }
    let none = world.call("POST", "/keys/none/decrypt", gcm).await;
    assert_eq!(none.status, 404);
    assert_eq!(world.last_record()["key"].get("version"), None);
}

#[tokio::test]
async fn a_record_is_found_by_the_id_that_its_caller_was_told() {
    let world = World::new().await;
    for (path, status) in [("/keys", 200), ("/keys/none", 404), ("/nothing", 404)] {
        let reply = world.call("GET", path, Value::Null).await;
        assert_eq!(reply.status, status);
        let id = reply.headers["x-ms-request-id"].to_str().unwrap();
        assert_eq!(world.last_record()["activityId"], id, "{path}");
        assert!(status == 200 || reply.message().ends_with(&format!("(Activity ID: {id})")));
    }
    assert_eq!(world.last_record().get("details"), None);
}

#[tokio::test]
async fn a_permit_names_its_role_by_id_too() {
    let world = World::new().await;
    world.call("GET", "/keys", Value::Null).await;
    let permit = &world.last_record()["permit"];
    assert_eq!(permit["role"], "Managed HSM Crypto User");
    assert_eq!(permit["roleId"], "21dbd100-6940-42c2-9190-5d6cb909625b");
}
