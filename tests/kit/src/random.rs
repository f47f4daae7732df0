//! A seeded stream of numbers, so that a failing random run can be repeated.
//!
//! It is not for keys: it is a plain mixing function (splitmix64).

use std::env;

/// A repeatable stream of numbers.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The stream of `CASEMATE_SEED`, or of the given number when that is not set.
    pub fn seeded(otherwise: u64) -> Self {
        let seed = env::var("CASEMATE_SEED").ok().and_then(|text| text.parse().ok());
        Self { state: seed.unwrap_or(otherwise) }
    }

    /// A stream of its own for one of several threads.
    pub fn branch(&self, number: u64) -> Self {
        let mut branch = Self { state: self.state ^ number.wrapping_mul(0xA076_1D64_78BD_642F) };
        branch.next();
        branch
    }

    /// The next 64 bits.
    #[expect(clippy::should_implement_trait, reason = "an endless stream is no iterator")]
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which must not be zero.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("usize fits into u64");
        usize::try_from(self.next() % bound).expect("smaller than a usize")
    }

    /// `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }

    /// One of the given things.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn a_seed_repeats_and_branches_differ() {
        let stream = Random { state: 7 };
        assert_eq!(stream.clone().bytes(33), stream.clone().bytes(33));
        assert_ne!(stream.branch(1).bytes(16), stream.branch(2).bytes(16));
    }

    #[test]
    fn numbers_stay_below_their_bound() {
        let mut stream = Random { state: 1 };
        assert!((0..1000).all(|_| stream.below(3) < 3));
    }
}
