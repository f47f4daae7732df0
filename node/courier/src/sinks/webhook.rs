//! Signed JSON lines over HTTPS: the body is a piece of a copy of the log, byte by byte.
//!
//! The id names the entries, so it is the same when a batch is sent again: a receiver that keeps
//! the ids of the last minutes takes each batch once and refuses a replay.

use bytes::Bytes;
use casemate_audit_sinks::{Endpoint, SinkSecret};
use http::Request;
use http::header::CONTENT_TYPE;
use http_body_util::Full;

use crate::batch::Batch;
use crate::entry::Moment;
use crate::failure::SinkFailure;
use crate::feed::Origin;
use crate::https::Https;
use crate::sign::Signer;

/// One webhook.
pub(crate) struct WebhookSink {
    hsm: String,
    https: Https,
    signer: Signer,
}

impl WebhookSink {
    pub(crate) fn new(
        origin: &Origin,
        endpoint: &Endpoint,
        secret: Option<&SinkSecret>,
    ) -> Result<Self, SinkFailure> {
        let hsm = origin.id();
        Ok(Self { hsm, https: Https::new(endpoint)?, signer: Signer::new(secret)? })
    }

    pub(crate) async fn deliver(&mut self, batch: &Batch) -> Result<(), SinkFailure> {
        let body = batch.copy();
        let checkpoint = batch.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.size);
        let id = format!("{}-{}-{}-{checkpoint}", self.hsm, batch.from(), batch.end());
        let request =
            Request::post(self.https.endpoint().path()).header(CONTENT_TYPE, "application/jsonl");
        let request = self.signer.sign(request, &id, Moment::now().seconds(), &body);
        let request =
            request.body(Full::new(Bytes::from(body))).map_err(|_| SinkFailure::Secret)?;
        self.https.send(request).await.map(drop)
    }

    pub(crate) fn hang_up(&mut self) -> Option<u64> {
        self.https.hang_up();
        None
    }
}
