//! Ten thousand malformed requests: none is answered with 500, nothing panics, nothing grows.
//!
//! `CASEMATE_SEED` repeats a run, `CASEMATE_MALFORMED` sets how many (default 10,000).

use std::env;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use casemate_system_tests::authority;
use casemate_test_kit::random::Random;
use casemate_test_kit::{Answer, Dev, Rest, process, tls};
use serde_json::{Value, json};

const THREADS: usize = 8;

/// Growth that allocators show under any load, in KiB.
const GROWTH_KIB_MAX: usize = 24 * 1024;

/// A connection that sends nothing useful is closed within this.
const SLOW_CLOSED_WITHIN: Duration = Duration::from_secs(100);

fn requests() -> usize {
    env::var("CASEMATE_MALFORMED").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000)
}

/// A server and what it looked like before.
struct Target<'a> {
    dev: &'a Dev,
    token: String,
    answered: AtomicUsize,
}

impl Target<'_> {
    fn accept(&self, answer: &Answer, what: &dyn std::fmt::Debug) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        assert!(answer.status < 500, "{} {} to {what:?}", answer.status, answer.text());
    }

    /// One malformed request of a random kind. A closed connection is an answer, too.
    fn attack(&self, rest: &mut Rest, random: &mut Random) {
        match random.below(10) {
            0..=2 => self.body(rest, random),
            3 | 4 => self.path(rest, random),
            5 => self.base64(rest, random),
            6 => self.token(random),
            7 | 8 => self.http(rest, random),
            _ => self.hello(random),
        }
    }

    fn body(&self, rest: &mut Rest, random: &mut Random) {
        let (method, path, body) = bodies().swap_remove(random.below(bodies().len()));
        let mut bytes = serde_json::to_vec(&body).expect("JSON can be written");
        mutate(&mut bytes, random);
        match rest.send(method, path, &bytes) {
            Ok(answer) => self.accept(&answer, &(path, String::from_utf8_lossy(&bytes))),
            Err(_) => rest.hang_up(),
        }
    }

    fn path(&self, rest: &mut Rest, random: &mut Random) {
        let mut path = String::from("/");
        for _ in 0..random.below(7) {
            path.push_str(random.pick(PATH_PARTS));
            if random.below(3) > 0 {
                path.push('/');
            }
        }
        if random.below(2) == 0 {
            path.push_str(random.pick(QUERIES));
        }
        let method = random.pick(&["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]);
        match rest.ask(method, &path) {
            Ok(answer) => self.accept(&answer, &(method, path)),
            Err(_) => rest.hang_up(),
        }
    }

    fn base64(&self, rest: &mut Rest, random: &mut Random) {
        let text = |random: &mut Random| {
            let length = random.below(90);
            let alphabet = b"ABCDEFabcdef0123456789-_+/=. \"\\\xC3\xA4";
            let bytes: Vec<u8> = (0..length).map(|_| random.pick(alphabet)).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let alg = random.pick(&["ES256", "A256GCM", "A256CBCPAD", "RSA-OAEP", "A256KW", "HS256"]);
        let name = random.pick(&["target", "aes", "rsa"]);
        let operation = random.pick(&["sign", "verify", "encrypt", "decrypt", "unwrapkey"]);
        let body = json!({ "alg": alg, "value": text(random), "digest": text(random),
                           "iv": text(random), "tag": text(random), "aad": text(random) });
        match rest.call("POST", &format!("/keys/{name}/{operation}"), &body) {
            Ok(answer) => self.accept(&answer, &body),
            Err(_) => rest.hang_up(),
        }
    }

    fn token(&self, random: &mut Random) {
        let mut bytes = self.token.clone().into_bytes();
        mutate(&mut bytes, random);
        // A header line ends at a line break; what follows would be another line.
        bytes.retain(|byte| !byte.is_ascii_control());
        let token = String::from_utf8_lossy(&bytes).into_owned();
        if token == self.token {
            return;
        }
        if let Ok(answer) = self.dev.anonymous().with_token(&token).ask("GET", "/keys/target") {
            self.accept(&answer, &token);
            assert_ne!(answer.status, 200, "a changed token was believed: {token}");
        }
    }

    fn http(&self, rest: &mut Rest, random: &mut Random) {
        let mut bytes = random.pick(RAW_REQUESTS).replace("TOKEN", &self.token).into_bytes();
        if random.below(2) == 0 {
            mutate(&mut bytes, random);
        }
        // The server may wait for more; half a request must not keep this test.
        bytes.extend_from_slice(b"\r\nConnection: close\r\n\r\n");
        if let Ok(answer) = rest.twin().raw(&bytes) {
            self.accept(&answer, &String::from_utf8_lossy(&bytes));
        }
    }

    fn hello(&self, random: &mut Random) {
        let mut bytes = hello(random);
        mutate(&mut bytes, random);
        let urls = ["CASEMATE_HSM_URL", "CASEMATE_CONTROL_URL"];
        let port = port(self.dev.variable(random.pick(&urls)));
        let Ok(mut stream) = tls::plain(port) else { return };
        // It may be closed at any moment; all that counts is that the server lives on.
        let _sent = stream.write_all(&bytes);
        let _done = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _read = stream.take(1 << 16).read_to_end(&mut answer);
        self.answered.fetch_add(1, Ordering::Relaxed);
    }
}

fn port(url: &str) -> u16 {
    let (_, port) = authority(url).rsplit_once(':').expect("the URL names its port");
    port.parse().expect("a port is a number")
}

/// Good requests, to be spoilt.
fn bodies() -> Vec<(&'static str, &'static str, Value)> {
    let digest = "A".repeat(43);
    vec![
        (
            "POST",
            "/keys/made/create",
            json!({ "kty": "EC-HSM", "crv": "P-256",
            "attributes": { "enabled": true, "exp": 4_000_000_000_u32 }, "tags": { "a": "b" },
            "key_ops": ["sign", "verify"] }),
        ),
        ("POST", "/keys/made/create", json!({ "kty": "oct-HSM", "key_size": 256 })),
        ("PUT", "/keys/put", json!({ "key": { "kty": "oct", "k": digest }, "Hsm": false })),
        (
            "PUT",
            "/keys/put",
            json!({ "key": { "kty": "EC", "crv": "P-256", "x": digest,
            "y": digest, "d": digest } }),
        ),
        (
            "PUT",
            "/keys/put",
            json!({ "key": { "kty": "RSA", "n": digest, "e": "AQAB",
            "d": digest, "p": digest, "q": digest, "dp": digest, "dq": digest, "qi": digest } }),
        ),
        ("PATCH", "/keys/target/", json!({ "attributes": { "nbf": 5 }, "tags": { "x": "y" } })),
        ("POST", "/keys/target/sign", json!({ "alg": "ES256", "value": digest })),
        (
            "POST",
            "/keys/target/verify",
            json!({ "alg": "ES256", "digest": digest,
            "value": "A".repeat(86) }),
        ),
        ("POST", "/keys/aes/encrypt", json!({ "alg": "A256GCM", "value": digest, "aad": "AA" })),
        ("POST", "/rng", json!({ "count": 16 })),
        (
            "PUT",
            ASSIGNMENT,
            json!({ "properties": { "roleDefinitionId": "x", "principalId": "y" } }),
        ),
    ]
}

const ASSIGNMENT: &str = concat!(
    "/providers/Microsoft.Authorization/roleAssignments/",
    "00000000-0000-0000-0000-000000000001"
);

const PATH_PARTS: &[&str] = &[
    "keys",
    "deletedkeys",
    "target",
    "providers",
    "Microsoft.Authorization",
    "roleAssignments",
    "create",
    "versions",
    "sign",
    "rng",
    "restore",
    "..",
    ".",
    "",
    "%2e%2e",
    "%00",
    "%",
    "%zz",
    "%ff%fe",
    "%C3%A4",
    "a%2Fb",
    "~",
    "\\",
    "x'--",
    "\u{e4}\u{1f511}",
    "{}",
    "null",
    "-1",
    "00000000000000000000000000000000",
    "KEYS",
    "key\ts",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

const QUERIES: &[&str] = &[
    "?",
    "?api-version=",
    "?api-version=7.4&api-version=7.5",
    "?maxresults=99999999999999999999",
    "?api%2Dversion=7.4&$skiptoken=%00",
    "?$skiptoken=AAAA&api-version=7.4",
    "?%",
    "?%%%=1",
    "?=&=&=",
    "?$filter=principalId%20eq%20{x}&api-version=7.4",
    "?api-version=\u{1f511}",
];

const RAW_REQUESTS: &[&str] = &[
    "GET / HTTP/1.1",
    "GET /keys HTTP/1.1\r\nHost: 127.0.0.1",
    "GET /keys HTTP/9.9\r\nHost: x",
    "GET\r\n",
    "\r\n\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n",
    "CONNECT a:1 HTTP/1.1\r\nHost: a",
    "POST /rng HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999",
    "POST /rng HTTP/1.1\r\nHost: a\r\nContent-Length: -1",
    "POST /rng HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4",
    "POST /rng HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\nabc",
    "POST /rng HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0",
    "POST /rng HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nabcde\r\n0",
    "GET /keys HTTP/1.1\r\nHost: a\r\nHost: b\r\nAuthorization: Bearer TOKEN",
    "GET /keys HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer TOKEN\r\nAuthorization: Bearer x",
    "GET /keys HTTP/1.1\r\nHost: \u{e4}\r\nAuthorization: Bearer TOKEN",
    "GET http://elsewhere.example/keys HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer TOKEN",
    "GET /keys HTTP/1.1\r\nHost : a\r\n x: y\r\nAuthorization: Bearer TOKEN",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA",
    "GET /keys HTTP/1.0\r\nAuthorization: Bearer TOKEN",
    "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}",
    "POST /keys/target/sign HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5",
];

/// Spoils bytes: flips, cuts, doubles, inserts what parsers stumble over.
fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    const NASTY: &[&[u8]] = &[
        b"\0",
        b"\xff\xff\xff\xff",
        b"\"",
        b"\\u0000",
        b"\\ud800",
        b"[[[[[[[[",
        b"{\"a\":",
        b"}",
        b"1e999",
        b"-0",
        b"null",
        b"NaN",
        b"\xC0\x80",
        b"\r\n",
        b"99999999999999999999",
        b"\\",
    ];
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 => bytes.truncate(at),
            2 => {
                let tail = bytes[at..].to_vec();
                bytes.extend_from_slice(&tail);
            }
            3 => {
                let length = 1 + random.below(40);
                let noise = random.bytes(length);
                bytes.splice(at..at, noise);
            }
            4 if at < bytes.len() => drop(bytes.remove(at)),
            _ => drop(bytes.splice(at..at, random.pick(NASTY).iter().copied())),
        }
    }
    bytes.truncate(1 << 20);
}

