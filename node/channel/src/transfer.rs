//! What a partition has its courier carry for backups: sealed objects, one order at a time.
//!
//! An order that puts is followed by its bytes in pieces; the report of one that gets is. The order
//! holds what opens the target, and no key.

use serde::{Deserialize, Serialize};

use crate::identity::Proven;

/// Longest order or report, in bytes: an identity with its roots and credential has room.
pub const ORDER_BYTES_MAX: usize = 96 * 1024;

/// Longest piece, in bytes.
pub const PIECE_BYTES_MAX: usize = 512 * 1024;

/// Longest object, in bytes.
pub const OBJECT_BYTES_MAX: u64 = 48 * 1024 * 1024;

/// What is to be done with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Put it there.
    Put,
    /// Get it from there.
    Get,
    /// Remove it.
    Remove,
}

/// An order.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Its number, which pieces and the report repeat.
    pub id: u64,
    /// What is to be done.
    pub verb: Verb,
    /// The container's address.
    pub uri: String,
    /// What opens it: a secret.
    pub token: String,
    /// The identity that opens it, in place of a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Box<Proven>>,
    /// The folder in it.
    pub folder: String,
    /// The object in that.
    pub name: String,
    /// How many bytes follow.
    pub bytes: u64,
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, verb, uri, folder, name, bytes, token: _, identity } = self;
        f.debug_struct("Order")
            .field("id", id)
            .field("verb", verb)
            .field("uri", uri)
            .field("folder", folder)
            .field("name", name)
            .field("bytes", bytes)
            .field("identity", identity)
            .finish_non_exhaustive()
    }
}

/// What came of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The order.
    pub id: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// How many bytes follow.
    pub bytes: u64,
}

/// How an order ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Done.
    Done,
    /// There is no such object.
    NotFound,
    /// The object is longer than any of a backup.
    TooLong,
    /// Nothing was put: another object lies there under that name.
    Taken,
    /// Not removed, since the target keeps it for a time of its own: why, in words of the
    /// courier's own.
    Kept(String),
    /// Not done, since what opens the target does not allow it: why, in words of the courier's own.
    Denied(String),
    /// Not done: why, in words of the courier's own.
    Refused(String),
    /// Not done, since the identity got no token: why, in words of the courier's own.
    NoToken(String),
}

/// Bytes of an object, as many as one piece holds.
pub fn pieces(object: &[u8]) -> impl Iterator<Item = &[u8]> {
    object.chunks(PIECE_BYTES_MAX)
}
