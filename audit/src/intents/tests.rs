//! Which changes are open, while the trail runs and after it was read.

use super::*;

fn line(sequence: u64, phase: &str, more: &str) -> Vec<u8> {
    let pending = if phase == "intent" { ",\"resultType\":\"Pending\"" } else { "" };
    let begin = format!("{{\"seq\":{sequence},\"time\":\"t\",\"phase\":\"{phase}\"");
    format!("{begin}{pending}{more}}}").into_bytes()
}

fn found(lines: &[Vec<u8>]) -> Vec<(u64, bool)> {
    let mut search = Search::default();
    lines.iter().for_each(|line| search.see(line));
    search.found().iter().map(|open| (open.recorded.sequence(), open.contested)).collect()
}

const KEY: &str = ",\"operationName\":\"KeyCreate\",\"key\":{\"name\":\"Pay\"}";

#[test]
fn an_intent_with_an_outcome_is_closed() {
    let outcome = line(3, "outcome", ",\"intent\":1,\"key\":{\"name\":\"pay\"}");
    assert_eq!(found(&[line(1, "intent", KEY), outcome]), []);
    assert_eq!(found(&[line(1, "intent", KEY)]), [(1, false)]);
    assert_eq!(found(&[line(1, "use", KEY), line(2, "refusal", KEY)]), []);
}

#[test]
fn another_change_of_the_same_thing_makes_it_contested() {
    let other = line(2, "intent", ",\"key\":{\"name\":\"PAY\"}");
    assert_eq!(found(&[line(1, "intent", KEY), other]), [(1, true), (2, true)]);
    let elsewhere = line(2, "intent", ",\"key\":{\"name\":\"else\"}");
    assert_eq!(found(&[line(1, "intent", KEY), elsewhere]), [(1, false), (2, false)]);
    let path = |sequence, uri| line(sequence, "intent", &format!(",\"requestUri\":\"{uri}\""));
    assert_eq!(found(&[path(1, "/a"), path(2, "/A")])[0], (1, true));
    assert_eq!(found(&[path(1, "/a"), path(2, "/b")])[0], (1, false));
}

#[test]
fn an_open_intent_says_again_who_asked_and_for_what() {
    let (object_id, address) = (Uuid::from_u128(7), "192.0.2.1".parse().ok());
    let details = vec![
        Detail { name: "number".into(), value: DetailValue::Number(-3) },
        Detail { name: "text".into(), value: DetailValue::Text("a\"b".to_owned()) },
        Detail { name: "texts".into(), value: DetailValue::Texts(vec!["é".to_owned()]) },
    ];
    let call = Call {
        request_uri: "/keys/pay",
        caller_address: address,
        correlation_id: b"c",
        activity_id: "a",
        identity: Identity {
            object_id: Some(object_id),
            app_id: "app",
            user_name: "u\"@x",
            token_id: "t",
        },
        details: &details,
        ..Call::default()
    };
    let record = crate::Record {
        phase: crate::Phase::Intent,
        operation: "KeyUpdate",
        call: &call,
        verdict: crate::Verdict::Pending,
        permit: None,
        key: None,
        intent: None,
    };
    let (mut fields, mut line) = (Vec::new(), Vec::new());
    crate::json::line(&mut fields, 0, &record);
    crate::json::assemble(&mut line, 1, &fields, b"}");
    let mut search = Search::default();
    search.see(&line);
    let found = search.found();
    let again = found[0].call();
    assert_eq!(format!("{again:?}"), format!("{call:?}"));
}

#[test]
fn what_is_no_record_says_nothing() {
    assert_eq!(found(&[b"\"resultType\":\"Pending\" nothing".to_vec(), Vec::new()]), []);
}

#[test]
fn all_below_the_mark_are_closed_by_durable_outcomes() {
    let mut intents = Intents::default();
    assert_eq!(intents.open_from(0), 1);
    intents.begin(2);
    intents.begin(4);
    assert_eq!(intents.open_from(5), 2);
    intents.end(6, 2);
    assert_eq!(intents.open_from(5), 2, "its outcome is not among the first five");
    assert_eq!(intents.open_from(6), 4);
    intents.end(7, 4);
    intents.forget_from(7);
    assert_eq!(intents.open_from(6), 4, "its outcome was not written");
    intents.end(9, 5);
    intents.end(7, 4);
    assert_eq!(intents.open_from(7), 8);
}