/// A TLS hello with lengths that mostly fit.
fn hello(random: &mut Random) -> Vec<u8> {
    let name: &[u8] = random.pick(&[&b"localhost"[..], b"dev.managedhsm.localhost", b"", b"\xff"]);
    let length = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
    let entry = [&[0][..], &length(name), name].concat();
    let list = [&length(&entry)[..], &entry].concat();
    let sni = [&[0, 0][..], &length(&list), &list].concat();
    let extra_length = random.below(30);
    let extra = random.bytes(extra_length);
    let extensions = [&sni[..], &[0x33, 0x33], &length(&extra), &extra].concat();
    let session_length = random.below(33);
    let session = random.bytes(session_length);
    let session_length = u8::try_from(session.len()).unwrap_or(0);
    let fixed = random.bytes(32);
    let body = [
        &[3, 3][..],
        &fixed,
        &[session_length],
        &session,
        &[0, 2, 0x13, 0x01, 1, 0],
        &length(&extensions),
        &extensions,
    ]
    .concat();
    let handshake = [&[1, 0][..], &length(&body), &body].concat();
    [&[22, 3, 1][..], &length(&handshake), &handshake].concat()
}

fn prepare(dev: &Dev) {
    let mut rest = dev.rest();
    for (name, body) in [
        ("target", json!({ "kty": "EC-HSM", "crv": "P-256" })),
        ("aes", json!({ "kty": "oct-HSM", "key_size": 256 })),
        ("rsa", json!({ "kty": "RSA-HSM", "key_size": 2048 })),
    ] {
        let answer = rest.call("POST", &format!("/keys/{name}/create"), &body);
        answer.expect("an answer").expect_ok(name);
    }
}

