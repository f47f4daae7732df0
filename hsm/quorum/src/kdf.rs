//! Key derivation in counter mode: SP 800-108, 4.1, with HMAC-SHA-512 as the function.
//!
//! Counter and length are 32 bits, big-endian; the length is in bits. One round gives all that is
//! ever asked for, 64 bytes.

use crate::{Hidden, Primitives};

/// Length of an item's key in bytes: MAC half, then cipher half.
pub const ITEM_KEY_BYTES: usize = 64;

/// Derives up to 64 bytes.
///
/// # Panics
/// If more than 64 bytes are asked for: lengths are constants of this program.
pub fn derive(
    master: &Hidden,
    label: &str,
    context: &str,
    bytes: usize,
    primitives: &dyn Primitives,
) -> Hidden {
    assert!(bytes <= ITEM_KEY_BYTES, "one round gives 64 bytes");
    let bits = u32::try_from(bytes * 8).expect("at most 512");
    let parts: [&[u8]; 5] =
        [&1_u32.to_be_bytes(), label.as_bytes(), &[0], context.as_bytes(), &bits.to_be_bytes()];
    let whole = zeroize::Zeroizing::new(primitives.hmac_sha512(master.expose(), &parts));
    Hidden::copied(&whole[..bytes])
}

/// The key of the item with this tag.
pub fn item_key(master: &Hidden, tag: &str, primitives: &dyn Primitives) -> Hidden {
    derive(master, tag, "", ITEM_KEY_BYTES, primitives)
}
