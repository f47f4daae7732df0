//! The growing edge of the tree: all that is needed to add leaves and to know the root.

use super::{Hash, TILE_LEAVES, TILE_WIDTH, leaf, node, perfect, sha256};

/// A full tile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    /// 0 for leaves; a hash of a level stands for 256 of the level below.
    pub(crate) level: u8,
    /// Its place in its level.
    pub(crate) index: u64,
    pub(crate) hashes: Vec<Hash>,
}

/// A tree of some size.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    size: u64,
    /// For each level the hashes of its last tile, which is not full.
    levels: Vec<Vec<Hash>>,
    scratch: Vec<u8>,
}

impl Tree {
    /// The tree of this size, a multiple of 256, from full tiles; the reader's error ends it.
    pub(crate) fn from_tiles<E>(
        size: u64,
        mut read: impl FnMut(u8, u64) -> Result<Vec<Hash>, E>,
    ) -> Result<Self, E> {
        debug_assert_eq!(size % TILE_LEAVES, 0, "whole tiles");
        let mut tree = Self { size, levels: vec![Vec::new()], scratch: Vec::new() };
        let mut tiles = size / TILE_LEAVES;
        let mut below = 0;
        while tiles > 0 {
            let first = tiles / TILE_LEAVES * TILE_LEAVES;
            let roots = (first..tiles).map(|index| Ok(perfect(&read(below, index)?)));
            tree.levels.push(roots.collect::<Result<_, E>>()?);
            tiles /= TILE_LEAVES;
            below += 1;
        }
        Ok(tree)
    }

    /// How many leaves there are.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Adds a record; tiles that it fills go to `full`.
    pub(crate) fn push(&mut self, entry: &[u8], full: &mut Vec<Tile>) {
        let mut hash = leaf(&mut self.scratch, entry);
        self.size += 1;
        let mut tiles = self.size;
        for level in 0_u8..=u8::MAX {
            let at = usize::from(level);
            if self.levels.len() == at {
                self.levels.push(Vec::new());
            }
            let Some(partial) = self.levels.get_mut(at) else { return };
            partial.push(hash);
            if partial.len() < TILE_WIDTH {
                return;
            }
            tiles /= TILE_LEAVES;
            let hashes = std::mem::take(partial);
            hash = perfect(&hashes);
            full.push(Tile { level, index: tiles - 1, hashes });
        }
    }

    /// The root.
    pub(crate) fn root(&self) -> Hash {
        let mut right: Option<Hash> = None;
        for partial in &self.levels {
            let mut end = partial.len();
            while end > 0 {
                let width = 1 << end.trailing_zeros();
                let block = perfect(&partial[end - width..end]);
                right = Some(right.map_or(block, |right| node(&block, &right)));
                end -= width;
            }
        }
        right.unwrap_or_else(|| sha256(b""))
    }
}
