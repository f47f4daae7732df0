//! The system's clock: the only place where it is read. Nothing moves it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use casemate_audit::Millis;
use casemate_hsm::{Clock, UnixSeconds};

/// The system's time.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixSeconds {
        UnixSeconds(now_ms().div_euclid(1000))
    }
}

/// The clock of the audit trail.
pub(crate) fn millis() -> Millis {
    Arc::new(now_ms)
}

/// The time of spans, in nanoseconds since 1970.
pub(crate) fn now_ns() -> u64 {
    u64::try_from(now().as_nanos()).unwrap_or(u64::MAX)
}

/// The time, in milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    i64::try_from(now().as_millis()).unwrap_or(i64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "the one place that asks the system for the time")]
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
