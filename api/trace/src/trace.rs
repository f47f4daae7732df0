//! One traced request.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::span::{Kind, Span, SpanId, TraceId, Value};
use crate::tracer::Tracer;

/// Most steps that are kept of one request.
pub const STEPS_MAX: usize = 32;
/// What a request is called before its route is known.
const UNNAMED: &str = "HTTP";

/// One traced request. Its spans go to its tracer when nobody works for it any more.
pub struct Trace {
    tracer: Arc<Tracer>,
    id: TraceId,
    root: SpanId,
    parent: Option<SpanId>,
    state: Option<Box<str>>,
    begun: Instant,
    begun_ns: u64,
    held: Mutex<Held>,
}

struct Held {
    /// Whether the spans are wanted; not before a caller's wish was granted.
    wanted: bool,
    name: Cow<'static, str>,
    attributes: Vec<(&'static str, Value)>,
    failed: bool,
    ended: Option<Instant>,
    steps: Vec<Span>,
    too_many: u64,
}

/// What a trace begins with.
pub(crate) struct Beginning {
    pub(crate) id: TraceId,
    pub(crate) root: SpanId,
    pub(crate) parent: Option<SpanId>,
    pub(crate) state: Option<Box<str>>,
    pub(crate) wanted: bool,
}

impl Trace {
    pub(crate) fn new(tracer: Arc<Tracer>, beginning: Beginning) -> Arc<Self> {
        let Beginning { id, root, parent, state, wanted } = beginning;
        let held = Held {
            wanted,
            name: Cow::Borrowed(UNNAMED),
            attributes: Vec::new(),
            failed: false,
            ended: None,
            steps: Vec::new(),
            too_many: 0,
        };
        let (begun, begun_ns) = (Instant::now(), tracer.now_ns());
        Arc::new(Self { tracer, id, root, parent, state, begun, begun_ns, held: Mutex::new(held) })
    }

    /// The caller is known: its wish to be traced is granted or refused.
    pub fn caller_is_known(&self) {
        let is_open = !self.held.lock().wanted;
        if is_open && self.tracer.grants_wish() {
            self.held.lock().wanted = true;
        }
    }

    /// Names the request.
    pub fn call(&self, name: String) {
        self.held.lock().name = Cow::Owned(name);
    }

    /// Notes something about the request.
    pub fn note(&self, name: &'static str, value: impl Into<Value>) {
        self.held.lock().attributes.push((name, value.into()));
    }

    /// The request was answered. What still runs for it is kept all the same.
    pub fn end(&self, failed: bool) {
        let mut held = self.held.lock();
        held.failed = failed;
        held.ended = Some(Instant::now());
    }

    fn add(&self, open: Open) {
        let Open { name, begun, attributes, failed, .. } = open;
        let ended = Instant::now();
        let mut held = self.held.lock();
        if held.steps.len() == STEPS_MAX {
            held.too_many += 1;
            return;
        }
        held.steps.push(Span {
            trace: self.id,
            id: self.tracer.span_id(),
            parent: Some(self.root),
            state: None,
            kind: Kind::Step,
            name: Cow::Borrowed(name),
            start_ns: self.at_ns(begun),
            end_ns: self.at_ns(ended),
            attributes,
            failed,
        });
    }

    fn at_ns(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.begun).as_nanos();
        self.begun_ns.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let held = self.held.get_mut();
        if !held.wanted {
            return;
        }
        let mut attributes = std::mem::take(&mut held.attributes);
        let ended = held.ended;
        if ended.is_none() {
            attributes.push(("error.type", Value::from("cancelled")));
        }
        let (steps, too_many) = (std::mem::take(&mut held.steps), held.too_many);
        let request = Span {
            trace: self.id,
            id: self.root,
            parent: self.parent,
            state: self.state.take(),
            kind: Kind::Request,
            name: std::mem::replace(&mut held.name, Cow::Borrowed(UNNAMED)),
            start_ns: self.begun_ns,
            end_ns: 0,
            attributes,
            failed: held.failed,
        };
        let end_ns = self.at_ns(ended.unwrap_or_else(Instant::now));
        self.tracer.keep(Span { end_ns, ..request }, steps, too_many);
    }
}

/// A part of a request that is being measured; ends when it is dropped.
#[must_use = "a step that is dropped at once measures nothing"]
pub struct Step(Option<Open>);

struct Open {
    trace: Arc<Trace>,
    name: &'static str,
    begun: Instant,
    attributes: Vec<(&'static str, Value)>,
    failed: bool,
}

impl Step {
    pub(crate) fn begin(trace: Option<&Arc<Trace>>, name: &'static str) -> Self {
        Self(trace.map(|trace| Open {
            trace: Arc::clone(trace),
            name,
            begun: Instant::now(),
            attributes: Vec::new(),
            failed: false,
        }))
    }

    /// Notes something about it.
    pub fn note(&mut self, name: &'static str, value: impl Into<Value>) {
        if let Some(open) = &mut self.0 {
            open.attributes.push((name, value.into()));
        }
    }

    /// It ended by a fault of the service.
    pub fn fail(&mut self) {
        if let Some(open) = &mut self.0 {
            open.failed = true;
        }
    }

    /// Ends it.
    pub fn end(self) {}
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(open) = self.0.take() {
            let trace = Arc::clone(&open.trace);
            trace.add(open);
        }
    }
}
