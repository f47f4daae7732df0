//! A source that answers as vaults and HSMs do, that is busy, refuses, or sends elsewhere.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::ask::{Answer, AskFailure, TRIES_MAX, WAIT_ALL_MAX};

const SOURCE: &str = "https://alpha.managedhsm.example";
const VERSION: &str = "0123456789abcdef0123456789abcdef";

/// Answers by path, without the query's api-version.
#[derive(Default)]
struct Source {
    answers: HashMap<String, (u16, Value)>,
    /// How many answers are still refused, and with what; 0 is no answer at all.
    busy: Cell<u32>,
    with: Cell<u16>,
    asked: RefCell<Vec<String>>,
    waited: Cell<u64>,
    told: Cell<usize>,
}

impl Ask for Source {
    async fn get(&self, path: &str) -> Result<Answer, AskFailure> {
        self.asked.borrow_mut().push(path.to_owned());
        if self.busy.get() > 0 {
            self.busy.set(self.busy.get() - 1);
            return match self.with.get() {
                0 => Err(AskFailure("cut \u{1b}[2J".into())),
                status => Ok(Answer { status, retry_after_s: Some(7), body: Value::Null }),
            };
        }
        let plain = path.split("?api-version").next().unwrap_or_default();
        let (status, body) = self.answers.get(plain).cloned().unwrap_or((404, Value::Null));
        if status == 0 {
            return Err(AskFailure("cut \u{1b}[2J".into()));
        }
        Ok(Answer { status, retry_after_s: None, body })
    }

    async fn wait(&self, time: Duration) {
        self.waited.set(self.waited.get() + time.as_secs());
    }

    fn tell(&self, keys: usize) {
        self.told.set(keys);
    }
}

impl Source {
    fn with(mut self, path: &str, body: Value) -> Self {
        self.answers.insert(path.to_owned(), (200, body));
        self
    }

    /// One key, and roles.
    fn usual() -> Self {
        let kid = |rest: &str| format!("{SOURCE}/keys/pay{rest}");
        let roles = "/providers/Microsoft.Authorization";
        let assignment = |id: &str| json!({"value": [{"id": id, "properties": {}}]});
        let empty = || json!({"value": []});
        Self::default()
            .with("/keys", json!({"value": [{"kid": kid("")}], "nextLink": null}))
            .with("/keys/pay/versions", json!({"value": [{"kid": kid(&format!("/{VERSION}"))}]}))
            .with(
                &format!("/keys/pay/{VERSION}"),
                json!({"key": {"kty": "RSA-HSM"}, "attributes": {"created": 5}}),
            )
            .with(
                "/deletedkeys",
                json!({"value": [{"recoveryId": format!("{SOURCE}/deletedkeys/x")}]}),
            )
            .with(
                &format!("{roles}/roleDefinitions"),
                json!({"value": [
                    {"name": "1", "properties": {"roleName": "Own", "type": "CustomRole"}},
                    {"name": "2", "properties": {"roleName": "Built", "type": "AKVBuiltInRole"}},
                ]}),
            )
            .with(&format!("{roles}/roleAssignments"), assignment("a"))
            .with(&format!("/keys{roles}/roleAssignments"), empty())
            .with(&format!("/keys/pay{roles}/roleAssignments"), assignment("a"))
    }
}

#[tokio::test]
async fn keys_versions_roles_and_what_is_deleted_are_read() {
    let source = Source::usual();
    source.with.set(429);
    source.busy.set(2);
    let found = read(&source, &format!("{SOURCE}/")).await.unwrap();
    assert!(found.is_listed && found.has_roles && found.keys[0].is_whole, "{found:?}");
    assert_eq!((source.waited.get(), source.told.get()), (14, 1), "it waits as long as it is told");
    let [key] = found.keys.as_slice() else { panic!("{found:?}") };
    assert_eq!((key.name.as_str(), key.versions.len()), ("pay", 1));
    assert_eq!(key.versions[0].version, VERSION);
    assert_eq!((found.deleted, found.definitions.len()), (vec!["x".to_owned()], 1));
    assert_eq!(found.assignments.len(), 1, "the same one of two scopes is one");
    assert_eq!(found.roles["2"], "Built");
    assert_eq!(found.not_read, []);
}

