//! Spans of requests: which requests have some, what they say, and what they never say.

use casemate_trace::{Kind, Span, Value as Attribute};
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::kit::{ADMIN, HOST, World, b64};

const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const SECRET: &str = "Bearer of-the-collector";
const ALL: usize = 1_000;

fn traces(ratio: f64) -> Value {
    json!({ "sinks": [], "traces": {
        "endpoint": "https://collector.example/v1/traces",
        "trustAnchors": "-----BEGIN CERTIFICATE-----",
        "secret": SECRET, "sampleRatio": ratio, "callersPerSecond": 1_000,
    } })
}

/// An HSM that traces this share of requests, and those whose callers wish it.
async fn traced(ratio: f64) -> World {
    let world = World::new().await;
    let set = world.call("PUT", "/audit/sinks", traces(ratio)).await;
    assert_eq!(set.status, 200, "{}", set.text);
    world.tracer.take(ALL);
    world
}

fn with(mut request: Request<Full<bytes::Bytes>>, parent: &str) -> Request<Full<bytes::Bytes>> {
    request.headers_mut().append("traceparent", parent.parse().unwrap());
    request
}

fn attribute<'a>(span: &'a Span, name: &str) -> Option<&'a Attribute> {
    span.attributes.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
}

fn text(span: &Span, name: &str) -> String {
    match attribute(span, name) {
        Some(Attribute::Text(text)) => text.clone().into_owned(),
        other => panic!("{name} is {other:?}"),
    }
}

fn names(spans: &[Span]) -> Vec<&str> {
    spans.iter().map(|span| span.name.as_ref()).collect()
}

fn sign() -> String {
    json!({ "alg": "ES256", "value": b64(&[1; 32]) }).to_string()
}

#[tokio::test]
async fn a_request_is_part_of_its_callers_trace_and_says_what_it_was() {
    let world = traced(0.0).await;
    world.create("pay", json!({ "kty": "EC" })).await;
    let mut request = with(world.request(ADMIN, "POST", "/keys/pay/sign", sign()), CALLER);
    request.headers_mut().append("tracestate", "rojo=1".parse().unwrap());
    let reply = world.raw(request).await;
    assert_eq!(reply.status, 200);
    let spans = world.tracer.take(ALL);
    assert_eq!(
        names(&spans),
        ["POST /keys/{name}/{version}/sign", "token", "read_body", "authorize", "audit_append"]
    );
    let (root, parts) = spans.split_first().unwrap();
    assert_eq!(root.trace[..4], [0x4b, 0xf9, 0x2f, 0x35]);
    assert_eq!(root.parent.unwrap()[..3], [0x00, 0xf0, 0x67]);
    assert_eq!((root.kind, root.failed), (Kind::Request, false));
    assert_eq!(root.state.as_deref(), Some("rojo=1"));
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/keys/{name}/{version}/sign"),
        ("url.path", "/keys/{name}/{version}/sign"),
        ("url.scheme", "https"),
        ("server.address", "dev.managedhsm.localhost"),
        ("network.protocol.version", "1.1"),
        ("casemate.operation", "KeySign"),
        ("casemate.algorithm", "ES256"),
        ("casemate.request_id", reply.headers["x-ms-request-id"].to_str().unwrap()),
    ] {
        assert_eq!(text(root, name), value, "{name}");
    }
    assert_eq!(attribute(root, "server.port"), Some(&Attribute::Number(8443)));
    assert_eq!(attribute(root, "http.response.status_code"), Some(&Attribute::Number(200)));
    assert_eq!(attribute(root, "error.type"), None);
    for part in parts {
        assert_eq!((part.trace, part.parent), (root.trace, Some(root.id)), "{}", part.name);
        assert_eq!((part.kind, part.state.as_deref()), (Kind::Step, None));
        assert!(root.start_ns <= part.start_ns && part.end_ns <= root.end_ns);
    }
    let sequence = world.last_record()["seq"].as_u64().unwrap();
    let recorded = attribute(parts.last().unwrap(), "casemate.audit.seq");
    assert_eq!(recorded, Some(&Attribute::Number(sequence)), "the record is found by it");
}

#[tokio::test]
async fn a_change_has_its_intent_and_outcome_in_it() {
    let world = traced(0.0).await;
    let body = json!({ "kty": "EC" }).to_string();
    let request = with(world.request(ADMIN, "POST", "/keys/pay/create", body), CALLER);
    assert_eq!(world.raw(request).await.status, 200);
    let spans = world.tracer.take(ALL);
    let appends = names(&spans).iter().filter(|name| **name == "audit_append").count();
    assert_eq!(appends, 2, "{:?}", names(&spans));
    assert!(spans[1..].iter().all(|part| part.parent == Some(spans[0].id)));
}

