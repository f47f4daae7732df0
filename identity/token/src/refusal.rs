//! Every reason for which a token is refused. No text here repeats any part of the token.

use std::sync::Arc;

use crate::caller::Caller;
use crate::fetch::KeySourceError;

/// Why a token was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// Larger than the limit; refused before it is parsed.
    #[error("the token has {bytes} bytes; at most {limit} are accepted")]
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Not three parts separated by dots.
    #[error("the bearer token is not a signed JSON web token; send the issuer's access token")]
    NotAToken,
    /// A part is not base64url without padding.
    #[error("the token's {part} is not base64url; send the token as the issuer gave it")]
    NotBase64 {
        /// `header`, `claims` or `signature`.
        part: &'static str,
    },
    /// A part is not a JSON object.
    #[error("the token's {part} is not a JSON object; send the token as the issuer gave it")]
    NotJson {
        /// `header` or `claims`.
        part: &'static str,
    },
    /// A member stands twice in one object.
    #[error("the token's {part} names one member twice, which nobody can read safely")]
    RepeatedMember {
        /// `header` or `claims`.
        part: &'static str,
    },
    /// `alg` is missing or not on the fixed list.
    #[error(
        "the token's algorithm is not accepted; use RS256, RS384, RS512, PS256, ES256 or ES384"
    )]
    AlgorithmNotAccepted,
    /// The header demands an extension that is not understood (`crit`).
    #[error("the token's header demands an extension that is not supported")]
    UnknownExtension,
    /// `typ` says that this is something else than an access token.
    #[error("the token's type is not that of an access token")]
    NotAnAccessToken,
    /// A required claim is missing.
    #[error("the token has no `{claim}` claim; ask the issuer for an access token that has it")]
    MissingClaim {
        /// The claim's name.
        claim: &'static str,
    },
    /// A claim has the wrong JSON type or cannot be read.
    #[error("the token's `{claim}` claim is malformed")]
    MalformedClaim {
        /// The claim's name.
        claim: &'static str,
    },
    /// `iss` is not among the configured issuers.
    #[error(
        "the token is from an issuer that is not trusted here; log in where the challenge says"
    )]
    UnknownIssuer,
    /// The header has no `kid`.
    #[error("the token does not say which key signed it (`kid`)")]
    MissingKeyId,
    /// `kid` is not among the issuer's keys.
    #[error("the issuer has no key with the token's `kid`; get a new token")]
    UnknownKey,
    /// The key is too small.
    #[error("the token is signed with a {bits}-bit RSA key; at least 2048 bits are required")]
    KeyTooWeak {
        /// The size of the key in bits.
        bits: usize,
    },
    /// The key's type, or what the issuer says it is for, does not match `alg`.
    #[error("the token's algorithm does not fit the key that its `kid` names")]
    KeyNotForAlgorithm,
    /// The signature is wrong.
    #[error("the token's signature is wrong; get a new token")]
    BadSignature,
    /// `aud` holds none of the accepted audiences.
    #[error("the token is for another service; ask for the resource that the challenge names")]
    WrongAudience,
    /// `tid` is another tenant.
    #[error("the token is from another tenant; log in to the tenant that the challenge names")]
    WrongTenant,
    /// `nbf` or `iat` lies in the future.
    #[error("the token is not valid before {not_before} (Unix seconds); check both clocks")]
    NotYetValid {
        /// The time from which it is valid, in Unix seconds.
        not_before: i64,
    },
    /// `exp` has passed.
    #[error("the token expired at {expired_at} (Unix seconds); get a new one")]
    Expired {
        /// The time at which it expired, in Unix seconds.
        expired_at: i64,
    },
    /// Tokens of this principal that are older than a set time are refused.
    #[error("tokens issued before {not_before} (Unix seconds) were cut off; get a new one")]
    CutOff {
        /// The time from which tokens are accepted, in Unix seconds.
        not_before: i64,
        /// Whose it was: its signature and all else of it were good.
        caller: Arc<Caller>,
    },
    /// The issuer's keys are not to be had.
    #[error("the issuer's keys are not available, so the token cannot be checked now")]
    KeysUnavailable {
        /// Why not.
        #[source]
        cause: KeySourceError,
    },
    /// The settings changed again and again while the token was checked.
    #[error("the trust settings are being changed; try again")]
    SettingsChanging,
}

/// How a refusal is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// The token is at fault: 401 with the normal challenge.
    Token,
    /// The token was cut off: 401 with the claims challenge of this time.
    CutOff {
        /// The time from which tokens are accepted, in Unix seconds.
        not_before: i64,
    },
    /// Nothing is known against the token, but it cannot be checked now: 503.
    Unavailable,
}

impl TokenRefusal {
    /// Says how this refusal is to be answered.
    #[must_use]
    pub fn kind(&self) -> RefusalKind {
        match self {
            Self::CutOff { not_before, .. } => RefusalKind::CutOff { not_before: *not_before },
            Self::KeysUnavailable { .. } | Self::SettingsChanging => RefusalKind::Unavailable,
            Self::TooLarge { .. }
            | Self::NotAToken
            | Self::NotBase64 { .. }
            | Self::NotJson { .. }
            | Self::RepeatedMember { .. }
            | Self::AlgorithmNotAccepted
            | Self::UnknownExtension
            | Self::NotAnAccessToken
            | Self::MissingClaim { .. }
            | Self::MalformedClaim { .. }
            | Self::UnknownIssuer
            | Self::MissingKeyId
            | Self::UnknownKey
            | Self::KeyTooWeak { .. }
            | Self::KeyNotForAlgorithm
            | Self::BadSignature
            | Self::WrongAudience
            | Self::WrongTenant
            | Self::NotYetValid { .. }
            | Self::Expired { .. } => RefusalKind::Token,
        }
    }
}
