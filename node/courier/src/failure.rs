//! Why a courier ends, and why a sink did not take what it was given.

use std::io;

pub(crate) use casemate_channel::chain;
use casemate_channel::courier::CourierProtocolError;
use casemate_harden::HardenError;

/// Why the courier ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Started by hand.
    #[error("a courier is started by the agent, with `courier FOLDER [USER]`; use `casemate dev`")]
    Arguments,
    /// Descriptor 3 is no stream.
    #[error("there is no partition to work for")]
    NoPartition(#[source] io::Error),
    /// Not confined.
    #[error("the courier could not be confined")]
    Harden(#[from] HardenError),
    /// Threads.
    #[error("the system gives no threads; look at its limits (ulimit -a)")]
    Threads(#[source] io::Error),
    /// Its folder.
    #[error("the courier's folder cannot be used; check its owner, its mode and the disk")]
    Folder(#[source] io::Error),
    /// The partition speaks otherwise.
    #[error(transparent)]
    Protocol(#[from] CourierProtocolError),
}

/// Why a sink did not take what it was given. No text here comes from the sink itself, and none
/// holds a secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SinkFailure {
    /// No connection.
    #[error("no connection to {host}; check the name, the port and the network")]
    Connect {
        /// The host.
        host: String,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The roots.
    #[error("'trustAnchors' holds no usable certificate; set the root of the sink's certificate")]
    Anchors,
    /// TLS.
    #[error("no TLS with {host}; its certificate must come from 'trustAnchors' and name it")]
    Tls {
        /// The host.
        host: String,
        /// What the library said.
        #[source]
        cause: io::Error,
    },
    /// The connection broke.
    #[error("the connection to {host} broke before it answered")]
    Broken {
        /// The host.
        host: String,
    },
    /// A redirect.
    #[error("{host} sent a redirect ({status}), which is not followed; set the final address")]
    Redirect {
        /// The host.
        host: String,
        /// The status.
        status: u16,
    },
    /// Refused.
    #[error("{host} answered {status}; look at its log, and at the secret of the sink")]
    Status {
        /// The host.
        host: String,
        /// The status.
        status: u16,
    },
    /// An answer that is none.
    #[error("{host} answered more than {bytes_max} bytes or something that is no answer")]
    Answer {
        /// The host.
        host: String,
        /// The most that is read.
        bytes_max: usize,
    },
    /// Too slow.
    #[error("it took longer than {seconds} s")]
    Deadline {
        /// The deadline.
        seconds: u64,
    },
    /// A file.
    #[error("the files of the sink cannot be written; check the disk of the data folder")]
    File(#[source] io::Error),
    /// The secret cannot be used.
    #[error("the secret of the sink cannot be used; set it anew")]
    Secret,
    /// The place of the next bytes is not the one that was expected.
    #[error("the blob grew by another hand; the next try begins at its present end")]
    Position,
}