#[tokio::test]
async fn who_does_not_wish_it_or_is_not_known_has_no_span() {
    let world = traced(0.0).await;
    let path = "/keys/none";
    world.call("GET", path, Value::Null).await;
    for parent in [
        CALLER.replace("-01", "-00").as_str(),
        "",
        "x",
        &CALLER.to_uppercase(),
        &CALLER.replace("00-", "ff-"),
        &CALLER.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
        &format!("{CALLER}-00"),
    ] {
        let request = with(world.request(ADMIN, "GET", path, ""), parent);
        assert_eq!(world.raw(request).await.status, 404, "{parent}");
    }
    let twice = with(with(world.request(ADMIN, "GET", path, ""), CALLER), CALLER);
    assert_eq!(world.raw(twice).await.status, 404);
    let nobody = || Request::builder().uri(path).header("traceparent", CALLER);
    for request in [
        nobody().header("host", HOST),
        nobody().header("host", HOST).header("authorization", "Bearer x"),
        nobody().header("host", "elsewhere"),
    ] {
        let reply = world.raw(request.body(Full::default()).unwrap()).await;
        assert!(matches!(reply.status.as_u16(), 401 | 421), "{}", reply.status);
    }
    assert_eq!(names(&world.tracer.take(ALL)), Vec::<&str>::new());
    assert_eq!(world.tracer.counts().ended, 0);
}

#[tokio::test]
async fn a_share_of_all_is_traced_whoever_asks() {
    let world = traced(1.0).await;
    let nobody = Request::builder().uri("/keys").header("host", HOST);
    world.raw(nobody.body(Full::default()).unwrap()).await;
    let spans = world.tracer.take(ALL);
    assert_eq!(names(&spans), ["GET", "token"], "no route is known before the caller");
    assert_eq!(attribute(&spans[0], "http.response.status_code"), Some(&Attribute::Number(401)));
    let unknown = world.request(ADMIN, "SECRET", "/secret-path", "");
    world.raw(unknown).await;
    let spans = world.tracer.take(ALL);
    assert_eq!(names(&spans), ["HTTP", "token", "audit_append"]);
    assert_eq!(text(&spans[0], "http.request.method"), "_OTHER");
    assert_eq!(text(&spans[0], "casemate.operation"), "UnknownOperation");
}

/// No name, id, token, input or output of a caller, and no secret of the collector.
#[tokio::test]
async fn nothing_that_a_caller_sent_or_got_is_in_any_span() {
    let world = traced(1.0).await;
    let caller = world.somebody("Managed HSM Crypto Officer", "").await;
    let user = world.somebody("Managed HSM Crypto User", "").await;
    let made = world.create("secret-name", json!({ "kty": "RSA", "key_size": 2048 })).await;
    let kid = made["key"]["kid"].as_str().unwrap();
    let version = kid.rsplit('/').next().unwrap().to_owned();
    let plaintext = b64(b"the-plaintext-of-somebody");
    let encrypt = json!({ "alg": "RSA-OAEP-256", "value": plaintext });
    let call = |path: &str, body: Value| {
        let path = format!("/keys/secret-name/{version}/{path}");
        let mut request = world.request(user, "POST", &path, body.to_string());
        let headers = request.headers_mut();
        headers.append("user-agent", "secret-agent".parse().unwrap());
        headers.append("x-ms-client-request-id", "secret-request".parse().unwrap());
        let world = &world;
        async move { world.raw(request).await.json() }
    };
    let cipher = call("encrypt", encrypt).await["value"].as_str().unwrap().to_owned();
    let decrypt = json!({ "alg": "RSA-OAEP-256", "value": cipher });
    assert_eq!(call("decrypt", decrypt).await["value"], json!(plaintext));
    for (method, path) in [
        ("GET", "/keys/secret-name?secret-query=secret"),
        ("GET", "/keys?maxresults=5"),
        ("GET", "/settings/secret-setting"),
        ("SECRET", "/secret/path"),
        ("DELETE", "/keys/secret-name"),
        ("GET", "/deletedkeys/secret-name"),
    ] {
        world.call_as(caller, method, path, Value::Null).await;
    }
    let spans = world.tracer.take(ALL);
    assert!(spans.len() > 40, "{}", spans.len());
    let shown = format!("{spans:?}");
    let token = world.token(user);
    let simple = |id: Uuid| id.simple().to_string();
    for hidden in [
        "secret",
        "SECRET",
        "127.0.0.1",
        "Bearer",
        &token[..30],
        &version,
        &plaintext,
        &cipher[..30],
        "the-plaintext-of-somebody",
        &caller.to_string(),
        &user.to_string(),
        &simple(user),
    ] {
        assert!(!shown.contains(hidden), "{hidden} is in a span");
    }
}

#[tokio::test]
async fn settings_of_traces_are_shown_without_their_secret_and_can_be_taken_out() {
    let world = traced(0.25).await;
    let shown = world.call("GET", "/audit/sinks", Value::Null).await;
    assert_eq!(shown.json()["traces"]["sampleRatio"], 0.25);
    let status = &shown.json()["tracesStatus"];
    assert_eq!((&status["sent"], &status["error"]), (&json!(0), &Value::Null));
    assert!(!shown.text.contains("of-the-collector"), "{}", shown.text);
    assert!(!world.audit.lines().concat().contains("of-the-collector"), "no secret in a record");
    for wrong in [json!(2), json!("secret"), json!({})] {
        let mut settings = traces(0.25);
        settings["traces"]["sampleRatio"] = wrong;
        let reply = world.call("PUT", "/audit/sinks", settings).await;
        assert_eq!(reply.code(), (400, "BadParameter".to_owned()));
    }
    let off = world.call("PUT", "/audit/sinks", json!({ "sinks": [] })).await;
    assert!(off.json().get("traces").is_none() && off.json().get("tracesStatus").is_none());
    world.tracer.take(ALL);
    let request = with(world.request(ADMIN, "GET", "/keys", ""), CALLER);
    assert_eq!(world.raw(request).await.status, 200);
    assert!(world.tracer.take(ALL).is_empty());
}
