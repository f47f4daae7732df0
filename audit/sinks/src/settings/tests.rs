use serde_json::{Value, json};

use super::*;
use crate::{SealedSinks, Target};

const PEM: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
const SIGNING: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const HIDDEN: [&str; 3] = [SIGNING, "Bearer hidden-token", "sv=2024&sp=ac&sig=hidden%2Bsas"];

fn whole() -> Value {
    let at = |kind: &str, endpoint: &str, secret: Option<&str>| {
        let mut sink = json!({
            "name": kind.to_lowercase(), "kind": kind, "endpoint": endpoint, "trustAnchors": PEM,
        });
        if let Some(secret) = secret {
            sink["secret"] = json!(secret);
        }
        sink
    };
    json!({
        "sinks": [
            { "name": "archive", "kind": "file" },
            at("syslog", "tls://siem.example", None),
            at("otlp", "https://otel.example:4318/v1/logs", Some(HIDDEN[1])),
            at("webhook", "https://hook.example/audit", Some(HIDDEN[0])),
            at("azureBlob", "https://a.blob.example/logs", Some(HIDDEN[2])),
            at("alerts", "https://pager.example/", Some(HIDDEN[0])),
        ],
        "synchronous": "webhook",
    })
}

fn parse(value: &Value) -> Result<Sinks, String> {
    let request = SinksRequest::parse(value.to_string().as_bytes());
    let sinks = request.and_then(|request| request.complete(&Sinks::default()));
    sinks.map_err(|error| error.to_string())
}

#[test]
fn every_kind_is_taken_and_no_secret_is_shown() {
    let sinks = parse(&whole()).unwrap();
    assert_eq!(sinks.all().len(), 6);
    assert_eq!(sinks.synchronous().unwrap().as_str(), "webhook");
    let ports: Vec<u16> =
        sinks.all().iter().filter_map(|sink| Some(sink.endpoint()?.port())).collect();
    assert_eq!(ports, [6514, 4318, 443, 443, 443]);
    let shown = serde_json::to_string(&sinks).unwrap() + &format!("{sinks:?}");
    for hidden in HIDDEN {
        assert!(!shown.contains(hidden), "{shown}");
    }
}

#[test]
fn sealed_settings_come_back_whole_in_json_and_in_cbor() {
    let sinks = parse(&whole()).unwrap();
    let text = serde_json::to_string(&sinks.seal()).unwrap();
    let back: SealedSinks = serde_json::from_str(&text).unwrap();
    assert_eq!(back.open().unwrap(), sinks);
    let mut bytes = Vec::new();
    ciborium::into_writer(&sinks.seal(), &mut bytes).unwrap();
    let back: SealedSinks = ciborium::from_reader(bytes.as_slice()).unwrap();
    assert_eq!(back.open().unwrap(), sinks);
}

#[test]
fn sealed_settings_without_their_secret_are_refused() {
    let sinks = parse(&whole()).unwrap();
    let mut value = serde_json::to_value(sinks.seal()).unwrap();
    value["secrets"].as_object_mut().unwrap().remove("webhook");
    let back: SealedSinks = serde_json::from_value(value).unwrap();
    assert!(back.open().is_err());
}

#[test]
fn a_secret_is_kept_only_for_the_same_kind_at_the_same_address() {
    let before = parse(&whole()).unwrap();
    let mut again = serde_json::to_value(&before).unwrap();
    let request: SinksRequest = serde_json::from_value(again.clone()).unwrap();
    assert_eq!(request.complete(&before).unwrap(), before);
    for (member, other) in [
        ("endpoint", json!("https://attacker.example/")),
        ("trustAnchors", json!(format!("{PEM}{PEM}"))),
        ("name", json!("other")),
        ("kind", json!("alerts")),
    ] {
        let kept = again["sinks"][3].clone();
        again["sinks"][3][member] = other;
        again["synchronous"] = Value::Null;
        let request: SinksRequest = serde_json::from_value(again.clone()).unwrap();
        let error = request.complete(&before).unwrap_err();
        assert!(matches!(error, SinksError::Missing { member: "secret", .. }), "{member}: {error}");
        again["sinks"][3] = kept;
    }
}

