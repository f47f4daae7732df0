//! The messages of `opentelemetry/proto/collector/logs/v1` that are sent, with the members that
//! are used, and what those of traces share with them. Numbers and types are those of the
//! published definition, version 1.

use prost::{Message, Oneof};

use crate::feed::Origin;

/// `ExportLogsServiceRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Export {
    #[prost(message, repeated, tag = "1")]
    pub(crate) resource_logs: Vec<ResourceLogs>,
}

/// `ExportLogsServiceResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Exported {
    #[prost(message, optional, tag = "1")]
    pub(crate) partial_success: Option<PartialSuccess>,
}

/// `ExportLogsPartialSuccess`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PartialSuccess {
    #[prost(int64, tag = "1")]
    pub(crate) rejected_log_records: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResourceLogs {
    #[prost(message, optional, tag = "1")]
    pub(crate) resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) scope_logs: Vec<ScopeLogs>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Resource {
    #[prost(message, repeated, tag = "1")]
    pub(crate) attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ScopeLogs {
    #[prost(message, optional, tag = "1")]
    pub(crate) scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) log_records: Vec<LogRecord>,
}

/// `InstrumentationScope`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Scope {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) version: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LogRecord {
    #[prost(fixed64, tag = "1")]
    pub(crate) time_unix_nano: u64,
    #[prost(int32, tag = "2")]
    pub(crate) severity_number: i32,
    #[prost(string, tag = "3")]
    pub(crate) severity_text: String,
    #[prost(message, optional, tag = "5")]
    pub(crate) body: Option<AnyValue>,
    #[prost(message, repeated, tag = "6")]
    pub(crate) attributes: Vec<KeyValue>,
    #[prost(fixed64, tag = "11")]
    pub(crate) observed_time_unix_nano: u64,
    #[prost(string, tag = "12")]
    pub(crate) event_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct KeyValue {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AnyValue {
    #[prost(oneof = "Value", tags = "1, 3")]
    pub(crate) value: Option<Value>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Value {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(int64, tag = "3")]
    Number(i64),
}

impl Resource {
    /// The HSM that something is told of.
    pub(crate) fn of(origin: &Origin) -> Self {
        let attributes = vec![
            KeyValue::text("service.name", "casemate"),
            KeyValue::text("service.instance.id", &origin.hsm),
            KeyValue::text("cloud.resource_id", &origin.resource_id),
        ];
        Self { attributes }
    }
}

impl Scope {
    /// The part of this program that tells it.
    pub(crate) fn named(name: &str) -> Self {
        Self { name: name.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

impl AnyValue {
    pub(crate) fn text(text: String) -> Self {
        Self { value: Some(Value::Text(text)) }
    }
}

impl KeyValue {
    pub(crate) fn text(key: &str, text: &str) -> Self {
        Self { key: key.to_owned(), value: Some(AnyValue::text(text.to_owned())) }
    }

    pub(crate) fn number(key: &str, number: u64) -> Self {
        let number = Value::Number(i64::try_from(number).unwrap_or(i64::MAX));
        Self { key: key.to_owned(), value: Some(AnyValue { value: Some(number) }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_the_published_definition() {
        let record = LogRecord {
            time_unix_nano: 1,
            severity_number: 9,
            severity_text: "I".to_owned(),
            body: Some(AnyValue::text("b".to_owned())),
            attributes: vec![KeyValue::number("k", 2)],
            observed_time_unix_nano: 3,
            event_name: "e".to_owned(),
        };
        let expected = [
            &[0x09, 1, 0, 0, 0, 0, 0, 0, 0][..],
            &[0x10, 9],
            &[0x1a, 1, b'I'],
            &[0x2a, 3, 0x0a, 1, b'b'],
            &[0x32, 7, 0x0a, 1, b'k', 0x12, 2, 0x18, 2],
            &[0x59, 3, 0, 0, 0, 0, 0, 0, 0],
            &[0x62, 1, b'e'],
        ];
        assert_eq!(record.encode_to_vec(), expected.concat());
    }
}
