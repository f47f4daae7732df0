//! The messages of `opentelemetry/proto/collector/trace/v1` that are sent, with the members that
//! are used. Numbers and types are those of the published definition, version 1.

use casemate_channel::courier::{Id, Span as Ended, SpanValue};
use prost::Message;

use crate::sinks::otlp::message::{KeyValue, Resource, Scope};

/// `SPAN_KIND_INTERNAL` and `SPAN_KIND_SERVER`.
const INTERNAL: i32 = 1;
const SERVER: i32 = 2;
/// `STATUS_CODE_ERROR`.
const ERROR: i32 = 2;
/// The trace flag *sampled*, and what `SpanFlags` says of the parent: that it is known whether it
/// is remote, and that it is.
const SAMPLED: u32 = 0x001;
const REMOTE_IS_KNOWN: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// `ExportTraceServiceRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Export {
    #[prost(message, repeated, tag = "1")]
    pub(crate) resource_spans: Vec<ResourceSpans>,
}

/// `ExportTraceServiceResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Exported {
    #[prost(message, optional, tag = "1")]
    pub(crate) partial_success: Option<PartialSuccess>,
}

/// `ExportTracePartialSuccess`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PartialSuccess {
    #[prost(int64, tag = "1")]
    pub(crate) rejected_spans: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    pub(crate) resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    pub(crate) scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Span {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) span_id: Vec<u8>,
    #[prost(string, tag = "3")]
    pub(crate) trace_state: String,
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    pub(crate) name: String,
    #[prost(int32, tag = "6")]
    pub(crate) kind: i32,
    #[prost(fixed64, tag = "7")]
    pub(crate) start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    pub(crate) end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    pub(crate) attributes: Vec<KeyValue>,
    #[prost(message, optional, tag = "15")]
    pub(crate) status: Option<Status>,
    #[prost(fixed32, tag = "16")]
    pub(crate) flags: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Status {
    #[prost(int32, tag = "3")]
    pub(crate) code: i32,
}

/// A span as it is sent.
pub(crate) fn span(ended: Ended) -> Span {
    let attribute = |(key, value): (String, SpanValue)| match value {
        SpanValue::Text(text) => KeyValue::text(&key, &text),
        SpanValue::Number(number) => KeyValue::number(&key, number),
    };
    let remote = if ended.remote_parent { IS_REMOTE } else { 0 };
    Span {
        trace_id: ended.trace.0.to_vec(),
        span_id: ended.id.0.to_vec(),
        trace_state: ended.state.unwrap_or_default(),
        parent_span_id: ended.parent.map(|Id(parent)| parent.to_vec()).unwrap_or_default(),
        name: ended.name,
        kind: if ended.server { SERVER } else { INTERNAL },
        start_time_unix_nano: ended.start_ns,
        end_time_unix_nano: ended.end_ns,
        attributes: ended.attributes.into_iter().map(attribute).collect(),
        status: ended.failed.then_some(Status { code: ERROR }),
        flags: SAMPLED | REMOTE_IS_KNOWN | remote,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_the_published_definition() {
        let ended = Ended {
            trace: Id([7; 16]),
            id: Id([8; 8]),
            parent: Some(Id([9; 8])),
            remote_parent: true,
            state: Some("s=1".to_owned()),
            server: true,
            name: "n".to_owned(),
            start_ns: 1,
            end_ns: 2,
            attributes: vec![("k".to_owned(), SpanValue::Number(2))],
            failed: true,
        };
        let expected = [
            &[0x0a, 16][..],
            &[7; 16],
            &[0x12, 8],
            &[8; 8],
            &[0x1a, 3, b's', b'=', b'1'],
            &[0x22, 8],
            &[9; 8],
            &[0x2a, 1, b'n'],
            &[0x30, 2],
            &[0x39, 1, 0, 0, 0, 0, 0, 0, 0],
            &[0x41, 2, 0, 0, 0, 0, 0, 0, 0],
            &[0x4a, 7, 0x0a, 1, b'k', 0x12, 2, 0x18, 2],
            &[0x7a, 2, 0x18, 2],
            &[0x85, 0x01, 0x01, 0x03, 0, 0],
        ];
        assert_eq!(span(ended.clone()).encode_to_vec(), expected.concat());
        let part =
            Ended { parent: None, remote_parent: false, server: false, failed: false, ..ended };
        let part = span(part);
        assert_eq!((part.kind, part.flags, part.status), (INTERNAL, 0x101, None));
        assert!(part.parent_span_id.is_empty());
    }
}
