//! The type of bytes that must not leak.

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// Secret bytes: boxed, wiped on drop, compared in constant time, never printed, never cloned.
///
/// Read only through [`Secret::expose`], so that every reading place can be found by its name.
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Takes the bytes over. The vector is shrunk without copying when its capacity is exact;
    /// otherwise the bytes are copied and the old allocation is wiped.
    pub fn new(mut bytes: Vec<u8>) -> Self {
        if bytes.capacity() == bytes.len() {
            return Self(bytes.into_boxed_slice());
        }
        let exact = Box::from(bytes.as_slice());
        bytes.zeroize();
        Self(exact)
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
        self.0.zeroize();
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
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
