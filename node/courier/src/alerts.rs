//! Rules over the stream of records. Pure: time is what the records say, so the same records give
//! the same alerts however often they are looked at.

mod counts;

use std::collections::HashMap;

use casemate_audit_sinks::{Burst, Rules};
use serde_json::json;

use crate::entry::{Entry, Moment};
use crate::feed::Origin;

use counts::{Burster, Table, Threshold};

/// Something somebody should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Alert {
    /// The rule.
    pub(crate) rule: &'static str,
    /// The index of the record that set it off.
    pub(crate) index: u64,
    /// Whom or what it is about.
    pub(crate) subject: String,
    /// How many records it stands for.
    pub(crate) count: u32,
    time: String,
    operation: String,
    caller: String,
}

/// What is remembered of the stream.
pub(crate) struct Watch {
    rules: Rules,
    tables: HashMap<&'static str, Table>,
}

/// A rule that a record falls under.
struct Found {
    rule: &'static str,
    /// What it is counted with: what tells at once keeps no account with what tells in a burst.
    table: &'static str,
    subject: String,
    /// The key that it is counted with, where the rule looks at keys and the key is there.
    key: Option<String>,
    when: When,
}

/// The mark of a record by which a caller granted a role to themselves.
const GRANT_TO_ONESELF: &str = "grantToOneself";

/// The record of how many refusals of a caller were counted instead of recorded.
const REFUSALS_COUNTED: &str = "RefusalsCounted";

/// The mark of the first refusal from which on they are counted.
const FURTHER_REFUSALS_COUNTED: &str = "furtherRefusalsCounted";

const SECURITY_DOMAIN_EXPORT: &str = "securityDomainExport";
const ROLE_CHANGE: &str = "roleChange";
const SELF_GRANT: &str = "selfGrant";
const KEY_PURGE: &str = "keyPurge";
const SINK_CHANGE: &str = "sinkChange";
const SETTING_CHANGE: &str = "settingChange";
const TOKEN_CUT_OFF: &str = "tokenCutOff";
const LOG_TROUBLE: &str = "logTrouble";
const FAILED_AUTHORIZATION: &str = "failedAuthorization";
const FAILED_DECRYPTION: &str = "failedDecryption";
const SINK_REMOVED: &str = "sinkRemoved";

/// When a record that falls under a rule is an alert.
#[derive(Clone, Copy)]
enum When {
    /// Each time: none hides behind another, and none is lost to a quiet time.
    Always,
    /// When there were so many; then there is a quiet time.
    Often(Burst),
}

impl Watch {
    pub(crate) fn new(rules: Rules) -> Self {
        Self { rules, tables: HashMap::new() }
    }

    /// Looks at the next record.
    pub(crate) fn see(&mut self, index: u64, entry: &Entry) -> Vec<Alert> {
        // A change is told once, by its outcome.
        if entry.text("phase") == "intent" {
            return Vec::new();
        }
        let found = self.matching(entry);
        let alerts = found.into_iter().filter_map(|found| {
            let (count, subject) = match found.when {
                When::Always => (1, found.subject),
                When::Often(burst) => (burst.count, self.count(&found, burst, entry)?),
            };
            Some(Alert {
                rule: found.rule,
                index,
                subject,
                count,
                time: entry.text("time").to_owned(),
                operation: entry.text("operationName").to_owned(),
                caller: entry.caller(),
            })
        });
        alerts.collect()
    }

    /// The rules that this record falls under, each with its subject.
    fn matching(&self, entry: &Entry) -> Vec<Found> {
        let mut found = self.changes(entry);
        found.extend(self.failures(entry));
        found
    }

    /// What was done, and who tried to have the security domain.
    fn changes(&self, entry: &Entry) -> Vec<Found> {
        let rules = &self.rules;
        let operation = entry.text("operationName");
        let is_change = entry.text("phase") == "outcome" && entry.succeeded();
        let is_role =
            operation.starts_with("RoleAssignment") || operation.starts_with("RoleDefinition");
        // By the service itself: what a restore brings back or ends.
        let is_done = matches!(entry.text("phase"), "outcome" | "service") && entry.succeeded();
        let is_role_change = is_role && is_done;
        let mut found = Vec::new();
        if rules.security_domain_export && operation == "SecurityDomainBackup" {
            // Whoever is refused may ask again at will: that must hold up no other alert.
            let when = if entry.succeeded() { When::Always } else { When::ONCE };
            found.push(Found::new(SECURITY_DOMAIN_EXPORT, entry.caller(), when));
        }
        if rules.role_change && is_role_change {
            let path = entry.text("requestUri").to_owned();
            found.push(Found::new(ROLE_CHANGE, path, When::Always));
        }
        if rules.self_grant && is_role_change && entry.is_marked(GRANT_TO_ONESELF) {
            found.push(Found::new(SELF_GRANT, entry.caller(), When::Always));
        }
        if rules.key_purge && operation == "KeyPurge" && entry.succeeded() {
            found.push(Found::new(KEY_PURGE, key_of(entry), When::Always));
        }
        for (is_on, rule, wanted, subject) in [
            (rules.sink_change, SINK_CHANGE, "AuditSinksSet", "caller"),
            (rules.setting_change, SETTING_CHANGE, "SettingUpdate", "setting"),
            (rules.token_cut_off, TOKEN_CUT_OFF, "TokensCutOff", "principalId"),
        ] {
            if is_on && is_change && operation == wanted {
                let told = entry.inner("details", subject);
                let subject = if told.is_empty() { entry.caller() } else { told.to_owned() };
                found.push(Found::new(rule, subject, When::Always));
            }
        }
        found
    }

