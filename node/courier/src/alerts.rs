//! Rules over the stream of records. Pure: time is what the records say, so the same records give
//! the same alerts however often they are looked at.

use std::collections::{HashMap, VecDeque};

use casemate_audit_sinks::{Burst, Rules};
use serde_json::json;

use crate::entry::Entry;
use crate::feed::Origin;

/// Subjects that are remembered; beyond, the one that was quiet longest is forgotten.
const SUBJECTS_MAX: usize = 4_096;

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
    subjects: HashMap<(&'static str, String), Seen>,
}

#[derive(Default)]
struct Seen {
    /// When, in seconds; as many as the rule counts.
    at: VecDeque<i64>,
    /// No further alert before this time.
    quiet_until: i64,
}

/// The mark of a record by which a caller granted a role to themselves.
const GRANT_TO_ONESELF: &str = "grantToOneself";

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
        Self { rules, subjects: HashMap::new() }
    }

    /// Looks at the next record.
    pub(crate) fn see(&mut self, index: u64, entry: &Entry) -> Vec<Alert> {
        // A change is told once, by its outcome.
        if entry.text("phase") == "intent" {
            return Vec::new();
        }
        let found = self.matching(entry);
        let alerts = found.into_iter().filter_map(|(rule, subject, when)| {
            let count = match when {
                When::Always => 1,
                When::Often(burst) => self.count(rule, &subject, burst, entry)?,
            };
            Some(Alert {
                rule,
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
    fn matching(&self, entry: &Entry) -> Vec<(&'static str, String, When)> {
        const ONCE: When = When::Often(Burst { count: 1, within_seconds: 1 });
        let rules = &self.rules;
        let operation = entry.text("operationName");
        // Key names are the same in any case, and who calls chooses how to spell them.
        let key = || entry.inner("key", "name").to_ascii_lowercase();
        let is_change = entry.text("phase") == "outcome" && entry.succeeded();
        let is_role =
            operation.starts_with("RoleAssignment") || operation.starts_with("RoleDefinition");
        // By the service itself: what a restore brings back or ends.
        let is_done = matches!(entry.text("phase"), "outcome" | "service") && entry.succeeded();
        let is_role_change = is_role && is_done;
        let is_export = operation == "SecurityDomainBackup";
        let is_decryption = matches!(operation, "KeyDecrypt" | "KeyUnwrap");
        let status = entry.number("httpStatusCode").unwrap_or_default();
        let failed = entry.text("resultType") == "Failed";
        let mut found = Vec::new();
        if rules.security_domain_export && is_export {
            found.push((SECURITY_DOMAIN_EXPORT, entry.caller(), When::Always));
        }
        if rules.role_change && is_role_change {
            found.push((ROLE_CHANGE, entry.text("requestUri").to_owned(), When::Always));
        }
        if rules.self_grant && is_role_change && entry.is_marked(GRANT_TO_ONESELF) {
            found.push((SELF_GRANT, entry.caller(), When::Always));
        }
        if rules.key_purge && operation == "KeyPurge" && entry.succeeded() {
            found.push((KEY_PURGE, key(), When::Always));
        }
        for (is_on, rule, wanted, subject) in [
            (rules.sink_change, SINK_CHANGE, "AuditSinksSet", "caller"),
            (rules.setting_change, SETTING_CHANGE, "SettingUpdate", "setting"),
            (rules.token_cut_off, TOKEN_CUT_OFF, "TokensCutOff", "principalId"),
        ] {
            if is_on && is_change && operation == wanted {
                let told = entry.inner("details", subject);
                let subject = if told.is_empty() { entry.caller() } else { told.to_owned() };
                found.push((rule, subject, When::Always));
            }
        }
        if rules.log_trouble && entry.text("phase") == "service" && failed {
            found.push((LOG_TROUBLE, operation.to_owned(), ONCE));
        }
        if let Some(burst) = rules.failed_authorization.filter(|_| matches!(status, 401 | 403)) {
            found.push((FAILED_AUTHORIZATION, entry.caller(), When::Often(burst)));
        }
        let wrong = is_decryption && failed && (400..500).contains(&status) && status != 403;
        if let Some(burst) = rules.failed_decryption.filter(|_| wrong) {
            found.push((
                FAILED_DECRYPTION,
                format!("{} {}", entry.caller(), key()),
                When::Often(burst),
            ));
        }
        found
    }

    /// Notes the record; how many there were, if that is an alert.
    fn count(
        &mut self,
        rule: &'static str,
        subject: &str,
        burst: Burst,
        entry: &Entry,
    ) -> Option<u32> {
        let now = entry.moment().map_or(0, crate::entry::Moment::seconds);
        let wanted = usize::try_from(burst.count).unwrap_or(usize::MAX).max(1);
        self.make_room();
        let seen = self.subjects.entry((rule, subject.to_owned())).or_default();
        seen.at.push_back(now);
        if seen.at.len() > wanted {
            seen.at.pop_front();
        }
        let oldest = seen.at.front().copied().unwrap_or(now);
        let within = i64::from(burst.within_seconds);
        if seen.at.len() < wanted || now - oldest > within || now < seen.quiet_until {
            return None;
        }
        seen.quiet_until = now.saturating_add(i64::from(self.rules.quiet_seconds));
        seen.at.clear();
        Some(burst.count)
    }

    fn make_room(&mut self) {
        if self.subjects.len() < SUBJECTS_MAX {
            return;
        }
        let last = |seen: &Seen| seen.at.back().copied().max(Some(seen.quiet_until));
        let oldest = self.subjects.iter().min_by_key(|(_, seen)| last(seen));
        if let Some(oldest) = oldest.map(|(subject, _)| subject.clone()) {
            self.subjects.remove(&oldest);
        }
    }
}

impl Alert {
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
mod tests;
