//! Ids of traces and spans, and the draw that decides which requests are traced: unique, spread
//! evenly, and made without asking the system. They are no secret and protect nothing.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::span::{SpanId, TraceId};

/// Numbers that look random: a counter, mixed with a base that is random per process.
pub(crate) struct Ids {
    base: u64,
    high: u64,
    count: AtomicU64,
}

impl Ids {
    pub(crate) fn new() -> Self {
        let random = || RandomState::new().build_hasher().finish();
        Self { base: random(), high: random(), count: AtomicU64::new(0) }
    }

    /// The next number; no number comes twice.
    pub(crate) fn draw(&self) -> u64 {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        mix(self.base.wrapping_add(count))
    }

    pub(crate) fn span(&self) -> SpanId {
        loop {
            let id = self.draw().to_be_bytes();
            // One number in 2⁶⁴ is no id.
            if id != [0; 8] {
                return id;
            }
        }
    }

    pub(crate) fn trace(&self) -> TraceId {
        let low = self.draw();
        let high = mix(self.high ^ low);
        let mut id = [0; 16];
        id[..8].copy_from_slice(&high.to_be_bytes());
        id[8..].copy_from_slice(&low.to_be_bytes());
        // All zero is no id, and comes once in 2¹²⁸ times at most.
        id[15] |= u8::from(id == [0; 16]);
        id
    }
}

/// The finaliser of SplitMix64: a bijection that spreads every bit.
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_differ_and_are_never_zero() {
        let (ids, others) = (Ids::new(), Ids::new());
        let mut traces = HashSet::new();
        let mut spans = HashSet::new();
        for _ in 0..1_000 {
            for ids in [&ids, &others] {
                let (trace, span) = (ids.trace(), ids.span());
                assert!(trace != [0; 16] && span != [0; 8]);
                assert!(traces.insert(trace) && spans.insert(span));
            }
        }
    }
}
