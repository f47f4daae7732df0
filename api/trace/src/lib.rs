//! Spans of requests, from the caller's header to the place where they wait to be sent.
//!
//! One [`Tracer`] per HSM decides which requests are traced, and keeps ended spans in a bounded
//! ring until somebody takes them. A [`Trace`] is one traced request; [`step`] measures a part of
//! it, wherever that part is: the trace follows the request through a thread-local, so no
//! signature of a port knows of it. `docs/design/monitoring.md` says what a span holds.
//!
//! It sends nothing and reads no clock but the monotonic one: who composes it brings the time.
//!
//! Invariants:
//! - A request that is not traced costs a few loads: no allocation, no lock, no clock.
//! - No lock is held while anything waits, and the ring never grows beyond [`SPANS_MAX`].
//! - A caller's wish to be traced is followed only once the caller is known, and only up to a rate.

mod context;
mod current;
mod ids;
mod sampling;
mod span;
mod trace;
mod tracer;

pub use context::{Incoming, STATE_BYTES_MAX, trace_state};
pub use current::{Entered, current, enter, step, within};
pub use sampling::{PER_SECOND_MAX, RATIO_PPM_ALL, Sampling};
pub use span::{Kind, Span, SpanId, TraceId, Value};
pub use trace::{STEPS_MAX, Step, Trace};
pub use tracer::{Counts, Delivery, Nanoseconds, SPANS_MAX, Tracer};
