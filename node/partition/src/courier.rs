//! The partition's side of its courier: says how far the audit log goes, gives entries on request,
//! hands the settings over, and keeps what the sinks have acknowledged.
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
mod table;
mod transfers;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use casemate_data_plane::{Copies, CopyMissing, SinkStatus};
use casemate_hsm::Hsm;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use link::{Link, Origin};
pub(crate) use log::{Log, TrailLog};
use table::Table;
pub(crate) use transfers::Transfers;

/// The courier of this HSM, whether one runs or not.
pub(crate) struct Courier {
    hsm: Arc<Hsm>,
    log: Arc<dyn Log>,
    origin: Origin,
    table: Arc<Table>,
    transfers: Arc<Transfers>,
    link: Mutex<Option<JoinHandle<()>>>,
}

impl Courier {
    pub(crate) fn new(hsm: Arc<Hsm>, log: Arc<dyn Log>, name: &str, resource_id: &str) -> Self {
        let origin = Origin { hsm: name.to_owned(), resource_id: resource_id.to_owned() };
        Self {
            hsm,
            log,
            origin,
            table: Arc::default(),
            transfers: Arc::default(),
            link: Mutex::default(),
        }
    }

    /// Who carries the objects of backups.
    pub(crate) fn transfers(&self) -> &Arc<Transfers> {
        &self.transfers
    }

    /// Works with a courier that was just started; the one before it has gone.
    pub(crate) fn attach(&self, stream: OwnedFd) {
        let hsm = Arc::clone(&self.hsm);
        let link = Link {
            in_force: Arc::new(move || hsm.audit_sinks()),
            log: Arc::clone(&self.log),
            origin: self.origin.clone(),
            table: Arc::clone(&self.table),
            transfers: Arc::clone(&self.transfers),
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
            let arrived = self.table.arrived(&sinks, name.as_str(), sequence);
            let deadline = Duration::from_millis(u64::from(waited_ms));
            let missing = |_| CopyMissing { sink: name.to_string(), waited_ms };
            tokio::time::timeout(deadline, arrived).await.map_err(missing)
        })
    }

    fn status(&self) -> Vec<SinkStatus> {
        let committed = self.log.committed();
        let sinks = self.hsm.audit_sinks();
        let status = |sink: &casemate_audit_sinks::Sink| {
            let known = self.table.known(&sinks, sink.name.as_str());
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
