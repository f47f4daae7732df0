//! Waits for a TLS hello without taking it out of the socket.
//!
//! A hello may come in several segments, and a socket with unread bytes is readable all the time:
//! looking again at once would spin. So a look that shows too little counts as "would block",
//! which makes the runtime wait for the next segment (its events are edge-triggered).

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::{MsgFlags, recv};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};

use crate::sni::{HELLO_BYTES_MAX, Sni, parse};

/// Looks that may bring no byte before a pause. A new socket counts as readable before its first
/// event, so the first look is often too early; a pause then would be every connection's.
const FRUITLESS_MAX: u32 = 3;

/// The pause after an event that brought no byte, so that no client can make us spin.
const PAUSE: Duration = Duration::from_millis(20);

/// What a connection begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hello {
    /// A hello for this name.
    Name(String),
    /// A hello without a name.
    NoName,
    /// No TLS, too long, too late, or closed.
    Unfit(Unfit),
}

/// Why a connection is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// The first bytes are no TLS hello.
    NotTls,
    /// The hello did not come in time.
    Late,
    /// The client went away.
    Gone,
}

/// Looks at the connection until its hello is complete.
pub(crate) async fn peek(stream: &TcpStream, within: Duration) -> Hello {
    let deadline = Instant::now() + within;
    match timeout_at(deadline, look(stream)).await {
        Ok(Ok(hello)) => hello,
        Ok(Err(_)) => Hello::Unfit(Unfit::Gone),
        Err(_) => Hello::Unfit(Unfit::Late),
    }
}

async fn look(stream: &TcpStream) -> io::Result<Hello> {
    let mut bytes = vec![0_u8; HELLO_BYTES_MAX];
    let mut seen = 0_usize;
    let mut fruitless = 0_u32;
    loop {
        let ready = stream.ready(Interest::READABLE).await?;
        let before = seen;
        let looked = stream.try_io(Interest::READABLE, || {
            seen = recv(stream.as_raw_fd(), &mut bytes, MsgFlags::MSG_PEEK)?;
            // Too little counts as nothing: the runtime then waits for the next event.
            judge(bytes.get(..seen).unwrap_or_default()).ok_or(io::ErrorKind::WouldBlock.into())
        });
        match looked {
            Ok(hello) => return Ok(hello),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            Err(_) if ready.is_read_closed() => return Ok(Hello::Unfit(Unfit::Gone)),
            Err(_) if seen == before && fruitless >= FRUITLESS_MAX => sleep(PAUSE).await,
            Err(_) if seen == before => fruitless += 1,
            Err(_) => {}
        }
    }
}

/// `None` while more bytes are needed.
fn judge(bytes: &[u8]) -> Option<Hello> {
    if bytes.is_empty() {
        return Some(Hello::Unfit(Unfit::Gone));
    }
    match parse(bytes) {
        Sni::Name(name) => Some(Hello::Name(name)),
        Sni::Absent => Some(Hello::NoName),
        Sni::NotTls => Some(Hello::Unfit(Unfit::NotTls)),
        Sni::NeedMore(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
    use std::io::Write;
    use std::net::TcpStream as Client;

    const HELLO: &[u8] = include_bytes!("../testdata/openssl-named.hello");

    async fn connected() -> (TcpStream, Client) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::connect(listener.local_addr().unwrap()).unwrap();
        client.set_nodelay(true).unwrap();
        (listener.accept().await.unwrap().0, client)
    }

    fn named() -> Hello {
        Hello::Name("dev.managedhsm.localhost".to_owned())
    }

    #[tokio::test]
    async fn a_hello_in_segments_of_one_byte_arrives_and_stays_in_the_socket() {
        let (stream, mut client) = connected().await;
        let writer = std::thread::spawn(move || {
            for byte in HELLO {
                client.write_all(&[*byte]).unwrap();
                std::thread::sleep(Duration::from_micros(300));
            }
            client
        });
        assert_eq!(peek(&stream, HELLO_TIMEOUT).await, named());
        let mut bytes = vec![0; HELLO.len()];
        tokio::io::AsyncReadExt::read_exact(&mut { stream }, &mut bytes).await.unwrap();
        assert_eq!(bytes, HELLO);
        drop(writer.join().unwrap());
    }

    #[tokio::test]
    async fn a_hello_that_comes_a_moment_late_is_seen_at_once() {
        const ROUNDS: u32 = 20;
        let mut fastest = PAUSE;
        for _ in 0..ROUNDS {
            let (stream, mut client) = connected().await;
            let peeking = tokio::spawn(async move { peek(&stream, HELLO_TIMEOUT).await });
            // The first look is over, and has brought nothing.
            sleep(Duration::from_millis(2)).await;
            client.write_all(HELLO).unwrap();
            let sent = Instant::now();
            assert_eq!(peeking.await.unwrap(), named());
            fastest = fastest.min(sent.elapsed());
        }
        // With a pause, each would take most of one.
        assert!(fastest < PAUSE / 2, "{fastest:?}");
    }

    #[tokio::test]
    async fn half_a_hello_is_late_without_spinning() {
        let (stream, mut client) = connected().await;
        client.write_all(&HELLO[..100]).unwrap();
        let before = cpu_ms();
        let hello = peek(&stream, Duration::from_millis(400)).await;
        assert_eq!(hello, Hello::Unfit(Unfit::Late));
        assert!(cpu_ms() - before < 200, "{} ms of CPU", cpu_ms() - before);
    }

    #[tokio::test]
    async fn a_client_that_goes_away_is_noticed_before_the_deadline() {
        for part in [&HELLO[..0], &HELLO[..60]] {
            let (stream, mut client) = connected().await;
            client.write_all(part).unwrap();
            drop(client);
            let hello = tokio::time::timeout(Duration::from_secs(2), peek(&stream, HELLO_TIMEOUT));
            assert_eq!(hello.await.unwrap(), Hello::Unfit(Unfit::Gone));
        }
    }

    #[tokio::test]
    async fn plain_http_is_unfit_at_once() {
        let (stream, mut client) = connected().await;
        client.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        assert_eq!(peek(&stream, HELLO_TIMEOUT).await, Hello::Unfit(Unfit::NotTls));
    }

    fn cpu_ms() -> i64 {
        let used = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_THREAD);
        let used = used.unwrap();
        let time = used.user_time() + used.system_time();
        time.tv_sec() * 1_000 + time.tv_usec() / 1_000
    }
}
