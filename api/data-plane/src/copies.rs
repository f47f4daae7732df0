//! Copies of the audit log, as the data plane needs them: whether the synchronous one is there, and
//! how far each sink is.

use std::future::Future;
use std::pin::Pin;

use serde::Serialize;

/// Who carries copies of the log to sinks.
pub trait Copies: Send + Sync {
    /// Waits until the synchronous sink, if one is set, has the record with this number.
    fn acknowledged(
        &self,
        sequence: u64,
    ) -> Pin<Box<dyn Future<Output = Result<(), CopyMissing>> + Send + '_>>;

    /// How far each sink is.
    fn status(&self) -> Vec<SinkStatus>;
}

/// The synchronous sink has not said in time that it has a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the synchronous audit sink '{sink}' did not acknowledge the record within {waited_ms} ms")]
pub struct CopyMissing {
    /// The sink.
    pub sink: String,
    /// How long it was waited for, in milliseconds.
    pub waited_ms: u32,
}

/// How far a sink is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkStatus {
    /// Its name.
    pub name: String,
    /// So many records of the log have arrived there; unknown until it has begun.
    pub delivered: Option<u64>,
    /// So many have not.
    pub lag: Option<u64>,
    /// Why it stands still, if it does.
    pub error: Option<String>,
    /// Deliveries in a row that failed.
    pub failures: u32,
}

/// No copies anywhere, for tests of the data plane.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCopies;

impl Copies for NoCopies {
    fn acknowledged(
        &self,
        _sequence: u64,
    ) -> Pin<Box<dyn Future<Output = Result<(), CopyMissing>> + Send + '_>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn status(&self) -> Vec<SinkStatus> {
        Vec::new()
    }
}
