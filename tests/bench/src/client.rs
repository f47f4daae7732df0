//! One keep-alive connection that sends the same request again and again.

use std::sync::Arc;

use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Outcome;

/// No answer is larger.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Where requests go.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) port: u16,
    pub(crate) tls: Arc<rustls::ClientConfig>,
    pub(crate) token: String,
}

impl Target {
    /// The bytes of a request.
    pub(crate) fn request(&self, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
        let mut bytes = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: Bearer {}\r\n\
             User-Agent: casemate-bench\r\nAccept: application/json\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.port,
            self.token,
            body.len()
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        bytes
    }

    /// Opens a connection.
    pub(crate) async fn connect(&self) -> Outcome<Connection> {
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from("127.0.0.1")?;
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp).await?;
        Ok(Connection { stream, buffer: Vec::with_capacity(16 << 10) })
    }
}

/// An open connection.
pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

impl Connection {
    /// Sends a request and reads its answer; anything but 200 is an error with the body.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Outcome<()> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err("the server hung up".into());
            }
            if self.is_whole()? {
                return self.judge();
            }
        }
    }

    fn is_whole(&self) -> Outcome<bool> {
        if self.buffer.len() > ANSWER_BYTES_MAX {
            return Err("the answer is too large".into());
        }
        let Some(head) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(false);
        };
        let text = std::str::from_utf8(self.buffer.get(..head).unwrap_or_default())?;
        let length = text
            .lines()
            .find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim())
            })
            .ok_or("the answer has no content-length")?;
        Ok(self.buffer.len() >= head + 4 + length.parse::<usize>()?)
    }

    fn judge(&self) -> Outcome<()> {
        if self.buffer.starts_with(b"HTTP/1.1 200 ") {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&self.buffer).into_owned().into())
    }
}
