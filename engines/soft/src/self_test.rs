//! Power-on self-tests: known answers for each family of algorithms, before the engine gives out
//! anything, and the state that it falls into when one fails.
//!
//! The answers in `self_test/` were made with OpenSSL and the Python package `cryptography`. They
//! find a library that was built wrongly or a machine that computes wrongly; they are no proof of
//! anything else, and no validation.
//!
//! Invariant: an engine whose state is [`Health::failed`] gives out no key, signature, text or
//! random byte, until the process ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::digest;
use casemate_engine_port::{
    CipherAlgorithm, Curve, DecryptInput, EncryptInput, EngineError, KeyHandle, KeySpec, OctSize,
    OperationError, RsaSize, Secret, SignAlgorithm,
};

use crate::{aead, ec, oct, rsa, signing};

const RSA_KEY: &[u8] = include_bytes!("self_test/rsa-2048.pk8");
/// RS256, PS256, RSA-OAEP-256: 256 bytes each.
const RSA_ANSWERS: &[u8] = include_bytes!("self_test/rsa-2048.answers");
/// d ‖ 04 ‖ x ‖ y ‖ r ‖ s.
const EC_ANSWERS: [(Curve, SignAlgorithm, &[u8]); 4] = [
    (Curve::P256, SignAlgorithm::Es256, include_bytes!("self_test/p-256.bin")),
    (Curve::P256K, SignAlgorithm::Es256K, include_bytes!("self_test/p-256k.bin")),
    (Curve::P384, SignAlgorithm::Es384, include_bytes!("self_test/p-384.bin")),
    (Curve::P521, SignAlgorithm::Es512, include_bytes!("self_test/p-521.bin")),
];
/// For each size GCM, CBC, key wrap, padded key wrap, and three MACs.
const OCT_ANSWERS: &[u8] = include_bytes!("self_test/oct.answers");
const TEXT: [u8; 32] = [0x42; 32];
const GCM_IV: [u8; 12] = [9; 12];
const CBC_IV: [u8; 16] = [9; 16];
const AAD: &[u8] = b"associated";

