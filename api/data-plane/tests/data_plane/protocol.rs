//! Host, token, headers, api-version, paths, bodies.

use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::kit::{ADMIN, HOST, START, Setup, World, b64};

const CHALLENGE: &str = "Bearer authorization=\"https://localhost:8443/adfs\", \
                         resource=\"https://managedhsm.localhost:8443\"";

#[tokio::test]
async fn the_first_request_of_a_client_gets_the_challenge_and_no_record() {
    let world = World::new().await;
    for (method, path, body) in
        [("GET", "/keys", "OK"), ("POST", "/keys/a/create", ""), ("DELETE", "/no/such/path", "")]
    {
        let request = Request::builder().method(method).uri(path).header("host", HOST);
        let reply = world.raw(request.body(Full::default()).unwrap()).await;
        assert_eq!(reply.status, 401);
        assert_eq!(reply.headers["www-authenticate"], CHALLENGE);
        assert_eq!(reply.headers["content-type"], "application/json; charset=utf-8");
        assert_eq!(reply.text, body);
        assert!(!reply.headers.contains_key("x-ms-keyvault-region"));
    }
    assert_eq!(world.audit.count(), 0);
}

#[tokio::test]
async fn tokens_for_another_audience_tenant_or_time_are_refused() {
    let world = World::new().await;
    let bad = [
        world
            .token_with(ADMIN, |claims| claims["aud"] = json!("https://management.localhost:8443")),
        world.token_with(ADMIN, |claims| claims["tid"] = json!(Uuid::from_u128(9))),
        world.token_with(ADMIN, |claims| claims["iss"] = json!("https://evil.example")),
        world.token_with(ADMIN, |claims| claims["exp"] = json!(START)),
        world.token_with(ADMIN, |claims| claims["nbf"] = json!(START + 3600)),
        format!("{}x", world.token(ADMIN)),
        "nonsense".to_owned(),
    ];
    for token in bad {
        let mut request = world.request(ADMIN, "GET", "/keys", "");
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let reply = world.raw(request).await;
        assert_eq!(reply.code(), (401, "Unauthorized".to_owned()));
        assert_eq!(reply.headers["www-authenticate"], CHALLENGE);
    }
    let mut twice = world.request(ADMIN, "GET", "/keys", "");
    let again = twice.headers()["authorization"].clone();
    twice.headers_mut().append("authorization", again);
    assert_eq!(world.raw(twice).await.status, 401);
    assert_eq!(world.audit.count(), 0);
}

#[tokio::test]
async fn a_cut_off_token_gets_the_claims_challenge() {
    let world = World::new().await;
    assert_eq!(world.call("GET", "/keys", Value::Null).await.status, 200);
    world.validator.cut_off(ADMIN, START + 10);
    let reply = world.call("GET", "/keys", Value::Null).await;
    assert_eq!(reply.status, 401);
    let challenge = reply.headers["www-authenticate"].to_str().unwrap();
    assert!(challenge.starts_with(CHALLENGE), "{challenge}");
    assert!(challenge.contains("error=\"insufficient_claims\", claims=\""), "{challenge}");
}

#[tokio::test]
async fn who_comes_with_a_cut_off_token_is_in_the_log() {
    let world = World::new().await;
    world.create("k", json!({"kty": "EC"})).await;
    world.validator.cut_off(ADMIN, START + 10);
    for (method, path, body, operation) in [
        ("GET", "/keys/k", Value::Null, "KeyGet"),
        ("POST", "/keys/k/sign", json!({"alg": "ES256", "value": b64(&[1; 32])}), "KeySign"),
        ("DELETE", "/keys/k", Value::Null, "KeyDelete"),
        ("GET", "/nothing", Value::Null, "UnknownOperation"),
    ] {
        let before = world.audit.count();
        assert_eq!(world.call(method, path, body).await.status, 401, "{path}");
        assert_eq!(world.audit.count(), before + 1, "{method} {path}");
        let record = world.last_record();
        assert_eq!(record["operationName"], operation, "{record}");
        let said = (&record["resultType"], &record["httpStatusCode"]);
        assert_eq!(said, (&json!("Failed"), &json!(401)), "{record}");
        let identity = record["identity"].as_str().unwrap_or_default();
        assert!(identity.contains(&ADMIN.to_string()), "{record}");
        assert_eq!(record["tokenId"].as_str().map(str::len), Some(32), "{record}");
    }
    // Of a token that nobody vouches for, nothing is known.
    let mut forged = world.request(ADMIN, "GET", "/keys", "");
    forged.headers_mut().insert("authorization", "Bearer a.b.c".parse().unwrap());
    let before = world.audit.count();
    assert_eq!(world.raw(forged).await.status, 401);
    assert_eq!(world.audit.count(), before);
}

