//! What a token endpoint answers (RFC 6749, 5.1 and 5.2), read strictly. No word of it is repeated
//! but the error codes of the standard.

use std::time::Duration;

use serde::Deserialize;
use zeroize::Zeroizing;

/// Longest answer, in bytes.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Longest token, in bytes.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Longest life that a token is believed to have, in seconds.
const LIFE_MAX_S: u64 = 24 * 60 * 60;

/// How long before its end a token is not used any more, in seconds; of one that lives for a short
/// time, half of that.
const MARGIN_S: u64 = 300;

/// The error codes that are repeated (RFC 6749, 5.2).
const CODES: [&str; 6] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];

/// A token for storage. Wiped when dropped, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken {
    token: Zeroizing<String>,
    life_s: u64,
}

/// Why an answer gives no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerRefusal {
    /// Not JSON, or a member is missing or of another form.
    #[error("its answer is no JSON with 'access_token', 'token_type' and 'expires_in'")]
    Malformed,
    /// Another type of token, which would have to be shown in another way.
    #[error("it gives tokens of another type than Bearer")]
    Type,
    /// A token that cannot stand in a header.
    #[error("its token is empty, longer than {TOKEN_BYTES_MAX} bytes, or no plain text")]
    Token,
    /// It has ended already.
    #[error("its token has ended already")]
    Ended,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    token_type: String,
    expires_in: Seconds,
}

/// A number, or one in quotes, as the older endpoints of Entra write it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(u64),
    Text(String),
}

#[derive(Deserialize)]
struct Refused {
    error: String,
}

/// Reads the body of a 200.
///
/// # Errors
/// When it holds no token that can be used.
pub fn read(body: &[u8]) -> Result<AccessToken, AnswerRefusal> {
    if body.len() > ANSWER_BYTES_MAX {
        return Err(AnswerRefusal::Malformed);
    }
    let answer: Answer = serde_json::from_slice(body).map_err(|_| AnswerRefusal::Malformed)?;
    let token = Zeroizing::new(answer.access_token);
    if !answer.token_type.eq_ignore_ascii_case("bearer") {
        return Err(AnswerRefusal::Type);
    }
    let is_token = (1..=TOKEN_BYTES_MAX).contains(&token.len())
        && token.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_token {
        return Err(AnswerRefusal::Token);
    }
    let life_s = match answer.expires_in {
        Seconds::Number(seconds) => seconds,
        Seconds::Text(text) => text.parse().map_err(|_| AnswerRefusal::Malformed)?,
    };
    match life_s {
        0 => Err(AnswerRefusal::Ended),
        _ => Ok(AccessToken { token, life_s: life_s.min(LIFE_MAX_S) }),
    }
}

/// The error code in the body of a refusal, if it is one of the standard's.
pub fn refused(body: &[u8]) -> Option<&'static str> {
    if body.len() > ANSWER_BYTES_MAX {
        return None;
    }
    let Refused { error } = serde_json::from_slice(body).ok()?;
    CODES.into_iter().find(|code| *code == error)
}

impl AccessToken {
    /// The token itself.
    pub fn expose(&self) -> &str {
        &self.token
    }

    /// For how long after it was asked for it is used: not to its very end, so that what begins
    /// with it ends with it.
    pub fn usable_for(&self) -> Duration {
        Duration::from_secs(self.life_s - MARGIN_S.min(self.life_s.div_ceil(2)))
    }
}

impl std::fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AccessToken(…)")
    }
}
