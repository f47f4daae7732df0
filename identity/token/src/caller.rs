//! Who is calling: the one result of token validation.

use std::sync::Arc;

use uuid::Uuid;

/// A verified caller. `object_id` alone names the principal: two issuers share one only if the
/// settings say that they share a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The issuer that vouches for the caller.
    pub issuer: Arc<str>,
    /// `oid` of the directory's issuer; of any other a UUID made of its name and `oid` or `sub`.
    pub object_id: Uuid,
    /// `tid`; always the tenant of the settings.
    pub tenant: Uuid,
    /// `appid` or `azp`: the application that the token was given to.
    pub app_id: Option<String>,
    /// `upn` or `preferred_username`; for logs only, never for a decision.
    pub upn: Option<String>,
    /// The groups that the token lists.
    pub groups: Vec<Uuid>,
    /// True when the issuer left the groups out because there are too many to list.
    pub groups_overage: bool,
    /// Hexadecimal of the first 16 bytes of the token's SHA-256; names the token in logs.
    pub token_id: String,
    /// `nbf` in Unix seconds; `iat` where the token has none.
    pub not_before: i64,
    /// `iat` in Unix seconds.
    pub issued_at: i64,
    /// `exp` in Unix seconds.
    pub expires_at: i64,
}
