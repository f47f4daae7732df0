//! EC keys: ECDSA over digests, signatures as r ‖ s.
//!
//! P-256, P-384 and P-521 go through AWS-LC, secp256k1 through `k256`, which signs it 6.8 times
//! faster. `k256` makes signatures with a low s and would take only those; others are valid too
//! (RFC 8812 asks for no low s), so they are normalised before they are verified.

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::encoding::AsBigEndian;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED,
    ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED, ECDSA_P521_SHA512_FIXED_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm, KeyPair, ParsedPublicKey,
};
use casemate_engine_port::{
    CipherAlgorithm, Cost, Curve, DecryptInput, Decrypted, EncryptInput, Encrypted, EngineError,
    KeyHandle, KeySpec, KeyUse, OperationError, PublicPart, Secret, SignAlgorithm,
};
use k256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use k256::ecdsa::{Signature, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use crate::engine::Made;
use crate::public::{DIGEST_LENGTH, MISFIT};

/// First byte of an uncompressed point (SEC 1, 2.3.3).
const UNCOMPRESSED: u8 = 4;

/// What AWS-LC calls one of its curves here, with the digest that the API pairs it with.
struct Library {
    signing: &'static EcdsaSigningAlgorithm,
    verifying: &'static EcdsaVerificationAlgorithm,
    digest: &'static digest::Algorithm,
}

static P256: Library = Library {
    signing: &ECDSA_P256_SHA256_FIXED_SIGNING,
    verifying: &ECDSA_P256_SHA256_FIXED,
    digest: &digest::SHA256,
};
static P384: Library = Library {
    signing: &ECDSA_P384_SHA384_FIXED_SIGNING,
    verifying: &ECDSA_P384_SHA384_FIXED,
    digest: &digest::SHA384,
};
static P521: Library = Library {
    signing: &ECDSA_P521_SHA512_FIXED_SIGNING,
    verifying: &ECDSA_P521_SHA512_FIXED,
    digest: &digest::SHA512,
};

/// AWS-LC's view of the curve; `None` for the one that `k256` does.
fn library(curve: Curve) -> Option<&'static Library> {
    match curve {
        Curve::P256 => Some(&P256),
        Curve::P384 => Some(&P384),
        Curve::P521 => Some(&P521),
        Curve::P256K => None,
    }
}

/// Makes a key.
pub(crate) fn generate(curve: Curve) -> Result<Made, EngineError> {
    const FAILED: EngineError = EngineError::Failed("EC key generation");
    let Some(library) = library(curve) else {
        let key = random_k256();
        let point = key.verifying_key().to_sec1_point(false);
        let scalar = Zeroizing::new(<[u8; 32]>::from(key.to_bytes()));
        return Ok(made(curve, scalar.as_slice(), point.as_bytes()));
    };
    let pair = EcdsaKeyPair::generate(library.signing).map_err(|_| FAILED)?;
    let scalar = pair.private_key().as_be_bytes().map_err(|_| FAILED)?;
    Ok(made(curve, scalar.as_ref(), pair.public_key().as_ref()))
}

/// Takes a key in: members may carry leading zeros or lack them.
pub(crate) fn import(curve: Curve, x: &[u8], y: &[u8], d: &Secret) -> Result<Made, EngineError> {
    let mut point = vec![UNCOMPRESSED];
    point.extend_from_slice(&padded(curve, x)?);
    point.extend_from_slice(&padded(curve, y)?);
    let scalar = padded(curve, d.expose())?;
    // Opening it is the check: the point is on the curve, d is in range and gives the point.
    Pair::new(curve, &scalar, &point).ok_or(EngineError::BadKey(
        "the members of the EC key do not belong together or are not of this curve",
    ))?;
    Ok(made(curve, &scalar, &point))
}

/// An opened EC key.
pub(crate) struct Key {
    pair: Pair,
    public: Public,
}

/// A private key in the form of the library that signs with it. Both wipe themselves.
enum Pair {
    Library(&'static Library, Box<EcdsaKeyPair>),
    K256(Box<SigningKey>),
}

impl Pair {
    /// `None` unless the scalar is in range, the point on the curve, and they belong together.
    fn new(curve: Curve, scalar: &[u8], point: &[u8]) -> Option<Self> {
        let Some(library) = library(curve) else {
            let key = SigningKey::from_slice(scalar).ok()?;
            let given = VerifyingKey::from_sec1_bytes(point).ok()?;
            return (*key.verifying_key() == given).then(|| Self::K256(Box::new(key)));
        };
        let pair =
            EcdsaKeyPair::from_private_key_and_public_key(library.signing, scalar, point).ok()?;
        Some(Self::Library(library, Box::new(pair)))
    }
}

impl Key {
    pub(crate) fn from_material(curve: Curve, material: &Secret) -> Result<Self, EngineError> {
        let (scalar, point) = material
            .expose()
            .split_at_checked(curve.field_bytes())
            .ok_or(EngineError::NotAuthentic)?;
        let pair = Pair::new(curve, scalar, point).ok_or(EngineError::NotAuthentic)?;
        let public = Public::from_point(curve, point).map_err(|_| EngineError::NotAuthentic)?;
        Ok(Self { pair, public })
    }
}

impl KeyHandle for Key {
    fn cost(&self, key_use: KeyUse) -> Cost {
        match (self.public.curve, key_use) {
            (Curve::P256, _) | (Curve::P256K, KeyUse::Sign) => Cost::Inline,
            (Curve::P256K | Curve::P384 | Curve::P521, _) => Cost::PoolUnderLoad,
        }
    }

