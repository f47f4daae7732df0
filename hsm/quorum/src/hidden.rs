//! The type of bytes that must not leak.

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// Secret bytes: wiped on drop with their whole allocation, compared in constant time, never
/// printed, never cloned. Read only through [`Hidden::expose`].
pub struct Hidden(Vec<u8>);

impl Hidden {
    /// Takes the bytes over, without copying them.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// A copy of these bytes.
    pub fn copied(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// The bytes themselves.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives the bytes away; whoever takes them wipes them.
    pub fn into_exposed(mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // What lies beyond the length was perhaps written before the vector was cut.
        self.0.spare_capacity_mut().zeroize();
        self.0.as_mut_slice().zeroize();
    }
}

impl PartialEq for Hidden {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for Hidden {}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hidden(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_and_equality_compares_all() {
        assert_eq!(format!("{:?}", Hidden::copied(b"hunter2")), "Hidden(…)");
        assert_eq!(Hidden::new(vec![1, 2]), Hidden::new(vec![1, 2]));
        assert_ne!(Hidden::new(vec![1, 2]), Hidden::new(vec![1, 3]));
        assert_ne!(Hidden::new(vec![1, 2]), Hidden::new(vec![1, 2, 0]));
    }
}
