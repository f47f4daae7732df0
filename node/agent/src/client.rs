//! The agent as a client: it fetches the keys of an issuer, and it asks its own HSM whether it
//! answers.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use casemate_token::{FETCHED_BODY_BYTES_MAX, FetchError, KeyFetch};
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

/// Time for one whole exchange.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(5);

/// A client for short HTTPS exchanges.
pub(crate) struct Client {
    /// Where the agent's own service listens: `localhost` may resolve to another address.
    own: SocketAddr,
    /// Roots for servers of which nothing else is said.
    roots_pem: String,
}

/// What is sent to a server.
pub(crate) struct Sent<'a> {
    pub(crate) method: Method,
    pub(crate) token: Option<&'a str>,
    pub(crate) content_type: &'static str,
    pub(crate) body: String,
}

impl Client {
    pub(crate) fn new(own: SocketAddr, roots_pem: String) -> Self {
        Self { own, roots_pem }
    }

    /// Gets a URL from the server at `address`, or where its host leads.
    pub(crate) async fn get(
        &self,
        url: &str,
        address: Option<SocketAddr>,
        roots_pem: &str,
    ) -> Result<Response<Bytes>, FetchError> {
        let (content_type, body) = ("application/json", String::new());
        let sent = Sent { method: Method::GET, token: None, content_type, body };
        self.send(url, address, roots_pem, sent).await
    }

    /// Sends something to a URL at the server at `address`, or where its host leads.
    pub(crate) async fn send(
        &self,
        url: &str,
        address: Option<SocketAddr>,
        roots_pem: &str,
        sent: Sent<'_>,
    ) -> Result<Response<Bytes>, FetchError> {
        let roots_pem = if roots_pem.trim().is_empty() { &self.roots_pem } else { roots_pem };
        let exchange = self.exchange(url, address, roots_pem, sent);
        timeout(EXCHANGE_TIMEOUT, exchange).await.unwrap_or(Err(FetchError::TimedOut))
    }

    async fn exchange(
        &self,
        url: &str,
        address: Option<SocketAddr>,
        roots_pem: &str,
        sent: Sent<'_>,
    ) -> Result<Response<Bytes>, FetchError> {
        let target = Target::parse(url)?;
        let tls = TlsConnector::from(config(roots_pem)?);
        let stream = self.connect(&target, address).await?;
        let stream = tls.connect(target.server, stream).await.map_err(|_| FetchError::TlsFailed)?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(malformed)?;
        let driven = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(sent.method)
            .uri(target.path)
            .header(header::HOST, target.authority)
            .header(header::ACCEPT, "application/json");
        if !sent.body.is_empty() {
            request = request.header(header::CONTENT_TYPE, sent.content_type);
        }
        if let Some(token) = sent.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request
            .body(Full::new(Bytes::from(sent.body)))
            .map_err(|_| FetchError::UnusableAddress)?;
        let answer = sender.send_request(request).await.map_err(malformed)?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, FETCHED_BODY_BYTES_MAX)
            .collect()
            .await
            .map_err(|_| FetchError::BodyTooLarge { limit: FETCHED_BODY_BYTES_MAX })?;
        driven.abort();
        Ok(Response::from_parts(parts, body.to_bytes()))
    }

    async fn connect(
        &self,
        target: &Target,
        address: Option<SocketAddr>,
    ) -> Result<TcpStream, FetchError> {
        let own =
            (target.host == "localhost" && target.port == self.own.port()).then_some(self.own);
        let connected = match address.or(own) {
            Some(address) => TcpStream::connect(address).await,
            None => TcpStream::connect((target.host.as_str(), target.port)).await,
        };
        connected.map_err(|_| FetchError::Unreachable)
    }
}

impl KeyFetch for Client {
    fn fetch<'a>(
        &'a self,
        url: &'a str,
        trust_anchors_pem: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<u8>, FetchError>> + Send + 'a>> {
        Box::pin(async move {
            let answer = self.get(url, None, trust_anchors_pem).await?;
            match answer.status().as_u16() {
                200 => Ok(answer.into_body().to_vec()),
                status => Err(FetchError::Status { status }),
            }
        })
    }
}

struct Target {
    host: String,
    port: u16,
    authority: String,
    path: String,
    server: ServerName<'static>,
}

impl Target {
    fn parse(url: &str) -> Result<Self, FetchError> {
        let url = Url::parse(url).map_err(|_| FetchError::UnusableAddress)?;
        let host = url.host().ok_or(FetchError::UnusableAddress)?;
        let port = url.port_or_known_default().ok_or(FetchError::UnusableAddress)?;
        if url.scheme() != "https" || !url.username().is_empty() {
            return Err(FetchError::UnusableAddress);
        }
        let text = match host {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let server = ServerName::try_from(text.clone()).map_err(|_| FetchError::UnusableAddress)?;
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        Ok(Self {
            authority: format!("{host}:{port}"),
            path: format!("{}{query}", url.path()),
            host: text,
            port,
            server,
        })
    }
}

fn config(roots_pem: &str) -> Result<Arc<ClientConfig>, FetchError> {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_slice_iter(roots_pem.as_bytes()).flatten();
    // Some of a system's roots may be of a kind that rustls does not take; the others serve.
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(FetchError::TlsFailed);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| FetchError::TlsFailed)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn malformed(_: hyper::Error) -> FetchError {
    FetchError::MalformedAnswer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_https_addresses_are_targets() {
        let target = Target::parse("https://[::1]:8443/a?b=c").unwrap();
        assert_eq!((target.host.as_str(), target.port), ("::1", 8443));
        assert_eq!((target.authority.as_str(), target.path.as_str()), ("[::1]:8443", "/a?b=c"));
        for bad in ["http://a/", "https://", "a", "ftp://a", "https://u@a/", ""] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn roots_that_are_none_are_refused() {
        for pem in ["x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(matches!(config(pem), Err(FetchError::TlsFailed)));
        }
    }
}