#[tokio::test]
async fn only_the_configured_names_are_answered() {
    let world = World::new().await;
    for host in ["evil.example", "managedhsm.localhost:8443", "dev.managedhsm.localhost:8444", ""] {
        let mut request = world.request(ADMIN, "GET", "/keys", "");
        request.headers_mut().insert("host", host.parse().unwrap());
        let reply = world.raw(request).await;
        assert_eq!(reply.code(), (421, "MisdirectedRequest".to_owned()), "{host}");
    }
    let mut none = world.request(ADMIN, "GET", "/keys", "");
    none.headers_mut().remove("host");
    assert_eq!(world.raw(none).await.status, 421);
    assert_eq!(world.audit.count(), 0);
    // libmongocrypt leaves the port out; names compare without case.
    let mut bare = world.request(ADMIN, "GET", "/keys", "");
    bare.headers_mut().insert("host", "DEV.managedhsm.localhost".parse().unwrap());
    assert_eq!(world.raw(bare).await.status, 200);
}

#[tokio::test]
async fn ids_stay_under_the_name_that_was_asked() {
    let world = World::new().await;
    world.create("k", json!({"kty": "EC"})).await;
    let mut request = world.request(ADMIN, "GET", "/keys/k", "");
    request.headers_mut().insert("host", "127.0.0.1:8444".parse().unwrap());
    let bundle = world.raw(request).await.json();
    assert!(bundle["key"]["kid"].as_str().unwrap().starts_with("https://127.0.0.1:8444/keys/k/"));
}

#[tokio::test]
async fn every_reply_carries_the_headers() {
    let world = World::new().await;
    let mut request = world.request(ADMIN, "GET", "/keys", "");
    request.headers_mut().insert("x-ms-client-request-id", "abc-1".parse().unwrap());
    let reply = world.raw(request).await;
    for (name, value) in [
        ("cache-control", "no-cache"),
        ("content-security-policy", "default-src 'self'"),
        ("content-type", "application/json; charset=utf-8"),
        ("strict-transport-security", "max-age=31536000; includeSubDomains"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "SAMEORIGIN"),
        ("x-ms-keyvault-region", "local"),
        ("x-ms-keyvault-network-info", "conn_type=Ipv4;addr=127.0.0.1;act_addr_fam=Ipv4;"),
        ("x-ms-build-version", "1.2.3"),
        ("x-ms-client-request-id", "abc-1"),
    ] {
        assert_eq!(reply.headers[name], value, "{name}");
    }
    assert!(reply.headers.contains_key("x-ms-server-latency"));
    let error = world.call("GET", "/keys/none", Value::Null).await;
    let id = error.headers["x-ms-request-id"].to_str().unwrap();
    assert!(error.message().ends_with(&format!(" (Activity ID: {id})")));
}

#[tokio::test]
async fn calls_of_our_own_need_no_api_version_and_know_those_there_are() {
    let world = World::new().await;
    let explain = format!(
        "/explain?principal={ADMIN}&scope=/&action=Microsoft.KeyVault/managedHsm/rng/action"
    );
    let cut_off = format!("/principals/{}/cutOffTokens", uuid::Uuid::new_v4());
    for (method, path) in [
        ("GET", explain.as_str()),
        ("GET", "/audit/sinks"),
        ("GET", "/audit/usage?key=k"),
        ("POST", &cut_off),
    ] {
        for (version, status) in [("", 200), ("api-version=7.6", 200), ("api-version=8.0", 400)] {
            let mark = if path.contains('?') { '&' } else { '?' };
            let mut request = world.request(ADMIN, method, "/keys", "");
            *request.uri_mut() = format!("{path}{mark}{version}").parse().unwrap();
            let reply = world.raw(request).await;
            assert_eq!(reply.status, status, "{path} {version}: {}", reply.text);
        }
    }
}

#[tokio::test]
async fn api_versions_are_demanded_and_known() {
    let world = World::new().await;
    let versioned = |path: &str| {
        let mut request = world.request(ADMIN, "GET", "/keys", "");
        *request.uri_mut() = path.parse().unwrap();
        request
    };
    for path in ["/keys", "/keys?api-version=", "/keys?api-version=8.0", "/keys?apiversion=7.4"] {
        let reply = world.raw(versioned(path)).await;
        assert_eq!(reply.code(), (400, "BadParameter".to_owned()), "{path}");
        assert!(reply.message().contains("2026-04-01"), "{}", reply.message());
    }
    for path in ["/keys?api-version=7.4&api-version=9", "/keys/none?$skiptoken=AAAA"] {
        assert_eq!(world.raw(versioned(path)).await.status, 400, "{path}");
    }
    for version in casemate_wire::ApiVersion::names() {
        let reply = world.raw(versioned(&format!("/keys?api%2Dversion={version}"))).await;
        assert_eq!(reply.status, 200, "{version}");
    }
    let bad_token = world.raw(versioned("/keys?$skiptoken=AAAA")).await;
    assert!(bad_token.message().contains("$skiptoken"), "{}", bad_token.message());
}

