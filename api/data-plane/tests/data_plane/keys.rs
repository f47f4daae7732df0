//! Keys through the API: create, import, get, list, update, delete, recover, purge.

use serde_json::{Value, json};

use crate::kit::{START, Setup, URL, World, b64};

const DAY: i64 = 86_400;

#[tokio::test]
async fn every_type_and_size_can_be_created_and_is_an_hsm_key() {
    let world = World::new().await;
    for (index, (body, kty)) in [
        (json!({"kty": "RSA"}), "RSA-HSM"),
        (json!({"kty": "EC", "crv": "P-256"}), "EC-HSM"),
        (json!({"kty": "EC-HSM", "crv": "P-256K"}), "EC-HSM"),
        (json!({"kty": "EC-HSM", "crv": "P-384"}), "EC-HSM"),
        (json!({"kty": "EC-HSM", "crv": "P-521"}), "EC-HSM"),
        (json!({"kty": "oct-HSM", "key_size": 128}), "oct-HSM"),
        (json!({"kty": "oct", "key_size": "192"}), "oct-HSM"),
    ]
    .into_iter()
    .enumerate()
    {
        let bundle = world.create(&format!("k{index}"), body.clone()).await;
        assert_eq!(bundle["key"]["kty"], kty);
        assert_eq!(bundle["key"]["crv"], body.get("crv").cloned().unwrap_or(Value::Null));
        assert_eq!(bundle["attributes"]["recoveryLevel"], "CustomizedRecoverable+Purgeable");
        assert!(bundle.get("tags").is_none());
        for private in ["d", "p", "q", "dp", "dq", "qi", "k"] {
            assert!(bundle["key"].get(private).is_none(), "{private}");
        }
        assert_eq!(bundle["key"].get("key_ops").is_none(), kty == "oct-HSM");
    }
}

#[tokio::test]
async fn oct_key_ops_are_listed_where_the_settings_say_so() {
    let oct_key_ops = casemate_hsm::OctKeyOps::Azure;
    let world = World::with(Setup { oct_key_ops, ..Setup::default() }).await;
    let bundle = world.create("k", json!({"kty": "oct-HSM"})).await;
    assert!(bundle["key"]["key_ops"].as_array().unwrap().contains(&json!("wrapKey")));
}

#[tokio::test]
async fn wrong_parameters_are_refused_and_say_what_is_wrong() {
    let world = World::new().await;
    for (body, says) in [
        (json!({"kty": "AES"}), "key type"),
        (json!({"kty": "RSA", "key_size": 2047}), "2048, 3072 or 4096"),
        (json!({"kty": "RSA", "public_exponent": 3}), "public_exponent"),
        (json!({"kty": "EC", "crv": "P-192"}), "curve"),
        (json!({"kty": "EC", "key_ops": ["encrypt"]}), "encrypt"),
        (json!({"kty": "EC", "attributes": {"nbf": 10, "exp": 10}}), "later"),
        (json!({"kty": "EC", "attributes": {"exp": -1}}), "seconds"),
        (json!({"kty": "EC", "attributes": {"exportable": true}}), "release"),
        (json!({"kty": "EC", "release_policy": {"data": "e30"}}), "release"),
        (json!({"kty": "EC", "tags": {"a": "x".repeat(257)}}), "tags"),
        (json!({"kty": "EC", "attributes": {"enabled": "yes"}}), "type"),
    ] {
        let reply = world.call("POST", "/keys/k/create", body.clone()).await;
        assert_eq!(reply.code(), (400, "BadParameter".to_owned()), "{body}");
        assert!(reply.message().contains(says), "{body}: {}", reply.message());
    }
    let gone = world.call("GET", "/keys/k", Value::Null).await;
    assert_eq!(gone.code(), (404, "KeyNotFound".to_owned()));
}

