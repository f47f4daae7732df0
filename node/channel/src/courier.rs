//! What a partition and its courier say to each other, over a stream of frames.
//!
//! A frame is a length (4 bytes, big-endian, of what follows), a kind (1 byte) and a body. The
//! reader of a frame refuses a length out of bounds before it makes room for it.
//!
//! The courier pulls: the partition says how far the log goes and never waits to be read. No key
//! ever travels here; the configuration holds the secrets of the sinks.

mod span;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::transfer::{ORDER_BYTES_MAX, Order, PIECE_BYTES_MAX, Report};
pub use span::{Id, NoId, Span, SpanValue};

/// The version of this protocol. Both ends come from one executable, so another one is an error.
pub const COURIER_VERSION: u32 = 1;

/// Most bytes of entries in one frame.
pub const ENTRIES_BYTES_MAX: usize = 1024 * 1024;

/// Longest configuration, in bytes.
pub const CONFIGURATION_BYTES_MAX: usize = 384 * 1024;

/// Longest checkpoint, certificate, frontier or proof, in bytes.
pub const CHECKPOINT_BYTES_MAX: usize = 16 * 1024;

/// Most spans in one frame.
pub const SPANS_MAX: usize = 256;

/// Most bytes of spans in one frame.
pub const SPANS_BYTES_MAX: usize = 1024 * 1024;

/// Longest report, in bytes.
pub const REPORT_BYTES_MAX: usize = 4 * 1024;

/// Longest frame without its length, in bytes.
pub const FRAME_BYTES_MAX: usize = ENTRIES_BYTES_MAX + 64;

/// Why a frame is none.
#[derive(Debug, thiserror::Error)]
pub enum CourierProtocolError {
    /// The stream.
    #[error("the stream between partition and courier broke")]
    Io(#[from] io::Error),
    /// It is too long or empty.
    #[error("a frame of {bytes} bytes is not between 1 and {FRAME_BYTES_MAX}")]
    Length {
        /// Its length.
        bytes: usize,
    },
    /// A kind that this end does not take.
    #[error("a frame of kind {kind:#04x} is not known here")]
    Kind {
        /// The kind.
        kind: u8,
    },
    /// A body that does not fit its kind.
    #[error("the body of a frame of kind {kind:#04x} is not of its shape")]
    Body {
        /// The kind.
        kind: u8,
    },
    /// The other end speaks another version.
    #[error("the other end speaks version {theirs}, this one {COURIER_VERSION}; restart the agent")]
    Version {
        /// What it speaks.
        theirs: u32,
    },
}

/// From the partition to its courier.
#[derive(Debug, PartialEq, Eq)]
pub enum ToCourier {
    /// The first frame.
    Hello {
        /// The HSM's name.
        hsm: String,
        /// Its resource id, as the records name it.
        resource_id: String,
        /// How many logs before this one were lost: what was delivered of those is not of this.
        log: u32,
    },
    /// Sinks and alerts; replaces the last one.
    Configuration {
        /// Its number, which reports about it repeat.
        generation: u64,
        /// The settings as JSON, with their secrets.
        json: Vec<u8>,
    },
    /// So many entries are committed.
    Committed(u64),
    /// The certificate of the key that signs the checkpoints after this one.
    Certificate(String),
    /// The newest signed checkpoint.
    Checkpoint(String),
    /// The answer to [`FromCourier::Read`]: whole lines, each ended by a newline.
    Entries {
        /// The index of the first.
        from: u64,
        /// The lines.
        lines: Vec<u8>,
    },
    /// An object of a backup is to be carried.
    Transfer(Order),
    /// Bytes of the object of that order.
    Piece {
        /// The order.
        id: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The answer to [`FromCourier::ReadSpans`]; none if none wait.
    Spans {
        /// The number from the request.
        generation: u64,
        /// The spans.
        spans: Vec<Span>,
    },
    /// The answer to [`FromCourier::Frontier`]: the right edge of the tree, as a copy writes it.
    Frontier {
        /// How many entries it is over.
        size: u64,
        /// The text; empty if the log could not be read.
        text: String,
    },
    /// The answer to [`FromCourier::Consistency`]: the proof, as a copy writes it.
    Consistency {
        /// The size of the smaller tree.
        old: u64,
        /// The size of the larger one.
        new: u64,
        /// The text; empty if the log could not be read.
        text: String,
    },
}

/// From the courier to its partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromCourier {
    /// The first frame.
    Hello,
    /// Entries are wanted.
    Read {
        /// The index of the first.
        from: u64,
        /// So many bytes at most, unless one entry alone is longer.
        bytes_max: u32,
    },
    /// The right edge of the tree is wanted, for a piece of a copy that begins there.
    Frontier {
        /// How many entries it is to be over.
        size: u64,
    },
    /// The proof that the tree only grew is wanted, for a piece of a copy that ended there.
    Consistency {
        /// How many entries the piece ends after.
        old: u64,
        /// How many a checkpoint is over.
        new: u64,
    },
    /// How far a sink is.
    Delivered(Delivered),
    /// What came of an order.
    Transferred(Report),
    /// Bytes of the object that was asked for.
    Piece {
        /// The order.
        id: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Spans are wanted, at most [`SPANS_MAX`].
    ReadSpans {
        /// The number of the configuration that they are for.
        generation: u64,
    },
    /// What became of spans.
    Exported(Exported),
}

/// How far a sink is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivered {
    /// The number of the configuration that the sink is of.
    pub generation: u64,
    /// The sink.
    pub sink: String,
    /// All entries below this index are there.
    pub upto: u64,
    /// Why it stands still, if it does; holds no secret.
    pub error: Option<String>,
    /// Deliveries in a row that failed.
    pub failures: u32,
}

/// What became of spans since the last report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exported {
    /// The number of the configuration that it is about.
    pub generation: u64,
    /// So many are at the collector.
    pub sent: u64,
    /// So many were refused for good.
    pub lost: u64,
    /// Why they stand still, if they do; holds no secret.
    pub error: Option<String>,
    /// Hand-overs in a row that failed.
    pub failures: u32,
}

