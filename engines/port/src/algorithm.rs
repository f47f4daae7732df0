//! The algorithms of the API and which key each one fits (Key Vault REST API,
//! JsonWebKeySignatureAlgorithm and JsonWebKeyEncryptionAlgorithm).

use crate::{Curve, KeySpec, OctSize};

/// How long the input of a signature must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestLength {
    /// Exactly this many bytes.
    Exactly(usize),
    /// From zero to this many bytes.
    AtMost(usize),
}

/// Signature and MAC algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of RFC 7518 and RFC 8812")]
pub enum SignAlgorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    /// PKCS #1 v1.5, block type 1, over the given bytes as they are, without a DigestInfo.
    RsNull,
    Es256,
    Es256K,
    Es384,
    Es512,
    Hs256,
    Hs384,
    Hs512,
}

impl SignAlgorithm {
    /// All algorithms.
    pub const ALL: [Self; 14] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::RsNull,
        Self::Es256,
        Self::Es256K,
        Self::Es384,
        Self::Es512,
        Self::Hs256,
        Self::Hs384,
        Self::Hs512,
    ];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::RsNull => "RSNULL",
            Self::Es256 => "ES256",
            Self::Es256K => "ES256K",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
        }
    }

    /// The algorithm of this name; names are compared exactly.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// Whether the algorithm can be used with a key of this kind.
    pub fn fits(self, spec: KeySpec) -> bool {
        match self {
            Self::Rs256
            | Self::Rs384
            | Self::Rs512
            | Self::Ps256
            | Self::Ps384
            | Self::Ps512
            | Self::RsNull => matches!(spec, KeySpec::Rsa(_)),
            Self::Es256 => spec == KeySpec::Ec(Curve::P256),
            Self::Es256K => spec == KeySpec::Ec(Curve::P256K),
            Self::Es384 => spec == KeySpec::Ec(Curve::P384),
            Self::Es512 => spec == KeySpec::Ec(Curve::P521),
            Self::Hs256 | Self::Hs384 | Self::Hs512 => matches!(spec, KeySpec::Oct(_)),
        }
    }

    /// The length of the input for a key of this kind. Digest algorithms take exactly their
    /// digest; RSNULL takes what fits with 11 bytes of padding (RFC 8017, 9.2); a MAC takes a
    /// message of any length that a request can carry.
    pub fn input_length(self, spec: KeySpec) -> DigestLength {
        match self {
            Self::Rs256 | Self::Ps256 | Self::Es256 | Self::Es256K => DigestLength::Exactly(32),
            Self::Rs384 | Self::Ps384 | Self::Es384 => DigestLength::Exactly(48),
            Self::Rs512 | Self::Ps512 | Self::Es512 => DigestLength::Exactly(64),
            Self::RsNull => match spec {
                KeySpec::Rsa(size) => DigestLength::AtMost(size.bytes() - 11),
                KeySpec::Ec(_) | KeySpec::Oct(_) => DigestLength::AtMost(0),
            },
            Self::Hs256 | Self::Hs384 | Self::Hs512 => DigestLength::AtMost(usize::MAX),
        }
    }
}

/// Encryption and key-wrapping algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of the Key Vault REST API")]
pub enum CipherAlgorithm {
    RsaOaep256,
    RsaOaep,
    Rsa15,
    AesGcm(OctSize),
    AesCbc(OctSize),
    AesCbcPad(OctSize),
    /// RFC 3394 with a key of exactly this size.
    AesKw(OctSize),
    /// RFC 3394 with a key of any size (`CKM_AES_KEY_WRAP`).
    CkmAesKeyWrap,
    /// RFC 5649 with a key of any size (`CKM_AES_KEY_WRAP_PAD`).
    CkmAesKeyWrapPad,
}

