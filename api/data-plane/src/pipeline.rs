//! The path of a request.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes};
use http::{Request, Response, StatusCode};
use http_body_util::Full;

use crate::answer::{Answer, CLIENT_REQUEST_ID, Envelope, send};
use crate::authority::asked;
use crate::plane::{ConnectionFacts, DataPlane};

impl DataPlane {
    /// Answers one request.
    pub async fn handle<B>(
        self: &Arc<Self>,
        request: Request<B>,
        connection: &ConnectionFacts,
    ) -> Response<Full<Bytes>>
    where
        B: http_body::Body,
        B::Data: Buf,
    {
        let started = Instant::now();
        let (parts, _body) = request.into_parts();
        let id = self.request_ids.next();
        let answer = match asked(&self.names, &parts) {
            None => Answer::empty(StatusCode::MISDIRECTED_REQUEST),
            Some(name) => Answer::challenge(&parts.method, name.challenge.clone()),
        };
        let envelope = Envelope {
            id: &id,
            client_request_id: parts.headers.get(CLIENT_REQUEST_ID),
            authenticated: None.or(Some(connection)),
            is_get: parts.method == http::Method::GET,
            latency_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        send(self, &envelope, answer)
    }
}