#[tokio::test]
async fn which_of_two_versions_of_one_second_is_the_newer_is_asked() {
    const LATER: &str = "0000000000000000000000000000000b";
    let kid = |version: &str| format!("{SOURCE}/keys/pay/{version}");
    let bundle = |version: &str| {
        let key = json!({"kty": "RSA-HSM", "kid": kid(version)});
        json!({"key": key, "attributes": {"created": 5}})
    };
    for newest in [VERSION, LATER] {
        let source = Source::usual()
            .with(
                "/keys/pay/versions",
                json!({"value": [{"kid": kid(VERSION)}, {"kid": kid(LATER)}]}),
            )
            .with(&format!("/keys/pay/{VERSION}"), bundle(VERSION))
            .with(&format!("/keys/pay/{LATER}"), bundle(LATER))
            .with("/keys/pay", bundle(newest));
        let found = read(&source, SOURCE).await.unwrap();
        let ids: Vec<_> = found.keys[0].versions.iter().map(|one| one.version.as_str()).collect();
        assert_eq!((ids.len(), ids[0]), (2, newest));
        let lies = Source::usual()
            .with(
                "/keys/pay/versions",
                json!({"value": [{"kid": kid(VERSION)}, {"kid": kid(LATER)}]}),
            )
            .with(&format!("/keys/pay/{VERSION}"), bundle(VERSION))
            .with(&format!("/keys/pay/{LATER}"), bundle(LATER))
            .with(
                "/keys/pay",
                json!({"key": {"kty": "x", "kid": "https://evil.example/keys/pay/1"}}),
            );
        let found = read(&lies, SOURCE).await.unwrap();
        assert!(!found.keys[0].is_whole, "{found:?}");
        assert_eq!(found.not_read[0].0, "the newest version of key pay");
    }
}

#[tokio::test]
async fn a_vault_has_no_local_roles_and_that_is_said() {
    let mut source = Source::usual();
    source.answers.retain(|path, _| !path.contains("Microsoft.Authorization"));
    source.answers.insert("/deletedkeys".to_owned(), (403, Value::Null));
    let found = read(&source, SOURCE).await.unwrap();
    let what: Vec<&str> = found.not_read.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(what, ["deleted keys"]);
    assert!(!found.has_roles);
    assert!(!source.asked.borrow().iter().any(|path| path.starts_with("/keys/pay/providers")));
}

#[tokio::test]
async fn without_a_list_of_keys_there_is_nothing_to_plan() {
    let elsewhere = json!({"value": [], "nextLink": "https://evil.example/keys?$skiptoken=1"});
    for (answer, says) in [
        ((200, elsewhere), "another host"),
        ((403, json!({"error": {"message": "not \u{1b}[2Jyou"}})), r"not \u{1b}[2Jyou"),
        ((401, Value::Null), "get a new token"),
        ((200, json!([])), "not of the Key Vault API"),
        ((200, json!({"value": 1})), "not of the Key Vault API"),
        ((0, Value::Null), "no answer"),
    ] {
        let mut source = Source::usual();
        source.answers.insert("/keys".to_owned(), answer);
        let refused = read(&source, SOURCE).await.unwrap_err().to_string();
        assert!(refused.contains(says) && !refused.contains('\u{1b}'), "{says}: {refused}");
        assert_eq!(source.asked.borrow().len(), 1, "{says}");
        assert!(source.asked.borrow().iter().all(|path| path.starts_with('/')), "{says}");
    }
    let endless = json!({"value": [], "nextLink": format!("{SOURCE}/keys?api-version=7.4")});
    let source = Source::usual().with("/keys", endless);
    let refused = read(&source, SOURCE).await.unwrap_err();
    assert!(matches!(refused, MigrateError::TooMany { .. }), "{refused}");
    assert!(refused.to_string().contains("look through the rest by hand"), "{refused}");
    let busy = Source::usual();
    busy.with.set(429);
    busy.busy.set(u32::MAX);
    let refused = read(&busy, SOURCE).await.unwrap_err();
    assert!(matches!(refused, MigrateError::Refused { status: 429, .. }), "{refused}");
    assert_eq!(busy.asked.borrow().len(), usize::try_from(TRIES_MAX).unwrap());
}

