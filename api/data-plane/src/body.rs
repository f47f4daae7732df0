//! Bodies of requests: read whole, bounded in size and time, wiped after use; then read as JSON.
//!
//! Read only after the caller was authenticated. A body that nobody wants to see is let pass before
//! its answer: a client that still sends when an answer ends the exchange may never read that.

use std::pin::pin;
use std::time::Duration;

use bytes::Buf;
use casemate_wire::Wiped;
use http_body::Body;
use http_body_util::BodyExt;
use serde::Deserialize;

/// Room that is made for a body of unknown length, in bytes.
const UNKNOWN_BYTES: usize = 4096;

/// Why a body is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyRefusal {
    #[error("the body has more than {bytes_max} bytes")]
    TooLarge { bytes_max: usize },
    #[error("the body did not arrive within {} seconds", .deadline.as_secs())]
    TooSlow { deadline: Duration },
    #[error("{max} backups are being taken in already")]
    TooManyLong { max: usize },
    #[error("the body broke off")]
    Broken,
    #[error("the body is empty")]
    Empty,
    #[error("the body is not JSON at line {line}, column {column}")]
    NotJson { line: usize, column: usize },
    /// A required member is not there, or one is there twice.
    #[error("the body has a {what}")]
    Members { what: String },
    #[error("the member that ends at line {line}, column {column} has a wrong type or value")]
    WrongMember { line: usize, column: usize },
}

/// Reads a body to its end.
pub(crate) async fn read<B>(
    body: B,
    bytes_max: usize,
    deadline: Duration,
) -> Result<Wiped, BodyRefusal>
where
    B: Body,
    B::Data: Buf,
{
    let hint = body.size_hint();
    let declared = usize::try_from(hint.upper().unwrap_or_else(|| hint.lower()));
    let declared = declared.map_err(|_| BodyRefusal::TooLarge { bytes_max })?;
    if declared > bytes_max {
        return Err(BodyRefusal::TooLarge { bytes_max });
    }
    let room = if hint.upper().is_some() { declared } else { UNKNOWN_BYTES.min(bytes_max) };
    let mut whole = Wiped::new(Vec::with_capacity(room));
    let mut body = pin!(body);
    let reading = async {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| BodyRefusal::Broken)?;
            let Ok(mut data) = frame.into_data() else { continue };
            if data.remaining() > bytes_max - whole.len() {
                return Err(BodyRefusal::TooLarge { bytes_max });
            }
            while data.has_remaining() {
                let chunk = data.chunk();
                append(&mut whole, chunk, bytes_max);
                let length = chunk.len();
                data.advance(length);
            }
        }
        Ok(())
    };
    match tokio::time::timeout(deadline, reading).await {
        Ok(outcome) => outcome?,
        Err(_) => return Err(BodyRefusal::TooSlow { deadline }),
    }
    Ok(whole)
}

/// Lets a body pass, up to so many bytes and for so long; keeps nothing of it. The answer that
/// follows is the same, however this ended.
pub(crate) async fn let_pass<B>(body: B, bytes_max: usize, deadline: Duration)
where
    B: Body,
    B::Data: Buf,
{
    let mut body = pin!(body);
    let passing = async {
        let mut left = bytes_max;
        while let Some(Ok(frame)) = body.frame().await {
            let passed = frame.data_ref().map_or(0, Buf::remaining);
            let Some(rest) = left.checked_sub(passed) else { return };
            left = rest;
        }
    };
    // One that is too slow has had its time.
    let _ = tokio::time::timeout(deadline, passing).await;
}

/// Appends without leaving a copy behind where the buffer must grow.
fn append(whole: &mut Wiped, chunk: &[u8], bytes_max: usize) {
    let needed = whole.len() + chunk.len();
    if needed > whole.capacity() {
        let room = needed.max((whole.capacity() * 2).min(bytes_max));
        let mut larger = Wiped::new(Vec::with_capacity(room));
        larger.extend_from_slice(whole);
        *whole = larger;
    }
    whole.extend_from_slice(chunk);
}

