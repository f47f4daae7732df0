//! Every record is one line of valid JSON, whatever it holds.

use std::net::IpAddr;

use serde_json::Value;
use uuid::Uuid;

use super::{assemble, line, rfc3339};
use crate::{
    Call, Detail, DetailValue, Identity, KeyFacts, Origin, PermitFacts, Phase, Record, Verdict,
};

fn written(record: &Record<'_>) -> String {
    let origin = Origin {
        resource_id: "/subscriptions/s/managedHSMs/dev",
        pool_name: "dev",
        resource_group: "rg",
        tenant: Some(Uuid::nil()),
        development: true,
    };
    let (mut fields, mut out) = (Vec::new(), Vec::new());
    line(&mut fields, 1_767_225_600_123, record);
    assemble(&mut out, 42, &fields, &origin.line_end());
    String::from_utf8(out).unwrap()
}

fn parsed(record: &Record<'_>) -> Value {
    let text = written(record);
    assert!(text.ends_with('\n'));
    assert_eq!(text.matches('\n').count(), 1, "one line: {text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn plain<'a>(call: &'a Call<'a>) -> Record<'a> {
    Record {
        phase: Phase::Use,
        operation: "KeySign",
        call,
        verdict: Verdict::Success,
        permit: None,
        key: None,
        intent: None,
    }
}

#[test]
fn a_whole_record_is_as_the_golden_line() {
    let call = Call {
        started: None,
        api_version: "7.6",
        request_uri: "/keys/pay/00/sign",
        consistency: 1_048_577,
        success_status: 200,
        caller_address: Some("::ffff:10.1.2.3".parse::<IpAddr>().unwrap()),
        user_agent: b"azsdk-python",
        correlation_id: b"c-1",
        identity: Identity {
            object_id: Some(Uuid::from_u128(1)),
            app_id: "app",
            user_name: "a@b",
            token_id: "t1",
        },
        marks: &[],
        activity_id: "5f6c1d3e-0000-4000-8000-000000000007",
        details: &[],
    };
    let record = Record {
        permit: Some(PermitFacts {
            assignment: Uuid::from_u128(2),
            role: "Managed HSM Crypto User",
            role_id: Uuid::from_u128(3),
            revision: 9,
        }),
        key: Some(KeyFacts { name: "pay", version: Some([0xab; 16]), algorithm: "ES256" }),
        ..plain(&call)
    };
    assert_eq!(written(&record), include_str!("../../tests/golden-line.json"));
}

#[test]
fn hostile_strings_stay_inside_their_member() {
    let hostile = "a\"b\\c\nd\re\tf\u{0}g\u{1b}[2J\u{7f}h\u{2028}i{\"seq\":1}";
    let call = Call {
        api_version: hostile,
        request_uri: hostile,
        user_agent: hostile.as_bytes(),
        correlation_id: b"\xff\xfe\"\n\x80",
        identity: Identity {
            object_id: Some(Uuid::nil()),
            app_id: hostile,
            user_name: hostile,
            token_id: hostile,
        },
        ..Call::default()
    };
    let record = Record {
        operation: hostile,
        verdict: Verdict::Failure { status: None, code: hostile, description: hostile },
        key: Some(KeyFacts { name: hostile, version: None, algorithm: hostile }),
        permit: Some(PermitFacts {
            assignment: Uuid::nil(),
            role: hostile,
            role_id: Uuid::nil(),
            revision: 0,
        }),
        ..plain(&call)
    };
    assert!(!written(&record).trim_end().contains(|c: char| c.is_control()));
    let value = parsed(&record);
    for member in ["operationName", "operationVersion", "requestUri", "clientInfo", "tokenId"] {
        assert_eq!(value[member], hostile, "{member}");
    }
    assert_eq!(value["seq"], 42);
    assert_eq!(value["correlationId"], "\u{fffd}\u{fffd}\"\n\u{fffd}");
    assert_eq!(value["key"]["name"], hostile);
    assert_eq!(value["permit"]["role"], hostile);
    let identity: Value = serde_json::from_str(value["identity"].as_str().unwrap()).unwrap();
    assert_eq!(identity["claim"]["appid"], hostile);
    let claims = &identity["claim"]["http_schemas_xmlsoap_org_ws_2005_05_identity"]["claims"];
    assert_eq!(claims["upn"], hostile);
}

#[test]
fn oversized_strings_are_cut_between_characters() {
    let long = "ä".repeat(100_000);
    let call = Call {
        request_uri: &long,
        user_agent: long.as_bytes(),
        correlation_id: &vec![0xff; 100_000],
        identity: Identity { object_id: None, app_id: &long, user_name: &long, token_id: &long },
        ..Call::default()
    };
    let record = Record {
        operation: &long,
        verdict: Verdict::Failure { status: Some(400), code: &long, description: &long },
        key: Some(KeyFacts { name: &long, version: None, algorithm: &long }),
        ..plain(&call)
    };
    let text = written(&record);
    assert!(text.len() < 8192, "{} bytes", text.len());
    let value = parsed(&record);
    assert_eq!(value["requestUri"].as_str().unwrap().len(), 1024);
    assert_eq!(value["key"]["name"].as_str().unwrap().len(), 126);
}

#[test]
fn a_refused_call_says_little_for_itself() {
    let long = "a".repeat(10_000);
    let details = [detail("groups", DetailValue::Texts(vec!["g".repeat(36); 200]))];
    let call = Call {
        request_uri: &long,
        user_agent: long.as_bytes(),
        correlation_id: long.as_bytes(),
        details: &details,
        ..Call::default()
    };
    let length = |value: &Value, name: &str| value[name].as_str().unwrap().len();
    let lengths = |phase| {
        let value = parsed(&Record { phase, ..plain(&call) });
        ["requestUri", "clientInfo", "correlationId"].map(|name| length(&value, name))
    };
    assert_eq!(lengths(Phase::Refusal), [256, 64, 64]);
    for phase in [Phase::Use, Phase::Intent, Phase::Outcome] {
        assert_eq!(lengths(phase), [1024, 256, 128], "what was done is told in full");
    }
    let refused = Record { phase: Phase::Refusal, ..plain(&call) };
    let text = written(&refused);
    assert!(text.len() < 2_560, "{} bytes", text.len());
    assert_eq!(parsed(&refused)["details"]["cut"], true);
}

#[test]
fn the_worst_strings_stay_below_what_is_read_back() {
    let worst = "\u{1}".repeat(100_000);
    let texts = || DetailValue::Texts(vec![worst.clone(); 500]);
    let details = vec![Detail { name: "all".into(), value: texts() }; 100];
    let call = Call {
        activity_id: &worst,
        details: &details,
        api_version: &worst,
        request_uri: &worst,
        user_agent: worst.as_bytes(),
        correlation_id: worst.as_bytes(),
        identity: Identity {
            object_id: Some(Uuid::nil()),
            app_id: &worst,
            user_name: &worst,
            token_id: &worst,
        },
        ..Call::default()
    };
    let record = Record {
        operation: &worst,
        verdict: Verdict::Failure { status: None, code: &worst, description: &worst },
        permit: Some(PermitFacts {
            assignment: Uuid::nil(),
            role: &worst,
            role_id: Uuid::nil(),
            revision: u64::MAX,
        }),
        key: Some(KeyFacts { name: &worst, version: Some([0; 16]), algorithm: &worst }),
        ..plain(&call)
    };
    assert!(written(&record).len() < crate::recover::LINE_BYTES_MAX);
    parsed(&record);
}

#[test]
fn a_failure_says_code_and_status_and_a_pending_change_neither() {
    let call = Call { success_status: 200, ..Call::default() };
    let failure =
        Verdict::Failure { status: Some(403), code: "Forbidden", description: "no right" };
    let value = parsed(&Record { verdict: failure, phase: Phase::Refusal, ..plain(&call) });
    assert_eq!(value["resultType"], "Failed");
    assert_eq!(value["resultSignature"], "Forbidden");
    assert_eq!(value["httpStatusCode"], 403);
    let value = parsed(&Record { verdict: Verdict::Pending, phase: Phase::Intent, ..plain(&call) });
    assert_eq!(value["resultType"], "Pending");
    assert_eq!(value.get("httpStatusCode"), None);
}

#[test]
fn times_are_those_of_the_calendar() {
    let cases = [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_399_999, "2000-02-28T23:59:59.999Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (951_868_800_000, "2000-03-01T00:00:00.000Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        (1_767_225_600_123, "2026-01-01T00:00:00.123Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (i64::MAX, "9999-12-31T23:59:59.999Z"),
        (i64::MIN, "0000-01-01T00:00:00.000Z"),
    ];
    for (ms, expected) in cases {
        let mut out = Vec::new();
        rfc3339(&mut out, ms);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

#[test]
fn marks_are_words_and_their_number_is_bounded() {
    let call = Call { marks: &["grantToOneself", "a\"b"], ..Call::default() };
    let value = parsed(&plain(&call));
    assert_eq!(value["marks"], serde_json::json!(["grantToOneself", "a\"b"]));
    let call = Call { marks: &["x"; 100], ..Call::default() };
    assert_eq!(parsed(&plain(&call))["marks"].as_array().unwrap().len(), 8);
    assert!(!written(&plain(&Call::default())).contains("marks"));
}

fn detail(name: &'static str, value: DetailValue) -> Detail {
    Detail { name: name.into(), value }
}

#[test]
fn details_say_what_was_changed_and_stay_inside_their_member() {
    let details = [
        detail("to", DetailValue::Text("a\"}\n{\"seq\":1".to_owned())),
        detail("added", DetailValue::Texts(vec!["x".to_owned(), "\\".to_owned()])),
        detail("none", DetailValue::Texts(Vec::new())),
        detail("notBefore", DetailValue::Number(i64::MIN)),
    ];
    let call = Call { details: &details, ..Call::default() };
    let expected = serde_json::json!({
        "to": "a\"}\n{\"seq\":1", "added": ["x", "\\"], "none": [], "notBefore": i64::MIN,
    });
    assert_eq!(parsed(&plain(&call))["details"], expected);
    assert!(!written(&plain(&Call::default())).contains("details"));
}

#[test]
fn details_that_do_not_fit_are_left_out_and_that_is_said() {
    let long = "ä".repeat(10_000);
    let many = DetailValue::Texts(vec![long.clone(); 10_000]);
    let details = [
        detail("one", DetailValue::Text(long)),
        detail("many", many),
        detail("late", DetailValue::Number(1)),
    ];
    let call = Call { details: &details, ..Call::default() };
    let text = written(&plain(&call));
    assert!(text.len() < 12 * 1024, "{} bytes", text.len());
    let value = &parsed(&plain(&call))["details"];
    assert_eq!(value["one"].as_str().unwrap().len(), 512);
    assert!((8..20).contains(&value["many"].as_array().unwrap().len()));
    assert_eq!((&value["late"], &value["cut"]), (&Value::Null, &Value::Bool(true)));
}

#[test]
fn an_abandoned_call_neither_succeeded_nor_failed() {
    let call = Call { success_status: 200, ..Call::default() };
    let value = parsed(&Record { verdict: Verdict::Abandoned, ..plain(&call) });
    assert_eq!(
        (&value["resultType"], &value["errorCode"]),
        (&"Unknown".into(), &"Abandoned".into())
    );
    assert_eq!(value.get("httpStatusCode"), None);
}
