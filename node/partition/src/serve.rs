//! A client's connection from the TLS hello to its end.
//!
//! One task per connection, no task per request. Every wait has a deadline, every buffer a bound.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use casemate_channel::Limits;
use casemate_data_plane::{ConnectionFacts, DataPlane};
use casemate_harden::nofile;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::fetch::adopt;
use crate::metrics::{Counts, count};
use crate::places::{Place, Places};
use crate::pool::Load;
use crate::tls::{H2, Tls};

/// Most header fields of an HTTP/1.1 request.
const HEADER_FIELDS_MAX: usize = 100;
/// Streams of HTTP/2 that a client may reset before they were answered.
const RESET_STREAMS_MAX: usize = 64;
/// Time for the answer to an HTTP/2 ping, which tells an idle client from one that is gone.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Open files that are kept free for all but connections.
const FILES_RESERVED: usize = 128;

/// Serves the connections of one HSM.
pub(crate) struct Server {
    plane: Arc<DataPlane>,
    tls: Arc<Tls>,
    load: Arc<Load>,
    counts: Arc<Counts>,
    places: Arc<Places>,
    stop: watch::Sender<bool>,
    handshake_timeout: Duration,
    header_bytes_max: usize,
    idle_timeout: Duration,
    streams_max: u32,
}

/// As many as there may be, and as there are files for.
fn places_max(limits: &Limits) -> usize {
    let files = nofile().ok().and_then(|files| usize::try_from(files).ok());
    let room = files.unwrap_or(usize::MAX).saturating_sub(FILES_RESERVED).max(1);
    if room < limits.connections_max {
        tracing::warn!(room, "the limit of open files leaves room for fewer connections");
    }
    limits.connections_max.min(room)
}

impl Server {
    /// Serves nothing yet.
    pub(crate) fn new(
        plane: Arc<DataPlane>,
        tls: Arc<Tls>,
        load: Arc<Load>,
        counts: Arc<Counts>,
        limits: &Limits,
    ) -> Arc<Self> {
        Arc::new(Self {
            plane,
            tls,
            load,
            counts,
            places: Places::new(places_max(limits), limits.connections_per_address_max),
            stop: watch::Sender::new(false),
            handshake_timeout: Duration::from_millis(limits.handshake_timeout_ms),
            header_bytes_max: limits.header_bytes_max,
            idle_timeout: Duration::from_millis(limits.idle_timeout_ms),
            streams_max: limits.streams_max,
        })
    }

    /// Begins to serve a connection; closes it if there is no place for it.
    pub(crate) fn accept(self: &Arc<Self>, socket: OwnedFd, peer: SocketAddr) {
        match self.places.take(peer.ip()) {
            Some(place) => {
                tokio::spawn(Arc::clone(self).serve(socket, peer, place));
            }
            None => {
                count(&self.counts.connections_refused);
                tracing::warn!(%peer, "no place for another connection");
            }
        }
    }

    /// The places of its connections.
    pub(crate) fn places(&self) -> &Arc<Places> {
        &self.places
    }

    /// Lets what has begun come to its end, for at most this long, and begins nothing new.
    pub(crate) async fn finish(&self, grace: Duration) {
        self.stop.send_replace(true);
        if timeout(grace, self.places.all_free()).await.is_err() {
            tracing::warn!("requests were cut off: they took longer than {grace:?}");
        }
    }

    async fn serve(self: Arc<Self>, socket: OwnedFd, peer: SocketAddr, _place: Place) {
        let stream = match adopt(socket) {
            Ok(stream) => stream,
            Err(error) => return tracing::debug!(%peer, %error, "the socket is gone"),
        };
        let handshake = TlsAcceptor::from(self.tls.config()).accept(stream);
        let stream = match timeout(self.handshake_timeout, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                count(&self.counts.handshakes_failed);
                return tracing::debug!(%peer, %error, "no TLS");
            }
            Err(_) => {
                count(&self.counts.handshakes_late);
                return tracing::debug!(%peer, "the TLS hello took too long");
            }
        };
        count(&self.counts.handshakes);
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(H2);
        let facts = ConnectionFacts::new(peer);
        let io = TokioIo::new(stream);
        let ended = match is_http2 {
            true => self.http2(io, &facts).await,
            false => self.http1(io, &facts).await,
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "the connection broke");
        }
    }

    async fn http1<I>(&self, io: I, facts: &ConnectionFacts) -> hyper::Result<()>
    where
        I: Read + Write + Unpin,
    {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // Counted from the end of the answer before, so it bounds idle connections too.
            .header_read_timeout(self.idle_timeout)
            .max_buf_size(self.header_bytes_max)
            .max_headers(HEADER_FIELDS_MAX)
            .serve_connection(io, service_fn(|request| self.answer(request, facts)));
        let connection = pin!(connection);
        self.until_stopped(connection, |connection| connection.graceful_shutdown()).await
    }

    async fn http2<I>(self: &Arc<Self>, io: I, facts: &ConnectionFacts) -> hyper::Result<()>
    where
        I: Read + Write + Unpin,
    {
        let facts = Arc::new(facts.clone());
        let service = service_fn(|request| {
            let (server, facts) = (Arc::clone(self), Arc::clone(&facts));
            async move { server.answer(request, &facts).await }
        });
        let header_bytes_max = u32::try_from(self.header_bytes_max).unwrap_or(u32::MAX);
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.streams_max)
            .max_header_list_size(header_bytes_max)
            .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
            .keep_alive_interval(self.idle_timeout)
            .keep_alive_timeout(PING_TIMEOUT)
            .serve_connection(io, service);
        let connection = pin!(connection);
        self.until_stopped(connection, |connection| connection.graceful_shutdown()).await
    }

    /// Drives a connection to its end; when the partition stops, politely.
    async fn until_stopped<C>(
        &self,
        mut connection: Pin<&mut C>,
        end: impl FnOnce(Pin<&mut C>),
    ) -> hyper::Result<()>
    where
        C: Future<Output = hyper::Result<()>>,
    {
        let mut stop = self.stop.subscribe();
        tokio::select! {
            biased;
            ended = connection.as_mut() => return ended,
            // The sender is ours, so the wait cannot fail.
            _ = stop.wait_for(|stop| *stop) => {}
        }
        end(connection.as_mut());
        connection.await
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        facts: &ConnectionFacts,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let _under_way = self.load.request();
        Ok(self.plane.handle(request, facts).await)
    }
}