const HELLO: u8 = 0x01;
const CONFIGURATION: u8 = 0x02;
const COMMITTED: u8 = 0x03;
const CHECKPOINT: u8 = 0x04;
const ENTRIES: u8 = 0x05;
const CERTIFICATE: u8 = 0x06;
const SPANS: u8 = 0x07;
const FRONTIER: u8 = 0x08;
const CONSISTENCY: u8 = 0x09;
const FROM_HELLO: u8 = 0x81;
const READ: u8 = 0x82;
const DELIVERED: u8 = 0x83;
const TRANSFER: u8 = 0x10;
const PIECE: u8 = 0x11;
const TRANSFERRED: u8 = 0x90;
const FROM_PIECE: u8 = 0x91;
const READ_SPANS: u8 = 0x84;
const EXPORTED: u8 = 0x85;
const FRONTIER_WANTED: u8 = 0x86;
const CONSISTENCY_WANTED: u8 = 0x87;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HelloBody {
    version: u32,
    hsm: String,
    resource_id: String,
    log: u32,
}

impl ToCourier {
    /// Kind and body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello { hsm, resource_id, log } => {
                let (hsm, resource_id, log) = (hsm.clone(), resource_id.clone(), *log);
                let body = HelloBody { version: COURIER_VERSION, hsm, resource_id, log };
                framed(HELLO, &json(&body))
            }
            Self::Configuration { generation, json } => {
                framed(CONFIGURATION, &[&generation.to_be_bytes(), json.as_slice()].concat())
            }
            Self::Committed(size) => framed(COMMITTED, &size.to_be_bytes()),
            Self::Certificate(text) => framed(CERTIFICATE, text.as_bytes()),
            Self::Checkpoint(text) => framed(CHECKPOINT, text.as_bytes()),
            Self::Entries { from, lines } => {
                let mut body = Vec::with_capacity(8 + lines.len());
                body.extend_from_slice(&from.to_be_bytes());
                body.extend_from_slice(lines);
                framed(ENTRIES, &body)
            }
            Self::Transfer(order) => framed(TRANSFER, &json(order)),
            Self::Piece { id, bytes } => framed(PIECE, &[&id.to_be_bytes(), &bytes[..]].concat()),
            Self::Spans { generation, spans } => {
                let spans = json(spans);
                framed(SPANS, &[&generation.to_be_bytes(), spans.as_slice()].concat())
            }
            Self::Frontier { size, text } => {
                framed(FRONTIER, &[&size.to_be_bytes(), text.as_bytes()].concat())
            }
            Self::Consistency { old, new, text } => {
                framed(CONSISTENCY, &[&two_numbers(*old, *new)[..], text.as_bytes()].concat())
            }
        }
    }

    /// Reads kind and body.
    ///
    /// # Errors
    /// When they are not of the agreed shape.
    pub fn decode(frame: &[u8]) -> Result<Self, CourierProtocolError> {
        let (kind, body) = split(frame)?;
        let bad = || CourierProtocolError::Body { kind };
        Ok(match kind {
            HELLO => {
                let hello: HelloBody = bounded(body, REPORT_BYTES_MAX).ok_or_else(bad)?;
                if hello.version != COURIER_VERSION {
                    return Err(CourierProtocolError::Version { theirs: hello.version });
                }
                Self::Hello { hsm: hello.hsm, resource_id: hello.resource_id, log: hello.log }
            }
            CONFIGURATION if body.len() <= CONFIGURATION_BYTES_MAX => {
                let (generation, json) = body.split_at_checked(8).ok_or_else(bad)?;
                let generation = number(generation).ok_or_else(bad)?;
                Self::Configuration { generation, json: json.to_vec() }
            }
            COMMITTED => Self::Committed(number(body).ok_or_else(bad)?),
            CERTIFICATE if body.len() <= CHECKPOINT_BYTES_MAX => {
                Self::Certificate(String::from_utf8(body.to_vec()).map_err(|_| bad())?)
            }
            CHECKPOINT if body.len() <= CHECKPOINT_BYTES_MAX => {
                Self::Checkpoint(String::from_utf8(body.to_vec()).map_err(|_| bad())?)
            }
            ENTRIES => {
                let (from, lines) = body.split_at_checked(8).ok_or_else(bad)?;
                let from = number(from).ok_or_else(bad)?;
                if !lines.is_empty() && lines.last() != Some(&b'\n') {
                    return Err(bad());
                }
                Self::Entries { from, lines: lines.to_vec() }
            }
            TRANSFER => Self::Transfer(bounded(body, ORDER_BYTES_MAX).ok_or_else(bad)?),
            PIECE => {
                let (id, bytes) = piece(body).ok_or_else(bad)?;
                Self::Piece { id, bytes }
            }
            SPANS => {
                let (generation, spans) = body.split_at_checked(8).ok_or_else(bad)?;
                let generation = number(generation).ok_or_else(bad)?;
                let spans: Vec<Span> = bounded(spans, SPANS_BYTES_MAX - 8).ok_or_else(bad)?;
                if spans.len() > SPANS_MAX {
                    return Err(bad());
                }
                Self::Spans { generation, spans }
            }
            FRONTIER if body.len() <= 8 + CHECKPOINT_BYTES_MAX => {
                let (size, text) = body.split_at_checked(8).ok_or_else(bad)?;
                let text = String::from_utf8(text.to_vec()).map_err(|_| bad())?;
                Self::Frontier { size: number(size).ok_or_else(bad)?, text }
            }
            CONSISTENCY if body.len() <= 16 + CHECKPOINT_BYTES_MAX => {
                let (sizes, text) = body.split_at_checked(16).ok_or_else(bad)?;
                let (old, new) = numbers(sizes).ok_or_else(bad)?;
                let text = String::from_utf8(text.to_vec()).map_err(|_| bad())?;
                Self::Consistency { old, new, text }
            }
            CONFIGURATION | CERTIFICATE | CHECKPOINT | FRONTIER | CONSISTENCY => return Err(bad()),
            _ => return Err(CourierProtocolError::Kind { kind }),
        })
    }
}

