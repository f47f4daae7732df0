//! A small REST client over HTTP/1.1, for what the public clients refuse to send.
//!
//! It keeps one connection, sends exactly what it is told and gives back what came. It follows
//! nothing, retries nothing and decodes nothing but lengths and chunks.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use serde_json::Value;

use crate::tls::{self, Stream};

/// The api-version that is added to paths which name none.
pub const API_VERSION: &str = "2025-07-01";

/// No answer of the server is larger, in bytes.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// No answer of the server has more header lines.
const HEADER_LINES_MAX: usize = 100;

/// What the server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header lines as they came, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, its transfer encoding removed.
    pub body: Vec<u8>,
}

/// A client of one server, with or without a token.
#[derive(Debug)]
pub struct Rest {
    config: Arc<ClientConfig>,
    name: String,
    port: u16,
    host: String,
    token: Option<String>,
    stream: Option<BufReader<Stream>>,
}

impl Rest {
    /// A client of the server at `https://NAME:PORT`, trusting the CA in the file alone.
    pub fn new(url: &str, ca: &Path) -> Self {
        Self::trusting(url, tls::trust(ca))
    }

    /// A client that shares a TLS configuration with others.
    pub fn trusting(url: &str, config: Arc<ClientConfig>) -> Self {
        let host = url.strip_prefix("https://").expect("all URLs of the server are https");
        let (name, port) = host.rsplit_once(':').expect("the server's URL names its port");
        let port = port.trim_end_matches('/').parse().expect("a port is a number");
        let host = host.trim_end_matches('/').to_owned();
        Self { config, name: name.to_owned(), port, host, token: None, stream: None }
    }

    /// The same server asked with this bearer token.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// A second client of the same server with the same token and a connection of its own.
    pub fn twin(&self) -> Self {
        Self {
            config: Arc::clone(&self.config),
            name: self.name.clone(),
            port: self.port,
            host: self.host.clone(),
            token: self.token.clone(),
            stream: None,
        }
    }

    /// `GET`, `DELETE` or `POST` without a body.
    pub fn ask(&mut self, method: &str, path: &str) -> io::Result<Answer> {
        self.exchange(method, path, None, "application/json")
    }

    /// A call with a JSON body.
    pub fn call(&mut self, method: &str, path: &str, body: &Value) -> io::Result<Answer> {
        let bytes = serde_json::to_vec(body).map_err(io::Error::other)?;
        self.exchange(method, path, Some(&bytes), "application/json")
    }

    /// A call with any body.
    pub fn send(&mut self, method: &str, path: &str, body: &[u8]) -> io::Result<Answer> {
        self.exchange(method, path, Some(body), "application/json")
    }

    /// An HTML form, as identity endpoints want it.
    pub fn form(&mut self, path: &str, fields: &[(&str, &str)]) -> io::Result<Answer> {
        let pairs: Vec<_> =
            fields.iter().map(|(name, value)| format!("{name}={}", percent(value))).collect();
        let body = pairs.join("&");
        self.exchange("POST", path, Some(body.as_bytes()), "application/x-www-form-urlencoded")
    }

    /// Sends bytes as they are over TLS and reads one answer. The connection is closed after it.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<Answer> {
        self.stream = None;
        let mut stream = BufReader::new(tls::connect(&self.config, &self.name, self.port)?);
        // A server may refuse before it has read all; its answer is still worth reading.
        let sent = stream.get_mut().write_all(bytes).and_then(|()| stream.get_mut().flush());
        read_answer(&mut stream, "GET").or_else(|error| sent.and(Err(error)))
    }

    /// Our port of the open connection.
    pub fn local_port(&self) -> Option<u16> {
        let stream = self.stream.as_ref()?;
        stream.get_ref().sock.local_addr().ok().map(|address| address.port())
    }

    /// Drops the connection; the next call opens another.
    pub fn hang_up(&mut self) {
        self.stream = None;
    }

    fn exchange(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&[u8]>,
        content_type: &str,
    ) -> io::Result<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => BufReader::new(tls::connect(&self.config, &self.name, self.port)?),
        };
        let request = self.render(method, path, body, content_type);
        stream.get_mut().write_all(&request)?;
        stream.get_mut().flush()?;
        let answer = read_answer(&mut stream, method)?;
        if answer.header("connection") != Some("close") {
            self.stream = Some(stream);
        }
        Ok(answer)
    }

    fn render(&self, method: &str, path: &str, body: Option<&[u8]>, kind: &str) -> Vec<u8> {
        let path = versioned(path);
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.host);
        if let Some(token) = &self.token {
            head.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        if let Some(body) = body {
            head.push_str(&format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len()));
        } else if method != "GET" {
            head.push_str("Content-Length: 0\r\n");
        }
        head.push_str("\r\n");
        let mut request = head.into_bytes();
        request.extend_from_slice(body.unwrap_or_default());
        request
    }
}