#[tokio::test]
async fn a_link_without_a_version_changes_nothing() {
    let world = World::new().await;
    world.create("k", json!({"kty": "EC"})).await;
    for (method, path) in [("DELETE", "/keys/k?$skiptoken=x"), ("POST", "/rng?$skiptoken=x")] {
        let mut request = world.request(ADMIN, method, "/keys", r#"{"count":1}"#);
        *request.uri_mut() = path.parse().unwrap();
        let reply = world.raw(request).await;
        assert_eq!(reply.code(), (400, "BadParameter".to_owned()), "{path}");
    }
    assert_eq!(world.call("GET", "/keys/k", Value::Null).await.status, 200);
}

#[tokio::test]
async fn paths_may_have_the_quirks_of_real_clients() {
    let world = World::new().await;
    world.create("k", json!({"kty": "EC"})).await;
    for path in ["/keys/k/", "//keys//k", "/Keys/K", "/keys/%6b"] {
        assert_eq!(world.call("GET", path, Value::Null).await.status, 200, "{path}");
    }
    let mut overridden = world.request(ADMIN, "POST", "/keys/k/", r#"{"tags":{"a":"b"}}"#);
    overridden.headers_mut().insert("x-http-method", "PATCH".parse().unwrap());
    assert_eq!(world.raw(overridden).await.json()["tags"]["a"], "b");
    let mut not_on_get = world.request(ADMIN, "GET", "/keys/k", "");
    not_on_get.headers_mut().insert("x-http-method", "DELETE".parse().unwrap());
    assert_eq!(world.raw(not_on_get).await.status, 200);
    assert_eq!(world.call("GET", "/keys/k", Value::Null).await.status, 200);
}

#[tokio::test]
async fn what_is_not_there_is_refused_in_the_shape_of_the_api() {
    let world = World::new().await;
    for (method, path, status, code) in [
        ("GET", "/", 404, "NotFound"),
        ("GET", "/secrets", 404, "NotFound"),
        ("POST", "/keys/k/explode", 404, "NotFound"),
        ("GET", "/keys/a_b", 400, "Invalidkeyidentifier"),
        ("GET", "/keys/k/1234", 400, "Invalidkeyidentifier"),
        ("GET", "/keys/k%zz", 400, "BadParameter"),
        ("PUT", "/keys", 405, "MethodNotAllowed"),
        ("POST", "/keys/k/rotate", 400, "NotSupported"),
        ("GET", "/keys/k//attestation", 400, "NotSupported"),
        ("GET", "/settings/tenant", 404, "SettingNotFound"),
        ("PATCH", "/settings/none", 404, "SettingNotFound"),
        ("GET", "/settings/CasemateEscalation/x", 404, "NotFound"),
        ("POST", "/settings", 405, "MethodNotAllowed"),
        ("PUT", "/settings/CasemateEscalation", 405, "MethodNotAllowed"),
        ("DELETE", "/settings/CasemateEscalation", 405, "MethodNotAllowed"),
    ] {
        let reply = world.call(method, path, Value::Null).await;
        assert_eq!(reply.code(), (status, code.to_owned()), "{method} {path}");
        assert_eq!(world.last_record()["errorCode"], code);
    }
}

#[tokio::test]
async fn bodies_are_bounded_and_must_be_json() {
    let mut setup = Setup::default();
    setup.limits.body_bytes_max = 1000;
    setup.limits.payload_bytes_max = 2000;
    let world = World::with(setup).await;
    world.create("k", json!({"kty": "EC"})).await;
    let version = "api-version";
    for (path, body, status) in [
        ("/keys/n/create", "", 400),
        ("/keys/n/create", "{", 400),
        ("/keys/n/create", "[]", 400),
        ("/keys/n/create", "null", 400),
        ("/keys/n/create", "{\"kty\":\"\u{0}\"}", 400),
        ("/keys/n/create", &format!("{{\"{}", "x".repeat(1000)), 413),
        ("/keys/k/sign", &format!("{{\"{}", "x".repeat(1000)), 400),
        ("/keys/k/sign", &format!("{{\"{}", "x".repeat(2000)), 413),
        ("/keys/k/sign", r#"{"alg":"ES256","value":"A+/="}"#, 400),
        ("/keys/k/sign", r#"{"alg":"ES256","value":7}"#, 400),
        ("/keys/k/sign", r#"{"alg":"ES256"}"#, 400),
        ("/rng", r#"{"count":-1}"#, 400),
        ("/rng", r#"{"count":129}"#, 400),
        ("/rng", r#"{"count":0}"#, 400),
    ] {
        let reply = world.raw(world.request(ADMIN, "POST", path, body.to_owned())).await;
        assert_eq!(reply.code(), (status, "BadParameter".to_owned()), "{path} {body:.40}");
        assert!(!reply.text.contains(version));
    }
    let random = world.call("POST", "/rng", json!({"count": "16"})).await;
    assert_eq!(random.json()["value"].as_str().unwrap().len(), 22);
}
