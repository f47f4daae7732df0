//! Connections to sinks: TLS that believes the sink's own roots and no other.

use std::sync::Arc;

use casemate_audit_sinks::Endpoint;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::failure::SinkFailure;

/// Connects to one endpoint.
pub(crate) struct Dialer {
    endpoint: Endpoint,
    connector: TlsConnector,
}

impl Dialer {
    pub(crate) fn new(endpoint: &Endpoint) -> Result<Self, SinkFailure> {
        let mut roots = RootCertStore::empty();
        for anchor in CertificateDer::pem_slice_iter(endpoint.trust_anchors.as_bytes()) {
            let anchor = anchor.map_err(|_| SinkFailure::Anchors)?;
            roots.add(anchor).map_err(|_| SinkFailure::Anchors)?;
        }
        if roots.is_empty() {
            return Err(SinkFailure::Anchors);
        }
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|_| SinkFailure::Anchors)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Self { endpoint: endpoint.clone(), connector })
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Opens a connection. The caller sets the deadline.
    pub(crate) async fn connect(&self) -> Result<TlsStream<TcpStream>, SinkFailure> {
        let host = self.endpoint.host();
        let unreachable = |cause| SinkFailure::Connect { host: host.to_owned(), cause };
        let tcp = TcpStream::connect((host, self.endpoint.port())).await.map_err(unreachable)?;
        tcp.set_nodelay(true).map_err(unreachable)?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| unreachable(std::io::Error::other(error)))?;
        let refused = |cause| SinkFailure::Tls { host: host.to_owned(), cause };
        self.connector.connect(name, tcp).await.map_err(refused)
    }
}
