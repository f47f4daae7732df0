//! Why the token endpoint refuses, and how that is said in OAuth (RFC 6749, section 5.2).

use http::StatusCode;

/// A refusal of the token endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the request has more than {limit} bytes")]
    BodyTooLarge { limit: usize },
    #[error("token requests are POSTs with a form (application/x-www-form-urlencoded)")]
    NotAForm,
    #[error("the form field {field} is missing")]
    MissingField { field: &'static str },
    #[error("the form names a field twice")]
    RepeatedField,
    #[error("there is no tenant of that name here; use adfs or the tenant's GUID")]
    UnknownTenant,
    #[error("this grant type is not offered; use client_credentials or password")]
    UnsupportedGrant,
    #[error("no app has this client_id; add one with `casemate dev identity add-app NAME`")]
    UnknownClient,
    #[error("the client secret is wrong")]
    WrongSecret,
    #[error("a client_secret or a client_assertion is needed")]
    NoCredential,
    #[error("client_assertion_type must be urn:ietf:params:oauth:client-assertion-type:jwt-bearer")]
    UnknownAssertionType,
    #[error("the assertion cannot be read as a signed JSON web token")]
    MalformedAssertion,
    #[error("the assertion's `{claim}` claim is missing or malformed")]
    BadAssertionClaim { claim: &'static str },
    #[error("the app has no certificate; add one with `add-app NAME --certificate FILE`")]
    NoCertificate,
    #[error("the assertion's header names no certificate of the app (x5t or x5t#S256)")]
    OtherCertificate,
    #[error("the app's certificate is not valid at this time")]
    CertificateNotValidNow,
    #[error("the assertion's signature is wrong or its algorithm does not fit the key")]
    WrongSignature,
    #[error("the assertion's `iss` and `sub` must both be the client_id")]
    OtherSubject,
    #[error("the assertion's `aud` must be this token endpoint")]
    OtherAudience,
    #[error("the assertion is not valid at this time; check both clocks")]
    AssertionNotValidNow,
    #[error("the assertion is valid for more than {limit} seconds")]
    AssertionTooLong { limit: i64 },
    #[error("another assertion with this `jti` was used before")]
    Replayed,
    #[error("too many assertions are remembered; try again later")]
    TooManyAssertions,
    #[error("the app trusts no issuer and subject like those of the assertion")]
    NotFederated,
    #[error("the keys of the assertion's issuer cannot be had or do not contain its key")]
    NoFederatedKey,
    #[error("user name or password is wrong")]
    WrongUser,
    #[error("ask for exactly one resource, as `scope` (RESOURCE/.default) or `resource`")]
    NotOneResource,
    #[error("tokens for this resource are not issued here")]
    UnknownResource,
    #[error("this endpoint gives tokens to this machine only")]
    NotLocal,
    #[error("the managed identity endpoint is not set up")]
    NoManagedIdentity,
    #[error("the header {header} is missing or wrong")]
    WrongHeader { header: &'static str },
    #[error("the request was forwarded (X-Forwarded-For), which is not allowed here")]
    Forwarded,
    #[error("only the one managed identity of this machine can be asked for")]
    OtherIdentity,
    #[error("use the method {allowed} here")]
    WrongMethod { allowed: &'static str },
    #[error("logging in with a browser is not offered; use a client secret or an assertion")]
    NoBrowser,
    #[error("the bearer token is none of this issuer's, or it has expired")]
    WrongToken,
    #[error("the issuer cannot answer now; see its log")]
    Internal,
}

impl Refusal {
    /// The value of `error`.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::BodyTooLarge { .. }
            | Self::NotAForm
            | Self::MissingField { .. }
            | Self::RepeatedField
            | Self::UnknownTenant
            | Self::UnknownAssertionType
            | Self::NotLocal
            | Self::NoManagedIdentity
            | Self::WrongHeader { .. }
            | Self::Forwarded
            | Self::OtherIdentity
            | Self::WrongMethod { .. } => "invalid_request",
            Self::UnsupportedGrant => "unsupported_grant_type",
            Self::UnknownClient
            | Self::WrongSecret
            | Self::NoCredential
            | Self::MalformedAssertion
            | Self::BadAssertionClaim { .. }
            | Self::NoCertificate
            | Self::OtherCertificate
            | Self::CertificateNotValidNow
            | Self::WrongSignature
            | Self::OtherSubject
            | Self::OtherAudience
            | Self::AssertionNotValidNow
            | Self::AssertionTooLong { .. }
            | Self::Replayed
            | Self::NotFederated
            | Self::NoFederatedKey => "invalid_client",
            Self::WrongUser => "invalid_grant",
            Self::NotOneResource => "invalid_scope",
            Self::UnknownResource => "invalid_resource",
            Self::NoBrowser => "unsupported_response_type",
            Self::TooManyAssertions => "temporarily_unavailable",
            Self::WrongToken => "invalid_token",
            Self::Internal => "server_error",
        }
    }

    /// The status.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::NotLocal => StatusCode::FORBIDDEN,
            Self::WrongToken => StatusCode::UNAUTHORIZED,
            Self::NoManagedIdentity => StatusCode::NOT_FOUND,
            Self::WrongMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooManyAssertions => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::WrongHeader { header: crate::issuer::IDENTITY_HEADER_NAME } => {
                StatusCode::UNAUTHORIZED
            }
            _ if self.code() == "invalid_client" => StatusCode::UNAUTHORIZED,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}
