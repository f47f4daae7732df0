//! An ended span on its way to a collector.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// An ended span.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// Its trace.
    pub trace: Id<16>,
    /// Its own id.
    pub id: Id<8>,
    /// The span that it is a part of.
    pub parent: Option<Id<8>>,
    /// Whether that one is the caller's.
    pub remote_parent: bool,
    /// The caller's `tracestate`.
    pub state: Option<String>,
    /// Whether it is a request, and not a part of one.
    pub server: bool,
    /// Its name.
    pub name: String,
    /// Its begin, in nanoseconds since 1970.
    pub start_ns: u64,
    /// Its end, in nanoseconds since 1970.
    pub end_ns: u64,
    /// What is known besides.
    pub attributes: Vec<(String, SpanValue)>,
    /// Whether it ended by a fault of the service.
    pub failed: bool,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SpanValue {
    /// A number.
    Number(u64),
    /// A text.
    Text(String),
}

/// The id of a trace or span; as text, lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Id<const BYTES: usize>(pub [u8; BYTES]);

/// No id.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("an id is an even number of lower-case hexadecimal digits, of its one length")]
pub struct NoId;

impl<const BYTES: usize> From<Id<BYTES>> for String {
    fn from(id: Id<BYTES>) -> Self {
        let mut text = Self::with_capacity(2 * BYTES);
        for byte in id.0 {
            // Writing to memory does not fail.
            let _written = write!(text, "{byte:02x}");
        }
        text
    }
}

impl<const BYTES: usize> TryFrom<String> for Id<BYTES> {
    type Error = NoId;

    fn try_from(text: String) -> Result<Self, NoId> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != BYTES || !rest.is_empty() {
            return Err(NoId);
        }
        let mut bytes = [0; BYTES];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Ok(Self(bytes))
    }
}

fn digit(byte: u8) -> Result<u8, NoId> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(NoId),
    }
}
