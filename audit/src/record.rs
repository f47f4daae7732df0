//! What a record says. All fields are borrowed: a record lives for one call of
//! [`Trail::append`](crate::Trail::append).
//!
//! The names on the left side of the JSON are Azure's `AuditEvent`; `phase`, `permit`, `key`,
//! `tokenId`, `activityId`, `details` and `intent` are ours. There is no field for a token, a
//! plaintext or a key, and none may be added.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Instant;

use uuid::Uuid;

use crate::Recorded;

/// One record.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// What kind of record it is.
    pub phase: Phase,
    /// What was asked for, such as `KeySign`.
    pub operation: &'a str,
    /// The call that asked.
    pub call: &'a Call<'a>,
    /// What came of it.
    pub verdict: Verdict<'a>,
    /// The permit that allowed it.
    pub permit: Option<PermitFacts<'a>>,
    /// The key that it was about.
    pub key: Option<KeyFacts<'a>>,
    /// For an outcome, the intent it belongs to.
    pub intent: Option<&'a Recorded>,
}

/// The kinds of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A change is about to be made.
    Intent,
    /// What became of a change.
    Outcome,
    /// A key was used, or something was read.
    Use,
    /// A call was refused before anything was done.
    Refusal,
    /// The service did something by itself.
    Service,
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Not known yet: this is an intent.
    Pending,
    /// Done. The answer's status is [`Call::success_status`].
    Success,
    /// The call broke off before its answer, most likely because the caller hung up. What it was
    /// allowed to do may have been done; nobody was told.
    Abandoned,
    /// What an opened store says of a change whose outcome an earlier process did not record.
    /// Nobody was answered, so there is no status.
    Resolved {
        /// Whether it was done; `None` if the store cannot tell.
        done: Option<bool>,
        /// How that was found out.
        description: &'a str,
    },
    /// Refused or failed.
    Failure {
        /// The answer's status, where the recorder knows it.
        status: Option<u16>,
        /// The error code, such as `Forbidden`.
        code: &'a str,
        /// More about the reason.
        description: &'a str,
    },
}

/// The facts of one call, the same for all its records. A call by the service itself is
/// `Call::default()`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Call<'a> {
    /// When the call arrived; the record's duration is counted from here.
    pub started: Option<Instant>,
    /// The api-version that was asked for.
    pub api_version: &'a str,
    /// Path of the request, without secrets of a query.
    pub request_uri: &'a str,
    /// The store's last change when the caller's rights were judged; 0 if they were not.
    pub consistency: u64,
    /// The answer's status if the call succeeds.
    pub success_status: u16,
    /// Where the call came from.
    pub caller_address: Option<IpAddr>,
    /// The caller's `User-Agent`, as sent.
    pub user_agent: &'a [u8],
    /// The caller's `x-ms-client-request-id`, as sent.
    pub correlation_id: &'a [u8],
    /// Who called.
    pub identity: Identity<'a>,
    /// What is worth watching about it, by words of the recorder's own.
    pub marks: &'a [&'static str],
    /// The id that the answer names the call by.
    pub activity_id: &'a str,
    /// What was changed, or asked, beyond what the path says.
    pub details: &'a [Detail],
}

/// One fact of what was changed or asked, such as the principal of a new role assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// Its name, in JSON's usual spelling; no two of one record have the same.
    pub name: Cow<'static, str>,
    /// The fact.
    pub value: DetailValue,
}

/// What a [`Detail`] says. Never a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DetailValue {
    /// A text.
    Text(String),
    /// Several of them.
    Texts(Vec<String>),
    /// A number.
    Number(i64),
}

/// What the caller's token says about the caller.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity<'a> {
    /// Object id.
    pub object_id: Option<Uuid>,
    /// `appid` or `azp`.
    pub app_id: &'a str,
    /// `upn`.
    pub user_name: &'a str,
    /// The token's own id (`jti` or `uti`), never the token.
    pub token_id: &'a str,
}

/// The permit, as a record shows it.
#[derive(Clone, Copy, Debug)]
pub struct PermitFacts<'a> {
    /// The assignment that allowed the act.
    pub assignment: Uuid,
    /// The role that it grants, as people name it.
    pub role: &'a str,
    /// The definition of that role: names can be alike, ids cannot.
    pub role_id: Uuid,
    /// The revision of the rights at which the permit was given.
    pub revision: u64,
}

/// The key, as a record shows it.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyFacts<'a> {
    /// Name.
    pub name: &'a str,
    /// Version, 128 bits, shown as 32 hexadecimal digits.
    pub version: Option<[u8; 16]>,
    /// Algorithm of the use, or type of the key.
    pub algorithm: &'a str,
}

impl Phase {
    /// Whether it ends something that was begun: taken even when the disk is nearly full.
    pub(crate) fn is_owed(self) -> bool {
        matches!(self, Self::Outcome | Self::Service)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Outcome => "outcome",
            Self::Use => "use",
            Self::Refusal => "refusal",
            Self::Service => "service",
        }
    }
}
