//! RFC 5424 messages over TLS, each behind its length (RFC 5425).
//!
//! This protocol has no acknowledgement: what was written may still be lost with the connection.
//! So when a connection breaks, what was handed to it in its last moments is sent again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use casemate_audit_sinks::Endpoint;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::batch::Batch;
use crate::entry::Entry;
use crate::failure::SinkFailure;
use crate::feed::Origin;
use crate::tls::Dialer;

/// What was written so recently is sent again when the connection breaks.
const RESEND_WINDOW: Duration = Duration::from_secs(30);
/// Batches that are remembered for that; beyond, the oldest count as arrived.
const RECENT_MAX: usize = 4_096;
/// Facility 13 (log audit), severity 6 (informational) and 4 (warning).
const PRIORITY_DONE: u8 = 13 * 8 + 6;
const PRIORITY_REFUSED: u8 = 13 * 8 + 4;
/// Longest host name and message id of RFC 5424, in bytes.
const HOST_BYTES_MAX: usize = 255;
const ID_BYTES_MAX: usize = 32;
/// The name of the structured data; its number is the one for documentation (RFC 5612).
const DATA_NAME: &str = "casemate@32473";

/// One syslog receiver.
pub(crate) struct SyslogSink {
    host: String,
    dialer: Dialer,
    stream: Option<TlsStream<TcpStream>>,
    recent: VecDeque<(Instant, u64)>,
}

impl SyslogSink {
    pub(crate) fn new(origin: &Origin, endpoint: &Endpoint) -> Result<Self, SinkFailure> {
        let host = printable(&origin.hsm, HOST_BYTES_MAX);
        Ok(Self { host, dialer: Dialer::new(endpoint)?, stream: None, recent: VecDeque::new() })
    }

    pub(crate) async fn deliver(&mut self, batch: &Batch) -> Result<(), SinkFailure> {
        let mut bytes = Vec::new();
        for (index, line) in batch.entries() {
            frame(&mut bytes, &self.message(index, line));
        }
        for line in batch.checkpoint.iter().flat_map(|checkpoint| checkpoint.lines()) {
            let text = format!("<{PRIORITY_DONE}>1 - {} casemate - Checkpoint - {line}", self.host);
            frame(&mut bytes, text.as_bytes());
        }
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.dialer.connect().await?,
        };
        let host = || self.dialer.endpoint().host().to_owned();
        let broken = |_| SinkFailure::Broken { host: host() };
        // A receiver has nothing to say; that it ended the connection shows here.
        let ended = tokio::select! {
            biased;
            _ = stream.read_u8() => true,
            () = std::future::ready(()) => false,
        };
        if ended {
            return Err(SinkFailure::Broken { host: host() });
        }
        stream.write_all(&bytes).await.map_err(broken)?;
        stream.flush().await.map_err(broken)?;
        self.stream = Some(stream);
        self.note(batch.from());
        Ok(())
    }

    /// Ends the connection, and says from where on its last moments began.
    pub(crate) fn hang_up(&mut self) -> Option<u64> {
        self.stream = None;
        self.forget_old();
        let oldest = self.recent.front().map(|(_, from)| *from);
        self.recent.clear();
        oldest
    }

    fn note(&mut self, from: u64) {
        self.forget_old();
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((Instant::now(), from));
    }

    fn forget_old(&mut self) {
        while self.recent.front().is_some_and(|(at, _)| at.elapsed() > RESEND_WINDOW) {
            self.recent.pop_front();
        }
    }

    fn message(&self, index: u64, line: &[u8]) -> Vec<u8> {
        let entry = Entry::parse(line);
        let priority = match entry.text("resultType") {
            "Failed" => PRIORITY_REFUSED,
            _ => PRIORITY_DONE,
        };
        // Already in the form that RFC 5424 wants; one that is not is left out.
        let time = entry.moment().map_or("-", |_| entry.text("time"));
        let id = printable(entry.text("operationName"), ID_BYTES_MAX);
        let head = format!(
            "<{priority}>1 {time} {} casemate - {id} [{DATA_NAME} index=\"{index}\"] ",
            self.host
        );
        [head.as_bytes(), line].concat()
    }
}

fn frame(bytes: &mut Vec<u8>, message: &[u8]) {
    bytes.extend_from_slice(format!("{} ", message.len()).as_bytes());
    bytes.extend_from_slice(message);
}

/// Visible ASCII of a bounded length, or `-`.
fn printable(text: &str, bytes_max: usize) -> String {
    let text: String = text.chars().filter(char::is_ascii_graphic).take(bytes_max).collect();
    if text.is_empty() { "-".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::samples::line;

    #[test]
    fn names_are_visible_ascii_of_a_bounded_length() {
        assert_eq!(printable("Key Sign\n\u{e9}x", 32), "KeySignx");
        assert_eq!(printable("abcdef", 3), "abc");
        assert_eq!(printable(" \n", 3), "-");
    }

    #[test]
    fn a_frame_counts_bytes() {
        let mut bytes = Vec::new();
        frame(&mut bytes, "<110>1 é".as_bytes());
        assert_eq!(bytes, "9 <110>1 é".as_bytes());
        let entry = Entry::parse(line("KeySign", "").as_bytes());
        assert!(entry.moment().is_some());
    }
}