/// Two keys; of the first something is bad.
fn two() -> Source {
    let kid = |name: &str, rest: &str| format!("{SOURCE}/keys/{name}{rest}");
    let version = format!("/{VERSION}");
    let keys = json!({"value": [{"kid": kid("bad", "")}, {"kid": kid("pay", "")}]});
    Source::usual()
        .with("/keys", keys)
        .with("/keys/bad/versions", json!({"value": [{"kid": kid("bad", &version)}]}))
        .with(&format!("/keys/bad/{VERSION}"), json!({"key": {"kty": "oct-HSM"}}))
        .with("/keys/bad/providers/Microsoft.Authorization/roleAssignments", json!({"value": []}))
}

#[tokio::test]
async fn one_bad_answer_costs_one_key_and_is_told() {
    let version = format!("/keys/bad/{VERSION}");
    let other = json!({"value": [{"kid": format!("{SOURCE}/keys/pay/{VERSION}")}]});
    let elsewhere = json!({"value": [], "nextLink": "https://evil.example/\u{1b}"});
    for (path, answer, says) in [
        ("/keys/bad/versions", (403, Value::Null), "answered 403"),
        ("/keys/bad/versions", (404, Value::Null), "plan again"),
        ("/keys/bad/versions", (429, Value::Null), "plan again later"),
        ("/keys/bad/versions", (500, Value::Null), "plan again later"),
        ("/keys/bad/versions", (0, Value::Null), r"no answer; look at the address"),
        ("/keys/bad/versions", (200, json!({"value": 1})), "not of the Key Vault API"),
        ("/keys/bad/versions", (200, json!({"value": []})), "not of the Key Vault API"),
        ("/keys/bad/versions", (200, json!({"value": [{"kid": SOURCE}]})), "not of the"),
        ("/keys/bad/versions", (200, json!({"value": ["\u{1b}"]})), "not of the"),
        ("/keys/bad/versions", (200, other), "not of the"),
        ("/keys/bad/versions", (200, elsewhere), "another host"),
        (version.as_str(), (403, json!({"error": {"message": "\u{9b}2J"}})), r"\u{9b}2J"),
        (version.as_str(), (503, Value::Null), "plan again later"),
        (version.as_str(), (200, Value::Null), "not of the"),
        (version.as_str(), (200, json!({})), "not of the"),
        (version.as_str(), (200, json!({"key": {"kty": 1}})), "not of the"),
    ] {
        let mut source = two();
        source.answers.insert(path.to_owned(), answer);
        let found = read(&source, SOURCE).await.unwrap();
        let [bad, pay] = found.keys.as_slice() else { panic!("{found:?}") };
        assert!(!bad.is_whole && pay.is_whole && pay.versions.len() == 1, "{path}: {found:?}");
        let [(what, why)] = found.not_read.as_slice() else { panic!("{path}: {found:?}") };
        assert!(what.contains("key bad") && why.contains(says), "{path}: {what}: {why}");
        assert!(!format!("{what}{why}").contains(char::is_control), "{what}: {why}");
        assert!(source.asked.borrow().iter().all(|path| path.starts_with('/')), "{path}");
        assert_eq!(found.assignments.len(), 1, "the rest is read: {found:?}");
    }
}

#[tokio::test]
async fn what_else_cannot_be_read_is_told_and_costs_no_key() {
    let roles = "/providers/Microsoft.Authorization";
    let [definitions, at_key] =
        [format!("{roles}/roleDefinitions"), format!("/keys/bad{roles}/roleAssignments")];
    let no_name = json!({"value": [{"properties": {"roleName": "x"}}, {"name": "1"}]});
    for (path, answer, whats) in [
        ("/keys/bad/rotationpolicy", (403, Value::Null), vec!["the rotation policy of key bad"]),
        ("/deletedkeys", (500, Value::Null), vec!["deleted keys"]),
        ("/deletedkeys", (200, json!({"value": [{}]})), vec!["a deleted key, \"\""]),
        (&definitions, (403, Value::Null), vec!["roleDefinitions"]),
        (&definitions, (200, no_name), vec!["a role definition, null", "a role definition, null"]),
        (&at_key, (403, Value::Null), vec!["roleAssignments at /keys/bad/"]),
    ] {
        let mut source = two();
        source.answers.insert(path.to_owned(), answer);
        let found = read(&source, SOURCE).await.unwrap();
        let told: Vec<&str> = found.not_read.iter().map(|(what, _)| what.as_str()).collect();
        assert_eq!(told, whats, "{path}");
        assert!(found.keys.iter().all(|key| key.is_whole), "{path}: {found:?}");
    }
    let mut source = two();
    source.answers.insert(format!("{roles}/roleAssignments"), (403, Value::Null));
    let found = read(&source, SOURCE).await.unwrap();
    assert_eq!(found.not_read[0].0, "roleAssignments at / and below");
    assert!(found.not_read.len() == 1 && found.has_roles, "{found:?}");
}

