//! The stream to one courier process, from its beginning to its end.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::time::Duration;

use casemate_audit::ReadError;
use casemate_audit_sinks::Sinks;
use casemate_channel::courier::{
    CourierProtocolError, ENTRIES_BYTES_MAX, FromCourier, ToCourier, read_frame, write_frame,
};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::Transfers;
use super::log::Log;
use super::spans::Spans;
use super::table::Table;
use crate::clock::now_ms;

/// How often it is looked whether the log has grown, where nobody waits for it.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How often the checkpoint is read.
const CHECKPOINT_LOOKS: u32 = 10;
/// Requests of the courier that wait; it has one of each kind open at a time.
const REQUESTS_MAX: usize = 4;
/// Room that is left in a frame of entries for one line more.
const LINE_BYTES_ROOM: usize = 128 * 1024;

/// Whose log it is.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) hsm: String,
    pub(crate) resource_id: String,
    /// How many logs before this one were lost.
    pub(crate) log: u32,
}

/// Says which settings are in force.
pub(super) type InForce = Arc<dyn Fn() -> Arc<Sinks> + Send + Sync>;

/// One courier.
pub(super) struct Link {
    pub(super) in_force: InForce,
    pub(super) log: Arc<dyn Log>,
    pub(super) origin: Origin,
    pub(super) table: Arc<Table>,
    pub(super) transfers: Arc<Transfers>,
    pub(super) spans: Arc<Spans>,
}

/// What a courier asks for.
enum Request {
    Lines { from: u64, bytes_max: u32 },
    Spans { generation: u64 },
    Frontier { size: u64 },
    Consistency { old: u64, new: u64 },
}

/// What the courier was told last.
#[derive(Default)]
struct Told {
    sinks: Option<Arc<Sinks>>,
    committed: Option<u64>,
    certificate: Option<String>,
    checkpoint: Option<String>,
    looks: u32,
}

impl Link {
    /// Works until the courier has gone.
    pub(super) async fn run(self, stream: OwnedFd) -> Result<(), CourierProtocolError> {
        let stream = StdUnixStream::from(stream);
        stream.set_nonblocking(true)?;
        let (incoming, mut outgoing) = UnixStream::from_std(stream)?.into_split();
        let Origin { hsm, resource_id, log } = self.origin.clone();
        write_frame(&mut outgoing, &ToCourier::Hello { hsm, resource_id, log }.encode()).await?;
        let (ask, requests) = mpsc::channel(REQUESTS_MAX);
        let (table, spans) = (Arc::clone(&self.table), Arc::clone(&self.spans));
        let transfers = Arc::clone(&self.transfers);
        let orders = transfers.attach();
        let heard = Heard { table: &table, spans: &spans, transfers: &transfers };
        let ended = tokio::select! {
            heard = listen(incoming, heard, ask) => heard,
            told = self.tell(outgoing, requests, orders) => told,
        };
        transfers.detach();
        ended
    }