#[tokio::test]
async fn a_key_is_imported_from_a_json_web_key_and_never_shown() {
    let world = World::new().await;
    let secret = [0x5a; 32];
    let body = json!({"key": {"kty": "oct", "k": b64(&secret)}, "Hsm": false});
    let reply = world.call("PUT", "/keys/k", body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert!(!reply.text.contains(&b64(&secret)));
    // The imported bytes work: RFC 3394 key wrap is deterministic, so two imports agree.
    let again = json!({"key": {"kty": "oct-HSM", "k": b64(&secret)}});
    assert_eq!(world.call("PUT", "/keys/other", again).await.status, 200);
    let wrap = json!({"alg": "A256KW", "value": b64(&[1; 16])});
    let one = world.call("POST", "/keys/k/wrapkey", wrap.clone()).await.json();
    let two = world.call("POST", "/keys/other/wrapkey", wrap).await.json();
    assert_eq!(one["value"], two["value"]);
}

#[tokio::test]
async fn bad_imports_are_refused() {
    let world = World::new().await;
    for (body, says) in [
        (json!({}), "`key`"),
        (json!({"key": {"kty": "oct", "k": b64(&[1; 15])}}), "acceptable"),
        (json!({"key": {"kty": "oct"}}), "'k'"),
        (json!({"key": {"kty": "RSA-HSM", "key_hsm": "e30"}}), "BYOK"),
        (
            json!({"key": {"kty": "EC", "crv": "P-256", "x": b64(&[1; 32]), "y": b64(&[2; 32]),
                "d": b64(&[3; 32])}}),
            "acceptable",
        ),
        (json!({"key": {"kty": "oct", "k": "!!!!"}}), "base64url"),
    ] {
        let reply = world.call("PUT", "/keys/k", body.clone()).await;
        assert_eq!(reply.code(), (400, "BadParameter".to_owned()), "{body}");
        assert!(reply.message().contains(says), "{body}: {}", reply.message());
    }
}

#[tokio::test]
async fn versions_are_kept_and_the_newest_answers() {
    let world = World::new().await;
    let first = world.create("k", json!({"kty": "EC"})).await;
    let second = world.create("k", json!({"kty": "EC"})).await;
    assert_ne!(first["key"]["kid"], second["key"]["kid"]);
    assert_eq!(world.call("GET", "/keys/k", Value::Null).await.json(), second);
    let path = first["key"]["kid"].as_str().unwrap().strip_prefix(URL).unwrap();
    assert_eq!(world.call("GET", path, Value::Null).await.json(), first);
    let none = format!("/keys/k/{}", "0".repeat(32));
    let reply = world.call("GET", &none, Value::Null).await;
    assert!(reply.message().starts_with(&format!("Key not found: {URL}{none}")));
}

#[tokio::test]
async fn lists_are_paged_by_links_that_need_no_api_version() {
    let world = World::new().await;
    for n in 0..5 {
        world.create(&format!("k{n}"), json!({"kty": "oct-HSM"})).await;
    }
    let mut seen = Vec::new();
    let mut path = "/keys?maxresults=2".to_owned();
    for _ in 0..3 {
        let mut request = world.request(crate::kit::ADMIN, "GET", &path, "");
        if path.contains("skiptoken") {
            *request.uri_mut() = path.parse().unwrap();
        }
        let page = world.raw(request).await.json();
        for item in page["value"].as_array().unwrap() {
            seen.push(item["kid"].as_str().unwrap().to_owned());
            assert!(item.get("key").is_none());
        }
        match page["nextLink"].as_str() {
            Some(link) => path = link.strip_prefix(URL).unwrap().to_owned(),
            None => break,
        }
    }
    let expected: Vec<_> = (0..5).map(|n| format!("{URL}/keys/k{n}")).collect();
    assert_eq!(seen, expected);
    for bad in ["0", "26", "x", "-1"] {
        let reply = world.call("GET", &format!("/keys?maxresults={bad}"), Value::Null).await;
        assert_eq!(reply.code(), (400, "BadParameter".to_owned()), "{bad}");
    }
    let token = path.split("skiptoken=").nth(1).unwrap();
    let other = format!("/deletedkeys?$skiptoken={token}");
    assert_eq!(world.call("GET", &other, Value::Null).await.status, 400);
    let versions = world.call("GET", "/keys/k1/versions", Value::Null).await.json();
    let kid = versions["value"][0]["kid"].as_str().unwrap();
    assert!(kid.starts_with(&format!("{URL}/keys/k1/")) && versions.get("nextLink").is_none());
}

#[tokio::test]
async fn an_update_changes_what_it_names_and_nothing_else() {
    let world = World::new().await;
    let body = json!({"kty": "EC", "tags": {"a": "1"}, "attributes": {"exp": START + DAY}});
    let before = world.create("k", body).await;
    let reply = world.call("PATCH", "/keys/k/", json!({"attributes": {"enabled": false}})).await;
    let after = reply.json();
    assert_eq!(after["attributes"]["enabled"], false);
    assert_eq!(after["attributes"]["exp"], START + DAY);
    assert_eq!((&after["tags"], &after["key"]), (&before["tags"], &before["key"]));
    let cleared = world.call("PATCH", "/keys/k", json!({"tags": {}})).await.json();
    assert!(cleared.get("tags").is_none());
    for (path, body, status) in [
        ("/keys/none", json!({}), 404),
        ("/keys/k", json!({"key_ops": ["wrapKey"]}), 400),
        ("/keys/k", json!({"attributes": {"nbf": START + 2 * DAY}}), 400),
        ("/keys/k", json!({"release_policy": {}}), 400),
        ("/keys/k", json!([1]), 400),
    ] {
        assert_eq!(world.call("PATCH", path, body.clone()).await.status, status, "{path} {body}");
    }
}

#[tokio::test]
async fn a_deleted_key_can_be_seen_recovered_and_purged() {
    let world = World::new().await;
    world.create("Key1", json!({"kty": "EC"})).await;
    let deleted = world.call("DELETE", "/keys/key1", Value::Null).await.json();
    assert_eq!(deleted["recoveryId"], format!("{URL}/deletedkeys/Key1"));
    assert_eq!(deleted["deletedDate"], START);
    assert_eq!(deleted["scheduledPurgeDate"], START + 7 * DAY);
    assert_eq!(world.call("GET", "/deletedkeys/key1", Value::Null).await.json(), deleted);
    let list = world.call("GET", "/deletedkeys", Value::Null).await.json();
    assert_eq!(list["value"][0]["kid"], format!("{URL}/keys/Key1"));
    assert_eq!(list["value"][0]["recoveryId"], deleted["recoveryId"]);
    let taken = world.call("POST", "/keys/key1/create", json!({"kty": "EC"})).await;
    assert_eq!(taken.code(), (409, "Conflict".to_owned()));
    assert_eq!(taken.json()["error"]["innererror"]["code"], "ObjectIsDeletedButRecoverable");
    for (method, path) in [
        ("GET", "/keys/key1"),
        ("DELETE", "/keys/key1"),
        ("PATCH", "/keys/key1"),
        ("GET", "/keys/key1/versions"),
        ("GET", "/deletedkeys/none"),
        ("POST", "/deletedkeys/none/recover"),
        ("DELETE", "/deletedkeys/none"),
    ] {
        let reply = world.call(method, path, json!({})).await;
        assert_eq!(reply.code(), (404, "KeyNotFound".to_owned()), "{method} {path}");
    }
    assert_eq!(world.call("POST", "/deletedkeys/key1/recover", Value::Null).await.status, 200);
    assert_eq!(world.call("GET", "/keys/key1", Value::Null).await.status, 200);
    assert_eq!(world.call("DELETE", "/deletedkeys/key1", Value::Null).await.status, 404);
    assert_eq!(world.call("DELETE", "/keys/key1", Value::Null).await.status, 200);
    let purged = world.call("DELETE", "/deletedkeys/key1", Value::Null).await;
    assert_eq!((purged.status.as_u16(), purged.text.as_str()), (204, ""));
    assert!(!purged.headers.contains_key("content-type"));
    assert_eq!(world.call("GET", "/deletedkeys/key1", Value::Null).await.status, 404);
    world.create("key1", json!({"kty": "EC"})).await;
}

#[tokio::test]
async fn purge_protection_holds_against_an_officer() {
    let world = World::with(Setup { purge_protection: true, ..Setup::default() }).await;
    let bundle = world.create("k", json!({"kty": "EC"})).await;
    assert_eq!(bundle["attributes"]["recoveryLevel"], "CustomizedRecoverable");
    world.call("DELETE", "/keys/k", Value::Null).await;
    let reply = world.call("DELETE", "/deletedkeys/k", Value::Null).await;
    assert_eq!(reply.code(), (403, "Forbidden".to_owned()));
    assert_eq!(world.call("GET", "/deletedkeys/k", Value::Null).await.status, 200);
}
