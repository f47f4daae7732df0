//! The proof that a tree grew from another, to be carried in a copy: it ties what ends before a
//! signed root to that root.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::{HASH_BYTES, Hash, hash_text, node};

/// Most hashes of a proof: one for each level, and the old tree's own.
const HASHES_MAX: usize = 65;
/// Longest text of a proof, in bytes: two sizes and the hashes.
const TEXT_BYTES_MAX: usize = 4 << 10;

/// The proof that the tree of one size begins the tree of another (RFC 6962, section 2.1.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consistency {
    old: u64,
    new: u64,
    hashes: Vec<Hash>,
}

impl Consistency {
    /// From the hashes; none unless `0 < old <= new`.
    pub(crate) fn of(old: u64, new: u64, hashes: Vec<Hash>) -> Option<Self> {
        let fits = 0 < old && old <= new && hashes.len() <= HASHES_MAX;
        (fits && (old < new || hashes.is_empty())).then_some(Self { old, new, hashes })
    }

    /// How many leaves the trees have, the smaller first.
    #[must_use]
    pub fn sizes(&self) -> (u64, u64) {
        (self.old, self.new)
    }

    /// Whether a tree with the one root is the beginning of a tree with the other (RFC 9162,
    /// section 2.1.4.2).
    pub(crate) fn joins(&self, old_root: &Hash, new_root: &Hash) -> bool {
        if self.old == self.new {
            return old_root == new_root;
        }
        let own = self.old.is_power_of_two().then_some(old_root);
        let mut steps = own.into_iter().chain(&self.hashes);
        // The subtree that ends where the old tree ends, as far up as it is a right child.
        let below = (self.old - 1).trailing_ones();
        let (mut at, mut last) = ((self.old - 1) >> below, (self.new - 1) >> below);
        let Some(first) = steps.next() else { return false };
        let (mut from, mut to) = (*first, *first);
        for step in steps {
            if last == 0 {
                return false;
            }
            if at & 1 == 1 || at == last {
                from = node(step, &from);
                to = node(step, &to);
                while at & 1 == 0 && at != 0 {
                    at >>= 1;
                    last >>= 1;
                }
            } else {
                to = node(&to, step);
            }
            at >>= 1;
            last >>= 1;
        }
        last == 0 && from == *old_root && to == *new_root
    }

    /// As a text: both sizes in decimal, then each hash in base64, each on a line of its own.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{}\n{}\n", self.old, self.new);
        for hash in &self.hashes {
            text.push_str(&hash_text(hash));
            text.push('\n');
        }
        text
    }

    /// Reads [`Self::text`], and nothing else.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (old, new) = (lines.next()?.parse().ok()?, lines.next()?.parse().ok()?);
        let hash =
            |line: &str| <[u8; HASH_BYTES]>::try_from(BASE64_STANDARD.decode(line).ok()?).ok();
        let proof = Self::of(old, new, lines.map(hash).collect::<Option<_>>()?)?;
        (proof.text() == text).then_some(proof)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::{Tree, consistency, leaf, plain};

    fn leaves(size: u64) -> Vec<Hash> {
        (0..size).map(|at| leaf(&mut Vec::new(), at.to_string().as_bytes())).collect()
    }

    fn root(leaves: &[Hash], size: u64) -> Hash {
        plain::root(&leaves[..usize::try_from(size).unwrap()])
    }

    fn proof(leaves: &[Hash], old: u64, new: u64) -> Consistency {
        let Ok(hashes) = consistency(&mut plain::Plain(leaves.to_vec()), old, new);
        Consistency::of(old, new, hashes).unwrap()
    }

    #[test]
    fn it_joins_the_tree_it_is_of_and_no_other() {
        let leaves = leaves(70);
        let other = leaf(&mut Vec::new(), b"other");
        for new in (1..=34).chain([63, 64, 65, 70]) {
            let new_root = root(&leaves, new);
            for old in 1..=new {
                let old_root = root(&leaves, old);
                let good = proof(&leaves, old, new);
                assert!(good.joins(&old_root, &new_root), "{old} to {new}");
                assert!(!good.joins(&other, &new_root) && !good.joins(&old_root, &other));
                for at in 0..good.hashes.len() {
                    let mut bad = good.clone();
                    bad.hashes[at] = other;
                    assert!(!bad.joins(&old_root, &new_root), "{old} to {new}, hash {at}");
                    bad.hashes.remove(at);
                    assert!(!bad.joins(&old_root, &new_root), "{old} to {new} without {at}");
                }
                for size in 1..=34 {
                    let (to_size, from_size) = (root(&leaves, size), root(&leaves, size));
                    assert_eq!(good.joins(&old_root, &to_size), size == new, "{size}");
                    assert_eq!(good.joins(&from_size, &new_root), size == old, "{size}");
                }
                let mut longer = good.clone();
                longer.hashes.push(other);
                assert!(old == new || !longer.joins(&old_root, &new_root));
            }
        }
        assert_eq!(Tree::default().size(), 0);
    }

    #[test]
    fn other_texts_are_none() {
        let leaves = leaves(13);
        for (old, new) in [(1, 1), (6, 13), (8, 13), (13, 13)] {
            let good = proof(&leaves, old, new);
            assert_eq!(Consistency::read(&good.text()), Some(good));
        }
        let good = proof(&leaves, 6, 13).text();
        let (_, rest) = good.split_once("\n13\n").unwrap();
        for bad in [
            "",
            "\n",
            "1\n",
            "0\n0\n",
            "0\n1\n",
            "2\n1\n",
            "01\n1\n",
            "+1\n1\n",
            "1\n-1\n",
            "1\n1\n\n",
            &format!("13\n13\n{rest}"),
            &format!("6\n13\n\n{rest}"),
            &good[..good.len() - 1],
            &format!("{good}\n"),
            &good.replace('=', ""),
            &good.replace('\n', "\r\n"),
            &format!("6\n13\n{}", rest.repeat(40)),
            &"1".repeat(TEXT_BYTES_MAX + 1),
        ] {
            assert!(Consistency::read(bad).is_none(), "{bad:?}");
        }
    }
}
