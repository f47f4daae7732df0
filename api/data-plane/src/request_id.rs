//! Ids of requests: unique, not guessable in practice, and made without asking the system.
//!
//! They name a request in replies, logs and messages. They are no secret and protect nothing.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;
use uuid::Uuid;

/// Makes request ids: a counter, mixed with a base that is random per process.
pub(crate) struct RequestIds {
    high: u64,
    low: u64,
    count: AtomicU64,
}

/// A request's id, in its text form.
#[derive(Clone, Copy)]
pub(crate) struct RequestId([u8; uuid::fmt::Hyphenated::LENGTH]);

impl RequestIds {
    pub(crate) fn new() -> Self {
        let random = || RandomState::new().build_hasher().finish();
        Self { high: random(), low: random(), count: AtomicU64::new(0) }
    }

    pub(crate) fn next(&self) -> RequestId {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        // Both mixtures are one-to-one: ids of a process differ but for the six bits of the form.
        let low = mix(self.low.wrapping_add(count));
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&mix(self.high ^ low).to_be_bytes());
        bytes[8..].copy_from_slice(&low.to_be_bytes());
        RequestId::new(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }
}

impl RequestId {
    fn new(uuid: Uuid) -> Self {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        uuid.hyphenated().encode_lower(&mut text);
        Self(text)
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a UUID is written in ASCII")
    }

    pub(crate) fn header(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.0).expect("a UUID is written in visible ASCII")
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
    fn ids_are_version_4_uuids_and_differ() {
        let (ids, others) = (RequestIds::new(), RequestIds::new());
        let mut seen = HashSet::new();
        for _ in 0..1000 {
            for ids in [&ids, &others] {
                let id = ids.next();
                let uuid = Uuid::parse_str(id.as_str()).unwrap();
                assert_eq!(uuid.get_version_num(), 4);
                assert!(seen.insert(uuid));
            }
        }
    }
}
