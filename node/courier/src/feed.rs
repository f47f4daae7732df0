//! The stream to the partition: how far the log goes, its entries on request, and reports back.
//!
//! One request is open at a time, and the last answer is kept for the other sinks, which mostly
//! want the same: so memory is bounded whatever the number of sinks.

use std::sync::Arc;
use std::time::Duration;

use casemate_channel::courier::{
    CourierProtocolError, Delivered, Exported, FromCourier, Span, ToCourier, read_frame,
    write_frame,
};
use casemate_channel::transfer::{Order, Report, pieces};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::sleep;

use crate::batch::{Batch, Bounds, Chunk};
use crate::checkpoint::Checkpoint;

/// Bytes asked for at once.
const READ_BYTES: u32 = 512 * 1024;
/// Frames that wait to be written.
const OUTGOING_MAX: usize = 64;
/// How long to wait after an answer without entries.
const EMPTY_PAUSE: Duration = Duration::from_secs(1);
/// Answers that wait to be taken: more are only there after requests that were given up.
const ANSWERS_MAX: usize = 4;

/// How far the log goes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reach {
    /// Committed entries.
    pub(crate) committed: u64,
    /// The newest checkpoint.
    pub(crate) checkpoint: Option<Arc<Checkpoint>>,
}

/// What is known of the HSM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Origin {
    /// Its name.
    pub(crate) hsm: String,
    /// Its resource id.
    pub(crate) resource_id: String,
    /// How many logs before this one were lost.
    pub(crate) log: u32,
}

impl Origin {
    /// What ids of messages begin with: those of one log are not those of another.
    pub(crate) fn id(&self) -> String {
        match self.log {
            0 => self.hsm.clone(),
            log => format!("{}.log-{log}", self.hsm),
        }
    }
}

/// The partition has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

/// What the sinks read from. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Feed {
    reach: watch::Receiver<Reach>,
    outgoing: mpsc::Sender<FromCourier>,
    reading: Arc<Mutex<Reading>>,
    spans: Arc<Mutex<mpsc::Receiver<Spans>>>,
}

/// Spans, and the number of the configuration that they were asked for.
type Spans = (u64, Vec<Span>);

/// The sizes that a proof joins, and its text.
type Proof = ((u64, u64), String);

#[derive(Debug)]
struct Reading {
    answers: mpsc::Receiver<Chunk>,
    frontiers: mpsc::Receiver<(u64, String)>,
    proofs: mpsc::Receiver<Proof>,
    last: Option<Arc<Chunk>>,
}