/// One self-test: its name, and whether the answer is the known one.
pub(crate) type Test = (&'static str, fn() -> Option<bool>);

/// Every family that the engine, the records and the seals use.
pub(crate) const TESTS: [Test; 8] = [
    ("SHA-2", sha2),
    ("HKDF-SHA256", hkdf),
    ("AES-GCM of records", records),
    ("RSA", rsa_answers),
    ("ECDSA", ec_answers),
    ("AES", aes_answers),
    ("HMAC", mac_answers),
    ("Ed25519", ed25519),
];

/// Whether the engine may give anything out. Shared with every key that it opened.
#[derive(Clone, Default)]
pub(crate) struct Health(Arc<AtomicBool>);

impl Health {
    /// Falls into the error state, for good.
    pub(crate) fn failed(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Refuses in the error state.
    pub(crate) fn check(&self) -> Result<(), EngineError> {
        if self.0.load(Ordering::Acquire) { Err(EngineError::Failed(STOPPED)) } else { Ok(()) }
    }

    /// The same for an opened key.
    pub(crate) fn check_use(&self) -> Result<(), OperationError> {
        self.check().map_err(|_| OperationError::Failed(STOPPED))
    }
}

const STOPPED: &str = "a self-test: the engine gives out nothing until it is started anew";

/// Runs the tests in turn; the first that fails is the error.
pub(crate) fn run(tests: &[Test]) -> Result<(), EngineError> {
    for (name, test) in tests {
        if test() != Some(true) {
            return Err(EngineError::Failed(name));
        }
    }
    Ok(())
}

/// Whether a new key signs what its public half takes, and nothing else (pairwise consistency).
pub(crate) fn is_consistent(key: &dyn KeyHandle, spec: KeySpec) -> bool {
    let algorithm = match spec {
        KeySpec::Rsa(_) => SignAlgorithm::Ps256,
        KeySpec::Ec(Curve::P256) => SignAlgorithm::Es256,
        KeySpec::Ec(Curve::P256K) => SignAlgorithm::Es256K,
        KeySpec::Ec(Curve::P384) => SignAlgorithm::Es384,
        KeySpec::Ec(Curve::P521) => SignAlgorithm::Es512,
        // One key, no pair.
        KeySpec::Oct(_) => return true,
    };
    let length = match algorithm {
        SignAlgorithm::Es384 => 48,
        SignAlgorithm::Es512 => 64,
        _ => 32,
    };
    let (digest, other) = (vec![0x5a; length], vec![0xa5; length]);
    let Ok(signature) = key.sign(algorithm, &digest) else { return false };
    let verified = |digest: &[u8]| key.verify(algorithm, digest, &signature);
    matches!((verified(&digest), verified(&other)), (Ok(true), Ok(false)))
}

fn sha2() -> Option<bool> {
    // FIPS 180-4, "abc".
    let starts =
        |algorithm, begin: [u8; 4]| digest::digest(algorithm, b"abc").as_ref().starts_with(&begin);
    Some(
        starts(&digest::SHA256, [0xba, 0x78, 0x16, 0xbf])
            && starts(&digest::SHA384, [0xcb, 0x00, 0x75, 0x3f])
            && starts(&digest::SHA512, [0xdd, 0xaf, 0x35, 0xa1]),
    )
}

fn hkdf() -> Option<bool> {
    // The record key of a domain secret of zeros, from another implementation.
    let key = aead::derive(&[0; 32], &[], b"casemate domain record v1");
    Some(key[..4] == [0x72, 0x62, 0x37, 0x30])
}

fn records() -> Option<bool> {
    let root = Secret::new(vec![1; 32]);
    let sealed = aead::seal(&root, b"self-test", &[], AAD, &TEXT).ok()?;
    let right = aead::open(&root, b"self-test", AAD, &sealed)?.expose() == TEXT;
    Some(right && aead::open(&root, b"self-test", b"other", &sealed).is_none())
}

fn rsa_answers() -> Option<bool> {
    let key = Secret::new(RSA_KEY.to_vec());
    let key = rsa::Key::from_material(RsaSize::B2048, &key).ok()?;
    let (rs256, rest) = RSA_ANSWERS.split_at_checked(256)?;
    let (ps256, oaep) = rest.split_at_checked(256)?;
    let digest = crate::sha256(b"abc");
    // PKCS #1 signatures are not random: the same bytes again.
    let right = key.sign(SignAlgorithm::Rs256, &digest).ok()? == rs256
        && key.verify(SignAlgorithm::Ps256, &digest, ps256).ok()?
        && !key.verify(SignAlgorithm::Ps256, &TEXT, ps256).ok()?;
    let input = DecryptInput { ciphertext: oaep, iv: None, aad: None, tag: None };
    let opened = key.decrypt(CipherAlgorithm::RsaOaep256, input).ok()?;
    Some(right && opened.expose() == TEXT)
}

fn ec_answers() -> Option<bool> {
    for (curve, algorithm, answer) in EC_ANSWERS {
        let bytes = curve.field_bytes();
        let (material, signature) = answer.split_at_checked(1 + 3 * bytes)?;
        let key = ec::Key::from_material(curve, &Secret::new(material.to_vec())).ok()?;
        let digest = match algorithm {
            SignAlgorithm::Es384 => digest::digest(&digest::SHA384, b"abc"),
            SignAlgorithm::Es512 => digest::digest(&digest::SHA512, b"abc"),
            _ => digest::digest(&digest::SHA256, b"abc"),
        };
        let other = vec![0x5a; digest.as_ref().len()];
        let right = key.verify(algorithm, digest.as_ref(), signature).ok()?
            && !key.verify(algorithm, &other, signature).ok()?
            && is_consistent(&key, KeySpec::Ec(curve));
        if !right {
            return Some(false);
        }
    }
    Some(true)
}

/// One size's key and answers.
fn oct_of(size: OctSize) -> Option<(oct::Key, Vec<&'static [u8]>)> {
    const LENGTHS: [usize; 7] = [48, 32, 40, 32, 32, 48, 64];
    let each = LENGTHS.iter().sum::<usize>();
    let index = OctSize::ALL.into_iter().position(|one| one == size)?;
    let mut rest = OCT_ANSWERS.get(index * each..(index + 1) * each)?;
    let mut answers = Vec::new();
    for length in LENGTHS {
        let (answer, more) = rest.split_at_checked(length)?;
        answers.push(answer);
        rest = more;
    }
    let key: Vec<u8> = (1..).take(size.bytes()).collect();
    Some((oct::Key::from_material(size, Secret::new(key)).ok()?, answers))
}

fn aes_answers() -> Option<bool> {
    for size in OctSize::ALL {
        let (key, answers) = oct_of(size)?;
        let [gcm, cbc, kw, kwp, ..] = answers.as_slice() else { return None };
        let (text, tag) = gcm.split_at_checked(TEXT.len())?;
        let mut right = true;
        for (algorithm, iv, aad, plaintext, ciphertext, tag) in [
            (
                CipherAlgorithm::AesGcm(size),
                Some(&GCM_IV[..]),
                Some(AAD),
                &TEXT[..],
                text,
                Some(tag),
            ),
            (CipherAlgorithm::AesCbc(size), Some(&CBC_IV[..]), None, &TEXT[..], *cbc, None),
            (CipherAlgorithm::AesKw(size), None, None, &TEXT[..], *kw, None),
            (CipherAlgorithm::CkmAesKeyWrapPad, None, None, &TEXT[..20], *kwp, None),
        ] {
            let made = key.encrypt(algorithm, EncryptInput { plaintext, iv, aad }).ok()?;
            right &= made.ciphertext == ciphertext && made.tag.as_deref() == tag;
            let opened = key.decrypt(algorithm, DecryptInput { ciphertext, iv, aad, tag }).ok()?;
            right &= opened.expose() == plaintext;
        }
        if !right {
            return Some(false);
        }
    }
    Some(true)
}

fn mac_answers() -> Option<bool> {
    let algorithms = [SignAlgorithm::Hs256, SignAlgorithm::Hs384, SignAlgorithm::Hs512];
    for size in OctSize::ALL {
        let (key, answers) = oct_of(size)?;
        for (algorithm, answer) in algorithms.into_iter().zip(&answers[4..]) {
            if key.sign(algorithm, &TEXT).ok()? != *answer {
                return Some(false);
            }
        }
    }
    Some(true)
}

fn ed25519() -> Option<bool> {
    // The public key of a seed of zeros (RFC 8032's curve), and a signature that never changes.
    let key = signing::SigningKey::from_seed(&Secret::new(vec![0; signing::SEED_BYTES])).ok()?;
    let right = key.public_key().starts_with(&[0x3b, 0x6a, 0x27, 0xbc]);
    Some(right && key.sign(&TEXT) == key.sign(&TEXT) && key.sign(&TEXT) != key.sign(b"other"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_the_known_one() {
        for (name, test) in TESTS {
            assert_eq!(test(), Some(true), "{name}");
        }
        assert!(run(&TESTS).is_ok());
    }

    #[test]
    fn one_wrong_answer_fails_the_run_and_is_named() {
        let wrong_ones: [fn() -> Option<bool>; 2] = [|| Some(false), || None];
        for wrong in wrong_ones {
            for at in 0..=TESTS.len() {
                let mut tests = TESTS.to_vec();
                tests.insert(at, ("broken", wrong));
                let refusal = run(&tests).unwrap_err();
                assert!(matches!(refusal, EngineError::Failed("broken")), "{refusal}");
            }
        }
    }

    #[test]
    fn a_key_that_signs_for_another_is_not_consistent() {
        struct Crossed(Box<dyn KeyHandle>, Box<dyn KeyHandle>);
        impl KeyHandle for Crossed {
            fn cost(&self, key_use: casemate_engine_port::KeyUse) -> casemate_engine_port::Cost {
                self.0.cost(key_use)
            }
            fn sign(
                &self,
                algorithm: SignAlgorithm,
                input: &[u8],
            ) -> Result<Vec<u8>, OperationError> {
                self.0.sign(algorithm, input)
            }
            fn verify(
                &self,
                algorithm: SignAlgorithm,
                input: &[u8],
                signature: &[u8],
            ) -> Result<bool, OperationError> {
                self.1.verify(algorithm, input, signature)
            }
            fn encrypt(
                &self,
                algorithm: CipherAlgorithm,
                input: EncryptInput<'_>,
            ) -> Result<casemate_engine_port::Encrypted, OperationError> {
                self.0.encrypt(algorithm, input)
            }
            fn decrypt(
                &self,
                algorithm: CipherAlgorithm,
                input: DecryptInput<'_>,
            ) -> Result<Secret, OperationError> {
                self.0.decrypt(algorithm, input)
            }
        }
        for curve in Curve::ALL {
            let key = || -> Box<dyn KeyHandle> {
                let made = ec::generate(curve).unwrap();
                Box::new(ec::Key::from_material(curve, &made.material).unwrap())
            };
            let spec = KeySpec::Ec(curve);
            assert!(is_consistent(&*key(), spec), "{curve:?}");
            assert!(!is_consistent(&Crossed(key(), key()), spec), "{curve:?}");
        }
    }
}