/// So many attacks from several threads at once.
fn storm(target: &Target<'_>, count: usize, seed: u64) {
    let random = Random::seeded(seed);
    thread::scope(|scope| {
        for number in 0..THREADS {
            let mut random = random.branch(u64::try_from(number).unwrap_or(0));
            scope.spawn(move || {
                let mut rest = target.dev.anonymous().with_token(&target.token);
                for _ in 0..count / THREADS {
                    target.attack(&mut rest, &mut random);
                }
            });
        }
    });
}

#[test]
fn ten_thousand_malformed_requests() {
    let dev = Dev::fresh();
    prepare(&dev);
    let target = Target { dev: &dev, token: dev.token(), answered: AtomicUsize::new(0) };
    let (agent, partition) = (dev.agent(), dev.partition());
    // The first part warms caches and allocators; the second must add next to nothing.
    storm(&target, requests() / 2, 41);
    let sizes = [agent, partition].map(process::resident_kib);
    storm(&target, requests() / 2, 42);
    let answered = target.answered.load(Ordering::Relaxed);
    assert!(answered > requests() / 2, "only {answered} were answered or closed");
    for (process, before) in [agent, partition].into_iter().zip(sizes) {
        let after = process::resident_kib(process);
        assert!(after < before + GROWTH_KIB_MAX, "{process} grew from {before} to {after} KiB");
    }
    assert_eq!(dev.partition(), partition, "the partition was not replaced");
    dev.rest().ask("GET", "/keys/rsa").expect("an answer").expect_ok("it still serves");
    let settled =
        process::eventually(Duration::from_secs(60), || process::open_files(partition) < 64);
    assert!(settled, "{} descriptors stay open", process::open_files(partition));
    let stopped = dev.stop();
    assert!(!stopped.log.contains("panicked"), "{}", stopped.log);
}

