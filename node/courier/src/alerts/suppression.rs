//! Nobody can keep from being told what he does, nor what another does.

use super::tests::{DONE, entry, failed, rules, watch};
use super::*;

const VICTIM: &str = "00000000-0000-0000-0000-000000000001";
const ATTACKER: &str = "00000000-0000-0000-0000-00000000bad1";

/// What an attacker makes up between two failures that matter.
const MADE_UP: u64 = 100_000;

fn by(caller: &str, entry: Entry) -> Entry {
    let line = entry.line().replace(VICTIM, caller);
    Entry::parse(line.as_bytes())
}

fn decryption(caller: &str, key: &str, status: u16, second: u32) -> Entry {
    let line = entry("KeyDecrypt", "use", &failed(status), second).line();
    let line = line.replace("\"pay\"", &format!("\"{key}\""));
    by(caller, Entry::parse(line.as_bytes()))
}

fn subjects(watch: &mut Watch, entries: impl IntoIterator<Item = Entry>) -> Vec<String> {
    let seen = entries.into_iter().flat_map(|entry| watch.see(7, &entry));
    seen.map(|alert| format!("{} {}", alert.rule, alert.subject)).collect()
}

#[test]
fn keys_that_are_not_there_push_out_nothing() {
    let mut watch = watch();
    let mut told = Vec::new();
    for second in 0..20 {
        told.extend(subjects(&mut watch, [decryption(VICTIM, "pay", 400, second)]));
        let made_up =
            (0..MADE_UP / 20).map(|n| decryption(ATTACKER, &format!("k{n}"), 404, second));
        told.extend(subjects(&mut watch, made_up));
    }
    assert_eq!(
        told,
        [format!("failedDecryption {ATTACKER}"), format!("failedDecryption {VICTIM} pay")]
    );
    assert_eq!(watch.tables[FAILED_DECRYPTION].size(), (2, 1), "no subjects of keys made up");
}

#[test]
fn keys_of_one_caller_push_out_those_of_nobody_else() {
    let mut watch = watch();
    let mut told = Vec::new();
    for second in 0..20 {
        told.extend(subjects(&mut watch, [decryption(VICTIM, "pay", 400, second)]));
        let others = (0..MADE_UP / 20).map(|n| decryption(ATTACKER, &format!("k{n}"), 400, second));
        told.extend(subjects(&mut watch, others));
    }
    assert!(told.contains(&format!("failedDecryption {VICTIM} pay")), "{told:?}");
    let (callers, keys) = watch.tables[FAILED_DECRYPTION].size();
    assert!((callers, keys) <= (2, counts::KEYS_OF_CALLER_MAX), "{callers} {keys}");
}

#[test]
fn who_spreads_his_failures_over_keys_is_told() {
    let spread = (0..20).map(|second| decryption(VICTIM, &format!("k{second}"), 400, second));
    assert_eq!(subjects(&mut watch(), spread), [format!("failedDecryption {VICTIM}")]);
    // His own keys pushed out what was counted of the one he is after.
    let mut watch = watch();
    let mut told = Vec::new();
    for second in 0..20 {
        told.extend(subjects(&mut watch, [decryption(VICTIM, "pay", 400, second)]));
        let others = (0..50).map(|n| decryption(VICTIM, &format!("k{n}"), 400, second));
        told.extend(subjects(&mut watch, others));
    }
    assert!(told.contains(&format!("failedDecryption {VICTIM}")), "{told:?}");
}

#[test]
fn one_key_told_of_does_not_hide_the_next_and_alerts_are_bounded() {
    let mut watch = watch();
    let on = |key: &'static str| (0..20).map(move |at| decryption(VICTIM, key, 400, at));
    let one = subjects(&mut watch, on("one"));
    let two = subjects(&mut watch, on("two"));
    assert_eq!(one, [format!("failedDecryption {VICTIM} one")]);
    assert_eq!(two, [format!("failedDecryption {VICTIM} two")]);
    let storm = (0..MADE_UP).map(|n| decryption(VICTIM, &format!("k{}", n / 25), 400, 30));
    let told = subjects(&mut watch, storm);
    let most = counts::KEYS_OF_CALLER_MAX + 1;
    assert!(told.len() <= most, "{} alerts bury those of others", told.len());
}

