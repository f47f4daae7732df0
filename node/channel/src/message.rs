//! What is said over the channel.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::identity::IdentityAnswer;
use crate::metrics::Family;
use crate::start::Start;
use crate::tls::TlsOrder;

/// From the agent to the partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToPartition {
    /// The first message, and the only one of its kind.
    Start(Box<Start>),
    /// An accepted TCP connection; the descriptor is the socket, its TLS hello still unread.
    Connection {
        /// Who connected.
        peer: SocketAddr,
        /// At which listener.
        listener: Listener,
        /// The server name in the TLS hello, lower case.
        sni: Option<String>,
    },
    /// The answer to [`ToAgent::Dial`]; carries a connected socket unless `error` is set.
    Dialed {
        /// The number from the question.
        id: u64,
        /// Why there is no connection.
        error: Option<String>,
    },
    /// The answer to [`ToAgent::CertificateRequest`].
    Certificate {
        /// The certificate and its issuers, PEM.
        chain_pem: String,
    },
    /// A courier was started; the descriptor is the partition's end of their stream. Replaces the
    /// last one.
    Courier,
    /// The counts for monitoring are wanted.
    Metrics {
        /// Number of the question, repeated in each part of the answer.
        id: u64,
    },
    /// What the HSM says of itself is wanted.
    Inspect {
        /// Number of the question, repeated in the answer.
        id: u64,
    },
    /// The HSM's TLS is to be shown or changed; a key that is brought comes as a descriptor.
    Tls {
        /// Number of the question, repeated in the answer, which is [`ToAgent::Inspected`].
        id: u64,
        /// What is to be done.
        order: TlsOrder,
    },
    /// The answer to [`ToAgent::Identity`]; carries the file of the credential if there is one.
    Identity {
        /// The number from the question.
        id: u64,
        /// The identity, or that there is none.
        answer: IdentityAnswer,
    },
    /// Finish what runs, answer nothing new, and end.
    Stop,
}

/// The two places where connections for an HSM arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Listener {
    /// The one that picks the HSM by server name.
    Named,
    /// The HSM's own address; no server name needed.
    Address,
}

/// From the partition to the agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToAgent {
    /// Which protections are active, as `(name, state)`; sent before anything from outside is read.
    Hardened {
        /// Name and state of each protection.
        report: Vec<(String, String)>,
    },
    /// A TLS certificate is wanted for these names.
    CertificateRequest {
        /// The request, PEM.
        csr_pem: String,
        /// The names and addresses in it.
        names: Vec<String>,
    },
    /// To which hosts the HSM's sealed settings allow outgoing connections; replaces the last list.
    Outbound {
        /// Each `host:port`.
        hosts: Vec<String>,
    },
    /// An outgoing TCP connection is wanted.
    Dial {
        /// Number of the question, repeated in the answer.
        id: u64,
        /// Host name or address.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// The HSM's managed identity is wanted, as it is now.
    Identity {
        /// Number of the question, repeated in the answer.
        id: u64,
    },
    /// The HSM answers requests from now on.
    Ready {
        /// The partition's process id, as it sees itself.
        pid: u32,
        /// Whether the HSM is active: before, only the security domain's calls are answered.
        activated: bool,
    },
    /// The HSM has changed its state: the partition finishes, ends, and is to be started anew at
    /// once.
    Anew,
    /// The partition cannot go on.
    Failed {
        /// A short fixed word, for programs.
        code: String,
        /// What happened and what to do.
        message: String,
        /// Whether it may pass by itself, so that a later start may help.
        #[serde(default)]
        passing: bool,
    },
    /// Whether calls are refused because the audit log's disk is nearly full; said when it changes.
    DiskLow {
        /// Whether it is.
        low: bool,
    },
    /// Whether calls are refused because the synchronous sink lacks a record; said when it changes.
    CopyMissing {
        /// Whether it does.
        missing: bool,
    },
    /// A part of the answer to [`ToPartition::Metrics`].
    Metrics {
        /// The number from the question.
        id: u64,
        /// Some samples.
        family: Family,
    },
    /// The answer to [`ToPartition::Metrics`] is complete.
    MetricsEnd {
        /// The number from the question.
        id: u64,
    },
    /// The answer to [`ToPartition::Inspect`] or [`ToPartition::Tls`].
    Inspected {
        /// The number from the question.
        id: u64,
        /// State, sealed settings, domain, holders; or what came of an order. No secret.
        shown: serde_json::Value,
    },
    /// The last message after [`ToPartition::Stop`].
    Stopped,
}

impl ToPartition {
    /// Whether a descriptor must, or must not, come with this message.
    #[must_use]
    pub fn carries_descriptor(&self) -> bool {
        match self {
            Self::Connection { .. } | Self::Courier => true,
            Self::Dialed { error, .. } => error.is_none(),
            Self::Tls { order, .. } => matches!(order, TlsOrder::Import { .. }),
            Self::Identity { answer, .. } => matches!(answer, IdentityAnswer::Is(_)),
            Self::Start(_)
            | Self::Certificate { .. }
            | Self::Metrics { .. }
            | Self::Inspect { .. }
            | Self::Stop => false,
        }
    }
}
