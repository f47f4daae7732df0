use super::*;
use crate::entry::samples::line;

pub(super) const DONE: &str = r#""resultType":"Success","httpStatusCode":200,"#;

pub(super) fn entry(operation: &str, phase: &str, more: &str, second: u32) -> Entry {
    let line = line(operation, more)
        .replace("\"phase\":\"use\"", &format!("\"phase\":\"{phase}\""))
        .replace("00:00.123Z", &format!("{:02}:{:02}.123Z", second / 60, second % 60));
    Entry::parse(line.as_bytes())
}

pub(super) fn rules(watch: &mut Watch, entries: &[Entry]) -> Vec<&'static str> {
    let seen = entries.iter().zip(0..).flat_map(|(entry, at)| watch.see(at, entry));
    seen.map(|alert| alert.rule).collect()
}

pub(super) fn watch() -> Watch {
    Watch::new(Rules::default())
}

pub(super) fn failed(status: u16) -> String {
    format!(r#""resultType":"Failed","httpStatusCode":{status},"#)
}

#[test]
fn each_event_is_an_alert_once() {
    let granted = format!(r#"{DONE}"marks":["x","grantToOneself"],"requestUri":"/a","#);
    let restored = format!(r#"{DONE}"requestUri":"/c","#);
    let taken = format!(r#"{DONE}"requestUri":"/b","#);
    let alerts = rules(
        &mut watch(),
        &[
            entry("SecurityDomainBackup", "intent", DONE, 0),
            entry("SecurityDomainBackup", "outcome", DONE, 0),
            entry("RoleAssignmentCreate", "intent", &granted, 1),
            entry("RoleAssignmentCreate", "outcome", &granted, 1),
            entry("RoleAssignmentDelete", "outcome", &taken, 1),
            entry("RoleAssignmentRestored", "service", &restored, 1),
            entry("KeyPurge", "outcome", DONE, 2),
            entry("AuditTailCut", "service", r#""resultType":"Failed","#, 3),
        ],
    );
    assert_eq!(
        alerts,
        [
            SECURITY_DOMAIN_EXPORT,
            ROLE_CHANGE,
            SELF_GRANT,
            ROLE_CHANGE,
            ROLE_CHANGE,
            KEY_PURGE,
            LOG_TROUBLE
        ]
    );
}

#[test]
fn what_is_usual_is_no_alert() {
    let refused = failed(403);
    let alerts = rules(
        &mut watch(),
        &[
            entry("KeySign", "use", DONE, 0),
            entry("RoleAssignmentGet", "use", DONE, 0),
            entry("RoleAssignmentList", "use", DONE, 0),
            entry("SecurityDomainBackupStatusGet", "use", DONE, 0),
            entry("RoleAssignmentCreate", "refusal", &refused, 0),
            entry("KeyPurge", "outcome", &failed(500), 0),
            entry("KeyPurge", "intent", DONE, 0),
            entry("PartitionStart", "service", DONE, 0),
            entry("", "", "", 0),
            Entry::parse(b"no json"),
        ],
    );
    assert_eq!(alerts, Vec::<&str>::new());
}

#[test]
fn a_burst_is_one_alert_and_then_quiet() {
    let refused = failed(403);
    let at = |second| entry("KeySign", "refusal", &refused, second);
    let nine: Vec<_> = (0..9).map(at).collect();
    assert!(rules(&mut watch(), &nine).is_empty());
    let slow: Vec<_> = (0..20).map(|n| at(n * 7)).collect();
    assert!(rules(&mut watch(), &slow).is_empty(), "ten in 63 s are no burst");
    let hundred: Vec<_> = (0..100).map(at).collect();
    assert_eq!(rules(&mut watch(), &hundred), [FAILED_AUTHORIZATION]);
    let later: Vec<_> = (0..100).chain(310..330).map(at).collect();
    assert_eq!(rules(&mut watch(), &later).len(), 2, "and again after the quiet time");
}

#[test]
fn failed_decryptions_count_by_caller_and_key() {
    let wrong = failed(400);
    let bad: Vec<_> = (0..20).map(|second| entry("KeyDecrypt", "use", &wrong, second)).collect();
    assert_eq!(rules(&mut watch(), &bad), [FAILED_DECRYPTION]);
    for (operation, status) in [("KeySign", 400), ("KeyDecrypt", 403), ("KeyUnwrap", 503)] {
        let more = failed(status);
        let others: Vec<_> =
            (0..9).chain(0..9).map(|s| entry(operation, "use", &more, s)).collect();
        let alerts = rules(&mut watch(), &others);
        assert!(!alerts.contains(&FAILED_DECRYPTION), "{operation} {status}");
    }
}

#[test]
fn a_change_is_told_though_one_at_the_same_place_was_told_just_before() {
    let granted = format!(r#"{DONE}"marks":["grantToOneself"],"requestUri":"/a","#);
    let same = [
        entry("RoleAssignmentCreate", "outcome", &granted, 1),
        entry("RoleAssignmentDelete", "outcome", &granted.replace("grantToOneself", "x"), 2),
        entry("RoleAssignmentCreate", "outcome", &granted, 3),
        entry("RoleDefinitionCreate", "outcome", &granted.replace("grantToOneself", "x"), 4),
        entry("RoleDefinitionCreate", "outcome", &granted.replace("grantToOneself", "x"), 4),
        entry("KeyPurge", "outcome", DONE, 5),
        entry("KeyPurge", "outcome", DONE, 5),
    ];
    let alerts = rules(&mut watch(), &same);
    let told = |rule: &str| alerts.iter().filter(|one| **one == rule).count();
    assert_eq!((told(ROLE_CHANGE), told(SELF_GRANT), told(KEY_PURGE)), (5, 2, 2));
}

#[test]
fn sinks_settings_and_cut_offs_are_told_each_time() {
    let setting = format!(r#"{DONE}"details":{{"setting":"CasemateEscalation"}},"#);
    let principal = format!(r#"{DONE}"details":{{"principalId":"p"}},"#);
    let mut watch = watch();
    for (operation, more, rule, subject) in [
        ("AuditSinksSet", DONE, SINK_CHANGE, "00000000-0000-0000-0000-000000000001"),
        ("SettingUpdate", &setting, SETTING_CHANGE, "CasemateEscalation"),
        ("TokensCutOff", &principal, TOKEN_CUT_OFF, "p"),
    ] {
        for _ in 0..2 {
            let alert = watch.see(7, &entry(operation, "outcome", more, 0)).remove(0);
            assert_eq!((alert.rule, alert.subject.as_str()), (rule, subject));
        }
        assert!(watch.see(8, &entry(operation, "intent", more, 0)).is_empty());
        assert!(watch.see(9, &entry(operation, "outcome", &failed(409), 0)).is_empty());
    }
}

#[test]
fn the_spelling_of_a_key_hides_nothing() {
    let wrong = failed(400);
    let spelt = |at: u32| {
        let name: String = "pay"
            .chars()
            .enumerate()
            .map(
                |(bit, letter)| {
                    if at >> bit & 1 == 1 { letter.to_ascii_uppercase() } else { letter }
                },
            )
            .collect();
        let line = line("KeyDecrypt", &wrong).replace("\"pay\"", &format!("\"{name}\""));
        Entry::parse(line.as_bytes())
    };
    let calls: Vec<_> = (0..20).map(spelt).collect();
    assert_eq!(rules(&mut watch(), &calls), [FAILED_DECRYPTION]);
}

#[test]
fn a_rule_that_is_off_is_silent_and_thresholds_are_those_set() {
    let off = Rules {
        security_domain_export: false,
        role_change: false,
        self_grant: false,
        key_purge: false,
        sink_change: false,
        setting_change: false,
        token_cut_off: false,
        log_trouble: false,
        failed_authorization: None,
        failed_decryption: None,
        quiet_seconds: 0,
    };
    let all = [
        entry("SecurityDomainBackup", "outcome", DONE, 0),
        entry("RoleAssignmentCreate", "outcome", DONE, 0),
        entry("KeyPurge", "outcome", DONE, 0),
        entry("AuditSinksSet", "outcome", DONE, 0),
        entry("SettingUpdate", "outcome", DONE, 0),
        entry("TokensCutOff", "outcome", DONE, 0),
        entry("AuditTailCut", "service", r#""resultType":"Failed","#, 0),
        entry("KeySign", "refusal", &failed(403), 0),
    ];
    assert!(rules(&mut Watch::new(off), &all).is_empty());
    let two = Burst { count: 2, within_seconds: 5 };
    let mut strict = Watch::new(Rules { failed_authorization: Some(two), ..off });
    let refused = failed(401);
    let calls: Vec<_> = (0..4).map(|second| entry("KeyGet", "refusal", &refused, second)).collect();
    assert_eq!(rules(&mut strict, &calls).len(), 2, "without a quiet time, each pair");
}

#[test]
fn memory_is_bounded_however_many_callers_there_are() {
    let mut watch = watch();
    let refused = failed(403);
    let template = line("KeySign", &refused);
    for caller in 0..10_000 {
        let line = template.replace("00000000-0000-0000-0000-000000000001", &caller.to_string());
        watch.see(caller, &Entry::parse(line.as_bytes()));
    }
    let size = watch.tables[FAILED_AUTHORIZATION].size();
    assert_eq!(size, (counts::CALLERS_MAX, 0));
}

#[test]
fn the_message_says_what_whom_and_where_to_look() {
    let mut watch = watch();
    let alert = watch.see(41, &entry("KeyPurge", "outcome", DONE, 5)).remove(0);
    let origin = Origin { hsm: "dev".to_owned(), resource_id: "/r".to_owned(), log: 0 };
    let body: serde_json::Value = serde_json::from_slice(&alert.body(&origin)).unwrap();
    assert_eq!(body["type"], "casemate.alert");
    assert_eq!(body["data"]["rule"], "keyPurge");
    assert_eq!(body["data"]["subject"], "pay");
    assert_eq!(body["data"]["index"], 41);
    assert_eq!(body["timestamp"], "2026-01-01T00:00:05.123Z");
}
