//! Keeps a courier beside one partition: starts it, gives both the two ends of a stream, starts it
//! again when it dies, and lets it end when the partition has.
//!
//! The agent never reads the stream. A partition works on without a courier; only its synchronous
//! sink, if one is set, then refuses.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use casemate_channel::courier::stream_pair;
use casemate_channel::{AgentEnd, ChannelError, ToPartition, chain};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use crate::backoff::Backoff;
use crate::facts::SharedFacts;
use crate::process::{Process, Role};
use crate::say::say;
use crate::users;

/// Time for a courier to write its cursors once its partition has gone.
const END_TIMEOUT: Duration = Duration::from_secs(3);
/// One that lived so long is started again without a longer pause.
const LIVED: Duration = Duration::from_secs(60);

/// Where a courier keeps its cursors, and as whom it runs.
#[derive(Debug, Clone)]
pub(crate) struct CourierPlace {
    /// Its folder, of its own.
    pub(crate) folder: PathBuf,
    /// Its own user, where the agent is root.
    pub(crate) user: Option<u32>,
}

impl CourierPlace {
    /// Gives the folder to a user of the courier's own, where the agent is root: to the one that
    /// has it already, if that is no account of this machine.
    pub(crate) fn prepare(folder: PathBuf) -> io::Result<Self> {
        if !users::is_root() {
            return Ok(Self { folder, user: None });
        }
        let user = owner(&folder)?.unwrap_or_else(users::pick);
        users::give(&folder, user)?;
        Ok(Self { folder, user: Some(user) })
    }
}

fn owner(folder: &Path) -> io::Result<Option<u32>> {
    let owner = fs::metadata(folder)?.uid();
    Ok(users::is_picked(owner).then_some(owner))
}

/// A courier that is kept beside a partition until it is let go.
pub(crate) struct Courier {
    gone: oneshot::Sender<()>,
    kept: tokio::task::JoinHandle<()>,
}

impl Courier {
    /// Begins to keep one.
    pub(crate) fn keep(place: CourierPlace, end: Arc<AgentEnd>, facts: Arc<SharedFacts>) -> Self {
        let (gone, partition_gone) = oneshot::channel();
        let keeper = Keeper { place, end, facts };
        Self { gone, kept: tokio::spawn(keeper.run(partition_gone)) }
    }

    /// The partition has gone: waits a moment for the courier to end by itself.
    pub(crate) async fn let_go(self) {
        let _ended_before = self.gone.send(());
        let _ended = self.kept.await;
    }
}

struct Keeper {
    place: CourierPlace,
    end: Arc<AgentEnd>,
    facts: Arc<SharedFacts>,
}

impl Keeper {
    async fn run(self, mut partition_gone: oneshot::Receiver<()>) {
        let mut backoff = Backoff::new();
        loop {
            let begun = Instant::now();
            let how = match self.begin().await {
                Ok(mut process) => {
                    let pid = process.pid();
                    self.facts.change(|facts| facts.courier_pid = Some(pid));
                    tokio::select! {
                        how = process.ended() => format!("ended: {how}"),
                        _ = &mut partition_gone => {
                            // Then it is killed as the value is dropped.
                            let _late = timeout(END_TIMEOUT, process.ended()).await;
                            self.facts.change(|facts| facts.courier_pid = None);
                            return;
                        }
                    }
                }
                Err(error) => chain(&error),
            };
            self.facts.change(|facts| {
                facts.courier_pid = None;
                facts.courier_restarts += 1;
            });
            if begun.elapsed() > LIVED {
                backoff.reset();
            }
            tokio::select! {
                () = sleep(backoff.delay()) => {}
                // It ended because its partition had.
                _ = &mut partition_gone => return,
            }
            say(format_args!("courier {how}; starting again"));
        }
    }

    async fn begin(&self) -> Result<Process, ChannelError> {
        let (partitions, couriers) = stream_pair()?;
        let process = Process::start(couriers, Role::Courier(self.place.clone())).await?;
        self.end.send(&ToPartition::Courier, Some(partitions.as_fd())).await?;
        Ok(process)
    }
}
