//! Proofs of RFC 6962, section 2.1: that a record is in the tree, that a tree grew from another.

use super::{Hash, node};

/// Hashes of complete subtrees.
pub(crate) trait Hashes {
    /// Why there is none.
    type Error;
    /// The hash over the `2^height` leaves from `index · 2^height` on.
    fn complete(&mut self, height: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// The root over the leaves `begin..end`, of which there is one at least. `begin` is a multiple of
/// the power of two that is not below their number.
pub(crate) fn range<H: Hashes>(hashes: &mut H, begin: u64, end: u64) -> Result<Hash, H::Error> {
    let leaves = end - begin;
    if leaves.is_power_of_two() {
        let height = leaves.trailing_zeros();
        return hashes.complete(height, begin >> height);
    }
    let middle = begin + split(leaves);
    let left = range(hashes, begin, middle)?;
    let right = range(hashes, middle, end)?;
    Ok(node(&left, &right))
}

/// The proof that leaf `index` is in the tree of this size, which is larger.
pub(crate) fn inclusion<H: Hashes>(
    hashes: &mut H,
    index: u64,
    size: u64,
) -> Result<Vec<Hash>, H::Error> {
    let (mut begin, mut end) = (0, size);
    let mut proof = Vec::new();
    while end - begin > 1 {
        let middle = begin + split(end - begin);
        if index < middle {
            proof.push(range(hashes, middle, end)?);
            end = middle;
        } else {
            proof.push(range(hashes, begin, middle)?);
            begin = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// The proof that the tree of size `new` grew from that of size `old`; `0 < old <= new`.
pub(crate) fn consistency<H: Hashes>(
    hashes: &mut H,
    old: u64,
    new: u64,
) -> Result<Vec<Hash>, H::Error> {
    let (mut begin, mut end) = (0, new);
    let mut proof = Vec::new();
    while old < end {
        let middle = begin + split(end - begin);
        if old <= middle {
            proof.push(range(hashes, middle, end)?);
            end = middle;
        } else {
            proof.push(range(hashes, begin, middle)?);
            begin = middle;
        }
    }
    // The old tree is a part of the new one that begins at 0: its root is known to the asker.
    if begin > 0 {
        proof.push(range(hashes, begin, end)?);
    }
    proof.reverse();
    Ok(proof)
}

/// The largest power of two below the number, which is above 1.
fn split(leaves: u64) -> u64 {
    1 << (63 - (leaves - 1).leading_zeros())
}
