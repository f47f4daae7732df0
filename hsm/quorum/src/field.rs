//! Arithmetic in GF(257): the integers modulo the prime 257, so that every byte is an element.
//!
//! Timing: reduction is by a constant, which compiles to multiplications; nothing here branches on
//! a value or uses one as an index.

/// The prime.
const PRIME: u32 = 257;

/// An element: 0 to 256.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Element(u32);

impl Element {
    pub(crate) const ZERO: Self = Self(0);
    pub(crate) const ONE: Self = Self(1);

    /// The element of this number; none above 256.
    pub(crate) fn new(number: u16) -> Option<Self> {
        let number = u32::from(number);
        (number < PRIME).then_some(Self(number))
    }

    /// The number, 0 to 256.
    pub(crate) fn number(self) -> u16 {
        u16::try_from(self.0).expect("an element is below 257")
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self((self.0 + other.0) % PRIME)
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self((self.0 + PRIME - other.0) % PRIME)
    }

    pub(crate) fn times(self, other: Self) -> Self {
        Self((self.0 * other.0) % PRIME)
    }

    /// The inverse, by Fermat: the power of 255. That of zero is zero.
    pub(crate) fn inverse(self) -> Self {
        let mut power = self;
        let mut result = Self::ONE;
        // 255 is eight ones in binary.
        for _ in 0..8 {
            result = result.times(power);
            power = power.times(power);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = Element> {
        (0..257).map(|number| Element::new(number).unwrap())
    }

    #[test]
    fn every_element_but_zero_has_an_inverse() {
        for element in all().skip(1) {
            assert!(element.times(element.inverse()) == Element::ONE, "{}", element.number());
        }
        assert!(Element::ZERO.inverse() == Element::ZERO);
    }

    #[test]
    fn sums_and_differences_stay_within_and_undo_each_other() {
        for a in all() {
            for b in all() {
                assert!(a.plus(b).minus(b) == a);
                assert!(a.plus(b).number() <= 256 && a.times(b).number() <= 256);
            }
        }
        assert!(Element::new(257).is_none() && Element::new(u16::MAX).is_none());
    }
}
