//! What an operator orders about an HSM's TLS.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long a partition waits for a certificate of the node's authority.
pub const SIGN_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the agent waits for an order that changes something: it may have to wait for a renewal
/// that is under way, then for a certificate of its own, and for the disk.
pub const TLS_ORDER_TIMEOUT: Duration =
    Duration::from_secs(2 * SIGN_TIMEOUT.as_secs() + DISK_TIMEOUT_S);
/// What the disk takes of that, in seconds.
const DISK_TIMEOUT_S: u64 = 10;

/// An order. No key is in it: one that is brought comes as a descriptor of its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TlsOrder {
    /// Say what is in force.
    Show,
    /// Make a key and a request for a certificate.
    Request,
    /// Use the certificate that came of the request.
    Install {
        /// The certificate and those that signed it, PEM.
        chain_pem: String,
    },
    /// Use a certificate with a key that comes along.
    Import {
        /// The certificate and those that signed it, PEM.
        chain_pem: String,
    },
    /// Go back to the node's own authority.
    Reset,
}
