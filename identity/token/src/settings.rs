//! Whom a managed HSM believes. Plain data: where it is kept and sealed is not known here.

use uuid::Uuid;

/// The tenant, the issuers and the audiences that a [`crate::Validator`] accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustSettings {
    /// The tenant of the managed HSM; a token must carry it as `tid`.
    pub tenant: Uuid,
    /// The issuers whose tokens are accepted.
    pub issuers: Vec<TrustedIssuer>,
    /// The accepted audiences; compared without trailing slashes.
    pub audiences: Vec<String>,
}

/// One issuer and the way to its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedIssuer {
    /// The `iss` claim, compared character by character.
    pub issuer: String,
    /// The address of the OpenID Connect discovery document; `https` only.
    pub metadata_url: String,
    /// PEM certificates of the roots that TLS to the issuer must lead to.
    pub trust_anchors_pem: String,
    /// Whether its object ids and group ids are the tenant directory's own. Those of any other
    /// issuer become UUIDs derived from the issuer's name too, so it can name nobody in there.
    pub directory: bool,
}
