//! A courier's life: hear the settings, run each sink by itself, end with the partition.

use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use casemate_audit_sinks::{SealedSinks, Sink, Sinks};
use casemate_channel::courier::{Delivered, Exported};
use tokio::net::UnixStream;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use crate::boot::Boot;
use crate::cursor::{self, Cursor};
use crate::failure::{Failure, SinkFailure, chain};
use crate::farewell::Farewells;
use crate::feed::{Feed, News, Origin, attend};
use crate::runner::Runner;
use crate::sinks::Carrier;
use crate::traces::Exporter;
use crate::transfer::{Carrying, Roots};

/// Worker threads; the work is waiting.
const THREADS: usize = 2;
/// Time for the sinks to write their cursors at the end.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs a confined process as a courier until its partition has gone.
pub(crate) fn run(boot: Boot) -> Result<(), Failure> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .map_err(Failure::Threads)?;
    let done = runtime.block_on(live(boot.folder, boot.stream, boot.roots));
    runtime.shutdown_timeout(END_TIMEOUT);
    done
}

async fn live(folder: PathBuf, stream: StdUnixStream, roots: Roots) -> Result<(), Failure> {
    stream.set_nonblocking(true).map_err(Failure::NoPartition)?;
    let stream = UnixStream::from_std(stream).map_err(Failure::NoPartition)?;
    let (feed, mut inbox) = attend(stream);
    let mut origin = Origin::default();
    let mut running = JoinSet::new();
    let mut farewells = Farewells::default();
    let mut before = None;
    let carrier = Carrying::begin(&folder, roots, feed.clone());
    let heard = loop {
        match inbox.next().await {
            Ok(None) => break Ok(()),
            Err(error) => break Err(error.into()),
            Ok(Some(News::Hello(told))) => origin = told,
            Ok(Some(News::Transfer(order))) => carrier.order(order).await,
            Ok(Some(News::Piece { id, bytes })) => carrier.piece(id, bytes).await,
            Ok(Some(News::Configuration { generation, json })) => {
                // All of them anew: what a sink had acknowledged is in its cursor, or comes again.
                running.shutdown().await;
                let Some(sinks) = read(&json) else {
                    tracing::error!("the settings of the sinks are not whole; none runs");
                    continue;
                };
                if let Some(before) = &before {
                    farewells.say(&folder, &origin, before, &sinks);
                }
                let crew = Crew { folder: &folder, origin: &origin, feed: &feed, generation };
                crew.start(&sinks, &mut running).await?;
                before = Some(sinks);
            }
        }
    };
    // The sinks see the end of the feed and write their cursors.
    drop(inbox);
    drop(carrier);
    drop(feed);
    let ended = async { while running.join_next().await.is_some() {} };
    let _late = tokio::time::timeout(END_TIMEOUT, ended).await;
    heard
}

fn read(json: &[u8]) -> Option<Sinks> {
    let sealed: SealedSinks = serde_json::from_slice(json).ok()?;
    sealed.open().ok()
}

/// What all sinks of one configuration share.
struct Crew<'a> {
    folder: &'a Path,
    origin: &'a Origin,
    feed: &'a Feed,
    generation: u64,
}

impl Crew<'_> {
    async fn start(&self, sinks: &Sinks, running: &mut JoinSet<()>) -> Result<(), Failure> {
        cursor::forget_others(self.folder, sinks.all()).map_err(Failure::Folder)?;
        for sink in sinks.all() {
            match self.prepare(sink) {
                Ok(runner) => drop(running.spawn(runner.run())),
                Err(error) => {
                    let error = Some(format!("the sink cannot begin: {}", chain(&error)));
                    let (generation, sink) = (self.generation, sink.name.to_string());
                    let failed = Delivered { generation, sink, upto: 0, error, failures: 1 };
                    self.feed.report(failed).await;
                }
            }
        }
        let Some(traces) = sinks.traces() else { return Ok(()) };
        match Exporter::new(self.generation, self.origin, traces, self.feed.clone()) {
            Ok(exporter) => drop(running.spawn(exporter.run())),
            Err(error) => {
                let error = Some(format!("traces cannot be sent: {}", chain(&error)));
                let generation = self.generation;
                let failed = Exported { generation, sent: 0, lost: 0, error, failures: 1 };
                self.feed.report_spans(failed).await;
            }
        }
        Ok(())
    }

    fn prepare(&self, sink: &Sink) -> Result<Runner, SinkFailure> {
        let cursor = Cursor::open(self.folder, sink, self.origin.log).map_err(SinkFailure::File)?;
        let carrier = Carrier::new(self.folder, self.origin, sink)?;
        Ok(Runner::new(self.generation, sink, carrier, cursor, self.feed.clone()))
    }
}
