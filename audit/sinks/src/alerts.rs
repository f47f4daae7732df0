//! Which alerts there are, and from which number on.

use serde::{Deserialize, Serialize};

/// How often something may happen within a time before it is an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Burst {
    /// From this number on.
    pub count: u32,
    /// Within this time, in seconds.
    pub within_seconds: u32,
}

/// The rules over the stream of records. A rule that is `null` is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Rules {
    /// The security domain was asked for.
    pub security_domain_export: bool,
    /// A role assignment or definition was made, changed or removed.
    pub role_change: bool,
    /// Somebody granted a role to themselves.
    pub self_grant: bool,
    /// A key was purged.
    pub key_purge: bool,
    /// The sinks of the log, or their alerts, were replaced.
    pub sink_change: bool,
    /// A setting was changed.
    pub setting_change: bool,
    /// A principal's tokens were cut off.
    pub token_cut_off: bool,
    /// The HSM's own service noticed something wrong with its log.
    pub log_trouble: bool,
    /// Calls of one caller that were refused for lack of rights.
    pub failed_authorization: Option<Burst>,
    /// Decryptions and unwraps with one key by one caller that failed.
    pub failed_decryption: Option<Burst>,
    /// After an alert for a burst or for trouble with the log, the same rule and subject are quiet
    /// for this long, in seconds. What somebody did once is told each time.
    pub quiet_seconds: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            security_domain_export: true,
            role_change: true,
            self_grant: true,
            key_purge: true,
            sink_change: true,
            setting_change: true,
            token_cut_off: true,
            log_trouble: true,
            failed_authorization: Some(Burst { count: 10, within_seconds: 60 }),
            failed_decryption: Some(Burst { count: 20, within_seconds: 60 }),
            quiet_seconds: 300,
        }
    }
}
