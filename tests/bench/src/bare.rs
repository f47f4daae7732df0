//! The bare server: TLS, HTTP/1.1, JSON, a token found in a map, the operation. Nothing else.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::Outcome;
use crate::operations::{Act, OPERATIONS, Raw, engine};

/// The token that the bare server knows: as long as a real one.
pub(crate) fn token() -> String {
    "t".repeat(1_100)
}

struct Server {
    rows: Vec<Raw>,
    tokens: Mutex<HashMap<[u8; 32], u64>>,
}

#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    alg: &'a str,
    #[serde(borrow)]
    value: &'a str,
    #[serde(borrow, default)]
    digest: Option<&'a str>,
}

#[derive(Serialize)]
struct Answered<'a> {
    kid: &'a str,
    value: &'a str,
}

/// A bundle like the one that the HSM answers.
#[derive(Serialize)]
struct Bundle<'a> {
    key: HashMap<&'a str, &'a str>,
    attributes: HashMap<&'a str, u64>,
}

/// Serves until the standard input ends. Writes `PORT\nCERTIFICATE PEM\n\n` first.
pub(crate) fn serve() -> Outcome<()> {
    let engine = engine()?;
    let rows: Outcome<Vec<Raw>> =
        OPERATIONS.iter().map(|operation| Raw::new(&engine, *operation)).collect();
    let tokens = Mutex::new(HashMap::from([(hash(token().as_bytes()), 1_u64)]));
    let server = Arc::new(Server { rows: rows?, tokens });
    let (acceptor, pem) = acceptor()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async move {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        crate::report::print(&format!("{port}\n{pem}\n\n"));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, acceptor.clone(), Arc::clone(&server)));
            }
        });
        let (tell, told) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let ended = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            // The runtime may be gone already.
            let _ = tell.send(ended);
        });
        told.await??;
        accepting.abort();
        Ok(())
    })
}

fn acceptor() -> Outcome<(TlsAcceptor, String)> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let certificate =
        rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()])?.self_signed(&key)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let private = rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der())?;
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)?;
    Ok((TlsAcceptor::from(Arc::new(config)), certificate.pem()))
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, server: Arc<Server>) {
    // A connection that breaks is the load generator's business.
    let _ = stream.set_nodelay(true);
    let Ok(tls) = acceptor.accept(stream).await else { return };
    let service = service_fn(move |request| {
        let server = Arc::clone(&server);
        async move { Ok::<_, Infallible>(answer(&server, request).await) }
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(tls), service)
        .await;
}

async fn answer(server: &Server, request: http::Request<Incoming>) -> http::Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let body = match body.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(_) => return status(400),
    };
    let bearer = parts.headers.get("authorization").map(http::HeaderValue::as_bytes);
    let known = bearer.and_then(|value| value.strip_prefix(b"Bearer ")).is_some_and(|token| {
        let hashed = hash(token);
        server.tokens.lock().contains_key(&hashed)
    });
    if !known {
        return status(401);
    }
    let index = parts.uri.path().trim_start_matches('/').parse::<usize>();
    let Some(raw) = index.ok().and_then(|index| server.rows.get(index)) else {
        return status(404);
    };
    match act(raw, &body) {
        Ok(bytes) => json(bytes),
        Err(_) => status(500),
    }
}

fn act(raw: &Raw, body: &[u8]) -> Outcome<Vec<u8>> {
    let kid = "https://127.0.0.1:8444/keys/bench/0123456789abcdef0123456789abcdef";
    match raw.operation.act {
        Act::Empty => return Ok(b"{}".to_vec()),
        Act::Get => {
            let coordinate = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
            let bundle = Bundle {
                key: HashMap::from([("kid", kid), ("x", coordinate), ("y", coordinate)]),
                attributes: HashMap::from([("created", 1), ("updated", 2), ("enabled", 1)]),
            };
            return Ok(serde_json::to_vec(&bundle)?);
        }
        _ => {}
    }
    let asked: Asked<'_> = serde_json::from_slice(body)?;
    if asked.alg.is_empty() {
        return Err("no algorithm".into());
    }
    let input = URL_SAFE_NO_PAD.decode(asked.digest.unwrap_or(asked.value))?;
    let value = URL_SAFE_NO_PAD.encode(raw.run(&input)?);
    Ok(serde_json::to_vec(&Answered { kid, value: &value })?)
}

fn json(bytes: Vec<u8>) -> http::Response<Full<Bytes>> {
    let mut response = http::Response::new(Full::new(Bytes::from(bytes)));
    let kind = http::HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

fn status(code: u16) -> http::Response<Full<Bytes>> {
    let mut response = http::Response::new(Full::default());
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    response
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut hash = [0; 32];
    hash.copy_from_slice(digest.as_ref());
    hash
}