impl CipherAlgorithm {
    /// All algorithms.
    pub const ALL: [Self; 17] = [
        Self::RsaOaep256,
        Self::RsaOaep,
        Self::Rsa15,
        Self::AesGcm(OctSize::B128),
        Self::AesGcm(OctSize::B192),
        Self::AesGcm(OctSize::B256),
        Self::AesCbc(OctSize::B128),
        Self::AesCbc(OctSize::B192),
        Self::AesCbc(OctSize::B256),
        Self::AesCbcPad(OctSize::B128),
        Self::AesCbcPad(OctSize::B192),
        Self::AesCbcPad(OctSize::B256),
        Self::AesKw(OctSize::B128),
        Self::AesKw(OctSize::B192),
        Self::AesKw(OctSize::B256),
        Self::CkmAesKeyWrap,
        Self::CkmAesKeyWrapPad,
    ];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RsaOaep256 => "RSA-OAEP-256",
            Self::RsaOaep => "RSA-OAEP",
            Self::Rsa15 => "RSA1_5",
            Self::AesGcm(OctSize::B128) => "A128GCM",
            Self::AesGcm(OctSize::B192) => "A192GCM",
            Self::AesGcm(OctSize::B256) => "A256GCM",
            Self::AesCbc(OctSize::B128) => "A128CBC",
            Self::AesCbc(OctSize::B192) => "A192CBC",
            Self::AesCbc(OctSize::B256) => "A256CBC",
            Self::AesCbcPad(OctSize::B128) => "A128CBCPAD",
            Self::AesCbcPad(OctSize::B192) => "A192CBCPAD",
            Self::AesCbcPad(OctSize::B256) => "A256CBCPAD",
            Self::AesKw(OctSize::B128) => "A128KW",
            Self::AesKw(OctSize::B192) => "A192KW",
            Self::AesKw(OctSize::B256) => "A256KW",
            Self::CkmAesKeyWrap => "CKM_AES_KEY_WRAP",
            Self::CkmAesKeyWrapPad => "CKM_AES_KEY_WRAP_PAD",
        }
    }

    /// The algorithm of this name; names are compared exactly.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// Whether the algorithm can be used with a key of this kind.
    pub fn fits(self, spec: KeySpec) -> bool {
        match self {
            Self::RsaOaep256 | Self::RsaOaep | Self::Rsa15 => matches!(spec, KeySpec::Rsa(_)),
            Self::AesGcm(size) | Self::AesCbc(size) | Self::AesCbcPad(size) | Self::AesKw(size) => {
                spec == KeySpec::Oct(size)
            }
            Self::CkmAesKeyWrap | Self::CkmAesKeyWrapPad => matches!(spec, KeySpec::Oct(_)),
        }
    }

    /// Whether `encrypt` and `decrypt` take it.
    pub fn encrypts(self) -> bool {
        !matches!(self, Self::AesKw(_) | Self::CkmAesKeyWrap | Self::CkmAesKeyWrapPad)
    }

    /// Whether `wrapkey` and `unwrapkey` take it.
    pub fn wraps(self) -> bool {
        matches!(
            self,
            Self::RsaOaep256
                | Self::RsaOaep
                | Self::Rsa15
                | Self::AesKw(_)
                | Self::CkmAesKeyWrap
                | Self::CkmAesKeyWrapPad
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_is_found_by_its_name_and_only_by_it() {
        for algorithm in SignAlgorithm::ALL {
            assert_eq!(SignAlgorithm::from_name(algorithm.name()), Some(algorithm));
        }
        for algorithm in CipherAlgorithm::ALL {
            assert_eq!(CipherAlgorithm::from_name(algorithm.name()), Some(algorithm));
        }
        assert_eq!(SignAlgorithm::from_name("rs256"), None);
        assert_eq!(CipherAlgorithm::from_name("A256KWPAD"), None);
    }

    #[test]
    fn every_kind_of_key_has_an_algorithm_and_every_algorithm_a_kind() {
        for algorithm in SignAlgorithm::ALL {
            assert!(KeySpec::all().any(|spec| algorithm.fits(spec)), "{algorithm:?}");
        }
        for algorithm in CipherAlgorithm::ALL {
            assert!(KeySpec::all().any(|spec| algorithm.fits(spec)), "{algorithm:?}");
            assert!(algorithm.encrypts() || algorithm.wraps(), "{algorithm:?}");
        }
        assert!(!SignAlgorithm::Es256.fits(KeySpec::Ec(Curve::P256K)));
        assert!(!CipherAlgorithm::AesGcm(OctSize::B128).fits(KeySpec::Oct(OctSize::B256)));
    }
}
