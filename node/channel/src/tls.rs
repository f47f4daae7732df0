//! What an operator orders about an HSM's TLS.

use serde::{Deserialize, Serialize};

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
