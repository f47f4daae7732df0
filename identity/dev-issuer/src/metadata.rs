//! The documents that clients and validators read before anything else.

use serde_json::{Value, json};
use url::Url;

/// The discovery document for the tenant that was asked (its name as asked, since clients take
/// the tenant they work with from the first segment of `token_endpoint`).
pub(crate) fn discovery(base_url: &str, asked: &str, tenant_path: &str, issuer: &str) -> Value {
    json!({
        "issuer": issuer,
        "token_endpoint": format!("{base_url}/{asked}/{tenant_path}/token"),
        "authorization_endpoint": format!("{base_url}/{asked}/{tenant_path}/authorize"),
        "userinfo_endpoint": format!("{base_url}/{asked}/userinfo"),
        "jwks_uri": format!("{base_url}/{asked}/discovery/keys"),
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["RS256", "PS256", "ES256", "ES384"],
        "grant_types_supported": ["client_credentials", "password"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "scopes_supported": ["openid"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "claims_supported": [
            "aud", "iss", "iat", "nbf", "exp", "oid", "sub", "tid", "appid", "azp", "groups", "ver"
        ],
    })
}

/// The answer of Entra's instance discovery, for clients that ask us whether we are known.
pub(crate) fn instance(base_url: &str, tenant: &str) -> Value {
    let url = Url::parse(base_url).ok();
    let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
    let host = match url.as_ref().and_then(Url::port) {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    json!({
        "tenant_discovery_endpoint":
            format!("{base_url}/{tenant}/v2.0/.well-known/openid-configuration"),
        "api-version": "1.1",
        "metadata": [{
            "preferred_network": host, "preferred_cache": host, "aliases": [host],
        }],
    })
}
