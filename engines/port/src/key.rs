//! Key types and sizes, public parts, and material on its way in.

use crate::Secret;

/// RSA modulus sizes that a Managed HSM offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RsaSize {
    /// 2048 bits.
    B2048,
    /// 3072 bits.
    B3072,
    /// 4096 bits.
    B4096,
}

impl RsaSize {
    /// All sizes, smallest first.
    pub const ALL: [Self; 3] = [Self::B2048, Self::B3072, Self::B4096];

    /// Modulus length in bits.
    pub const fn bits(self) -> u32 {
        match self {
            Self::B2048 => 2048,
            Self::B3072 => 3072,
            Self::B4096 => 4096,
        }
    }

    /// Modulus length in bytes: also the length of a signature and of a ciphertext.
    pub const fn bytes(self) -> usize {
        match self {
            Self::B2048 => 256,
            Self::B3072 => 384,
            Self::B4096 => 512,
        }
    }

    /// The size with this many bits, if offered.
    pub fn from_bits(bits: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|size| size.bits() == bits)
    }
}

/// Elliptic curves that a Managed HSM offers (SEC 2, FIPS 186-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Curve {
    /// NIST P-256, `P-256` on the wire.
    P256,
    /// secp256k1, `P-256K` on the wire.
    P256K,
    /// NIST P-384.
    P384,
    /// NIST P-521.
    P521,
}

impl Curve {
    /// All curves.
    pub const ALL: [Self; 4] = [Self::P256, Self::P256K, Self::P384, Self::P521];

    /// The name in a JSON Web Key.
    pub const fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P256K => "P-256K",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
        }
    }

    /// The curve of this JSON Web Key name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|curve| curve.name() == name)
    }

    /// Length in bytes of a coordinate, of the private scalar, and of half a signature.
    pub const fn field_bytes(self) -> usize {
        match self {
            Self::P256 | Self::P256K => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }
}

/// AES key sizes, also used as HMAC keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OctSize {
    /// 128 bits.
    B128,
    /// 192 bits.
    B192,
    /// 256 bits.
    B256,
}

impl OctSize {
    /// All sizes, smallest first.
    pub const ALL: [Self; 3] = [Self::B128, Self::B192, Self::B256];

    /// Length in bits.
    pub const fn bits(self) -> u32 {
        match self {
            Self::B128 => 128,
            Self::B192 => 192,
            Self::B256 => 256,
        }
    }

    /// Length in bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::B128 => 16,
            Self::B192 => 24,
            Self::B256 => 32,
        }
    }

    /// The size with this many bits, if offered.
    pub fn from_bits(bits: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|size| size.bits() == bits)
    }
}

/// What kind of key: type and size together, so that no impossible pair exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeySpec {
    /// `RSA-HSM`, public exponent 65537.
    Rsa(RsaSize),
    /// `EC-HSM`.
    Ec(Curve),
    /// `oct-HSM`.
    Oct(OctSize),
}

impl KeySpec {
    /// Every kind that is offered.
    pub fn all() -> impl Iterator<Item = Self> {
        let rsa = RsaSize::ALL.into_iter().map(Self::Rsa);
        let ec = Curve::ALL.into_iter().map(Self::Ec);
        let oct = OctSize::ALL.into_iter().map(Self::Oct);
        rsa.chain(ec).chain(oct)
    }
}

/// The public part of a key, as a JSON Web Key carries it; big-endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicPart {
    /// Modulus (exactly the key's size) and public exponent without leading zeros.
    Rsa {
        /// Modulus.
        n: Vec<u8>,
        /// Public exponent.
        e: Vec<u8>,
    },
    /// Affine coordinates, left-padded to the field's length.
    Ec {
        /// X coordinate.
        x: Vec<u8>,
        /// Y coordinate.
        y: Vec<u8>,
    },
    /// A symmetric key has none.
    Oct,
}

/// Material on its way in, parsed from a JSON Web Key (RFC 7517, 7518) but not yet checked: the
/// engine checks consistency when it imports.
#[derive(Debug)]
pub enum ImportedKey {
    /// An RSA private key with all its CRT values.
    Rsa(ImportedRsa),
    /// An EC private key.
    Ec {
        /// The curve.
        curve: Curve,
        /// X coordinate as given, at most the field's length.
        x: Vec<u8>,
        /// Y coordinate as given.
        y: Vec<u8>,
        /// Private scalar as given.
        d: Secret,
    },
    /// A symmetric key; its length decides its size.
    Oct(Secret),
}

/// The members of an RSA private key (RFC 8017, appendix A.1.2), big-endian.
#[derive(Debug)]
pub struct ImportedRsa {
    /// Modulus.
    pub n: Vec<u8>,
    /// Public exponent.
    pub e: Vec<u8>,
    /// Private exponent.
    pub d: Secret,
    /// First prime.
    pub p: Secret,
    /// Second prime.
    pub q: Secret,
    /// d mod (p - 1).
    pub dp: Secret,
    /// d mod (q - 1).
    pub dq: Secret,
    /// q^-1 mod p.
    pub qi: Secret,
}
