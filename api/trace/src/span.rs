//! What a span holds.

use std::borrow::Cow;

/// Names a trace; never all zero.
pub type TraceId = [u8; 16];
/// Names a span within its trace; never all zero.
pub type SpanId = [u8; 8];

/// An ended span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its trace.
    pub trace: TraceId,
    /// Its id.
    pub id: SpanId,
    /// The span that it is a part of.
    pub parent: Option<SpanId>,
    /// The caller's `tracestate`, on the span of a request that had one.
    pub state: Option<Box<str>>,
    /// What it is of.
    pub kind: Kind,
    /// Its name: words of this program.
    pub name: Cow<'static, str>,
    /// Its begin, in nanoseconds since 1970.
    pub start_ns: u64,
    /// Its end, in nanoseconds since 1970.
    pub end_ns: u64,
    /// What is known besides.
    pub attributes: Vec<(&'static str, Value)>,
    /// Whether it ended by a fault of the service.
    pub failed: bool,
}

/// What a span is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request; its parent, if it has one, is the caller's.
    Request,
    /// A part of a request.
    Step,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(Cow<'static, str>),
    /// A number.
    Number(u64),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}
