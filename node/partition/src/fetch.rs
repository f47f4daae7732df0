//! Fetches an issuer's documents: the agent connects, TLS begins and ends here.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use casemate_store_port::BoxFuture;
use casemate_token::{FETCHED_BODY_BYTES_MAX, FetchError, GroupFetch, KeyFetch};
use http::header::{ACCEPT, AUTHORIZATION, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Url;

use crate::agent::{Agent, AskError};

/// Time for one document, connection and all.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest header of an answer, in bytes.
const HEADER_BYTES_MAX: usize = 16 * 1024;

/// Fetches through the agent, from the hosts that the sealed settings allow.
pub(crate) struct AgentFetch {
    agent: Arc<Agent>,
    /// Each `host:port`, lower case.
    allowed: Vec<String>,
}

/// An address taken apart.
struct Target {
    host: String,
    port: u16,
    authority: String,
    path: String,
}

impl AgentFetch {
    /// May fetch from these hosts, each `host:port`.
    pub(crate) fn new(agent: Arc<Agent>, allowed: &[String]) -> Self {
        let allowed = allowed.iter().map(|host| host.to_ascii_lowercase()).collect();
        Self { agent, allowed }
    }

    async fn get(
        &self,
        url: &str,
        anchors_pem: &str,
        bearer: Option<&str>,
    ) -> Result<Vec<u8>, FetchError> {
        let target = Target::parse(url)?;
        if !self.allowed.contains(&format!("{}:{}", target.host, target.port)) {
            return Err(FetchError::HostNotAllowed);
        }
        let connector = connector(anchors_pem)?;
        let socket = self.agent.dial(&target.host, target.port).await.map_err(|error| {
            tracing::warn!(host = target.host, "{}", crate::failure::chain(&error));
            match error {
                AskError::Refused(_) | AskError::Channel(_) | AskError::Busy => {
                    FetchError::Unreachable
                }
                AskError::NoAnswer => FetchError::TimedOut,
            }
        })?;
        let stream = adopt(socket).map_err(|_| FetchError::Unreachable)?;
        let host = target.host.trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host).map_err(|_| FetchError::UnusableAddress)?;
        let stream = connector.connect(name, stream).await.map_err(|error| {
            tracing::warn!(host = target.host, %error, "TLS to the issuer failed");
            FetchError::TlsFailed
        })?;
        exchange(stream, &target, bearer).await
    }
}

impl KeyFetch for AgentFetch {
    fn fetch<'a>(
        &'a self,
        url: &'a str,
        trust_anchors_pem: &'a str,
    ) -> BoxFuture<'a, Result<Vec<u8>, FetchError>> {
        Box::pin(async move {
            let fetched = timeout(FETCH_TIMEOUT, self.get(url, trust_anchors_pem, None)).await;
            fetched.unwrap_or(Err(FetchError::TimedOut))
        })
    }
}

impl GroupFetch for AgentFetch {
    fn fetch_groups<'a>(
        &'a self,
        url: &'a str,
        trust_anchors_pem: &'a str,
        token: &'a str,
    ) -> BoxFuture<'a, Result<Vec<u8>, FetchError>> {
        Box::pin(async move {
            let fetched = self.get(url, trust_anchors_pem, Some(token));
            timeout(FETCH_TIMEOUT, fetched).await.unwrap_or(Err(FetchError::TimedOut))
        })
    }
}

impl Target {
    fn parse(url: &str) -> Result<Self, FetchError> {
        let url = Url::parse(url).map_err(|_| FetchError::UnusableAddress)?;
        let plain =
            url.scheme() == "https" && url.username().is_empty() && url.password().is_none();
        let (Some(host), Some(port), true) = (url.host_str(), url.port_or_known_default(), plain)
        else {
            return Err(FetchError::UnusableAddress);
        };
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let host = host.to_ascii_lowercase();
        let authority = if port == 443 { host.clone() } else { format!("{host}:{port}") };
        Ok(Self { host, port, authority, path })
    }
}

/// TLS that believes these roots and no other. Without any, nobody is believed: the roots of the
/// system are out of sight here.
fn connector(anchors_pem: &str) -> Result<TlsConnector, FetchError> {
    let mut roots = RootCertStore::empty();
    for anchor in CertificateDer::pem_slice_iter(anchors_pem.as_bytes()) {
        let anchor = anchor.map_err(|_| FetchError::TlsFailed)?;
        roots.add(anchor).map_err(|_| FetchError::TlsFailed)?;
    }
    if roots.is_empty() {
        return Err(FetchError::TlsFailed);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|_| FetchError::TlsFailed)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// One request and its answer; no redirect is followed.
async fn exchange(
    stream: TlsStream<TcpStream>,
    target: &Target,
    bearer: Option<&str>,
) -> Result<Vec<u8>, FetchError> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEADER_BYTES_MAX)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(|_| FetchError::MalformedAnswer)?;
    let driven = tokio::spawn(connection);
    let mut request = Request::get(&target.path)
        .header(HOST, &target.authority)
        .header(ACCEPT, "application/json");
    if let Some(token) = bearer {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Empty::new()).map_err(|_| FetchError::UnusableAddress)?;
    let answer = async {
        let response =
            sender.send_request(request).await.map_err(|_| FetchError::MalformedAnswer)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status { status: response.status().as_u16() });
        }
        let body = Limited::new(response.into_body(), FETCHED_BODY_BYTES_MAX).collect().await;
        match body {
            Ok(body) => Ok(body.to_bytes().to_vec()),
            Err(error) if error.is::<LengthLimitError>() => {
                Err(FetchError::BodyTooLarge { limit: FETCHED_BODY_BYTES_MAX })
            }
            Err(_) => Err(FetchError::MalformedAnswer),
        }
    };
    let answer = answer.await;
    driven.abort();
    answer
}

/// A socket that was handed in, in the runtime's hands.
pub(crate) fn adopt(socket: OwnedFd) -> io::Result<TcpStream> {
    let stream = std::net::TcpStream::from(socket);
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    TcpStream::from_std(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_https_without_a_user() {
        let target = Target::parse("https://LOCALHOST:8443/adfs/.well-known/x?y=1").unwrap();
        assert_eq!((target.host.as_str(), target.port), ("localhost", 8443));
        assert_eq!(target.authority, "localhost:8443");
        assert_eq!(target.path, "/adfs/.well-known/x?y=1");
        let target = Target::parse("https://[::1]/x").unwrap();
        assert_eq!((target.host.as_str(), target.authority.as_str()), ("[::1]", "[::1]"));
        for bad in ["http://localhost/", "https://u:p@h/", "https://u@h/", "/x", "data:,", ""] {
            assert_eq!(Target::parse(bad).err(), Some(FetchError::UnusableAddress), "{bad}");
        }
    }

    #[test]
    fn without_roots_nobody_is_believed() {
        let torn = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for bad in ["", "no PEM", torn] {
            assert!(matches!(connector(bad), Err(FetchError::TlsFailed)), "{bad}");
        }
    }
}
