//! The values of `WWW-Authenticate` that send a client to its issuer.
//!
//! The form is exact on purpose: one well-known client splits on spaces and another on commas, so
//! values stand in double quotes, the separator is a comma and one space, and no value but
//! `claims` may hold a comma or a second equals sign.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The challenge for a request without a good token. `authorization` is the issuer's base address
/// with the tenant as its only path segment, without a trailing slash.
#[must_use]
pub fn challenge(authorization: &str, resource: &str) -> String {
    format!("Bearer authorization=\"{authorization}\", resource=\"{resource}\"")
}

/// The challenge that asks for a token issued at or after `not_before` (Unix seconds).
#[must_use]
pub fn claims_challenge(authorization: &str, resource: &str, not_before: i64) -> String {
    let claims = format!(
        "{{\"access_token\":{{\"nbf\":{{\"essential\":true,\"value\":\"{not_before}\"}}}}}}"
    );
    let claims = STANDARD.encode(claims);
    let normal = challenge(authorization, resource);
    format!("{normal}, error=\"insufficient_claims\", claims=\"{claims}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_the_documented_string() {
        assert_eq!(
            challenge("https://localhost:8443/adfs", "https://managedhsm.localhost:8443"),
            "Bearer authorization=\"https://localhost:8443/adfs\", \
             resource=\"https://managedhsm.localhost:8443\""
        );
    }

    #[test]
    fn the_claims_challenge_keeps_the_normal_one_and_carries_the_time() {
        let value = claims_challenge("https://l/t", "https://r", 1_700_000_000);
        let (normal, rest) = value.split_once(", error=").unwrap();
        assert_eq!(normal, challenge("https://l/t", "https://r"));
        let claims = rest.strip_prefix("\"insufficient_claims\", claims=\"").unwrap();
        let claims = STANDARD.decode(claims.strip_suffix('"').unwrap()).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(claims["access_token"]["nbf"]["value"], "1700000000");
        assert_eq!(claims["access_token"]["nbf"]["essential"], true);
    }
}
