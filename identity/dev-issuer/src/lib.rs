//! A real token issuer for development: it signs real tokens, which the ordinary validator checks
//! like those of any other issuer.
//!
//! It keeps a small directory of service principals, users and groups in a folder of its own and
//! answers OpenID Connect and OAuth 2.0 requests given to it as plain values. It opens no socket,
//! reads no clock, and is no way around validation: nobody has to trust it who was not told to.
//!
//! Invariant: a token leaves only for a principal that proved itself by the way its grant demands.

mod answer;
mod assertion;
mod audience;
mod directory;
mod error;
mod issuer;
mod managed_identity;
mod metadata;
mod mint;
mod refusal;
mod replay;
mod signing_key;
mod store;
mod token_endpoint;
mod user_info;

pub use directory::{AppCreated, GroupCreated, NewApp, UserCreated};
pub use error::IssuerError;
pub use issuer::{DevIssuer, IDENTITY_HEADER_NAME, MANAGED_IDENTITY_PATH};
