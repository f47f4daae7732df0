//! The cryptography that a quorum needs, handed in by whoever links a library.

use crate::Hidden;

/// An RSA public key: big-endian numbers without leading zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RsaPublic {
    /// The modulus.
    pub n: Vec<u8>,
    /// The public exponent.
    pub e: Vec<u8>,
}

/// Primitives of a cryptographic library.
pub trait Primitives: Send + Sync {
    /// Fills the buffer with unpredictable bytes.
    fn random(&self, out: &mut [u8]);

    /// SHA-1: for thumbprints that clients name, never for security.
    fn sha1(&self, bytes: &[u8]) -> [u8; 20];

    /// SHA-256.
    fn sha256(&self, bytes: &[u8]) -> [u8; 32];

    /// HMAC-SHA-512 over the parts, one after the other.
    fn hmac_sha512(&self, key: &[u8], parts: &[&[u8]]) -> [u8; 64];

    /// AES-256-CBC with PKCS #7 padding. None if the library refuses.
    fn aes256_cbc_encrypt(
        &self,
        key: &[u8; 32],
        iv: &[u8; 16],
        plaintext: &[u8],
    ) -> Option<Vec<u8>>;

    /// Undoes [`Primitives::aes256_cbc_encrypt`]; none if the padding is wrong.
    fn aes256_cbc_decrypt(
        &self,
        key: &[u8; 32],
        iv: &[u8; 16],
        ciphertext: &[u8],
    ) -> Option<Hidden>;

    /// RSA-OAEP with SHA-256 and MGF1-SHA-256, no label. None if the key or the length is wrong.
    fn rsa_oaep256_encrypt(&self, key: &RsaPublic, plaintext: &Hidden) -> Option<Vec<u8>>;

    /// Whether it is an RSA-PSS signature with SHA-256 and a salt of 32 bytes.
    fn rsa_pss256_verify(&self, key: &RsaPublic, message: &[u8], signature: &[u8]) -> bool;

    /// An RSA private key from PKCS #8, DER; none if it is not one of 2048 to 8192 bits.
    fn rsa_private_key(&self, pkcs8: &Hidden) -> Option<Box<dyn PrivateKey>>;
}

/// An RSA private key.
pub trait PrivateKey: Send + Sync {
    /// Its public key.
    fn public(&self) -> RsaPublic;

    /// Undoes [`Primitives::rsa_oaep256_encrypt`].
    fn oaep256_decrypt(&self, ciphertext: &[u8]) -> Option<Hidden>;

    /// Signs, see [`Primitives::rsa_pss256_verify`]. None if the library fails.
    fn pss256_sign(&self, message: &[u8]) -> Option<Vec<u8>>;
}
