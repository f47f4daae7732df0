//! Changes that began and whose outcome is not recorded: followed while the trail runs, found again
//! when it is opened after a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::Value;
use uuid::Uuid;

use crate::Recorded;
use crate::record::{Call, Detail, DetailValue, Identity};
use crate::usage::Caller;

/// A change whose outcome was not recorded before the end of the process.
#[derive(Debug)]
pub struct OpenIntent {
    /// The intent: its outcome names it.
    pub recorded: Recorded,
    /// What was asked for, such as `KeyCreate`.
    pub operation: String,
    /// The path of the request.
    pub request_uri: String,
    /// The key that it was about.
    pub key: Option<String>,
    /// The store's last change when the intent was recorded.
    pub consistency: u64,
    /// Whether another change of the same thing was recorded after it.
    pub contested: bool,
    /// Who asked.
    pub asked_by: AskedBy,
    /// What was to be changed.
    pub details: Vec<Detail>,
}

/// Who asked for a change, as its intent says.
#[derive(Debug, Default)]
pub struct AskedBy {
    caller: Caller,
    object_id: Option<Uuid>,
    address: Option<IpAddr>,
    token_id: String,
    correlation_id: String,
    activity_id: String,
}

impl OpenIntent {
    /// The call that asked for the change, for the record of its outcome.
    #[must_use]
    pub fn call(&self) -> Call<'_> {
        let by = &self.asked_by;
        Call {
            request_uri: &self.request_uri,
            caller_address: by.address,
            correlation_id: by.correlation_id.as_bytes(),
            activity_id: &by.activity_id,
            identity: Identity {
                object_id: by.object_id,
                app_id: &by.caller.app_id,
                user_name: &by.caller.user_name,
                token_id: &by.token_id,
            },
            details: &self.details,
            ..Call::default()
        }
    }
}

impl AskedBy {
    fn read_back(record: &Value) -> Self {
        let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
        let caller = Caller::from_identity(record["identity"].as_str().unwrap_or_default());
        Self {
            object_id: caller.object_id.parse().ok(),
            caller,
            address: text("callerIpAddress").parse().ok(),
            token_id: text("tokenId"),
            correlation_id: text("correlationId"),
            activity_id: text("activityId"),
        }
    }
}

/// Details as a record shows them. That some were cut there is not told again.
fn details(record: &Value) -> Vec<Detail> {
    let each = record["details"].as_object().into_iter().flatten();
    each.filter_map(|(name, value)| {
        let texts = |all: &Vec<Value>| {
            all.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect()
        };
        let value = match value {
            Value::String(text) => DetailValue::Text(text.clone()),
            Value::Array(all) => DetailValue::Texts(texts(all)),
            Value::Number(number) => DetailValue::Number(number.as_i64()?),
            Value::Null | Value::Bool(_) | Value::Object(_) => return None,
        };
        Some(Detail { name: name.clone().into(), value })
    })
    .collect()
}

/// The open intents of a running trail.
#[derive(Debug, Default)]
pub(crate) struct Intents {
    open: BTreeSet<u64>,
    /// Outcomes that are not yet known to be durable, and their intents.
    closing: Vec<(u64, u64)>,
}

impl Intents {
    pub(crate) fn begin(&mut self, intent: u64) {
        self.open.insert(intent);
    }

    pub(crate) fn end(&mut self, outcome: u64, intent: u64) {
        if self.open.remove(&intent) {
            self.closing.push((outcome, intent));
        }
    }

    /// All intents below this number have an outcome among the first `size` records.
    pub(crate) fn open_from(&mut self, size: u64) -> u64 {
        self.closing.retain(|(outcome, _)| *outcome > size);
        let closing = self.closing.iter().map(|(_, intent)| *intent);
        self.open.first().copied().into_iter().chain(closing).fold(size + 1, u64::min)
    }

    /// Numbers from this one on were not written.
    pub(crate) fn forget_from(&mut self, first: u64) {
        self.open.retain(|intent| *intent < first);
        for (_, intent) in self.closing.extract_if(.., |(outcome, _)| *outcome >= first) {
            if intent < first {
                self.open.insert(intent);
            }
        }
    }
}

/// Collects open intents from the lines of a trail.
#[derive(Debug, Default)]
pub(crate) struct Search {
    open: BTreeMap<u64, OpenIntent>,
}

impl Search {
    /// Looks at a line. What is no JSON of ours says nothing.
    pub(crate) fn see(&mut self, line: &[u8]) {
        if !is_of_a_change(line) {
            return;
        }
        let Ok(record) = serde_json::from_slice::<Value>(line) else { return };
        let Some(sequence) = record["seq"].as_u64() else { return };
        if let Some(intent) = record["intent"].as_u64() {
            self.open.remove(&intent);
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let key = record["key"]["name"].as_str().map(str::to_lowercase);
        let request_uri = text(&record["requestUri"]);
        for other in self.open.values_mut() {
            let same = match (&other.key, &key) {
                (Some(one), Some(other)) => one == other,
                _ => other.request_uri.eq_ignore_ascii_case(&request_uri),
            };
            other.contested |= same;
        }
        if record["resultType"] == "Pending" {
            let contested = self.open.values().any(|other| other.key == key && key.is_some());
            let intent = OpenIntent {
                recorded: Recorded::read_back(sequence),
                operation: text(&record["operationName"]),
                request_uri,
                key,
                consistency: record["consistencyRevision"].as_u64().unwrap_or_default(),
                contested,
                asked_by: AskedBy::read_back(&record),
                details: details(&record),
            };
            self.open.insert(sequence, intent);
        }
    }

    pub(crate) fn found(self) -> Vec<OpenIntent> {
        self.open.into_values().collect()
    }
}

/// Spares the parsing of most lines.
fn is_of_a_change(line: &[u8]) -> bool {
    let holds = |word: &[u8]| line.windows(word.len()).any(|window| window == word);
    holds(b"\"resultType\":\"Pending\"") || holds(b"\"intent\":")
}

#[cfg(test)]
mod tests;
