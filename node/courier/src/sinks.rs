//! One sink each: how a batch becomes what the sink takes, and how it says that it has it.

mod alerts;
mod azure_blob;
mod file;
pub(crate) mod otlp;
mod syslog;
mod webhook;

use std::path::Path;

use casemate_audit_sinks::{Sink, Target};

use crate::batch::{Batch, Bounds};
use crate::failure::SinkFailure;
use crate::feed::Origin;

pub(crate) use alerts::AlertSink;
use azure_blob::AzureBlobSink;
use file::FileSink;
use otlp::OtlpSink;
use syslog::SyslogSink;
use webhook::WebhookSink;

/// What carries batches to one sink.
pub(crate) enum Carrier {
    File(FileSink),
    Syslog(Box<SyslogSink>),
    Otlp(Box<OtlpSink>),
    Webhook(Box<WebhookSink>),
    AzureBlob(Box<AzureBlobSink>),
    Alerts(Box<AlertSink>),
}

impl Carrier {
    pub(crate) fn new(folder: &Path, origin: &Origin, sink: &Sink) -> Result<Self, SinkFailure> {
        let secret = sink.secret.as_ref();
        Ok(match &sink.target {
            Target::File { rotate_bytes, keep_files } => {
                let name = sink.name.as_str();
                let name = match origin.log {
                    0 => name.to_owned(),
                    log => format!("{name}.log-{log}"),
                };
                let folder = folder.join("files").join(name);
                Self::File(FileSink::new(folder, *rotate_bytes, *keep_files))
            }
            Target::Syslog(endpoint) => Self::Syslog(SyslogSink::new(origin, endpoint)?.into()),
            Target::Otlp(endpoint) => Self::Otlp(OtlpSink::new(origin, endpoint, secret)?.into()),
            Target::Webhook(endpoint) => {
                Self::Webhook(WebhookSink::new(origin, endpoint, secret)?.into())
            }
            Target::AzureBlob(endpoint) => {
                Self::AzureBlob(AzureBlobSink::new(origin, endpoint, secret)?.into())
            }
            Target::Alerts(endpoint, rules) => {
                Self::Alerts(AlertSink::new(origin, endpoint, *rules, secret)?.into())
            }
        })
    }

    /// How much it takes at once.
    pub(crate) fn bounds(&self) -> Bounds {
        match self {
            Self::File(_) | Self::AzureBlob(_) => {
                Bounds { entries_max: 4_096, bytes_max: 1024 * 1024 }
            }
            Self::Syslog(_) | Self::Alerts(_) => {
                Bounds { entries_max: 1_024, bytes_max: 512 * 1024 }
            }
            Self::Otlp(_) | Self::Webhook(_) => Bounds { entries_max: 512, bytes_max: 256 * 1024 },
        }
    }

    /// Where to go on, if the sink itself knows that better than the cursor.
    pub(crate) async fn resume(&mut self, next: u64) -> Option<u64> {
        match self {
            Self::File(sink) => sink.resume(next).await,
            _ => None,
        }
    }

    /// Where the batch will begin something that may be read alone, so that the right edge of the
    /// tree is wanted before it.
    pub(crate) fn pieces_begin(&self, batch: &Batch) -> Vec<u64> {
        match self {
            Self::File(sink) => sink.begins(batch).into_iter().collect(),
            Self::AzureBlob(sink) => sink.begin(batch),
            _ => Vec::new(),
        }
    }

    /// After how many entries pieces have ended that may be read alone and are joined to no
    /// checkpoint yet: some of those that one of this size can be over.
    pub(crate) fn pieces_ended(&self, size: u64) -> Vec<u64> {
        match self {
            Self::File(sink) => sink.ended(size),
            _ => Vec::new(),
        }
    }

    /// Adds the lines that join a piece to a checkpoint to those pieces that end after so many
    /// entries each.
    pub(crate) async fn join(&mut self, joints: Vec<(u64, Vec<u8>)>) -> Result<(), SinkFailure> {
        match self {
            Self::File(sink) => sink.join(joints).await,
            _ => Ok(()),
        }
    }

    /// Hands a batch over; after a failure the very same batch is handed over again. When this has
    /// answered, the sink has it.
    pub(crate) async fn deliver(&mut self, batch: &Batch) -> Result<(), SinkFailure> {
        match self {
            Self::File(sink) => sink.deliver(batch).await,
            Self::Syslog(sink) => sink.deliver(batch).await,
            Self::Otlp(sink) => sink.deliver(batch).await,
            Self::Webhook(sink) => sink.deliver(batch).await,
            Self::AzureBlob(sink) => sink.deliver(batch).await,
            Self::Alerts(sink) => sink.deliver(batch).await,
        }
    }

    /// A hand-over failed or took too long: its connection is not used again. Where a sink never
    /// says what it has, the index from which it may lack something.
    pub(crate) fn broke_off(&mut self) -> Option<u64> {
        match self {
            Self::File(_) => None,
            Self::Syslog(sink) => sink.hang_up(),
            Self::Otlp(sink) => sink.hang_up(),
            Self::Webhook(sink) => sink.hang_up(),
            Self::AzureBlob(sink) => sink.hang_up(),
            Self::Alerts(sink) => sink.hang_up(),
        }
    }
}
