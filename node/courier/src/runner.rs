//! One sink's life: take what is next, hand it over, remember, report; rest after a failure.

use std::time::Duration;

use casemate_audit_sinks::Sink;
use casemate_channel::courier::Delivered;
use tokio::time::{sleep, timeout};

use crate::backoff::Backoff;
use crate::batch::Batch;
use crate::cursor::Cursor;
use crate::failure::{SinkFailure, chain};
use crate::feed::{Feed, Gone};
use crate::sinks::Carrier;

/// Time for one hand-over, connection and answer included.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);
/// A cursor that moved is written at the latest so long afterwards.
const IDLE_SAVE: Duration = Duration::from_secs(1);
/// Longest reason in a report, in bytes.
const REASON_BYTES_MAX: usize = 512;

const LATE: SinkFailure = SinkFailure::Deadline { seconds: DELIVERY_TIMEOUT.as_secs() };

/// One sink at work.
pub(crate) struct Runner {
    generation: u64,
    name: String,
    carrier: Carrier,
    cursor: Cursor,
    feed: Feed,
}

impl Runner {
    pub(crate) fn new(
        generation: u64,
        sink: &Sink,
        carrier: Carrier,
        cursor: Cursor,
        feed: Feed,
    ) -> Self {
        Self { generation, name: sink.name.to_string(), carrier, cursor, feed }
    }

    /// Works until the partition has gone, or it is dropped.
    pub(crate) async fn run(mut self) {
        if let Some(next) = self.carrier.resume(self.cursor.next()).await {
            self.cursor.advance(next, None);
        }
        self.report(None, 0).await;
        loop {
            let batch = match self.next().await {
                Ok(batch) => batch,
                Err(Gone) => break,
            };
            if let Some(back_to) = self.deliver(&batch).await {
                self.cursor.rewind(back_to);
                continue;
            }
            let checkpoint = batch.checkpoint.as_ref().map(|checkpoint| checkpoint.size);
            self.cursor.advance(batch.end(), checkpoint);
            self.report(None, 0).await;
            self.join_ended().await;
            self.save(false);
        }
        self.save(true);
    }

    async fn next(&mut self) -> Result<Batch, Gone> {
        let bounds = self.carrier.bounds();
        let wanted = self.feed.next(self.cursor.next(), self.cursor.checkpoint(), bounds);
        if !self.cursor.is_dirty() {
            return wanted.await;
        }
        let mut wanted = std::pin::pin!(wanted);
        tokio::select! {
            biased;
            batch = &mut wanted => return batch,
            () = sleep(IDLE_SAVE) => {}
        }
        if let Err(error) = self.cursor.save() {
            tracing::warn!(sink = self.name, %error, "the cursor could not be written");
        }
        wanted.await
    }

    /// Hands the batch over until it is taken. Some index to go back to, where what was handed
    /// over before may be lost.
    async fn deliver(&mut self, batch: &Batch) -> Option<u64> {
        let mut backoff = Backoff::new();
        let mut failures = 0;
        loop {
            let batch = self.tied(batch).await;
            let handed = timeout(DELIVERY_TIMEOUT, self.carrier.deliver(&batch)).await;
            let failure = match handed {
                Ok(Ok(())) => return None,
                Ok(Err(failure)) => failure,
                Err(_) => LATE,
            };
            failures += 1;
            let reason = chain(&failure);
            tracing::warn!(sink = self.name, failures, "{reason}");
            self.report(Some(reason), failures).await;
            let back_to = self.carrier.broke_off();
            sleep(backoff.delay()).await;
            if back_to.is_some_and(|back_to| back_to < batch.from()) {
                return back_to;
            }
        }
    }

    /// The batch with the right edge of the tree wherever it begins a file or a blob. Without it,
    /// which takes a log that cannot be read, only fewer pieces of the copy can be checked alone.
    async fn tied(&self, batch: &Batch) -> Batch {
        let mut batch = batch.clone();
        for index in self.carrier.pieces_begin(&batch) {
            let asked = timeout(DELIVERY_TIMEOUT, self.feed.frontier(index)).await;
            match asked {
                Ok(Ok(Some(text))) => batch.tie(index, &text),
                _ => tracing::warn!(sink = self.name, index, "there is no frontier"),
            }
        }
        batch
    }

    /// Joins pieces that have ended to the newest checkpoint. What fails is tried again after the
    /// next batch: no entry waits for it.
    async fn join_ended(&mut self) {
        let Some(checkpoint) = self.feed.newest() else { return };
        loop {
            let mut joints = Vec::new();
            for size in self.carrier.pieces_ended(checkpoint.size) {
                let asked = self.feed.consistency(size, checkpoint.size);
                match timeout(DELIVERY_TIMEOUT, asked).await {
                    Ok(Ok(Some(proof))) => joints.push((size, checkpoint.joint(&proof))),
                    _ => {
                        tracing::warn!(sink = self.name, size, "there is no proof");
                        break;
                    }
                }
            }
            if joints.is_empty() {
                return;
            }
            let joined = timeout(DELIVERY_TIMEOUT, self.carrier.join(joints)).await;
            if let Err(error) = joined.unwrap_or(Err(LATE)) {
                tracing::warn!(sink = self.name, "a piece is not joined yet: {}", chain(&error));
                return;
            }
        }
    }

    async fn report(&self, error: Option<String>, failures: u32) {
        let error = error.map(shortened);
        let (generation, sink, upto) = (self.generation, self.name.clone(), self.cursor.next());
        self.feed.report(Delivered { generation, sink, upto, error, failures }).await;
    }

    fn save(&mut self, now: bool) {
        let saved = if now { self.cursor.save() } else { self.cursor.save_soon() };
        if let Err(error) = saved {
            tracing::warn!(sink = self.name, %error, "the cursor could not be written");
        }
    }
}

/// A reason as a report may hold it.
pub(crate) fn shortened(mut text: String) -> String {
    let end = (0..=REASON_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or_default());
    text
}