impl FromCourier {
    /// Kind and body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello => framed(FROM_HELLO, &COURIER_VERSION.to_be_bytes()),
            Self::Read { from, bytes_max } => {
                let mut body = from.to_be_bytes().to_vec();
                body.extend_from_slice(&bytes_max.to_be_bytes());
                framed(READ, &body)
            }
            Self::Frontier { size } => framed(FRONTIER_WANTED, &size.to_be_bytes()),
            Self::Consistency { old, new } => framed(CONSISTENCY_WANTED, &two_numbers(*old, *new)),
            Self::Delivered(delivered) => framed(DELIVERED, &json(delivered)),
            Self::Transferred(report) => framed(TRANSFERRED, &json(report)),
            Self::Piece { id, bytes } => {
                framed(FROM_PIECE, &[&id.to_be_bytes(), &bytes[..]].concat())
            }
            Self::ReadSpans { generation } => framed(READ_SPANS, &generation.to_be_bytes()),
            Self::Exported(exported) => framed(EXPORTED, &json(exported)),
        }
    }

    /// Reads kind and body.
    ///
    /// # Errors
    /// When they are not of the agreed shape.
    pub fn decode(frame: &[u8]) -> Result<Self, CourierProtocolError> {
        let (kind, body) = split(frame)?;
        let bad = || CourierProtocolError::Body { kind };
        Ok(match kind {
            FROM_HELLO => {
                let version = body.try_into().map(u32::from_be_bytes).map_err(|_| bad())?;
                if version != COURIER_VERSION {
                    return Err(CourierProtocolError::Version { theirs: version });
                }
                Self::Hello
            }
            READ => {
                let (from, bytes_max) = body.split_at_checked(8).ok_or_else(bad)?;
                let bytes_max = bytes_max.try_into().map(u32::from_be_bytes).map_err(|_| bad())?;
                Self::Read { from: number(from).ok_or_else(bad)?, bytes_max }
            }
            FRONTIER_WANTED => Self::Frontier { size: number(body).ok_or_else(bad)? },
            CONSISTENCY_WANTED => {
                let (old, new) = numbers(body).ok_or_else(bad)?;
                Self::Consistency { old, new }
            }
            DELIVERED => Self::Delivered(bounded(body, REPORT_BYTES_MAX).ok_or_else(bad)?),
            TRANSFERRED => Self::Transferred(bounded(body, ORDER_BYTES_MAX).ok_or_else(bad)?),
            FROM_PIECE => {
                let (id, bytes) = piece(body).ok_or_else(bad)?;
                Self::Piece { id, bytes }
            }
            READ_SPANS => Self::ReadSpans { generation: number(body).ok_or_else(bad)? },
            EXPORTED => Self::Exported(bounded(body, REPORT_BYTES_MAX).ok_or_else(bad)?),
            _ => return Err(CourierProtocolError::Kind { kind }),
        })
    }
}

