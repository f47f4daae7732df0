//! The right edge of a tree: the roots of its complete subtrees. It is all that is needed to add
//! leaves and to know the root, and so ties a piece of a log that does not begin at its beginning.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::{HASH_BYTES, Hash, hash_text, node, sha256};

/// Longest text of a frontier, in bytes: a size and 64 hashes.
const TEXT_BYTES_MAX: usize = 4 << 10;

/// The complete subtrees of a tree of some size, the largest first: one for each bit of the size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    roots: Vec<Hash>,
}

impl Frontier {
    /// From the roots, of which there must be one for each bit of the size.
    pub(crate) fn new(size: u64, roots: Vec<Hash>) -> Option<Self> {
        let wanted = usize::try_from(size.count_ones()).ok()?;
        (roots.len() == wanted).then_some(Self { size, roots })
    }

    /// How many leaves there are.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds the hash of a leaf.
    pub(crate) fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            let Some(left) = self.roots.pop() else { break };
            hash = node(&left, &hash);
        }
        self.roots.push(hash);
        self.size += 1;
    }

    /// The root of the tree.
    pub(crate) fn root(&self) -> Hash {
        let mut roots = self.roots.iter().rev();
        let Some(last) = roots.next() else { return sha256(b"") };
        roots.fold(*last, |right, left| node(left, &right))
    }

    /// As a text: the size in decimal, then each root in base64, each on a line of its own.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.size);
        for root in &self.roots {
            text.push_str(&hash_text(root));
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
        let size = lines.next()?.parse().ok()?;
        let hash =
            |line: &str| <[u8; HASH_BYTES]>::try_from(BASE64_STANDARD.decode(line).ok()?).ok();
        let frontier = Self::new(size, lines.map(hash).collect::<Option<_>>()?)?;
        (frontier.text() == text).then_some(frontier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::{Tree, leaf};

    fn grown(size: u64) -> Frontier {
        let mut frontier = Frontier::default();
        for number in 0..size {
            frontier.push(leaf(&mut Vec::new(), number.to_string().as_bytes()));
        }
        frontier
    }

    #[test]
    fn it_has_the_roots_of_the_tree_wherever_it_is_taken_up() {
        let mut tree = Tree::default();
        let mut frontier = Frontier::default();
        for number in 0..700_u64 {
            assert_eq!(frontier.root(), tree.root(), "{number}");
            let bytes = number.to_string();
            tree.push(bytes.as_bytes(), &mut Vec::new());
            // Through its text each time: nothing but the text is needed to go on.
            frontier = Frontier::read(&frontier.text()).unwrap();
            frontier.push(leaf(&mut Vec::new(), bytes.as_bytes()));
        }
        assert_eq!((frontier.size(), frontier.root()), (700, tree.root()));
    }

    #[test]
    fn other_texts_are_none() {
        let good = grown(6).text();
        assert!(Frontier::read(&good).is_some() && Frontier::read("0\n").is_some());
        let (first, rest) = good.split_once('\n').unwrap();
        for bad in [
            "",
            "\n",
            "0",
            "00\n",
            "+0\n",
            "-1\n",
            "1\n",
            "0\n\n",
            &good[..good.len() - 1],
            &format!("{good}\n"),
            &format!("7\n{rest}"),
            &format!("{first}\n\n{rest}"),
            &format!("06\n{rest}"),
            &good.replace('=', ""),
            &good.replace('\n', "\r\n"),
            &"1".repeat(TEXT_BYTES_MAX + 1),
        ] {
            assert!(Frontier::read(bad).is_none(), "{bad:?}");
        }
    }
}
