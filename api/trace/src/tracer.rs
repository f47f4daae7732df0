//! Decides which requests are traced, and keeps their spans until they are taken.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use crate::context::Incoming;
use crate::ids::Ids;
use crate::sampling::{Rate, Sampling};
use crate::span::{Span, SpanId};
use crate::trace::{Beginning, Trace};

/// Most spans that wait to be taken. What ends while there is no room is dropped, and counted.
pub const SPANS_MAX: usize = 4_096;

/// Reads the time, in nanoseconds since 1970-01-01T00:00:00Z.
pub type Nanoseconds = fn() -> u64;

/// The tracer of one HSM.
pub struct Tracer {
    now: Nanoseconds,
    begun: Instant,
    is_on: AtomicBool,
    threshold: AtomicU64,
    wishes: Rate,
    ids: Ids,
    ring: Mutex<VecDeque<Span>>,
    ended: AtomicU64,
    dropped: AtomicU64,
    refused_wishes: AtomicU64,
    delivery: Mutex<Delivery>,
}

/// What became of the spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Spans that ended.
    pub ended: u64,
    /// Those of them for which there was no room.
    pub dropped: u64,
    /// Those that wait to be taken.
    pub waiting: usize,
    /// Callers' wishes that were not followed, because the rate was reached.
    pub refused_wishes: u64,
}

/// What the carrier of the spans says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Spans that the collector has.
    pub sent: u64,
    /// Spans that it refused for good.
    pub lost: u64,
    /// Why it stands still, if it does.
    pub error: Option<String>,
    /// Hand-overs in a row that failed.
    pub failures: u32,
}

impl Tracer {
    /// A tracer that is off.
    pub fn new(now: Nanoseconds) -> Arc<Self> {
        Arc::new(Self {
            now,
            begun: Instant::now(),
            is_on: AtomicBool::new(false),
            threshold: AtomicU64::new(0),
            wishes: Rate::default(),
            ids: Ids::new(),
            ring: Mutex::default(),
            ended: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            refused_wishes: AtomicU64::new(0),
            delivery: Mutex::default(),
        })
    }

    /// Puts other settings in force; none is off. What was kept under the ones before is
    /// forgotten: it may have been meant for another place.
    pub fn configure(&self, sampling: Option<Sampling>) {
        self.is_on.store(sampling.is_some(), Ordering::Relaxed);
        self.threshold.store(sampling.map_or(0, Sampling::threshold), Ordering::Relaxed);
        self.wishes.set(sampling.map_or(0, |sampling| sampling.callers_per_second));
        let forgotten = std::mem::take(&mut *self.ring.lock());
        self.dropped.fetch_add(count(forgotten.len()), Ordering::Relaxed);
        let mut delivery = self.delivery.lock();
        (delivery.error, delivery.failures) = (None, 0);
    }

    /// Begins a trace if this request is to be traced. `incoming` and `state` read the request's
    /// headers, and are asked only if they matter.
    pub fn begin(
        self: &Arc<Self>,
        incoming: impl FnOnce() -> Option<Incoming>,
        state: impl FnOnce() -> Option<Box<str>>,
    ) -> Option<Arc<Trace>> {
        if !self.is_on.load(Ordering::Relaxed) {
            return None;
        }
        let beginning = match incoming() {
            Some(Incoming { sampled: false, .. }) => return None,
            Some(Incoming { trace, parent, sampled: true }) => Beginning {
                id: trace,
                root: self.ids.span(),
                parent: Some(parent),
                state: state(),
                wanted: false,
            },
            None => {
                let threshold = self.threshold.load(Ordering::Relaxed);
                // By a draw of our own: ids that callers choose decide nothing.
                if threshold == 0 || (threshold < u64::MAX && self.ids.draw() >= threshold) {
                    return None;
                }
                let (id, root) = (self.ids.trace(), self.ids.span());
                Beginning { id, root, parent: None, state: None, wanted: true }
            }
        };
        Some(Trace::new(Arc::clone(self), beginning))
    }

    /// Takes the oldest spans, at most so many.
    pub fn take(&self, most: usize) -> Vec<Span> {
        let mut ring = self.ring.lock();
        let most = most.min(ring.len());
        ring.drain(..most).collect()
    }

    /// What became of the spans.
    pub fn counts(&self) -> Counts {
        let load = |of: &AtomicU64| of.load(Ordering::Relaxed);
        Counts {
            ended: load(&self.ended),
            dropped: load(&self.dropped),
            waiting: self.ring.lock().len(),
            refused_wishes: load(&self.refused_wishes),
        }
    }

    /// Notes what the carrier says; its numbers are added to those before.
    pub fn note_delivery(&self, told: Delivery) {
        let mut delivery = self.delivery.lock();
        delivery.sent = delivery.sent.saturating_add(told.sent);
        delivery.lost = delivery.lost.saturating_add(told.lost);
        (delivery.error, delivery.failures) = (told.error, told.failures);
    }

    /// What the carrier has said, altogether.
    pub fn delivery(&self) -> Delivery {
        self.delivery.lock().clone()
    }

    pub(crate) fn now_ns(&self) -> u64 {
        (self.now)()
    }

    pub(crate) fn span_id(&self) -> SpanId {
        self.ids.span()
    }

    pub(crate) fn grants_wish(&self) -> bool {
        let now_us = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX / 2);
        let granted = self.wishes.lets_pass(now_us);
        if !granted {
            self.refused_wishes.fetch_add(1, Ordering::Relaxed);
        }
        granted
    }

    /// Keeps a request and its steps, all of them or none.
    pub(crate) fn keep(&self, request: Span, steps: Vec<Span>, too_many: u64) {
        let spans = steps.len() + 1;
        self.ended.fetch_add(count(spans) + too_many, Ordering::Relaxed);
        self.dropped.fetch_add(too_many, Ordering::Relaxed);
        // Settings that went off meanwhile have nobody to take it.
        if self.is_on.load(Ordering::Relaxed) {
            let mut ring = self.ring.lock();
            if ring.len() + spans <= SPANS_MAX {
                ring.push_back(request);
                ring.extend(steps);
                return;
            }
        }
        self.dropped.fetch_add(count(spans), Ordering::Relaxed);
    }
}

fn count(of: usize) -> u64 {
    u64::try_from(of).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
