//! What a traced request says about itself, by OpenTelemetry's conventions for HTTP servers.
//!
//! Invariant: nothing that a caller sent stands in a span but the ids of `traceparent` and a
//! `tracestate` of the right form. Paths are those of the route, without names; no caller, key,
//! version or header is there.

use std::sync::Arc;

use casemate_audit_sinks::Sinks;
use casemate_trace::{Incoming, Sampling, Trace, Tracer, current, trace_state};
use http::request::Parts;
use http::{HeaderName, Method, StatusCode, Version};
use serde::Serialize;

use crate::plane::Name;
use crate::request_id::RequestId;
use crate::route::{RouteRefusal, Routed};

const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACE_STATE: HeaderName = HeaderName::from_static("tracestate");
/// What any method is called that HTTP does not define.
const OTHER_METHOD: &str = "_OTHER";
/// What it is called in the name of a span.
const UNNAMED_METHOD: &str = "HTTP";

/// What became of the spans, for an Administrator.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TracesStatus {
    waiting: usize,
    sent: u64,
    dropped: u64,
    lost: u64,
    error: Option<String>,
    failures: u32,
}

/// Puts in force which requests are traced.
pub(crate) fn configure(tracer: &Tracer, sinks: &Sinks) {
    tracer.configure(sinks.traces().map(|traces| Sampling {
        ratio_ppm: traces.sample_ppm,
        callers_per_second: traces.callers_per_second,
    }));
}

/// What became of the spans, if requests are traced.
pub(crate) fn status(tracer: &Tracer, sinks: &Sinks) -> Option<TracesStatus> {
    sinks.traces()?;
    let (counts, delivery) = (tracer.counts(), tracer.delivery());
    Some(TracesStatus {
        waiting: counts.waiting,
        sent: delivery.sent,
        dropped: counts.dropped,
        lost: delivery.lost,
        error: delivery.error,
        failures: delivery.failures,
    })
}

/// The trace of a request, if it is to be traced.
pub(crate) fn begin(tracer: &Arc<Tracer>, parts: &Parts, id: &RequestId) -> Option<Arc<Trace>> {
    let all = |name: HeaderName| {
        let values = parts.headers.get_all(name).into_iter();
        values.map(http::HeaderValue::as_bytes)
    };
    let trace =
        tracer.begin(|| Incoming::parse(all(TRACE_PARENT)), || trace_state(all(TRACE_STATE)))?;
    let method = known(&parts.method);
    trace.call(span_name(method, None));
    trace.note("http.request.method", method.unwrap_or(OTHER_METHOD));
    trace.note("url.scheme", "https");
    trace.note("network.protocol.version", version(parts.version));
    trace.note("casemate.request_id", id.as_str().to_owned());
    Some(trace)
}

/// Which of the HSM's names was asked.
pub(crate) fn addressed(name: &Name) {
    if let Some(trace) = current() {
        trace.note("server.address", name.host.clone());
        trace.note("server.port", u64::from(name.port));
    }
}

/// The caller is believed, and its request means this: the shape of the path stands in the span,
/// never the path.
pub(crate) fn known_caller(method: &Method, routed: &Result<Routed, RouteRefusal>) {
    let Some(trace) = current() else { return };
    trace.caller_is_known();
    if let Ok(Routed { route, .. }) = routed {
        let template = route.template();
        trace.call(span_name(known(method), Some(template)));
        trace.note("http.route", template);
        // The convention wants it, and wants it without what is sensitive.
        trace.note("url.path", template);
    }
}

/// What it came to.
pub(crate) fn did(operation: &'static str, algorithm: &'static str) {
    if let Some(trace) = current() {
        trace.note("casemate.operation", operation);
        if !algorithm.is_empty() {
            trace.note("casemate.algorithm", algorithm);
        }
    }
}

/// The request was answered.
pub(crate) fn end(trace: &Trace, status: StatusCode) {
    trace.note("http.response.status_code", u64::from(status.as_u16()));
    let failed = status.is_server_error();
    if failed {
        trace.note("error.type", status.as_u16().to_string());
    }
    trace.end(failed);
}

fn span_name(method: Option<&'static str>, template: Option<&'static str>) -> String {
    let method = method.unwrap_or(UNNAMED_METHOD);
    template.map_or_else(|| method.to_owned(), |template| format!("{method} {template}"))
}

/// A method of RFC 9110 and RFC 5789, as a word of this program.
fn known(method: &Method) -> Option<&'static str> {
    const METHODS: [&str; 9] =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    METHODS.into_iter().find(|known| *known == method.as_str())
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}
