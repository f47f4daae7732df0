//! Alerts by webhook: each is one signed message. A message that cannot be delivered is kept and
//! sent again; the cursor stands still meanwhile.

use std::collections::VecDeque;

use bytes::Bytes;
use casemate_audit_sinks::{Endpoint, Rules, SinkSecret};
use http::Request;
use http::header::CONTENT_TYPE;
use http_body_util::Full;

use crate::alerts::{Alert, Watch};
use crate::batch::Batch;
use crate::entry::{Entry, Moment};
use crate::failure::SinkFailure;
use crate::feed::Origin;
use crate::https::Https;
use crate::sign::Signer;

/// One receiver of alerts.
pub(crate) struct AlertSink {
    origin: Origin,
    https: Https,
    signer: Signer,
    watch: Watch,
    /// Entries below this index have been looked at.
    seen: u64,
    waiting: VecDeque<Alert>,
}

impl AlertSink {
    pub(crate) fn new(
        origin: &Origin,
        endpoint: &Endpoint,
        rules: Rules,
        secret: Option<&SinkSecret>,
    ) -> Result<Self, SinkFailure> {
        Ok(Self {
            origin: origin.clone(),
            https: Https::new(endpoint)?,
            signer: Signer::new(secret)?,
            watch: Watch::new(rules),
            seen: 0,
            waiting: VecDeque::new(),
        })
    }

    pub(crate) async fn deliver(&mut self, batch: &Batch) -> Result<(), SinkFailure> {
        // The same batch comes again after a failure; what was seen is not counted twice.
        for (index, line) in batch.entries().filter(|(index, _)| *index >= self.seen) {
            self.waiting.extend(self.watch.see(index, &Entry::parse(line)));
        }
        self.seen = self.seen.max(batch.end());
        while let Some(alert) = self.waiting.front() {
            let id = format!("{}-{}-{}", self.origin.id(), alert.rule, alert.index);
            let body = alert.body(&self.origin);
            self.send(&id, body).await?;
            self.waiting.pop_front();
        }
        Ok(())
    }

    /// Tells the receiver that it is told no more, once: nobody waits for it, and nobody would be
    /// there to try again.
    pub(crate) async fn take_leave(mut self, name: &str, next: u64) -> Result<(), SinkFailure> {
        let now = Moment::now();
        let alert = Alert::removed(name, next, now);
        // The time, since what is replaced twice stands at the same record.
        let id = format!("{}-{}-{}", self.origin.id(), alert.rule, now.nanoseconds());
        let body = alert.body(&self.origin);
        self.send(&id, body).await
    }

    async fn send(&mut self, id: &str, body: Vec<u8>) -> Result<(), SinkFailure> {
        let request =
            Request::post(self.https.endpoint().path()).header(CONTENT_TYPE, "application/json");
        let request = self.signer.sign(request, id, Moment::now().seconds(), &body);
        let request =
            request.body(Full::new(Bytes::from(body))).map_err(|_| SinkFailure::Secret)?;
        self.https.send(request).await.map(drop)
    }

    pub(crate) fn hang_up(&mut self) -> Option<u64> {
        self.https.hang_up();
        None
    }
}
