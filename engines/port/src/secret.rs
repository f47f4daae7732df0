//! The type of bytes that must not leak.

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// Secret bytes: wiped on drop with their whole allocation, compared in constant time, never
/// printed, never cloned.
///
/// Read only through [`Secret::expose`], so that every reading place can be found by its name.
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes the bytes over, without copying them.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
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
}

impl Drop for Secret {
    fn drop(&mut self) {
        // Slices are wiped in bulk, a vector byte by byte. What lies beyond the length was perhaps
        // written before the vector was cut.
        self.0.spare_capacity_mut().zeroize();
        self.0.as_mut_slice().zeroize();
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for Secret {}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_the_bytes() {
        let text = format!("{:?}", Secret::new(b"hunter2".to_vec()));
        assert_eq!(text, "Secret(…)");
    }

    #[test]
    fn equality_compares_content_and_length() {
        assert_eq!(Secret::new(vec![1, 2]), Secret::new(vec![1, 2]));
        assert_ne!(Secret::new(vec![1, 2]), Secret::new(vec![1, 3]));
        assert_ne!(Secret::new(vec![1, 2]), Secret::new(vec![1, 2, 0]));
    }
}