// === impl Answer ===

impl Answer {
    /// The first header line of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let line = self.headers.iter().find(|(key, _)| key == name)?;
        Some(&line.1)
    }

    /// The body as JSON; `null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The field `error.code` of an error body, or an empty text.
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The body as text, for messages.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The JSON body of a success; anything else ends the test with what came instead.
    pub fn expect_ok(&self, what: &str) -> Value {
        assert!(matches!(self.status, 200 | 201), "{what}: {} {}", self.status, self.text());
        self.json()
    }

    /// Ends the test unless the status and the error code are these.
    pub fn expect_refusal(&self, status: u16, code: &str, what: &str) {
        let came = (self.status, self.code());
        assert_eq!(came, (status, code.to_owned()), "{what}: {}", self.text());
    }
}

fn versioned(path: &str) -> String {
    if path.contains("api-version") || path.contains("api%2Dversion") || path.contains("/oauth2/") {
        return path.to_owned();
    }
    let mark = if path.contains('?') { '&' } else { '?' };
    format!("{path}{mark}api-version={API_VERSION}")
}

fn percent(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn read_answer(stream: &mut BufReader<Stream>, method: &str) -> io::Result<Answer> {
    let status_line = line(stream)?;
    let status = status_line.split(' ').nth(1).and_then(|text| text.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("no HTTP: {status_line:?}")))?;
    let mut headers = Vec::new();
    loop {
        let text = line(stream)?;
        let Some((name, value)) = text.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        if headers.len() > HEADER_LINES_MAX {
            return Err(io::Error::other("too many header lines"));
        }
    }
    let mut answer = Answer { status, headers, body: Vec::new() };
    answer.body = if method == "HEAD" || status == 204 || status == 304 {
        Vec::new()
    } else if answer.header("transfer-encoding") == Some("chunked") {
        read_chunks(stream)?
    } else if let Some(length) = answer.header("content-length") {
        read_exactly(stream, length.parse().map_err(io::Error::other)?)?
    } else {
        read_rest(stream)?
    };
    Ok(answer)
}

fn line(stream: &mut BufReader<Stream>) -> io::Result<String> {
    let mut bytes = Vec::new();
    stream.take(16_384).read_until(b'\n', &mut bytes)?;
    if bytes.last() != Some(&b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

fn read_exactly(stream: &mut BufReader<Stream>, length: usize) -> io::Result<Vec<u8>> {
    if length > ANSWER_BYTES_MAX {
        return Err(io::Error::other("the answer is too large"));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(body)
}

fn read_chunks(stream: &mut BufReader<Stream>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = usize::from_str_radix(&line(stream)?, 16).map_err(io::Error::other)?;
        body.extend(read_exactly(stream, size)?);
        line(stream)?;
        if size == 0 {
            return Ok(body);
        }
    }
}

fn read_rest(stream: &mut BufReader<Stream>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    match stream.read_to_end(&mut body) {
        // Some servers close the socket without a TLS goodbye after a fatal request.
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
        _ => Ok(body),
    }
}

#[cfg(test)]
mod tests {
    use super::{percent, versioned};

    #[test]
    fn a_version_is_added_once_and_never_to_tokens() {
        assert_eq!(versioned("/keys"), "/keys?api-version=2025-07-01");
        assert_eq!(versioned("/keys?maxresults=2"), "/keys?maxresults=2&api-version=2025-07-01");
        assert_eq!(versioned("/keys?api-version=7.6"), "/keys?api-version=7.6");
        assert_eq!(versioned("/adfs/oauth2/token"), "/adfs/oauth2/token");
    }

    #[test]
    fn form_values_are_escaped() {
        assert_eq!(percent("a b&c=~"), "a%20b%26c%3D~");
    }
}