/// Takes the stream that the agent gave to this process when it started it as a courier.
///
/// # Errors
/// When there is none.
pub fn inherit_stream() -> io::Result<UnixStream> {
    crate::end::inherit_stream()
}

/// Makes the two ends of a stream: for the partition, and for the courier.
///
/// # Errors
/// When the system gives no sockets.
pub fn stream_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (one, other) = UnixStream::pair()?;
    Ok((one.into(), other.into()))
}

/// Reads one frame, without its length; `None` at the end of the stream between two frames. Not
/// safe to cancel.
///
/// # Errors
/// When the stream breaks, or the length is out of bounds.
pub async fn read_frame<R: AsyncRead + Unpin>(
    stream: &mut R,
) -> Result<Option<Vec<u8>>, CourierProtocolError> {
    let mut length = [0; 4];
    let first = stream.read(&mut length).await?;
    if first == 0 {
        return Ok(None);
    }
    if let Some(rest) = length.get_mut(first..) {
        stream.read_exact(rest).await?;
    }
    let bytes = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if bytes == 0 || bytes > FRAME_BYTES_MAX {
        return Err(CourierProtocolError::Length { bytes });
    }
    let mut frame = vec![0; bytes];
    stream.read_exact(&mut frame).await?;
    Ok(Some(frame))
}

/// Writes one frame. Not safe to cancel.
///
/// # Errors
/// When the stream breaks, or the frame is too long.
pub async fn write_frame<W: AsyncWrite + Unpin>(
    stream: &mut W,
    frame: &[u8],
) -> Result<(), CourierProtocolError> {
    let length = u32::try_from(frame.len()).ok().filter(|_| frame.len() <= FRAME_BYTES_MAX);
    let length = length.ok_or(CourierProtocolError::Length { bytes: frame.len() })?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(frame).await?;
    Ok(stream.flush().await?)
}

fn split(frame: &[u8]) -> Result<(u8, &[u8]), CourierProtocolError> {
    let bytes = frame.len();
    match frame.split_first() {
        Some((kind, body)) if bytes <= FRAME_BYTES_MAX => Ok((*kind, body)),
        _ => Err(CourierProtocolError::Length { bytes }),
    }
}

fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(1 + body.len());
    frame.push(kind);
    frame.extend_from_slice(body);
    frame
}

fn piece(body: &[u8]) -> Option<(u64, Vec<u8>)> {
    let (id, bytes) = body.split_at_checked(8)?;
    let fits = !bytes.is_empty() && bytes.len() <= PIECE_BYTES_MAX;
    Some((number(id)?, bytes.to_vec())).filter(|_| fits)
}

fn number(body: &[u8]) -> Option<u64> {
    body.try_into().map(u64::from_be_bytes).ok()
}

fn two_numbers(one: u64, other: u64) -> [u8; 16] {
    (u128::from(one) << 64 | u128::from(other)).to_be_bytes()
}

fn numbers(body: &[u8]) -> Option<(u64, u64)> {
    let (one, other) = body.split_at_checked(8)?;
    Some((number(one)?, number(other)?))
}

/// A value whose text is no longer than this, here and as it would be written by us: JSON has
/// shorter ways to write some things.
fn bounded<T: Serialize + DeserializeOwned>(body: &[u8], bytes_max: usize) -> Option<T> {
    if body.len() > bytes_max {
        return None;
    }
    let value = serde_json::from_slice(body).ok()?;
    (json(&value).len() <= bytes_max).then_some(value)
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("texts and numbers are always JSON")
}

#[cfg(test)]
mod tests;
