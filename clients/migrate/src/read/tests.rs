//! A source that answers as vaults and HSMs do, that is busy, refuses, or sends elsewhere.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use serde_json::json;

use super::*;

const SOURCE: &str = "https://alpha.managedhsm.example";
const VERSION: &str = "0123456789abcdef0123456789abcdef";

/// Answers by path, without the query's api-version.
#[derive(Default)]
struct Source {
    answers: HashMap<String, (u16, Value)>,
    busy: Cell<u32>,
    asked: RefCell<Vec<String>>,
    waited: Cell<u64>,
    told: Cell<usize>,
}

impl Ask for Source {
    async fn get(&self, path: &str) -> Result<Answer, AskFailure> {
        self.asked.borrow_mut().push(path.to_owned());
        if self.busy.get() > 0 {
            self.busy.set(self.busy.get() - 1);
            return Ok(Answer { status: 429, retry_after_s: Some(7), body: Value::Null });
        }
        let plain = path.split("?api-version").next().unwrap_or_default();
        let (status, body) = self.answers.get(plain).cloned().unwrap_or((404, Value::Null));
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
    source.busy.set(2);
    let found = read(&source, &format!("{SOURCE}/")).await.unwrap();
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
            .with("/keys/pay", json!({"key": {"kid": "https://evil.example/keys/pay/1"}}));
        assert!(matches!(read(&lies, SOURCE).await, Err(MigrateError::Foreign { .. })));
    }
}

#[tokio::test]
async fn a_vault_has_no_local_roles_and_that_is_said() {
    let mut source = Source::usual();
    source.answers.retain(|path, _| !path.contains("Microsoft.Authorization"));
    source.answers.insert("/deletedkeys".to_owned(), (403, Value::Null));
    let found = read(&source, SOURCE).await.unwrap();
    let what: Vec<&str> = found.not_read.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(what, ["deleted keys", "roleDefinitions", "roleAssignments"]);
    assert!(!source.asked.borrow().iter().any(|path| path.starts_with("/keys/pay/providers")));
}

#[tokio::test]
async fn a_source_that_refuses_lies_or_sends_elsewhere_is_not_followed() {
    let elsewhere = json!({"value": [], "nextLink": "https://evil.example/keys?$skiptoken=1"});
    for (path, answer, says) in [
        ("/keys", (200, elsewhere.clone()), "another host"),
        ("/keys/pay/versions", (200, elsewhere), "another host"),
        ("/keys", (403, json!({"error": {"message": "not you"}})), "not you"),
        ("/keys", (200, json!([])), "not of the Key Vault API"),
        ("/keys", (200, json!({"value": 1})), "not of the Key Vault API"),
        ("/keys", (200, json!({"value": [{"kid": "https://evil.example/keys/a"}]})), "not of the"),
        ("/keys/pay/versions", (200, json!({"value": [{"kid": SOURCE}]})), "not of the"),
    ] {
        let mut source = Source::usual();
        source.answers.insert(path.to_owned(), answer);
        let refused = read(&source, SOURCE).await.unwrap_err().to_string();
        assert!(refused.contains(says), "{path}: {refused}");
        assert!(source.asked.borrow().iter().all(|path| path.starts_with('/')), "{path}");
    }
    let endless = json!({"value": [], "nextLink": format!("{SOURCE}/keys?api-version=7.4")});
    let source = Source::usual().with("/keys", endless);
    let refused = read(&source, SOURCE).await.unwrap_err();
    assert!(matches!(refused, MigrateError::TooMany { .. }), "{refused}");
    let busy = Source::usual();
    busy.busy.set(u32::MAX);
    let refused = read(&busy, SOURCE).await.unwrap_err();
    assert!(matches!(refused, MigrateError::Refused { status: 429, .. }), "{refused}");
    assert_eq!(busy.asked.borrow().len(), usize::try_from(TRIES_MAX).unwrap());
}