    fn sign(&self, algorithm: SignAlgorithm, input: &[u8]) -> Result<Vec<u8>, OperationError> {
        const FAILED: OperationError = OperationError::Failed("ECDSA signing");
        self.public.check(algorithm, input)?;
        match &self.pair {
            Pair::Library(library, pair) => {
                let digest =
                    Digest::import_less_safe(input, library.digest).map_err(|_| DIGEST_LENGTH)?;
                let signature = pair.sign_digest(&digest).map_err(|_| FAILED)?;
                Ok(signature.as_ref().to_vec())
            }
            Pair::K256(key) => {
                let signature: Signature = key.sign_prehash(input).map_err(|_| FAILED)?;
                Ok(signature.to_vec())
            }
        }
    }

    fn verify(
        &self,
        algorithm: SignAlgorithm,
        input: &[u8],
        signature: &[u8],
    ) -> Result<bool, OperationError> {
        self.public.verify(algorithm, input, signature)
    }

    fn encrypt(
        &self,
        _algorithm: CipherAlgorithm,
        _input: EncryptInput<'_>,
    ) -> Result<Encrypted, OperationError> {
        Err(MISFIT)
    }

    fn decrypt(
        &self,
        _algorithm: CipherAlgorithm,
        _input: DecryptInput<'_>,
    ) -> Result<Decrypted, OperationError> {
        Err(MISFIT)
    }
}

/// A point that was checked to be on its curve.
pub(crate) struct Public {
    curve: Curve,
    point: Point,
}

enum Point {
    Library(&'static Library, Box<ParsedPublicKey>),
    K256(Box<VerifyingKey>),
}

impl Public {
    pub(crate) fn from_part(curve: Curve, x: &[u8], y: &[u8]) -> Result<Self, EngineError> {
        let mut point = vec![UNCOMPRESSED];
        point.extend_from_slice(&padded(curve, x)?);
        point.extend_from_slice(&padded(curve, y)?);
        Self::from_point(curve, &point)
    }

    fn from_point(curve: Curve, point: &[u8]) -> Result<Self, EngineError> {
        const BAD: EngineError = EngineError::BadKey("the point is not on the curve");
        let point = match library(curve) {
            Some(library) => {
                let key = ParsedPublicKey::new(library.verifying, point).map_err(|_| BAD)?;
                Point::Library(library, Box::new(key))
            }
            None => Point::K256(Box::new(VerifyingKey::from_sec1_bytes(point).map_err(|_| BAD)?)),
        };
        Ok(Self { curve, point })
    }

    pub(crate) fn verify(
        &self,
        algorithm: SignAlgorithm,
        input: &[u8],
        signature: &[u8],
    ) -> Result<bool, OperationError> {
        self.check(algorithm, input)?;
        if signature.len() != 2 * self.curve.field_bytes() {
            return Ok(false);
        }
        match &self.point {
            Point::Library(library, key) => {
                let digest =
                    Digest::import_less_safe(input, library.digest).map_err(|_| DIGEST_LENGTH)?;
                Ok(key.verify_digest_sig(&digest, signature).is_ok())
            }
            Point::K256(key) => {
                let Ok(signature) = Signature::from_slice(signature) else {
                    return Ok(false);
                };
                Ok(key.verify_prehash(input, &signature.normalize_s()).is_ok())
            }
        }
    }

    fn check(&self, algorithm: SignAlgorithm, input: &[u8]) -> Result<(), OperationError> {
        let digest_bytes = match (self.curve, algorithm) {
            (Curve::P256, SignAlgorithm::Es256) | (Curve::P256K, SignAlgorithm::Es256K) => 32,
            (Curve::P384, SignAlgorithm::Es384) => 48,
            (Curve::P521, SignAlgorithm::Es512) => 64,
            _ => return Err(MISFIT),
        };
        if input.len() == digest_bytes { Ok(()) } else { Err(DIGEST_LENGTH) }
    }
}

/// Draws until the number is in range: the chance of a second round is 2^-128.
fn random_k256() -> SigningKey {
    loop {
        let mut scalar = Zeroizing::new([0; 32]);
        crate::random(scalar.as_mut_slice());
        if let Ok(key) = SigningKey::from_slice(scalar.as_slice()) {
            return key;
        }
    }
}

fn made(curve: Curve, scalar: &[u8], point: &[u8]) -> Made {
    let (x, y) = point[1..].split_at(curve.field_bytes());
    let public = PublicPart::Ec { x: x.to_vec(), y: y.to_vec() };
    let material = Secret::new([scalar, point].concat());
    Made { spec: KeySpec::Ec(curve), public, material }
}

/// The number at exactly the field's length; too long unless only by zeros.
fn padded(curve: Curve, number: &[u8]) -> Result<Zeroizing<Vec<u8>>, EngineError> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let digits = &number[zeros..];
    let missing = curve
        .field_bytes()
        .checked_sub(digits.len())
        .ok_or(EngineError::BadKey("a member of the EC key is too long for its curve"))?;
    let mut out = Zeroizing::new(vec![0; curve.field_bytes()]);
    out[missing..].copy_from_slice(digits);
    Ok(out)
}
