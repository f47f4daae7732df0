//! The port through which the keys of an issuer are fetched, and what can go wrong on the way.
//!
//! The port's implementation owns the connection, TLS, the list of allowed hosts and a deadline.

use futures_util::future::BoxFuture;

use crate::jwk::KeyRefusal;

/// The largest answer that is accepted from an issuer, in bytes.
pub const FETCHED_BODY_BYTES_MAX: usize = 256 * 1024;

/// Fetches one document over HTTPS.
pub trait KeyFetch: Send + Sync + 'static {
    /// Gets `url` and returns its body if the status was 200. The server must prove itself by the
    /// roots in `trust_anchors_pem` (an empty text leaves the choice of roots to the
    /// implementation). Must end within a deadline of its own and must not follow redirects.
    fn fetch<'a>(
        &'a self,
        url: &'a str,
        trust_anchors_pem: &'a str,
    ) -> BoxFuture<'a, Result<Vec<u8>, FetchError>>;
}

/// Why a document could not be fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The host is not on the list of hosts that may be asked.
    #[error("the issuer's host is not on the list of outgoing hosts; add it to the settings")]
    HostNotAllowed,
    /// The address is not a usable `https` address.
    #[error("the issuer's address is not a usable https address; correct it in the settings")]
    UnusableAddress,
    /// No connection, or it broke.
    #[error("the issuer cannot be reached; check that it runs and that the network lets us out")]
    Unreachable,
    /// TLS failed: usually the certificate does not lead to the configured roots.
    #[error("TLS to the issuer failed; check the trust anchors in the settings")]
    TlsFailed,
    /// No answer in time.
    #[error("the issuer did not answer in time")]
    TimedOut,
    /// An answer that is not HTTP, or is cut off.
    #[error("the issuer's answer is not a complete HTTP message")]
    MalformedAnswer,
    /// Another status than 200.
    #[error("the issuer answered with status {status}")]
    Status {
        /// The status code.
        status: u16,
    },
    /// The body is larger than [`FETCHED_BODY_BYTES_MAX`].
    #[error("the issuer's answer is larger than {limit} bytes")]
    BodyTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
}

/// Why the keys of an issuer are not to be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySourceError {
    /// The discovery document or the key set could not be fetched.
    #[error("could not fetch the issuer's {document}")]
    Fetch {
        /// Which of the two documents.
        document: &'static str,
        /// What happened.
        #[source]
        cause: FetchError,
    },
    /// The discovery document is not the expected JSON.
    #[error("the issuer's discovery document is malformed: {what}")]
    MalformedMetadata {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The discovery document speaks for another issuer.
    #[error("the discovery document names another issuer than the settings do")]
    OtherIssuer,
    /// An address is not `https`.
    #[error("the issuer's {document} is not at an https address")]
    NotHttps {
        /// Which of the two documents.
        document: &'static str,
    },
    /// The key set cannot be used.
    #[error("the issuer's key set cannot be used")]
    Keys {
        /// What is wrong with it.
        #[source]
        cause: KeyRefusal,
    },
    /// The issuer was asked a moment ago, and the next attempt is not due yet.
    #[error("the issuer was asked a moment ago and gave no keys; try again in some seconds")]
    AskedJustNow,
}
