//! Spans of traced requests over OTLP (`POST …/v1/traces`, protobuf).
//!
//! It asks for spans only when it has none: while a collector hangs or refuses, they wait in the
//! partition's bounded ring, which drops and counts what has no room. So nothing here grows, and
//! nothing waits for a collector but this task.

mod message;

use std::time::Duration;

use casemate_audit_sinks::{SinkSecret, Traces};
use casemate_channel::courier::{Exported, SPANS_MAX, Span};
use http::{HeaderValue, StatusCode};
use prost::Message as _;
use tokio::time::{sleep, timeout};

use crate::backoff::Backoff;
use crate::failure::{SinkFailure, chain};
use crate::feed::{Feed, Gone, Origin};
use crate::https::Https;
use crate::sinks::otlp::message::{Resource, Scope};
use crate::sinks::otlp::{authorization, request};

use message::{Export, Exported as Answer, ResourceSpans, ScopeSpans, span};

/// How long to wait before more are asked for, unless there were as many as can come at once.
const PAUSE: Duration = Duration::from_secs(1);
/// Time for one hand-over, connection and answer included.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// Answers after which the same spans may be sent again (OTLP, "Retryable Response Codes"); after
/// any other they must not be.
const RETRYABLE: [StatusCode; 4] = [
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

/// The carrier of spans to one collector.
pub(crate) struct Exporter {
    generation: u64,
    origin: Origin,
    https: Https,
    authorization: Option<HeaderValue>,
    feed: Feed,
}

impl Exporter {
    pub(crate) fn new(
        generation: u64,
        origin: &Origin,
        traces: &Traces,
        feed: Feed,
    ) -> Result<Self, SinkFailure> {
        let secret: Option<&SinkSecret> = traces.secret.as_ref();
        let (https, authorization) = (Https::new(&traces.endpoint)?, authorization(secret)?);
        Ok(Self { generation, origin: origin.clone(), https, authorization, feed })
    }

    /// Works until the partition has gone, or it is dropped.
    pub(crate) async fn run(mut self) {
        loop {
            let spans = match self.feed.spans(self.generation).await {
                Ok(spans) => spans,
                Err(Gone) => return,
            };
            let count = spans.len();
            if count > 0 {
                self.hand_over(spans).await;
            }
            if count < SPANS_MAX {
                sleep(PAUSE).await;
            }
        }
    }

    /// Hands spans over until they are taken, or refused for good.
    async fn hand_over(&mut self, spans: Vec<Span>) {
        let count = u64::try_from(spans.len()).unwrap_or(u64::MAX);
        let export = self.export(spans);
        let mut backoff = Backoff::new();
        let mut failures = 0;
        loop {
            let handed = timeout(EXPORT_TIMEOUT, self.send(&export)).await;
            let late = SinkFailure::Deadline { seconds: EXPORT_TIMEOUT.as_secs() };
            let failure = match handed.unwrap_or(Err(late)) {
                Ok(rejected) => {
                    let lost = rejected.min(count);
                    self.report(count - lost, lost, None, 0).await;
                    return;
                }
                Err(failure) => failure,
            };
            failures += 1;
            self.https.hang_up();
            let reason = chain(&failure);
            tracing::warn!(failures, "traces: {reason}");
            if !may_be_sent_again(&failure) {
                self.report(0, count, Some(reason), failures).await;
                // So that a collector which refuses everything is not asked all the time.
                sleep(PAUSE).await;
                return;
            }
            self.report(0, 0, Some(reason), failures).await;
            sleep(backoff.delay()).await;
        }
    }

    /// So many spans of them the collector rejected.
    async fn send(&mut self, export: &Export) -> Result<u64, SinkFailure> {
        let request = request(&self.https, self.authorization.as_ref(), export)?;
        let answer = self.https.send(request).await?;
        let rejected = Answer::decode(answer.body).ok().and_then(|answer| answer.partial_success);
        let rejected = rejected.map_or(0, |partial| partial.rejected_spans);
        Ok(u64::try_from(rejected).unwrap_or_default())
    }

    fn export(&self, spans: Vec<Span>) -> Export {
        let spans = spans.into_iter().map(span).collect();
        let scope = Some(Scope::named("casemate.requests"));
        Export {
            resource_spans: vec![ResourceSpans {
                resource: Some(Resource::of(&self.origin)),
                scope_spans: vec![ScopeSpans { scope, spans }],
            }],
        }
    }

    async fn report(&self, sent: u64, lost: u64, error: Option<String>, failures: u32) {
        let generation = self.generation;
        let error = error.map(crate::runner::shortened);
        self.feed.report_spans(Exported { generation, sent, lost, error, failures }).await;
    }
}

/// Whether the same spans may be handed over again after this failure.
fn may_be_sent_again(failure: &SinkFailure) -> bool {
    match failure {
        SinkFailure::Status { status, .. } => {
            RETRYABLE.into_iter().any(|retryable| retryable.as_u16() == *status)
        }
        // It answered, but nothing that a collector says.
        SinkFailure::Redirect { .. } | SinkFailure::Answer { .. } | SinkFailure::Secret => false,
        SinkFailure::Connect { .. }
        | SinkFailure::Anchors
        | SinkFailure::Tls { .. }
        | SinkFailure::Broken { .. }
        | SinkFailure::Deadline { .. }
        | SinkFailure::File(_)
        | SinkFailure::Position => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_otlp_names_is_sent_again() {
        let of = |status| SinkFailure::Status { host: String::new(), status };
        for status in [429, 502, 503, 504] {
            assert!(may_be_sent_again(&of(status)), "{status}");
        }
        for status in [400, 401, 403, 404, 408, 413, 415, 500, 501, 505] {
            assert!(!may_be_sent_again(&of(status)), "{status}");
        }
        assert!(may_be_sent_again(&SinkFailure::Deadline { seconds: 10 }));
        let redirect = SinkFailure::Redirect { host: String::new(), status: 307 };
        assert!(!may_be_sent_again(&redirect));
    }
}
