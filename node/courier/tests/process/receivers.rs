//! Receivers over TLS, played: they take, refuse, hang, redirect, talk too much or too slowly.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A CA of its own, and what it signs.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// How a receiver behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Takes what comes.
    Takes,
    /// Answers this status.
    Status(u16),
    /// Reads, and never answers.
    Hangs,
    /// Closes the connection instead of an answer.
    HangsUp,
    /// Answers with more than anybody wants.
    TalksTooMuch,
    /// Answers a byte at a time.
    SlowLoris,
    /// Takes what comes, and closes instead of the answer.
    TakesAndHangsUp,
}

/// A request that was taken.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A receiver over HTTPS.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) port: u16,
    manner: Arc<Mutex<Manner>>,
    taken: Arc<Mutex<Vec<Taken>>>,
    seen: Arc<Mutex<usize>>,
    blobs: Arc<Mutex<Vec<Blob>>>,
}

/// An append blob's name and bytes.
type Blob = (String, Vec<u8>);

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::from(key))
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

impl Receiver {
    pub(crate) async fn https(authority: &Authority) -> Self {
        Self::named(authority, "localhost").await
    }

    /// One whose certificate is for this name.
    pub(crate) async fn named(authority: &Authority, name: &str) -> Self {
        let (receiver, listener) = Self::bind().await;
        let (acceptor, shared) = (authority.acceptor(name), receiver.clone());
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (acceptor, shared) = (acceptor.clone(), shared.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(tcp).await {
                        shared.serve(stream).await;
                    }
                });
            }
        });
        receiver
    }

    /// One that takes syslog frames; a taken body is one message.
    pub(crate) async fn syslog(authority: &Authority) -> Self {
        let (receiver, listener) = Self::bind().await;
        let (acceptor, shared) = (authority.acceptor("localhost"), receiver.clone());
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (acceptor, shared) = (acceptor.clone(), shared.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(tcp).await {
                        shared.frames(stream).await;
                    }
                });
            }
        });
        receiver
    }

    async fn bind() -> (Self, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self {
            port: listener.local_addr().unwrap().port(),
            manner: Arc::new(Mutex::new(Manner::Takes)),
            taken: Arc::default(),
            seen: Arc::default(),
            blobs: Arc::default(),
        };
        (receiver, listener)
    }

    pub(crate) fn behave(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    fn manner(&self) -> Manner {
        *self.manner.lock().unwrap()
    }

    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.taken.lock().unwrap().clone()
    }

    /// All bodies, one after the other.
    pub(crate) fn text(&self) -> String {
        let bodies = self.taken().into_iter().flat_map(|taken| taken.body.to_vec()).collect();
        String::from_utf8(bodies).unwrap()
    }

    /// Requests that came, taken or not.
    pub(crate) fn seen(&self) -> usize {
        *self.seen.lock().unwrap()
    }

    /// Blobs in the order of their making, each with its content.
    pub(crate) fn blobs(&self) -> Vec<(String, String)> {
        let blobs = self.blobs.lock().unwrap().clone();
        blobs.into_iter().map(|(path, bytes)| (path, String::from_utf8(bytes).unwrap())).collect()
    }

    async fn serve(self, mut stream: TlsStream<TcpStream>) {
        if self.manner() == Manner::SlowLoris {
            *self.seen.lock().unwrap() += 1;
            for byte in b"HTTP/1.1 200 OK\r\nx: ".iter().chain([b'y'; 1_000].iter()) {
                tokio::time::sleep(Duration::from_millis(500)).await;
                if stream.write_all(&[*byte]).await.is_err() || stream.flush().await.is_err() {
                    return;
                }
            }
            return;
        }
        let service = service_fn(|request| self.clone().answer(request));
        // A courier that was killed breaks its connections.
        let _broken = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }

    async fn answer(
        self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        *self.seen.lock().unwrap() += 1;
        let plain = |status: u16, text: String| {
            Ok(Response::builder().status(status).body(Full::new(Bytes::from(text)))?)
        };
        let manner = self.manner();
        if matches!(manner, Manner::Takes | Manner::TakesAndHangsUp) {
            let answer = match head.uri.query() {
                Some(_) => self.blob(&head, &body),
                None => plain(200, String::new()),
            };
            self.taken.lock().unwrap().push(Taken { headers: head.headers, body });
            if manner == Manner::Takes {
                return answer;
            }
        }
        match manner {
            Manner::Hangs => std::future::pending().await,
            Manner::TalksTooMuch => plain(200, "x".repeat(1 << 20)),
            Manner::Status(status) if (300..400).contains(&status) => {
                let target = format!("https://localhost:{}/elsewhere", self.port);
                let answer = Response::builder().status(status).header("location", target);
                Ok(answer.body(Full::default())?)
            }
            Manner::Status(status) => plain(status, "the secret is wrong".to_owned()),
            _ => Err("hangs up".into()),
        }
    }

    /// As Azure does with append blobs.
    fn blob(
        &self,
        head: &http::request::Parts,
        body: &Bytes,
    ) -> Result<Response<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
        let path = head.uri.path().to_owned();
        let query = head.uri.query().unwrap_or_default();
        let mut blobs = self.blobs.lock().unwrap();
        let known = blobs.iter_mut().find(|(known, _)| *known == path);
        let appends = query.starts_with("comp=appendblock&");
        let has_length = head.headers.contains_key("content-length");
        assert!(head.method == Method::HEAD || has_length, "the API asks for a length");
        let answer = Response::builder();
        let number = |name: &str| {
            head.headers.get(name).map(|at| at.to_str().unwrap().parse::<usize>().unwrap())
        };
        let answer = match (head.method.clone(), known, appends) {
            (_, None, true) | (Method::HEAD, None, _) => answer.status(404),
            (Method::HEAD, Some((_, bytes)), _) => {
                answer.status(200).header("content-length", bytes.len())
            }
            (_, Some(_), false) => answer.status(409),
            (_, Some((_, bytes)), true) => {
                let wanted = number("x-ms-blob-condition-appendpos");
                if wanted.is_some_and(|at| at != bytes.len()) {
                    answer.status(412)
                } else {
                    let at = bytes.len();
                    bytes.extend_from_slice(body);
                    answer.status(201).header("x-ms-blob-append-offset", at)
                }
            }
            (_, None, false) => {
                assert_eq!(head.headers["x-ms-blob-type"], "AppendBlob");
                blobs.push((path, Vec::new()));
                answer.status(201)
            }
        };
        Ok(answer.body(Full::default())?)
    }

    async fn frames(self, mut stream: TlsStream<TcpStream>) {
        *self.seen.lock().unwrap() += 1;
        loop {
            let mut length = String::new();
            loop {
                match stream.read_u8().await {
                    Ok(b' ') => break,
                    Ok(digit) => length.push(char::from(digit)),
                    Err(_) => return,
                }
            }
            let mut message = vec![0; length.parse().unwrap()];
            if stream.read_exact(&mut message).await.is_err() {
                return;
            }
            match self.manner() {
                Manner::Hangs => std::future::pending().await,
                Manner::HangsUp => return,
                _ => {}
            };
            let taken = Taken { headers: HeaderMap::new(), body: message.into() };
            self.taken.lock().unwrap().push(taken);
        }
    }
}
