//! The HSM's own settings, sealed inside it from its creation on: whom it believes, how long
//! deleted keys stay, the modes. Neither the agent nor a command-line argument changes them; those
//! of the table in `table.rs` an Administrator changes through the data plane.

mod change;
mod table;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(crate) use change::SettingRecord;
pub use change::{ChangeSettingRefusal, Shown};
pub use table::{AUDIT_LOSS_ACCEPTED, SETTINGS, Setting, SettingKind, setting};
pub(crate) use table::{ESCALATION, SEPARATION};

/// What an HSM is created with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Creation {
    /// The settings to be sealed.
    #[serde(flatten)]
    pub settings: Settings,
    /// Object ids of the first administrators.
    pub first_administrators: Vec<Uuid>,
    /// Names of the built-in roles that each of them gets at `/`.
    pub first_roles: Vec<String>,
}

/// The sealed settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The tenant whose principals may call: the `tid` of every token.
    pub tenant: Uuid,
    /// The authority named in the 401 challenge. `{port}` stands for the port under which the
    /// HSM's name is reached, here and in the addresses below.
    pub authority: String,
    /// The issuers whose tokens are believed. The first speaks for the tenant's directory: its
    /// object ids are the principals of role assignments.
    pub issuers: Vec<TrustedIssuer>,
    /// The audiences that a token may be for; the first is named to callers by IP address.
    pub audiences: Vec<String>,
    /// Hosts (`host:port`) that may be called on the HSM's behalf.
    pub outbound: Vec<String>,
    /// How long a deleted key can be recovered.
    pub retention_days: RetentionDays,
    /// Whether deleted keys stay until their retention ends, whoever asks.
    pub purge_protection: bool,
    /// How `oct-HSM` bundles show `key_ops`.
    #[serde(default)]
    pub oct_key_ops: OctKeyOps,
    /// Who may grant the highest roles.
    #[serde(default)]
    pub escalation: Escalation,
    /// Whether the control plane may make and list keys. It cannot in this release.
    #[serde(default)]
    pub arm_key_operations: bool,
    /// What is done when one principal would hold duties that are kept apart.
    #[serde(default)]
    pub separation: Separation,
    /// Whether an Administrator has accepted that the audit log before this one was lost.
    #[serde(default)]
    pub audit_loss_accepted: bool,
    /// The permanent mark of an HSM that `casemate dev` made.
    #[serde(default)]
    pub development: bool,
}

/// An issuer whose tokens are believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustedIssuer {
    /// The `iss` of its tokens, exactly.
    pub issuer: String,
    /// The address of its OpenID Connect discovery document.
    pub metadata_url: String,
    /// The roots that its TLS certificate must come from, PEM.
    pub trust_anchors_pem: String,
    /// Whether its object ids are those of the first issuer's directory. Otherwise its principals
    /// have ids of their own, derived from its name, so that it can speak for nobody else's.
    #[serde(default)]
    pub same_directory: bool,
    /// Where callers' groups can be had that a token leaves out because they are too many: a
    /// UserInfo endpoint that is asked with the caller's own token. Its host must be among
    /// `outbound`.
    #[serde(default)]
    pub groups_url: Option<String>,
}

/// Days from deletion to purge: 7 to 90.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct RetentionDays(u8);

/// Why settings are refused.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Retention out of range.
    #[error("the retention is 7 to 90 days, not {0}")]
    Retention(u32),
}

impl RetentionDays {
    /// Checks the number of days.
    pub fn new(days: u32) -> Result<Self, SettingsError> {
        match u8::try_from(days) {
            Ok(small) if (7..=90).contains(&small) => Ok(Self(small)),
            Ok(_) | Err(_) => Err(SettingsError::Retention(days)),
        }
    }

    /// The number of days.
    pub fn days(self) -> u32 {
        u32::from(self.0)
    }
}

impl TryFrom<u32> for RetentionDays {
    type Error = SettingsError;
    fn try_from(days: u32) -> Result<Self, SettingsError> {
        Self::new(days)
    }
}

impl From<RetentionDays> for u32 {
    fn from(retention: RetentionDays) -> Self {
        retention.days()
    }
}

/// How an `oct-HSM` key's bundle shows its `key_ops`.
///
/// The Python client, given an `oct-HSM` bundle that lists `encrypt` or `wrapKey`, makes up a key
/// of its own and uses that one without asking the server: what it encrypts is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OctKeyOps {
    /// Leave them out: every client asks the server.
    #[default]
    Omit,
    /// List them, as the original does.
    Azure,
}

/// Who may grant roles that hold role management, security-domain or full backup rights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Escalation {
    /// Administrators only.
    #[default]
    Strict,
    /// Everyone who may write role assignments, as in the original.
    Azure,
}

/// What is done when one principal would hold using keys together with managing rights, purging
/// keys or holding the security domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Separation {
    /// It is done, with a warning in the answer and a mark in the audit.
    #[default]
    Warn,
    /// It is refused.
    Refuse,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retention_is_seven_to_ninety_days() {
        for bad in [0, 6, 91, 256 + 7, u32::MAX] {
            assert!(RetentionDays::new(bad).is_err(), "{bad}");
        }
        assert_eq!(RetentionDays::new(7).unwrap().days(), 7);
        assert_eq!(RetentionDays::new(90).unwrap().days(), 90);
    }
}
