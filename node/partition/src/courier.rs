//! The partition's side of its courier: says how far the audit log goes, gives entries and spans on
//! request, hands the settings over, and keeps what the sinks have acknowledged.
//!
//! Nothing here is on the path of a call but the wait for a synchronous sink: the courier pulls,
//! and one that is gone, slow or silly holds up only itself.
//!
//! Invariants:
//! - Only committed entries leave.
//! - What a sink has acknowledged counts only for the settings it was started with: a report about
//!   earlier ones is dropped.

mod link;
mod log;
mod spans;
mod table;
mod transfers;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use casemate_data_plane::{Copies, CopyMissing, SinkStatus};
use casemate_hsm::Door;
use casemate_trace::{Tracer, step};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::clock::now_ms;
use crate::identify::Identify;

use link::Link;
pub(crate) use link::Origin;
pub(crate) use log::{Log, TrailLog};
use spans::Spans;
use table::Table;
pub(crate) use transfers::Transfers;

/// The courier of this HSM, whether one runs or not.
pub(crate) struct Courier {
    hsm: Door,
    log: Arc<dyn Log>,
    origin: Origin,
    table: Arc<Table>,
    transfers: Arc<Transfers>,
    spans: Arc<Spans>,
    link: Mutex<Option<JoinHandle<()>>>,
    /// The first record that somebody waited for in vain, until it is there.
    missing: Mutex<Option<u64>>,
}

impl Courier {
    pub(crate) fn new(
        hsm: Door,
        log: Arc<dyn Log>,
        tracer: &Arc<Tracer>,
        identity: Arc<dyn Identify>,
        origin: Origin,
    ) -> Self {
        let spans = Arc::new(Spans::new(Arc::clone(tracer)));
        let (table, transfers) = (Arc::default(), Arc::new(Transfers::new(identity)));
        Self {
            hsm,
            log,
            origin,
            table,
            transfers,
            spans,
            link: Mutex::default(),
            missing: Mutex::default(),
        }
    }

    /// Who carries the objects of backups.
    pub(crate) fn transfers(&self) -> &Arc<Transfers> {
        &self.transfers
    }

    /// Works with a courier that was just started; the one before it has gone.
    pub(crate) fn attach(&self, stream: OwnedFd) {
        let hsm = self.hsm.clone();
        let link = Link {
            in_force: Arc::new(move || hsm.audit_sinks()),
            log: Arc::clone(&self.log),
            origin: self.origin.clone(),
            table: Arc::clone(&self.table),
            transfers: Arc::clone(&self.transfers),
            spans: Arc::clone(&self.spans),
        };
        let task = tokio::spawn(async move {
            if let Err(error) = link.run(stream).await {
                tracing::warn!("{}", crate::failure::chain(&error));
            }
        });
        let before = self.link.lock().replace(task);
        if let Some(before) = before {
            before.abort();
        }
    }
}

/// How far a sink is, for monitoring.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SinkLag {
    pub(crate) name: String,
    /// Records that have not arrived.
    pub(crate) records: u64,
    /// For how long the oldest of them waits, in milliseconds.
    pub(crate) waits_ms: u64,
    /// Deliveries that failed since it was set.
    pub(crate) failed: u64,
    /// When the last one failed, in milliseconds since 1970.
    pub(crate) failed_at_ms: Option<i64>,
    /// Whether the last one failed.
    pub(crate) is_failing: bool,
}

impl Courier {
    /// Whether a courier is at work.
    pub(crate) fn is_attached(&self) -> bool {
        self.link.lock().as_ref().is_some_and(|link| !link.is_finished())
    }

    /// Whether the synchronous sink lacks a record that somebody waited for in vain: until it has
    /// that, or is synchronous no longer, others would wait in vain too.
    pub(crate) fn copy_is_missing(&self) -> bool {
        let mut missing = self.missing.lock();
        let Some(sequence) = *missing else { return false };
        let sinks = self.hsm.audit_sinks();
        let lacks = sinks.synchronous().is_some_and(|name| {
            let known = self.table.known(&sinks, name.as_str());
            known.is_none_or(|known| known.report.upto < sequence)
        });
        if !lacks {
            *missing = None;
        }
        lacks
    }

    /// How far each sink is. One of which nothing was heard yet has nothing.
    pub(crate) async fn lags(&self) -> Vec<SinkLag> {
        let sinks = self.hsm.audit_sinks();
        let mut lags = Vec::new();
        for sink in sinks.all() {
            let known = self.table.known(&sinks, sink.name.as_str());
            let upto = known.as_ref().map_or(0, |known| known.report.upto);
            let records = self.log.committed().saturating_sub(upto);
            lags.push(SinkLag {
                name: sink.name.to_string(),
                records,
                waits_ms: if records > 0 { self.waits_ms(upto).await } else { 0 },
                failed: known.as_ref().map_or(0, |known| known.failed),
                failed_at_ms: known.as_ref().and_then(|known| known.failed_at_ms),
                is_failing: known.is_some_and(|known| known.report.error.is_some()),
            });
        }
        lags
    }

    /// How long ago this record was made; 0 if that cannot be read.
    #[expect(clippy::disallowed_methods, reason = "files are read; there is no cryptography here")]
    async fn waits_ms(&self, index: u64) -> u64 {
        let log = Arc::clone(&self.log);
        let read = tokio::task::spawn_blocking(move || log.recorded_at_ms(index)).await;
        let waits = read.ok().flatten().map(|at_ms| now_ms().saturating_sub(at_ms));
        waits.and_then(|waits| u64::try_from(waits).ok()).unwrap_or_default()
    }
}

impl Copies for Courier {
    fn acknowledged(
        &self,
        sequence: u64,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<(), CopyMissing>> + Send + '_>> {
        let sinks = self.hsm.audit_sinks();
        let Some(name) = sinks.synchronous().cloned() else {
            return Box::pin(std::future::ready(Ok(())));
        };
        let waited_ms = sinks.deadline_ms();
        Box::pin(async move {
            let mut step = step("audit_copy");
            let arrived = self.table.arrived(&sinks, name.as_str(), sequence);
            let deadline = Duration::from_millis(u64::from(waited_ms));
            let missing = |_| CopyMissing { sink: name.to_string(), waited_ms };
            let copied = tokio::time::timeout(deadline, arrived).await.map_err(missing);
            if copied.is_err() {
                step.fail();
                self.missing.lock().get_or_insert(sequence);
            }
            copied
        })
    }

    fn status(&self) -> Vec<SinkStatus> {
        let committed = self.log.committed();
        let sinks = self.hsm.audit_sinks();
        let status = |sink: &casemate_audit_sinks::Sink| {
            let known = self.table.known(&sinks, sink.name.as_str());
            let known = known.map(|known| known.report);
            let delivered = known.as_ref().map(|known| known.upto);
            SinkStatus {
                name: sink.name.to_string(),
                delivered,
                lag: delivered.map(|delivered| committed.saturating_sub(delivered)),
                failures: known.as_ref().map_or(0, |known| known.failures),
                error: known.and_then(|known| known.error),
            }
        };
        sinks.all().iter().map(status).collect()
    }
}