/// Reads a body as JSON. The reader's own words repeat what was sent, which may be a secret: only
/// those that name members alone are passed on.
pub(crate) fn json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, BodyRefusal> {
    if body.is_empty() {
        return Err(BodyRefusal::Empty);
    }
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        if !error.is_data() {
            return BodyRefusal::NotJson { line, column };
        }
        let text = error.to_string();
        let what = text.split(" at line ").next().unwrap_or_default();
        if what.starts_with("missing field ") || what.starts_with("duplicate field ") {
            return BodyRefusal::Members { what: what.replace("field", "member") };
        }
        BodyRefusal::WrongMember { line, column }
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use casemate_wire::{KeyCreateParameters, KeyImportParameters, KeySignParameters};
    use http_body_util::{Full, StreamBody};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn bodies_are_read_up_to_their_limit_and_not_beyond() {
        let body = |length: usize| Full::new(Bytes::from(vec![7; length]));
        assert_eq!(read(body(10), 10, SECOND).await.unwrap().len(), 10);
        let refusal = read(body(11), 10, SECOND).await.unwrap_err();
        assert_eq!(refusal, BodyRefusal::TooLarge { bytes_max: 10 });
    }

    #[tokio::test]
    async fn a_body_that_does_not_say_its_length_is_bounded_too() {
        let frames = |count: usize| {
            let frame =
                || Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from_static(b"abc")));
            StreamBody::new(futures_util::stream::iter((0..count).map(move |_| frame())))
        };
        assert_eq!(read(frames(3), 10, SECOND).await.unwrap().as_slice(), b"abcabcabc");
        let refusal = read(frames(4), 10, SECOND).await.unwrap_err();
        assert_eq!(refusal, BodyRefusal::TooLarge { bytes_max: 10 });
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_given_up() {
        let deadline = Duration::from_millis(20);
        let never =
            futures_util::stream::pending::<Result<http_body::Frame<Bytes>, std::io::Error>>();
        let refusal = read(StreamBody::new(never), 10, deadline).await.unwrap_err();
        assert_eq!(refusal, BodyRefusal::TooSlow { deadline });
    }

    #[tokio::test]
    async fn a_body_nobody_wants_passes_within_its_bounds() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let taken = AtomicUsize::new(0);
        let frames = (0..100).map(|_| {
            taken.fetch_add(1, Ordering::Relaxed);
            Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from_static(b"abc")))
        });
        let body = StreamBody::new(futures_util::stream::iter(frames));
        let_pass(body, 10, SECOND).await;
        assert_eq!(taken.load(Ordering::Relaxed), 4);
        let never =
            futures_util::stream::pending::<Result<http_body::Frame<Bytes>, std::io::Error>>();
        let_pass(StreamBody::new(never), 10, Duration::from_millis(20)).await;
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_refused() {
        let broken = [
            Ok(http_body::Frame::data(Bytes::from_static(b"{"))),
            Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
        ];
        let body = StreamBody::new(futures_util::stream::iter(broken));
        assert_eq!(read(body, 10, SECOND).await.unwrap_err(), BodyRefusal::Broken);
    }

    #[test]
    fn refusals_say_where_and_never_what() {
        let not_json = json::<KeySignParameters>(b"{\"alg\":").unwrap_err();
        assert_eq!(not_json, BodyRefusal::NotJson { line: 1, column: 7 });
        let missing = json::<KeyCreateParameters>(b"{}").unwrap_err();
        assert_eq!(missing, BodyRefusal::Members { what: "missing member `kty`".to_owned() });
        let empty = json::<KeyCreateParameters>(b"").unwrap_err();
        assert_eq!(empty, BodyRefusal::Empty);
        for body in [
            r#"{"key":"hunter2"}"#,
            r#"{"key":{"kty":"oct","k":"hunter2!"}}"#,
            r#"{"key":{"kty":["hunter2"]}}"#,
            r#"{"key":{"kty":"oct","key_ops":"hunter2"}}"#,
            r#"{"key":{"kty":"oct"},"attributes":{"exp":"hunter2"}}"#,
        ] {
            let refusal = json::<KeyImportParameters>(body.as_bytes()).unwrap_err();
            assert!(matches!(refusal, BodyRefusal::WrongMember { .. }), "{body}: {refusal:?}");
            assert!(!refusal.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        let deep = format!("{{\"alg\":\"a\",\"x\":{}", "[".repeat(100_000));
        assert!(json::<KeySignParameters>(deep.as_bytes()).is_err());
    }
}