#[tokio::test]
async fn a_list_that_breaks_off_gives_what_it_had() {
    let next = format!("{SOURCE}/keys/2?api-version=7.4");
    let bad = json!({"value": [{"kid": format!("{SOURCE}/keys/pay")},
        {"kid": "https://evil.example/keys/a\u{1b}"}], "nextLink": next});
    let found = read(&Source::usual().with("/keys", bad), SOURCE).await.unwrap();
    assert!(found.keys.len() == 1 && !found.is_listed, "{found:?}");
    let told: Vec<&str> = found.not_read.iter().map(|(what, _)| what.as_str()).collect();
    let foreign = r#"a key of the list, "https://evil.example/keys/a\u{1b}""#;
    assert_eq!(told, ["the rest of the list of keys", foreign]);
}

#[tokio::test]
async fn assignments_without_an_id_are_not_taken_for_one() {
    let path = "/providers/Microsoft.Authorization/roleAssignments";
    let items =
        json!({"value": [{"properties": {"scope": "/"}}, {"properties": {"scope": "/keys"}}]});
    let found = read(&Source::usual().with(path, items), SOURCE).await.unwrap();
    assert_eq!(found.assignments.len(), 3, "{found:?}");
}

#[tokio::test]
async fn questions_are_put_again_as_long_as_it_makes_sense() {
    for (status, times) in [(429, 3), (500, 3), (503, 3), (408, 3), (0, 3)] {
        let source = Source::usual();
        source.with.set(status);
        // The first answer, so that the source is there.
        let first = read(&source, SOURCE).await.unwrap();
        assert_eq!(first.not_read, []);
        let mut reader = Reader::new(&source, SOURCE);
        reader.asked("/keys?api-version=7.4").await.unwrap();
        source.busy.set(times);
        assert!(reader.asked("/keys?api-version=7.4").await.is_ok(), "{status}");
        let waited = if status == 0 { 2 + 4 + 8 } else { 3 * 7 };
        assert_eq!(source.waited.get(), waited, "{status}");
    }
    for status in [400, 401, 403, 404, 501] {
        let source = Source::usual();
        source.with.set(status);
        source.busy.set(1);
        assert!(Reader::new(&source, SOURCE).asked("/keys?api-version=7.4").await.is_err());
        assert_eq!(source.waited.get(), 0, "{status}");
    }
}

#[tokio::test]
async fn a_source_that_is_gone_is_given_up() {
    let kid = |name: usize| json!({"kid": format!("{SOURCE}/keys/k{name}")});
    let items: Vec<Value> = (0..50).map(kid).collect();
    for status in [0, 401, 503] {
        let mut source = Source::usual().with("/keys", json!({"value": items}));
        source.answers.retain(|path, _| path == "/keys");
        for key in 0..50 {
            source.answers.insert(format!("/keys/k{key}/versions"), (status, Value::Null));
            source.answers.insert(format!("/keys/k{key}/rotationpolicy"), (status, Value::Null));
        }
        let found = read(&source, SOURCE).await.unwrap();
        assert!(found.keys.len() == 50 && found.keys.iter().all(|key| !key.is_whole));
        let (what, why) = found.not_read.last().unwrap();
        assert_eq!(what, "what was not asked for any more");
        assert!(why.contains("did not answer 5 questions in a row"), "{why}");
        let most = 1 + FAILURES_MAX * TRIES_MAX;
        assert!(source.asked.borrow().len() <= usize::try_from(most).unwrap(), "{status}");
    }
}

#[tokio::test]
async fn all_waiting_together_has_an_end() {
    let source = two();
    let mut reader = Reader::new(&source, SOURCE);
    reader.asked("/keys?api-version=7.4").await.unwrap();
    source.with.set(503);
    for _ in 0..2_000 {
        source.busy.set(2);
        let _either = reader.asked("/keys?api-version=7.4").await;
    }
    let most = WAIT_ALL_MAX + Duration::from_secs(60);
    assert!(source.waited.get() <= most.as_secs(), "{}", source.waited.get());
}
