//! The system's clock, read in this one place.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "the composition in node/ reads the system's clock")]
pub(crate) fn now() -> i64 {
    // A clock before 1970 refuses every token, which is the safe answer.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