/// What comes in that is no answer to a sink.
#[derive(Debug)]
pub(crate) enum News {
    /// Who the HSM is.
    Hello(Origin),
    /// The settings, as JSON, and their number.
    Configuration {
        /// The number.
        generation: u64,
        /// The settings.
        json: Vec<u8>,
    },
    /// An object of a backup is to be carried.
    Transfer(Order),
    /// Bytes of it.
    Piece {
        /// The order.
        id: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
}

/// The part of the stream that is read by the courier's main task.
pub(crate) struct Inbox {
    stream: OwnedReadHalf,
    reach: watch::Sender<Reach>,
    answers: mpsc::Sender<Chunk>,
    spans: mpsc::Sender<Spans>,
    frontiers: mpsc::Sender<(u64, String)>,
    proofs: mpsc::Sender<Proof>,
    certificate: Option<String>,
}

/// Begins the conversation.
pub(crate) fn attend(stream: UnixStream) -> (Feed, Inbox) {
    let (incoming, outgoing) = stream.into_split();
    let (reach, reach_seen) = watch::channel(Reach::default());
    let (answers, answered) = mpsc::channel(ANSWERS_MAX);
    let (frontiers, frontiers_answered) = mpsc::channel(ANSWERS_MAX);
    let (proofs, proofs_answered) = mpsc::channel(ANSWERS_MAX);
    let (spans, spans_seen) = mpsc::channel(ANSWERS_MAX);
    let (send, sending) = mpsc::channel(OUTGOING_MAX);
    tokio::spawn(write_all(outgoing, sending));
    let reading = Reading {
        answers: answered,
        frontiers: frontiers_answered,
        proofs: proofs_answered,
        last: None,
    };
    let reading = Arc::new(Mutex::new(reading));
    let spans_seen = Arc::new(Mutex::new(spans_seen));
    let feed = Feed { reach: reach_seen, outgoing: send, reading, spans: spans_seen };
    let (stream, certificate) = (incoming, None);
    (feed, Inbox { stream, reach, answers, frontiers, proofs, spans, certificate })
}

async fn write_all(mut stream: OwnedWriteHalf, mut frames: mpsc::Receiver<FromCourier>) {
    // The other end's going shows when reading.
    let _gone = write_frame(&mut stream, &FromCourier::Hello.encode()).await;
    while let Some(frame) = frames.recv().await {
        if write_frame(&mut stream, &frame.encode()).await.is_err() {
            return;
        }
    }
}

impl Feed {
    /// Waits until there is something for a sink that has all before `next` and the checkpoint of
    /// this size: a batch within the bounds, with the newest checkpoint if it is over no more.
    pub(crate) async fn next(
        &self,
        next: u64,
        checkpoint: u64,
        bounds: Bounds,
    ) -> Result<Batch, Gone> {
        let mut reach = self.reach.clone();
        let wanted = |reach: &Reach| {
            let newer = |known: &Arc<Checkpoint>| known.size > checkpoint && known.size <= next;
            reach.committed > next || reach.checkpoint.as_ref().is_some_and(newer)
        };
        let reach = reach.wait_for(wanted).await.map_err(|_| Gone)?.clone();
        let mut batch = match reach.committed > next {
            true => Some(self.read(next, bounds).await?),
            false => None,
        };
        let end = batch.as_ref().map_or(next, Batch::end);
        let fitting = reach.checkpoint.filter(|known| known.size > checkpoint && known.size <= end);
        match (&mut batch, fitting) {
            (Some(batch), fitting) => {
                batch.checkpoint = fitting;
                Ok(batch.clone())
            }
            (None, Some(fitting)) => Ok(Batch::of_checkpoint(next, fitting)),
            (None, None) => Err(Gone),
        }
    }

    /// The newest checkpoint, whatever any sink has of what it is over.
    pub(crate) fn newest(&self) -> Option<Arc<Checkpoint>> {
        self.reach.borrow().checkpoint.clone()
    }

    /// Tells the partition how far a sink is. Waits while earlier reports are not taken.
    pub(crate) async fn report(&self, delivered: Delivered) {
        // A partition that has gone wants to know nothing.
        let _gone = self.outgoing.send(FromCourier::Delivered(delivered)).await;
    }

    /// Tells the partition what came of an order, with the bytes that were asked for.
    pub(crate) async fn transferred(&self, report: Report, object: &[u8]) {
        let id = report.id;
        // A partition that has gone wants to know nothing.
        if self.outgoing.send(FromCourier::Transferred(report)).await.is_err() {
            return;
        }
        for piece in pieces(object) {
            let piece = FromCourier::Piece { id, bytes: piece.to_vec() };
            if self.outgoing.send(piece).await.is_err() {
                return;
            }
        }
    }

    /// Asks for spans for this configuration; none come if none wait.
    pub(crate) async fn spans(&self, generation: u64) -> Result<Vec<Span>, Gone> {
        let mut answers = self.spans.lock().await;
        let wanted = FromCourier::ReadSpans { generation };
        self.outgoing.send(wanted).await.map_err(|_| Gone)?;
        loop {
            let (of, spans) = answers.recv().await.ok_or(Gone)?;
            // Another one is the answer to a request that was given up, and was for another place.
            if of == generation {
                return Ok(spans);
            }
        }
    }

    /// The right edge of the tree over so many entries, as a copy writes it; none if the partition
    /// could not read its log.
    pub(crate) async fn frontier(&self, size: u64) -> Result<Option<String>, Gone> {
        let mut reading = self.reading.lock().await;
        self.outgoing.send(FromCourier::Frontier { size }).await.map_err(|_| Gone)?;
        loop {
            let (at, text) = reading.frontiers.recv().await.ok_or(Gone)?;
            // Another one is the answer to a request that was given up.
            if at == size {
                return Ok((!text.is_empty()).then_some(text));
            }
        }
    }

