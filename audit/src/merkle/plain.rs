//! The plain definition of RFC 6962, to hold everything else against.

use super::{Hash, Hashes, node, sha256};

/// The definition, as it stands in the RFC.
pub(crate) fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => sha256(b""),
        [one] => *one,
        many => {
            let mut split = 1;
            while split * 2 < many.len() {
                split *= 2;
            }
            node(&root(&many[..split]), &root(&many[split..]))
        }
    }
}

/// A tree's leaves.
pub(crate) struct Plain(pub(crate) Vec<Hash>);

impl Hashes for Plain {
    type Error = std::convert::Infallible;

    fn complete(&mut self, height: u32, index: u64) -> Result<Hash, Self::Error> {
        let width = 1_usize << height;
        let begin = usize::try_from(index).unwrap() * width;
        Ok(root(&self.0[begin..begin + width]))
    }
}
