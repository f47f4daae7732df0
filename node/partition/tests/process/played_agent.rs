//! The agent's part, played: starts the process, signs, hands sockets in.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

use casemate_channel::{
    AgentEnd, Confine, Creation, ExternalName, Limits, Listener, Seal, Start, ToAgent, ToPartition,
    VERSION,
};
use casemate_harden::spawn_bound;
use rcgen::{CertificateParams, CertificateSigningRequestParams, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The argument that makes this program a partition.
pub(crate) const PARTITION: &str = "partition";
const NAME: &str = "dev.managedhsm.localhost";
const PATIENCE: Duration = Duration::from_secs(30);

/// An agent with a CA and one HSM's folder.
pub(crate) struct PlayedAgent {
    dir: tempfile::TempDir,
    ca_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A partition that this agent started.
pub(crate) struct Partition {
    end: AgentEnd,
    start: Option<Box<Start>>,
    process: Child,
}

impl PlayedAgent {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca_pem = params.self_signed(&key).unwrap().pem();
        let dir = tempfile::tempdir().unwrap();
        Self { dir, ca_pem, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn start(&self, create: bool) -> Partition {
        let (end, theirs) = AgentEnd::pair().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(PARTITION);
        let process = spawn_bound(command, theirs).unwrap();
        Partition { end, start: Some(Box::new(self.message(create))), process }
    }

    fn message(&self, create: bool) -> Start {
        let name = |host: &str, port| ExternalName { host: host.to_owned(), port };
        let settings = json!({
            "tenant": "11111111-1111-1111-1111-111111111111",
            "authority": "https://localhost:{port}/adfs",
            "issuers": [],
            "audiences": ["https://managedhsm.localhost:{port}"],
            "outbound": ["localhost:{port}"],
            "first_administrators": ["22222222-2222-2222-2222-222222222222"],
            "first_roles": ["Managed HSM Administrator"],
            "retention_days": 7,
            "purge_protection": false,
        });
        Start {
            version: VERSION,
            hsm: "dev".to_owned(),
            names: vec![name(NAME, 8443), name("127.0.0.1", 8444)],
            named_port: 8443,
            folder: self.dir.path().to_owned(),
            seal: Seal::Key { path: self.file("seal.key") },
            engine: casemate_channel::Engine::default(),
            create: create.then_some(Creation { settings, development: true }),
            limits: Limits::default(),
            region: "local".to_owned(),
            threads: 2,
            confine: Confine::default(),
            shown_folder: self.dir.path().to_owned(),
            development: true,
        }
    }

    fn sign(&self, csr_pem: &str) -> String {
        let request = CertificateSigningRequestParams::from_pem(csr_pem).unwrap();
        request.signed_by(&self.issuer).unwrap().pem()
    }

    fn connector(&self, alpn: &str) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        let anchor = rustls::pki_types::CertificateDer::from_pem_slice(self.ca_pem.as_bytes());
        roots.add(anchor.unwrap()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        TlsConnector::from(Arc::new(config))
    }
}

impl Partition {
    /// The next message. Start is sent before the first.
    pub(crate) async fn hear(&mut self) -> ToAgent {
        if let Some(start) = self.start.take() {
            self.end.send(&ToPartition::Start(start), None).await.unwrap();
        }
        timeout(PATIENCE, self.end.recv()).await.unwrap().unwrap().expect("it has not ended").0
    }

    /// The next message that is no request for a certificate; those are answered.
    pub(crate) async fn hear_signing(&mut self, agent: &PlayedAgent) -> ToAgent {
        loop {
            match self.hear().await {
                ToAgent::CertificateRequest { csr_pem, names } => {
                    assert_eq!(names, ["127.0.0.1", NAME]);
                    let chain_pem = agent.sign(&csr_pem);
                    let answer = ToPartition::Certificate { chain_pem };
                    self.end.send(&answer, None).await.unwrap();
                }
                other => return other,
            }
        }
    }

    /// From start over ready to a clean end.
    pub(crate) async fn run_once(mut self, agent: &PlayedAgent) {
        while !matches!(self.hear_signing(agent).await, ToAgent::Ready { .. }) {}
        self.stop().await;
    }

    /// Code and message of the refusal to start.
    pub(crate) async fn fail(mut self, agent: &PlayedAgent) -> (String, String) {
        loop {
            let heard = self.hear_signing(agent).await;
            assert!(!matches!(heard, ToAgent::Ready { .. }), "it started");
            if let ToAgent::Failed { code, message, .. } = heard {
                assert!(!self.process.wait().unwrap().success());
                return (code, message);
            }
        }
    }

    pub(crate) async fn stop(&mut self) {
        self.end.send(&ToPartition::Stop, None).await.unwrap();
        assert_eq!(self.hear().await, ToAgent::Stopped);
        assert!(self.process.wait().unwrap().success());
    }

    /// Hands one end of a new connection in and returns the other.
    async fn connect(&self) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ours, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (theirs, peer) = accepted.unwrap();
        let listener = Listener::Named;
        let message = ToPartition::Connection { peer, listener, sni: Some(NAME.to_owned()) };
        self.end.send(&message, Some(theirs.as_fd())).await.unwrap();
        ours.unwrap()
    }

    async fn tls(&self, agent: &PlayedAgent, alpn: &str) -> TlsStream<TcpStream> {
        let name = ServerName::try_from(NAME).unwrap();
        let connecting = agent.connector(alpn).connect(name, self.connect().await);
        timeout(PATIENCE, connecting).await.unwrap().unwrap()
    }

    /// A TLS handshake: the certificate's bytes, and the protocol chosen.
    pub(crate) async fn hello(&self, agent: &PlayedAgent, alpn: &str) -> (Vec<u8>, String) {
        let stream = self.tls(agent, alpn).await;
        let session = stream.get_ref().1;
        let leaf = session.peer_certificates().unwrap()[0].to_vec();
        let protocol = String::from_utf8(session.alpn_protocol().unwrap().to_vec()).unwrap();
        (leaf, protocol)
    }

    /// A request over HTTP/1.1: the status, and the head of the answer.
    pub(crate) async fn get(&self, agent: &PlayedAgent, path: &str) -> (u16, String) {
        let mut stream = self.tls(agent, "http/1.1").await;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {NAME}:8443\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // The other side may close without saying so in TLS.
        let _closed = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
        let text = String::from_utf8_lossy(&answer).into_owned();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.unwrap_or(0), text)
    }

    /// Bytes that are no TLS: the connection ends, and nothing else.
    pub(crate) async fn garbage(&self) {
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x16, 3, 1, 0xff, 0xff, 1], &[0; 64]] {
            let mut stream = self.connect().await;
            stream.write_all(bytes).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut rest = Vec::new();
            let _reset = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap();
            assert!(rest.len() < 64, "an alert at most");
        }
    }
}

impl Drop for Partition {
    fn drop(&mut self) {
        // Already gone, mostly.
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}
