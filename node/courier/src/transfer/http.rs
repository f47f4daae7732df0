//! The requests of `object_store` over our own TLS: roots that the machine trusts, no redirect, one
//! connection for each request's turn, kept while it lives.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::Uri;
use http::header::HOST;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use casemate_channel::transfer::OBJECT_BYTES_MAX;

/// Where a machine keeps the roots that it trusts.
const BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// The variable that names another bundle.
const BUNDLE_VARIABLE: &str = "SSL_CERT_FILE";

/// Time to connect, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for one request and its answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Longest answer, in bytes: an object, and room for what stands around it.
const ANSWER_BYTES_MAX: u64 = OBJECT_BYTES_MAX + 64 * 1024;

/// Largest header of an answer, in bytes.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// The roots by which targets of backups are believed. What lies there is sealed; what a false
/// target would get is the token.
#[derive(Clone, Debug)]
pub(crate) struct Roots(Arc<RootCertStore>);

impl Roots {
    /// Reads what the machine trusts. Must run before the process is confined.
    pub(crate) fn of_the_machine() -> Self {
        let named = std::env::var(BUNDLE_VARIABLE).ok();
        let bundles = named.iter().map(String::as_str).chain(BUNDLES);
        let mut roots = RootCertStore::empty();
        let found = bundles.map(std::fs::read).find_map(Result::ok).unwrap_or_default();
        for root in CertificateDer::pem_slice_iter(&found).flatten() {
            // One that this library cannot read is believed by nobody.
            let _unreadable = roots.add(root);
        }
        Self(Arc::new(roots))
    }

    /// These and no others; `None` if there is no usable certificate among them.
    pub(super) fn of_pem(pem: &str) -> Option<Self> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            roots.add(root.ok()?).ok()?;
        }
        (!roots.is_empty()).then(|| Self(Arc::new(roots)))
    }

    /// None: only targets on this machine can be reached.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self(Arc::new(RootCertStore::empty()))
    }
}

/// Makes the clients.
#[derive(Debug)]
pub(super) struct Connector(Roots);

impl Connector {
    pub(super) fn new(roots: &Roots) -> Self {
        Self(roots.clone())
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = Client::new(&self.0, ANSWER_BYTES_MAX).map_err(|source| {
            object_store::Error::Generic { store: "TLS", source: Box::new(source) }
        })?;
        Ok(HttpClient::new(client))
    }
}

/// A connection, kept for the next request to the same place.
struct Kept {
    place: String,
    sender: SendRequest<Full<Bytes>>,
}

/// One that follows no redirect and reads no more than a bound.
pub(super) struct Client {
    tls: TlsConnector,
    kept: Mutex<Option<Kept>>,
    answer_bytes_max: u64,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("the request has no host")]
    NoHost,
    #[error("no connection")]
    Connect(#[source] std::io::Error),
    #[error(
        "no TLS: the certificate must come from a root that the machine trusts and name the host"
    )]
    Tls(#[source] std::io::Error),
    #[error("the connection broke")]
    Broken(#[source] hyper::Error),
    #[error("the answer is too long or broke off")]
    Answer,
    #[error("it took too long")]
    TooSlow,
}

impl From<Trouble> for HttpError {
    fn from(trouble: Trouble) -> Self {
        let kind = match &trouble {
            Trouble::NoHost | Trouble::Tls(_) => HttpErrorKind::Unknown,
            Trouble::Connect(_) => HttpErrorKind::Connect,
            Trouble::Broken(_) => HttpErrorKind::Interrupted,
            Trouble::Answer => HttpErrorKind::Decode,
            Trouble::TooSlow => HttpErrorKind::Timeout,
        };
        Self::new(kind, trouble)
    }
}

#[async_trait]
impl HttpService for Client {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answered = timeout(REQUEST_TIMEOUT, self.exchange(request)).await;
        Ok(answered.unwrap_or(Err(Trouble::TooSlow))?)
    }
}

impl Client {
    pub(super) fn new(Roots(roots): &Roots, answer_bytes_max: u64) -> Result<Self, rustls::Error> {
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(Arc::clone(roots))
            .with_no_client_auth();
        let tls = TlsConnector::from(Arc::new(config));
        Ok(Self { tls, kept: Mutex::new(None), answer_bytes_max })
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, Trouble> {
        let (parts, body) = request.into_parts();
        let whole = body.collect().await.map_err(|_| Trouble::Answer)?.to_bytes();
        let response = self.ask(http::Request::from_parts(parts, whole)).await?;
        Ok(response.map(HttpResponseBody::from))
    }

    /// One request and its whole answer. The caller sets the deadline.
    pub(super) async fn ask(
        &self,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Bytes>, Trouble> {
        let (mut parts, whole) = request.into_parts();
        let host = parts.uri.host().ok_or(Trouble::NoHost)?.to_owned();
        let authority = parts.uri.authority().ok_or(Trouble::NoHost)?.to_string();
        let is_plain = parts.uri.scheme_str() == Some("http");
        let port = parts.uri.port_u16().unwrap_or(if is_plain { 80 } else { 443 });
        let place = format!("{is_plain} {authority}");
        let value = authority.parse().map_err(|_| Trouble::NoHost)?;
        parts.headers.insert(HOST, value);
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        parts.uri = target.parse::<Uri>().map_err(|_| Trouble::NoHost)?;
        let mut sender = match self.kept(&place).await {
            Some(sender) => sender,
            None => self.connect(host.trim_matches(['[', ']']), port, is_plain).await?,
        };
        let request = http::Request::from_parts(parts, Full::new(whole));
        let response = sender.send_request(request).await.map_err(Trouble::Broken)?;
        let (head, body) = response.into_parts();
        let most = usize::try_from(self.answer_bytes_max).unwrap_or(usize::MAX);
        let body = Limited::new(body, most).collect().await.map_err(|_| Trouble::Answer)?;
        *self.kept.lock().await = Some(Kept { place, sender });
        Ok(http::Response::from_parts(head, body.to_bytes()))
    }

    async fn kept(&self, place: &str) -> Option<SendRequest<Full<Bytes>>> {
        let Kept { place: at, mut sender } = self.kept.lock().await.take()?;
        let usable = at == place && !sender.is_closed() && sender.ready().await.is_ok();
        usable.then_some(sender)
    }

    async fn connect(
        &self,
        host: &str,
        port: u16,
        is_plain: bool,
    ) -> Result<SendRequest<Full<Bytes>>, Trouble> {
        let slow = |_| Trouble::Connect(std::io::Error::from(std::io::ErrorKind::TimedOut));
        let connecting = async {
            let tcp = TcpStream::connect((host, port)).await.map_err(Trouble::Connect)?;
            tcp.set_nodelay(true).map_err(Trouble::Connect)?;
            if is_plain {
                return handshake(tcp).await;
            }
            let name = ServerName::try_from(host.to_owned())
                .map_err(|error| Trouble::Tls(std::io::Error::other(error)))?;
            handshake(self.tls.connect(name, tcp).await.map_err(Trouble::Tls)?).await
        };
        timeout(CONNECT_TIMEOUT, connecting).await.map_err(slow)?
    }
}

async fn handshake<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, Trouble>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(HEADER_BYTES_MAX)
        .handshake::<_, Full<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(Trouble::Broken)?;
    // Its end shows at the next request.
    drop(tokio::spawn(async move { drop(connection.await) }));
    Ok(sender)
}