    /// The proof that the tree over `new` entries grew from that over `old`, as a copy writes it;
    /// none if the partition could not read its log.
    pub(crate) async fn consistency(&self, old: u64, new: u64) -> Result<Option<String>, Gone> {
        let mut reading = self.reading.lock().await;
        self.outgoing.send(FromCourier::Consistency { old, new }).await.map_err(|_| Gone)?;
        loop {
            let (of, text) = reading.proofs.recv().await.ok_or(Gone)?;
            // Another one is the answer to a request that was given up.
            if of == (old, new) {
                return Ok((!text.is_empty()).then_some(text));
            }
        }
    }

    /// Tells the partition what became of spans.
    pub(crate) async fn report_spans(&self, exported: Exported) {
        // A partition that has gone wants to know nothing.
        let _gone = self.outgoing.send(FromCourier::Exported(exported)).await;
    }

    async fn read(&self, from: u64, bounds: Bounds) -> Result<Batch, Gone> {
        let mut reading = self.reading.lock().await;
        if let Some(batch) = reading.last.as_ref().and_then(|last| last.batch(from, bounds)) {
            return Ok(batch);
        }
        loop {
            let wanted = FromCourier::Read { from, bytes_max: READ_BYTES };
            self.outgoing.send(wanted).await.map_err(|_| Gone)?;
            let chunk = loop {
                let chunk = reading.answers.recv().await.ok_or(Gone)?;
                // Another one is the answer to a request that was given up.
                if chunk.from() == from {
                    break Arc::new(chunk);
                }
            };
            if let Some(batch) = chunk.batch(from, bounds) {
                reading.last = Some(chunk);
                return Ok(batch);
            }
            // The partition could not read its log, and says so in its own.
            sleep(EMPTY_PAUSE).await;
        }
    }
}

impl Inbox {
    fn checkpoint(&self, text: String) -> Option<Checkpoint> {
        Checkpoint::parse(text, self.certificate.clone())
    }

    /// The next news; `None` when the partition has gone.
    pub(crate) async fn next(&mut self) -> Result<Option<News>, CourierProtocolError> {
        while let Some(frame) = read_frame(&mut self.stream).await? {
            match ToCourier::decode(&frame)? {
                ToCourier::Hello { hsm, resource_id, log } => {
                    return Ok(Some(News::Hello(Origin { hsm, resource_id, log })));
                }
                ToCourier::Configuration { generation, json } => {
                    return Ok(Some(News::Configuration { generation, json }));
                }
                ToCourier::Transfer(order) => return Ok(Some(News::Transfer(order))),
                ToCourier::Piece { id, bytes } => return Ok(Some(News::Piece { id, bytes })),
                ToCourier::Committed(size) => {
                    self.reach.send_modify(|reach| reach.committed = reach.committed.max(size));
                }
                ToCourier::Certificate(text) => self.certificate = Some(text),
                ToCourier::Checkpoint(text) => match self.checkpoint(text) {
                    Some(new) => {
                        self.reach.send_modify(|reach| reach.checkpoint = Some(Arc::new(new)));
                    }
                    None => tracing::warn!("the partition sent a checkpoint that is none"),
                },
                ToCourier::Entries { from, lines } => {
                    // Nobody waits when all sinks have been replaced meanwhile.
                    let _unwanted = self.answers.try_send(Chunk::new(from, lines));
                }
                ToCourier::Spans { generation, spans } => {
                    // Nobody waits when the settings have been replaced meanwhile.
                    let _unwanted = self.spans.try_send((generation, spans));
                }
                ToCourier::Frontier { size, text } => {
                    let _unwanted = self.frontiers.try_send((size, text));
                }
                ToCourier::Consistency { old, new, text } => {
                    let _unwanted = self.proofs.try_send(((old, new), text));
                }
            }
        }
        Ok(None)
    }
}
