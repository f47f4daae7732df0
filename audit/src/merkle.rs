//! The Merkle tree of RFC 6962 over the records, in tiles of 256 hashes (C2SP tlog-tiles).
//!
//! Pure: bytes come in, hashes go out. What is read from or written to a disk is `tiles`' part.

mod consistency;
mod frontier;
mod prove;
mod tree;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

pub use consistency::Consistency;
pub use frontier::Frontier;
pub(crate) use prove::{Hashes, consistency, inclusion, range};
pub(crate) use tree::{Tile, Tree};

/// SHA-256.
pub type Hash = [u8; HASH_BYTES];

/// Length of a hash, in bytes.
pub(crate) const HASH_BYTES: usize = 32;
/// Hashes in a full tile.
pub(crate) const TILE_WIDTH: usize = 256;
/// The same, for counting leaves.
pub(crate) const TILE_LEAVES: u64 = 256;
/// Length of a full tile, in bytes.
pub(crate) const TILE_BYTES: usize = TILE_WIDTH * HASH_BYTES;

/// A hash in base64, as checkpoints write it.
pub fn hash_text(hash: &Hash) -> String {
    BASE64_STANDARD.encode(hash)
}

/// The hash of a leaf; `scratch` spares an allocation.
pub(crate) fn leaf(scratch: &mut Vec<u8>, entry: &[u8]) -> Hash {
    scratch.clear();
    scratch.push(0);
    scratch.extend_from_slice(entry);
    sha256(scratch)
}

/// The hash of an inner node.
pub(crate) fn node(left: &Hash, right: &Hash) -> Hash {
    let mut both = [1; 1 + 2 * HASH_BYTES];
    both[1..=HASH_BYTES].copy_from_slice(left);
    both[1 + HASH_BYTES..].copy_from_slice(right);
    sha256(&both)
}

/// SHA-256 of the bytes.
pub(crate) fn sha256(bytes: &[u8]) -> Hash {
    let mut out = [0; HASH_BYTES];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

/// The root over a power of two of hashes that stand side by side.
pub(crate) fn perfect(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => sha256(b""),
        [one] => *one,
        many => {
            let (left, right) = many.split_at(many.len() / 2);
            node(&perfect(left), &perfect(right))
        }
    }
}

/// The hashes of a tile's bytes, if they are whole.
pub(crate) fn hashes_of(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
    rest.is_empty().then(|| hashes.to_vec())
}

#[cfg(test)]
mod plain;
#[cfg(test)]
mod tests;
