//! The system's clock: the only place where it is read. Nothing moves it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use casemate_audit::Millis;
use casemate_hsm::{Clock, UnixSeconds};

/// The system's time.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixSeconds {
        UnixSeconds(now_ms().div_euclid(1000))
    }
}

/// The clock of the audit trail.
pub(crate) fn millis() -> Millis {
    Arc::new(now_ms)
}

#[expect(clippy::disallowed_methods, reason = "the one place that asks the system for the time")]
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