    /// What failed or was refused.
    fn failures(&self, entry: &Entry) -> Vec<Found> {
        let rules = &self.rules;
        let operation = entry.text("operationName");
        let is_decryption = matches!(operation, "KeyDecrypt" | "KeyUnwrap");
        let status = entry.number("httpStatusCode").unwrap_or_default();
        let failed = entry.text("resultType") == "Failed";
        let mut found = Vec::new();
        if rules.log_trouble && entry.text("phase") == "service" && failed {
            found.push(Found::new(LOG_TROUBLE, operation.to_owned(), When::ONCE));
        }
        if let Some(burst) = rules.failed_authorization.filter(|_| matches!(status, 401 | 403)) {
            found.push(Found::new(FAILED_AUTHORIZATION, entry.caller(), When::Often(burst)));
        }
        // More than anybody sets a burst to, or as many as the HSM's own limit lets be told.
        let is_counted = operation == REFUSALS_COUNTED || entry.is_marked(FURTHER_REFUSALS_COUNTED);
        if is_counted && rules.failed_authorization.is_some() {
            let once = Found::new(FAILED_AUTHORIZATION, entry.caller(), When::ONCE);
            found.push(Found { table: REFUSALS_COUNTED, ..once });
        }
        // Neither what was not allowed, nor what was turned away before anybody looked at it.
        let is_answer = (400..500).contains(&status) && !matches!(status, 401 | 403 | 429);
        let wrong = is_decryption && failed && is_answer;
        if let Some(burst) = rules.failed_decryption.filter(|_| wrong) {
            // Who calls can make up any number of names of keys that are not there.
            let key = (status != 404).then(|| key_of(entry));
            let when = When::Often(burst);
            found.push(Found { key, ..Found::new(FAILED_DECRYPTION, entry.caller(), when) });
        }
        found
    }

    /// Notes the record; whom or what it is about, if that is an alert.
    fn count(&mut self, found: &Found, burst: Burst, entry: &Entry) -> Option<String> {
        let now = entry.moment().map_or(0, Moment::seconds);
        let threshold = Threshold { burst, quiet_seconds: self.rules.quiet_seconds };
        let table = self.tables.entry(found.table).or_default();
        let key = found.key.as_deref();
        match (table.note(&found.subject, key, now, threshold)?, key) {
            (Burster::CallerWithKey, Some(key)) => Some(format!("{} {key}", found.subject)),
            (Burster::CallerWithKey | Burster::Caller, _) => Some(found.subject.clone()),
        }
    }
}

impl When {
    /// The first, and then a quiet time.
    const ONCE: Self = Self::Often(Burst { count: 1, within_seconds: 1 });
}

impl Found {
    fn new(rule: &'static str, subject: String, when: When) -> Self {
        Self { rule, table: rule, subject, key: None, when }
    }
}

/// The key; names are the same in any case, and who calls chooses how to spell them.
fn key_of(entry: &Entry) -> String {
    entry.inner("key", "name").to_ascii_lowercase()
}

impl Alert {
    /// That a sink of alerts is no more what it was, and from which record on it told of nothing.
    pub(crate) fn removed(sink: &str, index: u64, now: Moment) -> Self {
        Self {
            rule: SINK_REMOVED,
            index,
            subject: sink.to_owned(),
            count: 1,
            time: now.text(),
            operation: "AuditSinksSet".to_owned(),
            caller: String::new(),
        }
    }

    /// The message.
    pub(crate) fn body(&self, origin: &Origin) -> Vec<u8> {
        let message = json!({
            "type": "casemate.alert",
            "timestamp": self.time,
            "data": {
                "rule": self.rule,
                "hsm": origin.hsm,
                "resourceId": origin.resource_id,
                "subject": self.subject,
                "count": self.count,
                "index": self.index,
                "operationName": self.operation,
                "caller": self.caller,
            },
        });
        message.to_string().into_bytes()
    }
}

#[cfg(test)]
mod suppression;
#[cfg(test)]
mod tests;
