//! Connections that ask without reading, send too much, or come in too great a number.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use casemate_system_tests::authority;
use casemate_test_kit::tls::{self, Stream};
use casemate_test_kit::{Dev, Options, process};
use serde_json::json;

/// Growth that buffers of one connection may show, in KiB.
const GROWTH_KIB_MAX: usize = 8 * 1024;

/// Bytes of requests that one client tries to send without reading an answer.
const UNREAD_BYTES: usize = 64 << 20;

/// The limit of open files under which the server is started, and connections that are tried.
const FILES: usize = 700;

fn open(dev: &Dev) -> Stream {
    let (host, port) = authority(dev.variable("CASEMATE_HSM_URL"))
        .rsplit_once(':')
        .map(|(host, port)| (host.to_owned(), port.parse().expect("a port")))
        .expect("the URL names its port");
    tls::connect(&tls::trust(&dev.ca()), &host, port).expect("the HSM takes a connection")
}

fn request(dev: &Dev, method: &str, path: &str, body: &str) -> String {
    let host = authority(dev.variable("CASEMATE_HSM_URL")).to_owned();
    let token = dev.token();
    let length = body.len();
    format!(
        "{method} {path}?api-version=7.4 HTTP/1.1\r\nHost: {host}\r\n\
         Authorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// What arrives within a few seconds, up to the first answer's end of headers.
fn answer(stream: &mut Stream) -> String {
    stream.sock.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout can be set");
    let (mut text, mut part) = (String::new(), [0; 4096]);
    while !text.contains("\r\n\r\n") {
        match stream.read(&mut part) {
            Ok(0) | Err(_) => break,
            Ok(length) => text.push_str(&String::from_utf8_lossy(&part[..length])),
        }
    }
    text
}

#[test]
fn a_client_that_asks_and_never_reads_costs_no_memory() {
    let dev = Dev::fresh();
    let partition = dev.partition();
    let mut stream = open(&dev);
    stream.sock.set_write_timeout(Some(Duration::from_secs(3))).expect("a timeout can be set");
    let host = authority(dev.variable("CASEMATE_HSM_URL")).to_owned();
    let burst = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").repeat(1000);
    let before = process::resident_kib(partition);
    let mut sent = 0;
    let held = loop {
        match stream.write(burst.as_bytes()) {
            Ok(length) if sent < UNREAD_BYTES => sent += length,
            Ok(_) => break false,
            Err(error) => {
                break matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            }
        }
    };
    let grown = process::resident_kib(partition).saturating_sub(before);
    assert!(grown < GROWTH_KIB_MAX, "{grown} KiB for {sent} bytes of requests");
    assert!(held, "the server reads on although nobody takes its answers");
    dev.rest().ask("GET", "/keys").expect("an answer").expect_ok("others are served");
    dev.stop();
}

/// Writes all of a request, in parts, before it reads; gives the first line of the answer.
fn status_line_after_sending(dev: &Dev, path: &str, host: &str, bytes: usize) -> String {
    let mut stream = open(dev);
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer expired\r\n\
         Content-Length: {bytes}\r\n\r\n"
    );
    let body = vec![b' '; bytes];
    let sent = stream.write_all(head.as_bytes()).and_then(|()| {
        for part in body.chunks(4096) {
            stream.write_all(part)?;
            stream.flush()?;
        }
        Ok(())
    });
    let text = answer(&mut stream);
    let line = text.lines().next().unwrap_or_default().to_owned();
    format!("{line}{}", sent.err().map(|error| format!(" ({error})")).unwrap_or_default())
}

#[test]
fn who_is_refused_before_its_body_was_read_gets_the_answer_all_the_same() {
    let dev = Dev::fresh();
    let host = authority(dev.variable("CASEMATE_HSM_URL")).to_owned();
    for (path, host, status) in [
        ("/keys/k/create?api-version=7.4", host.as_str(), "HTTP/1.1 401"),
        ("/nowhere", &host, "HTTP/1.1 401"),
        ("/keys", "elsewhere.example", "HTTP/1.1 421"),
    ] {
        for bytes in [1, 60_000, 200_000] {
            for _ in 0..5 {
                let line = status_line_after_sending(&dev, path, host, bytes);
                assert!(line.starts_with(status), "{path} with {bytes} bytes: {line}");
            }
        }
    }
    let too_large = request(&dev, "POST", "/keys/k/create", &" ".repeat(300_000));
    let mut stream = open(&dev);
    stream.write_all(too_large.as_bytes()).expect("all of it is taken");
    assert!(answer(&mut stream).starts_with("HTTP/1.1 413"));
    dev.stop();
}

#[test]
fn bytes_after_a_request_do_not_keep_its_answer_back() {
    let dev = Dev::fresh();
    let body = json!({"kty": "EC-HSM", "crv": "P-256"}).to_string();
    let create = request(&dev, "POST", "/keys/a/create", &body);
    for rest in
        ["\r\n", "G", "not HTTP at all\r\n\r\n", "GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n"]
    {
        let mut stream = open(&dev);
        stream.write_all(format!("{create}{rest}").as_bytes()).expect("it is sent");
        let answer = answer(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{rest:?}: {answer:?}");
    }
    let versions = dev.rest().ask("GET", "/keys/a/versions").expect("an answer");
    let versions = versions.expect_ok("the versions");
    assert_eq!(versions["value"].as_array().map(Vec::len), Some(4));
    dev.stop();
}

#[test]
fn what_is_no_request_is_told_so() {
    let dev = Dev::fresh();
    let many = format!("GET /keys HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(300));
    for (bad, status) in [
        ("GET /keys HTTP/1.1\r\nbad header\r\n\r\n", "400"),
        ("POST /rng HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "400"),
        ("POST /rng HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "400"),
        ("\x01\x02\x03\r\n\r\n", "400"),
        (many.as_str(), "431"),
    ] {
        let mut stream = open(&dev);
        stream.write_all(bad.as_bytes()).expect("it is sent");
        let answer = answer(&mut stream);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{bad:?}: {answer:?}");
    }
    dev.stop();
}

#[test]
fn when_files_run_out_connections_are_refused_and_nothing_dies() {
    let limit = format!("ulimit -S -n {FILES} && ulimit -H -n {FILES} && exec \"$@\"");
    let through = ["sh", "-c", limit.as_str(), "sh"].map(str::to_owned).to_vec();
    let dev = Dev::start(Options { through, ..Options::default() });
    let partition = dev.partition();
    let (mut held, mut refused) = (Vec::new(), 0);
    while held.len() < 2 * FILES && refused < 20 {
        let mut stream = open(&dev);
        stream.sock.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout can be set");
        // The first byte of a request; the handshake goes before it.
        match stream.write_all(b"G") {
            Ok(()) => held.push(stream),
            Err(_) => refused += 1,
        }
    }
    assert!((FILES / 2..FILES).contains(&held.len()), "{} connections are open", held.len());
    assert_eq!(dev.partition(), partition, "the partition lives");
    drop(held);
    let serves = || dev.rest().ask("GET", "/keys").is_ok_and(|answer| answer.status == 200);
    assert!(process::eventually(Duration::from_secs(30), serves), "it serves again");
    assert_eq!(dev.partition(), partition, "the same partition");
    dev.stop();
}