#[test]
fn what_no_sink_can_be_is_refused_with_advice() {
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut value = whole();
        change(&mut value);
        let error = parse(&value).unwrap_err();
        for hidden in HIDDEN {
            assert!(!error.contains(hidden), "{error}");
        }
        error
    };
    let bad_names = ["", "UPPER", "a b", "../x", "a.b", &"a".repeat(33)];
    for name in bad_names {
        assert!(refused(&|v| v["sinks"][0]["name"] = json!(name)).contains("choose"), "{name}");
    }
    for endpoint in [
        "http://hook.example/",
        "https://user@hook.example/",
        "https://user:pw@hook.example/",
        "https://hook.example/?sig=x",
        "https://hook.example/#x",
        "https://hook.example:0/",
        "ftp://hook.example/",
        "hook.example",
        "https://",
        "",
        &format!("https://hook.example/{}", "a".repeat(2048)),
    ] {
        let says = refused(&|v| v["sinks"][3]["endpoint"] = json!(endpoint));
        assert!(says.contains("https://HOST"), "{endpoint}: {says}");
    }
    assert!(refused(&|v| v["sinks"][1]["endpoint"] = json!("tls://h/path")).contains("tls://"));
    assert!(refused(&|v| v["sinks"][1]["endpoint"] = json!("https://h/")).contains("tls://"));
    for (at, member, value) in [
        (0, "rotateBytes", json!(1)),
        (0, "rotateBytes", json!(u64::MAX)),
        (0, "keepFiles", json!(0)),
        (0, "endpoint", json!("https://h/")),
        (0, "secret", json!("x")),
        (1, "secret", json!("x")),
        (1, "trustAnchors", json!("none")),
        (2, "secret", json!("a\r\nb: c")),
        (3, "secret", json!("plain")),
        (3, "keepFiles", json!(3)),
        (3, "rules", json!({})),
        (4, "secret", json!("?sv=1&sig=x")),
        (4, "secret", json!("sv=1&sig=x HTTP/1.1\r\n")),
        (4, "secret", json!("sv=1")),
        (5, "rules", json!({ "failedAuthorization": { "count": 0, "withinSeconds": 1 } })),
        (5, "rules", json!({ "failedDecryption": { "count": 1, "withinSeconds": 4_000 } })),
        (5, "rules", json!({ "quietSeconds": 100_000 })),
        (5, "rules", json!({ "unknown": true })),
        (5, "unknown", json!(1)),
        (5, "kind", json!("carrierPigeon")),
        (5, "kind", json!(HIDDEN[0])),
        (0, "rotateBytes", json!(HIDDEN[0])),
    ] {
        assert!(!refused(&|v| v["sinks"][at][member] = value.clone()).is_empty());
    }
}

#[test]
fn the_settings_as_a_whole_have_bounds() {
    let mut nine = whole();
    let file = |at: usize| json!({ "name": format!("f{at}"), "kind": "file" });
    nine["sinks"] = (0..9).map(file).collect();
    nine["synchronous"] = Value::Null;
    assert!(parse(&nine).unwrap_err().contains("at most 8"));
    let mut twice = whole();
    twice["sinks"][1]["name"] = json!("archive");
    assert!(parse(&twice).unwrap_err().contains("own name"));
    for name in ["alerts", "nobody", ""] {
        let mut value = whole();
        value["synchronous"] = json!(name);
        assert!(parse(&value).unwrap_err().contains("name one"), "{name}");
    }
    for deadline in [0, 99, 30_001] {
        let mut value = whole();
        value["synchronousDeadlineMs"] = json!(deadline);
        assert!(parse(&value).is_err(), "{deadline}");
    }
}

#[test]
fn unsaid_numbers_have_usual_values() {
    let sinks = parse(&whole()).unwrap();
    let first = sinks.all().first().map(|sink| &sink.target);
    assert_eq!(first, Some(&Target::File { rotate_bytes: 64 << 20, keep_files: 16 }));
    assert_eq!(sinks.deadline_ms(), 5_000);
}
