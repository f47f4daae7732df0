//! TLS connections that trust one CA and nothing else.
//!
//! Invariant: nothing here can switch the verification of the server off.

use std::fs;
use std::io;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};

/// How long a test waits for one answer before it calls the server hung.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// An open TLS connection.
pub type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Whom to trust, read from a PEM file.
pub fn trust(ca: &Path) -> Arc<ClientConfig> {
    let pem = fs::read(ca).expect("the CA file is there");
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.expect("the CA file is PEM");
        roots.add(certificate).expect("the CA certificate is usable");
    }
    assert!(!roots.is_empty(), "{} holds no certificate", ca.display());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider offers TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// Connects to a loopback port under a name (or address) that the certificate must carry.
pub fn connect(config: &Arc<ClientConfig>, name: &str, port: u16) -> io::Result<Stream> {
    let server = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let tcp = plain(port)?;
    let tls = ClientConnection::new(Arc::clone(config), server).map_err(io::Error::other)?;
    Ok(StreamOwned::new(tls, tcp))
}

/// Connects to a loopback port without TLS.
pub fn plain(port: u16) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect(("127.0.0.1", port))?;
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(ANSWER_WITHIN))?;
    tcp.set_write_timeout(Some(ANSWER_WITHIN))?;
    Ok(tcp)
}
