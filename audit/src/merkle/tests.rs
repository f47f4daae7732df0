//! The tree against the plain definition of RFC 6962.

use super::plain::{Plain, root as plain_root};
use super::*;

fn entry(index: u64) -> Vec<u8> {
    format!("{{\"seq\":{}}}", index + 1).into_bytes()
}

fn leaves(size: u64) -> Vec<Hash> {
    (0..size).map(|index| leaf(&mut Vec::new(), &entry(index))).collect()
}

/// The verification of RFC 9162, section 2.1.3.2.
fn included(index: u64, size: u64, leaf: Hash, proof: &[Hash], root: Hash) -> bool {
    let (mut at, mut last, mut hash) = (index, size - 1, leaf);
    for step in proof {
        if last == 0 {
            return false;
        }
        if at % 2 == 1 || at == last {
            hash = node(step, &hash);
            while at % 2 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, step);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && hash == root
}

/// The verification of RFC 9162, section 2.1.4.2.
fn consistent(old: u64, new: u64, old_root: Hash, new_root: Hash, proof: &[Hash]) -> bool {
    let mut proof = proof.to_vec();
    if old.is_power_of_two() {
        proof.insert(0, old_root);
    }
    let (mut at, mut last) = (old - 1, new - 1);
    while at % 2 == 1 {
        at >>= 1;
        last >>= 1;
    }
    let Some((first, rest)) = proof.split_first() else { return false };
    let (mut from, mut to) = (*first, *first);
    for step in rest {
        if last == 0 {
            return false;
        }
        if at % 2 == 1 || at == last {
            from = node(step, &from);
            to = node(step, &to);
            while at % 2 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            to = node(&to, step);
        }
        at >>= 1;
        last >>= 1;
    }
    from == old_root && to == new_root && last == 0
}

#[test]
fn the_hashes_are_those_of_the_rfc() {
    // The empty tree, and the first root of the test vectors of Certificate Transparency.
    let hex = |hash: Hash| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(hex(Tree::default().root()), empty);
    let mut tree = Tree::default();
    tree.push(b"", &mut Vec::new());
    let one = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
    assert_eq!(hex(tree.root()), one);
}

#[test]
fn the_root_is_right_at_every_size() {
    let (mut tree, mut full) = (Tree::default(), Vec::new());
    let leaves = leaves(600);
    for size in 0..600_u64 {
        let count = usize::try_from(size).unwrap();
        assert_eq!(tree.root(), plain_root(&leaves[..count]), "{size}");
        tree.push(&entry(size), &mut full);
    }
    let places: Vec<_> = full.iter().map(|tile| (tile.level, tile.index)).collect();
    assert_eq!(places, [(0, 0), (0, 1)]);
}

#[test]
fn a_tree_is_taken_up_from_its_tiles() {
    const SIZE: u64 = 256 * 256 + 256 * 3 + 17;
    let (mut tree, mut full) = (Tree::default(), Vec::new());
    for index in 0..SIZE {
        tree.push(&entry(index), &mut full);
    }
    assert_eq!(full.len(), 256 + 1 + 3);
    let read = |level, index| {
        let found = full.iter().find(|tile| (tile.level, tile.index) == (level, index));
        found.map(|tile| tile.hashes.clone()).ok_or(())
    };
    let mut again = Tree::from_tiles(SIZE / 256 * 256, read).unwrap();
    for index in SIZE / 256 * 256..SIZE {
        again.push(&entry(index), &mut Vec::new());
    }
    assert_eq!(again.root(), tree.root());
    assert!(Tree::from_tiles(SIZE / 256 * 256, |_, _| Err(())).is_err());
}

#[test]
fn every_proof_of_inclusion_holds_and_none_for_another_leaf() {
    for size in [1, 2, 3, 5, 8, 13, 64, 97] {
        let leaves = leaves(size);
        let root = plain_root(&leaves);
        for index in 0..size {
            let Ok(proof) = inclusion(&mut Plain(leaves.clone()), index, size);
            let at = usize::try_from(index).unwrap();
            assert!(included(index, size, leaves[at], &proof, root), "{index} of {size}");
            let other = leaf(&mut Vec::new(), b"other");
            assert!(!included(index, size, other, &proof, root));
            assert!(!included(index, size, leaves[at], &proof, other));
        }
    }
}

#[test]
fn every_proof_of_consistency_holds_and_none_for_another_root() {
    for new in [1, 2, 3, 7, 8, 9, 40] {
        let leaves = leaves(new);
        let new_root = plain_root(&leaves);
        for old in 1..=new {
            let Ok(proof) = consistency(&mut Plain(leaves.clone()), old, new);
            let old_root = plain_root(&leaves[..usize::try_from(old).unwrap()]);
            if old == new {
                assert!(proof.is_empty());
                continue;
            }
            assert!(consistent(old, new, old_root, new_root, &proof), "{old} to {new}");
            assert!(!consistent(old, new, new_root, old_root, &proof) || old_root == new_root);
        }
    }
}

#[test]
fn bytes_that_are_no_whole_hashes_are_no_tile() {
    assert_eq!(hashes_of(&[7; 64]), Some(vec![[7; 32]; 2]));
    assert_eq!(hashes_of(&[7; 63]), None);
}
