//! Requests to one endpoint over HTTPS: one connection, kept open, one request at a time, no
//! redirect followed, answers bounded.

use bytes::Bytes;
use casemate_audit_sinks::Endpoint;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;

use crate::failure::SinkFailure;
use crate::tls::Dialer;

/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Largest header of an answer, in bytes.
const HEADER_BYTES_MAX: usize = 32 * 1024;

/// The client of one endpoint.
pub(crate) struct Https {
    dialer: Dialer,
    open: Option<Open>,
}

/// An open connection; dropped, it ends.
struct Open {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Https {
    pub(crate) fn new(endpoint: &Endpoint) -> Result<Self, SinkFailure> {
        Ok(Self { dialer: Dialer::new(endpoint)?, open: None })
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        self.dialer.endpoint()
    }

    /// Ends the connection: what is on it is not known any more.
    pub(crate) fn hang_up(&mut self) {
        self.open = None;
    }

    /// Sends a request and reads the whole answer, whatever its status. If this is cancelled, the
    /// connection is gone, so that no answer is taken for that to another request.
    pub(crate) async fn exchange(
        &mut self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Answer, SinkFailure> {
        let host = self.endpoint().host().to_owned();
        let broken = || SinkFailure::Broken { host: host.clone() };
        let authority = HeaderValue::try_from(self.endpoint().authority()).map_err(|_| broken())?;
        request.headers_mut().insert(HOST, authority);
        let mut open = self.ready().await?;
        let response = open.sender.send_request(request).await.map_err(|_| broken())?;
        let (head, body) = response.into_parts();
        let too_much = |_| SinkFailure::Answer { host, bytes_max: ANSWER_BYTES_MAX };
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(too_much)?;
        self.open = Some(open);
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
    }

    /// The same, and any status but success is a failure.
    pub(crate) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, SinkFailure> {
        let answer = self.exchange(request).await?;
        if answer.status.is_success() { Ok(answer) } else { Err(self.refusal(answer.status)) }
    }

    /// A status that is no success, as a failure.
    pub(crate) fn refusal(&self, status: StatusCode) -> SinkFailure {
        let (host, redirect) = (self.endpoint().host().to_owned(), status.is_redirection());
        let status = status.as_u16();
        match redirect {
            true => SinkFailure::Redirect { host, status },
            false => SinkFailure::Status { host, status },
        }
    }

    /// The kept connection if it is still there, else a new one.
    async fn ready(&mut self) -> Result<Open, SinkFailure> {
        if let Some(mut open) = self.open.take()
            && !open.sender.is_closed()
            && open.sender.ready().await.is_ok()
        {
            return Ok(open);
        }
        let stream = self.dialer.connect().await?;
        let handshake = http1::Builder::new()
            .max_buf_size(HEADER_BYTES_MAX)
            .handshake::<_, Full<Bytes>>(TokioIo::new(stream));
        let broken = |_| SinkFailure::Broken { host: self.endpoint().host().to_owned() };
        let (sender, connection) = handshake.await.map_err(broken)?;
        // Its end shows at the next request.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Open { sender, driver })
    }
}