    /// Says what is new and answers requests. Each frame waits until the courier has taken the one
    /// before it; what has changed meanwhile is told as it is then.
    async fn tell(
        &self,
        mut outgoing: OwnedWriteHalf,
        mut requests: mpsc::Receiver<Request>,
        mut orders: mpsc::Receiver<ToCourier>,
    ) -> Result<(), CourierProtocolError> {
        let mut told = Told::default();
        let mut look = interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            for message in self.news(&mut told).await {
                write_frame(&mut outgoing, &message.encode()).await?;
            }
            tokio::select! {
                request = requests.recv() => {
                    let answer = match request {
                        None => return Ok(()),
                        Some(Request::Lines { from, bytes_max }) => {
                            ToCourier::Entries { from, lines: self.lines(from, bytes_max).await }
                        }
                        Some(Request::Spans { generation }) => {
                            let spans = self.spans.hand_over(generation);
                            ToCourier::Spans { generation, spans }
                        }
                        Some(Request::Frontier { size }) => {
                            let text = self.tie(move |log| log.frontier(size)).await;
                            ToCourier::Frontier { size, text }
                        }
                        Some(Request::Consistency { old, new }) => {
                            let text = self.tie(move |log| log.consistency(old, new)).await;
                            ToCourier::Consistency { old, new, text }
                        }
                    };
                    write_frame(&mut outgoing, &answer.encode()).await?;
                }
                Some(order) = orders.recv() => write_frame(&mut outgoing, &order.encode()).await?,
                () = self.table.nudge.notified() => {}
                _ = look.tick() => told.looks = told.looks.wrapping_add(1),
            }
        }
    }

    async fn news(&self, told: &mut Told) -> Vec<ToCourier> {
        let mut news = Vec::new();
        let sinks = (self.in_force)();
        if !told.sinks.as_ref().is_some_and(|known| Arc::ptr_eq(known, &sinks)) {
            match serde_json::to_vec(&sinks.seal()) {
                Ok(json) => {
                    let generation = self.table.begin(&sinks);
                    self.spans.begin(generation);
                    news.push(ToCourier::Configuration { generation, json });
                }
                Err(error) => tracing::error!(%error, "the settings of the sinks are no JSON"),
            }
            told.sinks = Some(sinks);
        }
        let committed = self.log.committed();
        if told.committed != Some(committed) {
            told.committed = Some(committed);
            news.push(ToCourier::Committed(committed));
        }
        if told.looks.is_multiple_of(CHECKPOINT_LOOKS) {
            told.looks = told.looks.wrapping_add(1);
            let read = self.read(|log| (log.certificate(), log.checkpoint())).await;
            let (certificate, checkpoint) = read.unwrap_or_default();
            if certificate.is_some() && told.certificate != certificate {
                news.extend(certificate.clone().map(ToCourier::Certificate));
                told.certificate = certificate;
            }
            if checkpoint.is_some() && told.checkpoint != checkpoint {
                news.extend(checkpoint.clone().map(ToCourier::Checkpoint));
                told.checkpoint = checkpoint;
            }
        }
        news
    }

    /// Committed lines; none if the log cannot be read, which is then in this process's log too.
    async fn lines(&self, from: u64, bytes_max: u32) -> Vec<u8> {
        let room = ENTRIES_BYTES_MAX - LINE_BYTES_ROOM;
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX).min(room);
        match self.read(move |log| log.lines(from, bytes_max)).await {
            Some(Ok(lines)) => lines,
            Some(Err(error)) => {
                tracing::error!("{}", crate::failure::chain(&error));
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// What ties a piece of a copy to the tree; empty if the log cannot be read.
    async fn tie(
        &self,
        read: impl FnOnce(&dyn Log) -> Result<String, ReadError> + Send + 'static,
    ) -> String {
        let told = |error: &ReadError| tracing::error!("{}", crate::failure::chain(error));
        let read = self.read(read).await;
        read.and_then(|read| read.inspect_err(told).ok()).unwrap_or_default()
    }

    /// Reads the log on a thread that may wait for the disk.
    #[expect(clippy::disallowed_methods, reason = "files are read; there is no cryptography here")]
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Log) -> T + Send + 'static,
    ) -> Option<T> {
        let log = Arc::clone(&self.log);
        let done = tokio::task::spawn_blocking(move || work(&*log)).await;
        done.inspect_err(|error| tracing::error!(%error, "the audit log could not be read")).ok()
    }
}

/// Who is told what the courier says.
struct Heard<'a> {
    table: &'a Table,
    spans: &'a Spans,
    transfers: &'a Transfers,
}

/// Hears the courier until it has gone.
async fn listen(
    mut incoming: OwnedReadHalf,
    heard: Heard<'_>,
    ask: mpsc::Sender<Request>,
) -> Result<(), CourierProtocolError> {
    while let Some(frame) = read_frame(&mut incoming).await? {
        let request = match FromCourier::decode(&frame)? {
            FromCourier::Hello => continue,
            FromCourier::Delivered(report) => {
                heard.table.note(report, now_ms());
                continue;
            }
            FromCourier::Exported(exported) => {
                heard.spans.note(exported);
                continue;
            }
            message @ (FromCourier::Transferred(_) | FromCourier::Piece { .. }) => {
                heard.transfers.hear(message).await;
                continue;
            }
            FromCourier::Read { from, bytes_max } => Request::Lines { from, bytes_max },
            FromCourier::Frontier { size } => Request::Frontier { size },
            FromCourier::Consistency { old, new } => Request::Consistency { old, new },
            FromCourier::ReadSpans { generation } => Request::Spans { generation },
        };
        if ask.send(request).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
