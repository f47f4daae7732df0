//! Time, as the domain sees it: an argument.

use serde::{Deserialize, Serialize};

/// Seconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UnixSeconds(pub i64);

impl UnixSeconds {
    /// The time this many days later.
    pub fn plus_days(self, days: u32) -> Self {
        Self(self.0.saturating_add(i64::from(days) * 86_400))
    }
}

/// Where the time comes from.
pub trait Clock: Send + Sync + 'static {
    /// The present time.
    fn now(&self) -> UnixSeconds;
}
