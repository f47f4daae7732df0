//! From the characters of a bearer token to a verified [`Caller`].
//!
//! It knows which issuers a managed HSM believes ([`TrustSettings`]), fetches their keys through a
//! port ([`KeyFetch`]), checks a token ([`Validator::validate`]) and remembers good results by the
//! token's hash ([`Validator::cached`]). It deliberately knows no role, no HTTP server and no
//! clock: the time is an argument.
//!
//! Invariant: a [`Caller`] leaves this crate only after the signature, the issuer, the audience,
//! the tenant and the time of its token were checked under the settings that are in force.

mod caller;
mod challenge;
mod claims;
mod fetch;
mod groups;
mod jwk;
mod jws;
mod keyring;
mod refusal;
mod settings;
mod validate;

pub use caller::Caller;
pub use challenge::{challenge, claims_challenge};
pub use claims::numeric_date;
pub use fetch::{FETCHED_BODY_BYTES_MAX, FetchError, KeyFetch, KeySourceError};
pub use groups::{GroupFetch, GroupSource, Groups, GroupsUnknown};
pub use jwk::{Curve, KeyRefusal, KeySet, VerifyingKey};
pub use jws::{Algorithm, Parsed, TOKEN_BYTES_MAX, parse};
pub use keyring::{KEYS_FRESH_S, KEYS_KEPT_S, KeyRing, REFRESH_INTERVAL_S, RETRY_WITHOUT_KEYS_S};
pub use refusal::{RefusalKind, TokenRefusal};
pub use settings::{TrustSettings, TrustedIssuer};
pub use validate::{CACHED_RESULTS_MAX, CUT_OFFS_MAX, NOT_BEFORE_LEEWAY_S, Validator};
