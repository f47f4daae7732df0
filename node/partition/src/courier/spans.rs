//! Spans on their way to the courier, and what became of them.
//!
//! Invariant: each span that was handed over is counted once, as sent or as lost: what a courier
//! had when it went, or when other settings came, is lost.

use std::sync::Arc;

use casemate_channel::courier::{Exported, Id, SPANS_MAX, Span, SpanValue};
use casemate_trace::{Delivery, Kind, Tracer, Value};
use parking_lot::Mutex;

/// The spans of one HSM, for its courier.
pub(super) struct Spans {
    tracer: Arc<Tracer>,
    under_way: Mutex<UnderWay>,
}

#[derive(Debug, Default)]
struct UnderWay {
    generation: u64,
    count: u64,
}

impl Spans {
    pub(super) fn new(tracer: Arc<Tracer>) -> Self {
        Self { tracer, under_way: Mutex::default() }
    }

    /// Begins anew with the settings of this number.
    pub(super) fn begin(&self, generation: u64) {
        let before =
            std::mem::replace(&mut *self.under_way.lock(), UnderWay { generation, count: 0 });
        if before.count > 0 {
            self.tracer.note_delivery(Delivery { lost: before.count, ..Delivery::default() });
        }
    }

    /// The oldest spans; none for settings that are no longer in force.
    pub(super) fn hand_over(&self, generation: u64) -> Vec<Span> {
        let mut under_way = self.under_way.lock();
        if under_way.generation != generation {
            return Vec::new();
        }
        let spans: Vec<_> = self.tracer.take(SPANS_MAX).into_iter().map(told).collect();
        under_way.count =
            under_way.count.saturating_add(u64::try_from(spans.len()).unwrap_or_default());
        spans
    }

    /// Notes what became of spans. More than were handed over cannot have arrived.
    pub(super) fn note(&self, exported: Exported) {
        let Exported { generation, sent, lost, error, failures } = exported;
        let mut under_way = self.under_way.lock();
        if under_way.generation != generation {
            return;
        }
        let sent = sent.min(under_way.count);
        let lost = lost.min(under_way.count - sent);
        under_way.count -= sent + lost;
        self.tracer.note_delivery(Delivery { sent, lost, error, failures });
    }
}

fn told(span: casemate_trace::Span) -> Span {
    let is_request = span.kind == Kind::Request;
    let value = |value: Value| match value {
        Value::Text(text) => SpanValue::Text(text.into_owned()),
        Value::Number(number) => SpanValue::Number(number),
    };
    let attributes = span.attributes.into_iter();
    Span {
        trace: Id(span.trace),
        id: Id(span.id),
        parent: span.parent.map(Id),
        remote_parent: is_request && span.parent.is_some(),
        state: span.state.map(String::from),
        server: is_request,
        name: span.name.into_owned(),
        start_ns: span.start_ns,
        end_ns: span.end_ns,
        attributes: attributes.map(|(name, of)| (name.to_owned(), value(of))).collect(),
        failed: span.failed,
    }
}

#[cfg(test)]
mod tests {
    use casemate_trace::{Incoming, Sampling, enter, step};

    use super::*;

    fn tracer() -> Arc<Tracer> {
        let tracer = Tracer::new(|| 5);
        tracer.configure(Some(Sampling { ratio_ppm: 1_000_000, callers_per_second: 1_000 }));
        tracer
    }

    fn some_request(tracer: &Arc<Tracer>) {
        let incoming = Incoming { trace: [7; 16], parent: [9; 8], sampled: true };
        let trace = tracer.begin(|| Some(incoming), || Some("a=1".into())).unwrap();
        trace.caller_is_known();
        let _entered = enter(Some(&trace));
        let mut step = step("token");
        step.note("casemate.audit.seq", 3);
    }

    fn report(generation: u64, sent: u64, lost: u64) -> Exported {
        Exported { generation, sent, lost, error: None, failures: 0 }
    }

    #[test]
    fn a_request_and_its_parts_keep_what_they_say() {
        let (tracer, spans) = (tracer(), Spans::new(tracer()));
        assert!(spans.hand_over(1).is_empty(), "nothing was begun");
        let spans = Spans::new(Arc::clone(&tracer));
        spans.begin(1);
        some_request(&tracer);
        let [request, part] = spans.hand_over(1).try_into().unwrap();
        assert_eq!((request.trace, request.parent), (Id([7; 16]), Some(Id([9; 8]))));
        assert!(request.server && request.remote_parent && !part.server && !part.remote_parent);
        assert_eq!((request.state.as_deref(), part.state), (Some("a=1"), None));
        assert_eq!((part.trace, part.parent), (Id([7; 16]), Some(request.id)));
        let seq = ("casemate.audit.seq".to_owned(), SpanValue::Number(3));
        assert_eq!((part.name.as_str(), part.attributes), ("token", vec![seq]));
    }

    #[test]
    fn every_span_is_counted_once_whatever_a_courier_says() {
        let tracer = tracer();
        let spans = Spans::new(Arc::clone(&tracer));
        let counted = || (tracer.delivery().sent, tracer.delivery().lost);
        spans.begin(1);
        for _ in 0..5 {
            some_request(&tracer);
        }
        assert_eq!(spans.hand_over(1).len(), 10);
        spans.note(report(1, 3, 2));
        assert_eq!(counted(), (3, 2));
        spans.note(report(2, 1, 1));
        assert_eq!(counted(), (3, 2), "that was for another place");
        spans.note(report(1, u64::MAX, u64::MAX));
        assert_eq!(counted(), (8, 2), "no more than it was given");
        some_request(&tracer);
        assert!(spans.hand_over(2).is_empty());
        assert_eq!(spans.hand_over(1).len(), 2);
        spans.begin(2);
        assert_eq!(counted(), (8, 4), "it went with two");
        spans.begin(3);
        assert_eq!(counted(), (8, 4));
    }

    #[test]
    fn a_full_frame_can_be_read_by_the_courier() {
        let tracer = tracer();
        let spans = Spans::new(Arc::clone(&tracer));
        spans.begin(1);
        let long = "\"".repeat(casemate_trace::STATE_BYTES_MAX);
        for _ in 0..SPANS_MAX {
            let incoming = Incoming { trace: [7; 16], parent: [9; 8], sampled: true };
            let state = Some(long.as_str().into());
            let trace = tracer.begin(|| Some(incoming), || state).unwrap();
            trace.caller_is_known();
            trace.call("n".repeat(128));
            for name in ["http.request.method", "http.route", "url.path", "server.address"] {
                trace.note(name, "x".repeat(255));
            }
        }
        let spans = spans.hand_over(1);
        assert_eq!(spans.len(), SPANS_MAX);
        let frame = casemate_channel::courier::ToCourier::Spans { generation: 1, spans }.encode();
        assert!(casemate_channel::courier::ToCourier::decode(&frame).is_ok(), "{}", frame.len());
    }
}