#[test]
fn refused_callers_of_one_rule_push_out_nothing_of_another() {
    let mut watch = watch();
    let refused = failed(403);
    let mut told = Vec::new();
    for second in 0..20 {
        told.extend(subjects(&mut watch, [decryption(VICTIM, "pay", 400, second)]));
        let strangers = (0..5_000_u32)
            .map(|n| by(&format!("{second}-{n}"), entry("KeySign", "refusal", &refused, second)));
        told.extend(subjects(&mut watch, strangers));
    }
    assert_eq!(told, [format!("failedDecryption {VICTIM} pay")]);
}

#[test]
fn who_is_refused_the_security_domain_holds_up_no_other_alert() {
    let mut watch = watch();
    let refused = failed(403);
    let storm =
        (0..10_000).map(|_| by(ATTACKER, entry("SecurityDomainBackup", "refusal", &refused, 0)));
    let told = subjects(&mut watch, storm);
    let exports = told.iter().filter(|one| one.starts_with(SECURITY_DOMAIN_EXPORT)).count();
    assert_eq!(exports, 1, "he is told of, once");
    let done: Vec<_> = (0..2).map(|_| entry("SecurityDomainBackup", "outcome", DONE, 0)).collect();
    assert_eq!(
        rules(&mut watch, &done),
        [SECURITY_DOMAIN_EXPORT; 2],
        "what was given out, each time"
    );
}

#[test]
fn refusals_that_were_only_counted_are_told_too() {
    let mut watch = watch();
    let counted = entry("RefusalsCounted", "refusal", &failed(429), 0);
    assert_eq!(rules(&mut watch, &[counted]), [FAILED_AUTHORIZATION]);
    let quiet = entry("RefusalsCounted", "refusal", &failed(429), 60);
    assert!(rules(&mut watch, &[quiet]).is_empty(), "and then there is a quiet time");
    let off = Rules { failed_authorization: None, ..Rules::default() };
    let counted = entry("RefusalsCounted", "refusal", &failed(429), 0);
    assert!(rules(&mut Watch::new(off), &[counted]).is_empty());
}

#[test]
fn a_few_refusals_before_hide_nothing_of_what_is_counted() {
    for before in 0..20 {
        let mut watch = watch();
        let few: Vec<_> =
            (0..before).map(|_| entry("KeySign", "refusal", &failed(403), 0)).collect();
        let told = rules(&mut watch, &few).len();
        let counts: Vec<_> = (10..40)
            .map(|minute| entry("RefusalsCounted", "refusal", &failed(429), minute * 60))
            .collect();
        let counted = rules(&mut watch, &counts);
        assert!(!counted.is_empty(), "{before} refusals, of which {told} alerts told");
    }
}

#[test]
fn that_counting_has_begun_is_told_before_there_is_a_count() {
    let begins =
        r#""httpStatusCode":429,"resultType":"Failed","marks":["furtherRefusalsCounted"],"#;
    let mut watch = watch();
    let told = rules(&mut watch, &[entry("UnknownOperation", "refusal", begins, 0)]);
    assert_eq!(told, [FAILED_AUTHORIZATION]);
    let count = entry("RefusalsCounted", "refusal", &failed(429), 60);
    assert!(rules(&mut watch, &[count]).is_empty(), "the count comes in the quiet time");
    let mark = begins.replace("429", "503").replace("Refusals", "Failures");
    let of_hsm = [
        entry("KeyGet", "refusal", &mark, 900),
        entry("FailuresCounted", "refusal", &failed(503), 960),
    ];
    assert!(rules(&mut watch, &of_hsm).is_empty(), "no fault of the caller's");
}

#[test]
fn what_was_turned_away_is_no_failed_decryption() {
    for status in [401, 403, 429] {
        let calls = (0..50).map(|second| decryption(VICTIM, "pay", status, second));
        let told = subjects(&mut watch(), calls);
        assert!(told.iter().all(|one| !one.starts_with(FAILED_DECRYPTION)), "{status} {told:?}");
    }
}

#[test]
fn a_message_of_leave_says_which_sink_and_from_where_on() {
    let alert = Alert::removed("pager", 41, Moment::now());
    let origin = Origin { hsm: "dev".to_owned(), resource_id: "/r".to_owned(), log: 0 };
    let body: serde_json::Value = serde_json::from_slice(&alert.body(&origin)).unwrap();
    assert_eq!(body["data"]["rule"], "sinkRemoved");
    assert_eq!((&body["data"]["subject"], &body["data"]["index"]), (&json!("pager"), &json!(41)));
    let stamp = body["timestamp"].as_str().unwrap();
    assert!(stamp.starts_with("20") && stamp.ends_with('Z'), "{stamp}");
}
