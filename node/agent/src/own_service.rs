//! The agent's own HTTPS service: the development issuer and the control plane.
//!
//! It never sees a request for an HSM: those connections were passed on unread.

use std::collections::HashSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use casemate_control_plane::ControlPlane;
use casemate_dev_issuer::DevIssuer;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::clock::now;
use crate::slots::Slot;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the header fields of a request, and for the next request on an idle connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
const HEADER_BYTES_MAX: usize = 32 * 1024;
const BODY_BYTES_MAX: usize = 256 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(15);
const STREAMS_MAX: u32 = 64;
/// Time for open requests to end when the agent stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// The service.
pub(crate) struct OwnService {
    /// TLS with the agent's certificate.
    pub(crate) tls: TlsAcceptor,
    /// The development issuer.
    pub(crate) issuer: Arc<DevIssuer>,
    /// The control plane.
    pub(crate) control: ControlPlane,
    /// The service's address, without trailing slash.
    pub(crate) base_url: String,
    /// Hosts it answers for.
    pub(crate) hosts: HashSet<String>,
    /// Set when all shall end.
    pub(crate) stopping: watch::Receiver<bool>,
}

impl OwnService {
    /// Serves one connection to its end.
    pub(crate) async fn serve(self: &Arc<Self>, stream: TcpStream, slot: Slot) {
        let _slot = slot;
        let Ok(peer) = stream.peer_addr() else { return };
        // Small answers go out at once; without this they wait for the client's acknowledgement.
        let _ = stream.set_nodelay(true);
        let Ok(Ok(tls)) = timeout(HANDSHAKE_TIMEOUT, self.tls.accept(stream)).await else {
            return;
        };
        let own = Arc::clone(self);
        let service = service_fn(move |request| {
            let own = Arc::clone(&own);
            async move { own.answer(request, peer).await }
        });
        let builder = limited();
        let connection = builder.serve_connection(TokioIo::new(tls), service);
        tokio::pin!(connection);
        let mut stopping = self.stopping.clone();
        // A connection that breaks has nobody left to be told.
        tokio::select! {
            _ = connection.as_mut() => {}
            () = stopped(&mut stopping) => {
                connection.as_mut().graceful_shutdown();
                let _ = timeout(STOP_TIMEOUT, connection).await;
            }
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let answered = match self.whole(request).await {
            Ok(request) => self.route(&request, peer).await,
            Err(status) => plain(status),
        };
        Ok(answered.map(Full::new))
    }

    /// The request with its body, if it is for us and within the limits.
    async fn whole(&self, request: Request<Incoming>) -> Result<Request<Bytes>, StatusCode> {
        let named = host(&request).is_some_and(|host| self.hosts.contains(&host));
        if !named {
            return Err(StatusCode::MISDIRECTED_REQUEST);
        }
        let (parts, body) = request.into_parts();
        let collected = timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await;
        match collected {
            Ok(Ok(body)) => Ok(Request::from_parts(parts, body.to_bytes())),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE),
            Ok(Err(_)) => Err(StatusCode::BAD_REQUEST),
            Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
        }
    }

    async fn route(&self, request: &Request<Bytes>, peer: SocketAddr) -> Response<Bytes> {
        let now = now();
        if let Some(answer) = self.issuer.handle(request, &self.base_url, peer, now).await {
            return answer;
        }
        if let Some(answer) = self.control.handle(request, &self.base_url, now).await {
            return answer;
        }
        plain(StatusCode::NOT_FOUND)
    }
}

/// Ends when all shall end.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stopping.wait_for(|stop| *stop).await;
}

fn limited() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEADER_BYTES_MAX).unwrap_or(u32::MAX))
        .keep_alive_interval(HEADER_TIMEOUT)
        .keep_alive_timeout(HANDSHAKE_TIMEOUT);
    builder
}

/// The host that was asked, lower case, without port.
fn host<B>(request: &Request<B>) -> Option<String> {
    let from_uri = request.uri().authority().map(http::uri::Authority::as_str);
    let from_header = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    let authority: http::uri::Authority = from_uri.or(from_header)?.parse().ok()?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    Some(host.to_ascii_lowercase())
}

/// An answer of our own, in Azure's shape of an error.
fn plain(status: StatusCode) -> Response<Bytes> {
    let reason = status.canonical_reason().unwrap_or("Error");
    let body = serde_json::json!({
        "error": { "code": reason.replace(' ', ""), "message": format!("{reason}.") }
    });
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    let json = http::HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_read_from_address_or_header() {
        let request = |uri: &str, header: Option<&str>| {
            let mut builder = Request::builder().uri(uri);
            if let Some(value) = header {
                builder = builder.header("host", value);
            }
            host(&builder.body(()).unwrap())
        };
        assert_eq!(request("/x", Some("LOCALHOST:8443")).unwrap(), "localhost");
        assert_eq!(request("/x", Some("[::1]:8443")).unwrap(), "::1");
        assert_eq!(request("https://login.localhost/x", None).unwrap(), "login.localhost");
        for bad in ["", "a b", "/", "@", "user@"] {
            assert_eq!(request("/x", Some(bad)), None, "{bad}");
        }
        assert_eq!(request("/x", None), None);
    }
}