#[test]
fn oversized_requests_are_refused() {
    let dev = Dev::fresh();
    let token = dev.token();
    let mut rest = dev.rest();
    let megabytes = "A".repeat(16 << 20);
    let value = format!("{{\"alg\":\"ES256\",\"value\":\"{megabytes}\"}}");
    if let Ok(answer) = rest.send("POST", "/keys/x/sign", value.as_bytes()) {
        assert!((400..500).contains(&answer.status), "{}", answer.status);
    }
    rest.hang_up();
    for head in [
        format!("GET /keys/{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(1 << 20)),
        format!("GET /keys HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "x".repeat(1 << 20)),
        format!("GET /keys HTTP/1.1\r\nHost: a\r\n{}\r\n", "X-Many: x\r\n".repeat(20_000)),
        format!(
            "GET /keys HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\
                 Cookie: {}\r\n\r\n",
            "y".repeat(1 << 20)
        ),
    ] {
        if let Ok(answer) = rest.raw(head.as_bytes()) {
            assert!((400..500).contains(&answer.status), "{}", answer.status);
        }
    }
    dev.rest().ask("GET", "/keys").expect("an answer").expect_ok("it still serves");
    dev.stop();
}

#[test]
fn slow_clients_keep_nobody_else_waiting_and_are_closed() {
    let dev = Dev::fresh();
    let ports = ["CASEMATE_HSM_URL", "CASEMATE_CONTROL_URL"].map(|name| port(dev.variable(name)));
    let mut slow = Vec::new();
    for number in 0..60 {
        let Ok(mut stream) = tls::plain(ports[number % 2]) else { continue };
        stream.set_read_timeout(Some(SLOW_CLOSED_WITHIN)).expect("a timeout can be set");
        // Nothing, one byte, or the head of a hello whose rest never comes.
        let part: &[u8] = [&b""[..], b"\x16", b"\x16\x03\x01\x01\x00\x01"][number % 3];
        stream.write_all(part).expect("a fresh connection takes a few bytes");
        slow.push(stream);
    }
    let begin = Instant::now();
    for _ in 0..20 {
        dev.rest().ask("GET", "/keys").expect("an answer").expect_ok("others are served");
    }
    assert!(begin.elapsed() < Duration::from_secs(20), "others wait: {:?}", begin.elapsed());
    for mut stream in slow {
        let mut byte = [0; 256];
        let closed = loop {
            match stream.read(&mut byte) {
                Ok(0) => break true,
                Ok(_) => {}
                Err(error) => break error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        };
        assert!(closed, "a silent connection is closed in the end");
    }
    dev.stop();
}
