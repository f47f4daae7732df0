//! A plain GET to the management listener.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Nothing there takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Status and body.
pub fn get(url: &str, path: &str) -> (u16, String) {
    let address = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("the request can be sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer comes");
    let (head, body) = text.split_once("\r\n\r\n").expect("an answer has a head");
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
    let body = if head.to_lowercase().contains("transfer-encoding: chunked") {
        let lines = body.split("\r\n");
        lines.skip(1).step_by(2).collect()
    } else {
        body.to_owned()
    };
    (status, body)
}
