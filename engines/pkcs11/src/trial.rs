//! What the token can do, found out by doing it: a mechanism that is on its list may still refuse
//! the parameters that the API asks for, and one that is not may work.
//!
//! Each kind of key is made, wrapped, opened and used with every algorithm that fits it. RSA is
//! tried at 2048 bits, and the larger sizes are taken from what the token says of key generation:
//! making a key of 4096 bits would hold up each start by seconds.

use std::sync::Arc;

use aws_lc_rs::encoding::AsBigEndian;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use casemate_engine_port::{
    CipherAlgorithm, Curve, DecryptInput, DigestLength, EncryptInput, ImportedKey, KeyHandle,
    KeySpec, OctSize, PublicPart, RsaSize, Secret, SignAlgorithm,
};
use cryptoki::mechanism::MechanismType;

use crate::make::{self, Mac};
use crate::material::Stored;
use crate::rsa::{Oaep, OaepWays};
use crate::token::Token;
use crate::wrapping::Under;

const NO_RSA: &str = ": the token cannot make an RSA key, wrap it and use it with every algorithm \
                      of such keys (PKCS #1, PSS and OAEP, or the raw private operation)";
const RSA_TOO_LARGE: &str = ": the token makes RSA keys of smaller sizes only";
const NO_CURVE: &str = ": the token cannot make a key on this curve, wrap it and sign with it";
const NO_OCT: &str = ": the token cannot make an AES key of this size, wrap it and use it with \
                      every algorithm of such keys (GCM, CBC, single blocks, HMAC)";

/// What the token can do.
pub(crate) struct Abilities {
    /// The largest RSA modulus in bits; `None` if RSA is not done at all.
    rsa_bits_max: Option<u32>,
    curves: Vec<Curve>,
    sizes: Vec<OctSize>,
    pub(crate) oaep: OaepWays,
    pub(crate) mac: Mac,
    /// Whether private keys are taken in.
    pub(crate) imports: bool,
    /// Whether what was unwrapped is wrapped again, for every kind of key that is held.
    pub(crate) rewraps: bool,
}

impl Abilities {
    /// Why keys of this kind are not held here; nothing if they are.
    pub(crate) fn refusal(&self, spec: KeySpec) -> Option<&'static str> {
        match (spec, self.rsa_bits_max) {
            (KeySpec::Rsa(_), None) => Some(NO_RSA),
            (KeySpec::Rsa(size), Some(most)) => (size.bits() > most).then_some(RSA_TOO_LARGE),
            (KeySpec::Ec(curve), _) => (!self.curves.contains(&curve)).then_some(NO_CURVE),
            (KeySpec::Oct(size), _) => (!self.sizes.contains(&size)).then_some(NO_OCT),
        }
    }

    /// Says what was found, once.
    pub(crate) fn log(&self, token: &str) {
        let refused: Vec<KeySpec> =
            KeySpec::all().filter(|spec| self.refusal(*spec).is_some()).collect();
        let (oaep, mac, imports, rewraps) = (self.oaep, self.mac, self.imports, self.rewraps);
        tracing::info!(token, ?refused, ?oaep, ?mac, imports, rewraps, "the token was tried");
    }
}

/// Tries everything.
pub(crate) fn run(token: &Arc<Token>) -> Abilities {
    let (oaep, rsa_rewraps) = oaep_ways(token).unzip();
    let rsa_bits_max = oaep.map(|_| rsa_bits_max(token));
    let curves: Vec<Curve> =
        Curve::ALL.into_iter().filter(|curve| curve_works(token, *curve)).collect();
    let mac = [Mac::Same, Mac::Own]
        .into_iter()
        .find(|mac| OctSize::ALL.into_iter().all(|size| oct_works(token, size, *mac)));
    let by_size = |size: &OctSize| oct_works(token, *size, Mac::Own);
    let sizes = match mac {
        Some(_) => OctSize::ALL.to_vec(),
        None => OctSize::ALL.into_iter().filter(by_size).collect(),
    };
    let made_mac = mac.unwrap_or(Mac::Own);
    let one_of_each =
        [curves.first().copied().map(KeySpec::Ec), sizes.first().copied().map(KeySpec::Oct)];
    let rewraps = rsa_rewraps.unwrap_or(true)
        && one_of_each.into_iter().flatten().all(|spec| rewraps(token, spec, made_mac));
    Abilities {
        rsa_bits_max,
        curves,
        sizes,
        rewraps,
        oaep: oaep.unwrap_or(OaepWays { sha1: Oaep::InToken, sha256: Oaep::InToken }),
        mac: made_mac,
        imports: imports(token),
    }
}

fn rsa_bits_max(token: &Token) -> u32 {
    let least = RsaSize::B2048.bits();
    let told = token.key_size_max(MechanismType::RSA_PKCS_KEY_PAIR_GEN);
    told.and_then(|bits| u32::try_from(bits).ok()).unwrap_or(least).max(least)
}

/// How OAEP is done with an RSA key that does everything else, and whether such a key is wrapped
/// again; `None` if one thing fails.
fn oaep_ways(token: &Arc<Token>) -> Option<(OaepWays, bool)> {
    let spec = KeySpec::Rsa(RsaSize::B2048);
    let made = make::generate(token, spec, Mac::Same).ok()?;
    let open = |oaep: OaepWays| make::open(token, spec, made.clone(), Under::Present, oaep).ok();
    let both = |way| OaepWays { sha1: way, sha256: way };
    let (in_token, here) = (open(both(Oaep::InToken))?, open(both(Oaep::Here))?);
    if !signs(&*in_token, spec) || !round_trips(&*in_token, CipherAlgorithm::Rsa15) {
        return None;
    }
    let way = |algorithm| {
        let ways = [(Oaep::InToken, &in_token), (Oaep::Here, &here)];
        ways.into_iter().find(|(_, key)| round_trips(&***key, algorithm)).map(|(way, _)| way)
    };
    let ways = OaepWays {
        sha1: way(CipherAlgorithm::RsaOaep)?,
        sha256: way(CipherAlgorithm::RsaOaep256)?,
    };
    Some((ways, is_rewrapped(token, spec, &made)))
}

/// Whether a new key is wrapped again.
fn rewraps(token: &Arc<Token>, spec: KeySpec, mac: Mac) -> bool {
    make::generate(token, spec, mac).is_ok_and(|stored| is_rewrapped(token, spec, &stored))
}

/// Whether the key can be unwrapped and wrapped again, and is then the same one.
fn is_rewrapped(token: &Arc<Token>, spec: KeySpec, stored: &Stored) -> bool {
    let oaep = OaepWays { sha1: Oaep::InToken, sha256: Oaep::InToken };
    let open = |stored| make::open(token, spec, stored, Under::Present, oaep).ok();
    let again = make::rewrap(token, spec, stored, Under::Present).ok();
    let (Some(one), Some(other)) = (open(stored.clone()), again.and_then(open)) else {
        return false;
    };
    let algorithm = SignAlgorithm::ALL.into_iter().find(|algorithm| algorithm.fits(spec));
    algorithm.is_some_and(|algorithm| {
        let length = match algorithm.input_length(spec) {
            DigestLength::Exactly(length) => length,
            DigestLength::AtMost(_) => 32,
        };
        let input = vec![0x5a; length];
        let Ok(signature) = other.sign(algorithm, &input) else { return false };
        matches!(one.verify(algorithm, &input, &signature), Ok(true))
    })
}

fn curve_works(token: &Arc<Token>, curve: Curve) -> bool {
    made(token, KeySpec::Ec(curve), Mac::Same).is_some_and(|key| signs(&*key, KeySpec::Ec(curve)))
}

fn oct_works(token: &Arc<Token>, size: OctSize, mac: Mac) -> bool {
    let spec = KeySpec::Oct(size);
    let Some(key) = made(token, spec, mac) else { return false };
    let fitting = CipherAlgorithm::ALL.into_iter().filter(|algorithm| algorithm.fits(spec));
    signs(&*key, spec) && fitting.into_iter().all(|algorithm| round_trips(&*key, algorithm))
}

fn made(token: &Arc<Token>, spec: KeySpec, mac: Mac) -> Option<Arc<dyn KeyHandle>> {
    let stored = make::generate(token, spec, mac).ok()?;
    let oaep = OaepWays { sha1: Oaep::InToken, sha256: Oaep::InToken };
    make::open(token, spec, stored, Under::Present, oaep).ok()
}

/// Whether every algorithm that fits gives a signature that is right and says no to another input.
fn signs(key: &dyn KeyHandle, spec: KeySpec) -> bool {
    SignAlgorithm::ALL.into_iter().filter(|algorithm| algorithm.fits(spec)).all(|algorithm| {
        let length = match algorithm.input_length(spec) {
            DigestLength::Exactly(length) => length,
            DigestLength::AtMost(_) => 32,
        };
        let (input, other) = (vec![0x5a; length], vec![0xa5; length]);
        let Ok(signature) = key.sign(algorithm, &input) else { return false };
        let verified = |input: &[u8]| key.verify(algorithm, input, &signature);
        matches!((verified(&input), verified(&other)), (Ok(true), Ok(false)))
    })
}

/// Whether what was encrypted decrypts.
fn round_trips(key: &dyn KeyHandle, algorithm: CipherAlgorithm) -> bool {
    let iv = match algorithm {
        CipherAlgorithm::AesGcm(_) => Some([9; 16]).map(|iv: [u8; 16]| iv[..12].to_vec()),
        CipherAlgorithm::AesCbc(_) | CipherAlgorithm::AesCbcPad(_) => Some(vec![9; 16]),
        _ => None,
    };
    let plaintext = [0x42; 32];
    let input = EncryptInput { plaintext: &plaintext, iv: iv.as_deref(), aad: None };
    let Ok(made) = key.encrypt(algorithm, input) else { return false };
    let (ciphertext, tag) = (made.ciphertext, made.tag);
    let input =
        DecryptInput { ciphertext: &ciphertext, iv: iv.as_deref(), aad: None, tag: tag.as_deref() };
    key.decrypt(algorithm, input).is_ok_and(|opened| opened.expose() == plaintext)
}

/// Whether a private key that was made here for this is taken in.
fn imports(token: &Token) -> bool {
    let Ok(pair) = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING) else { return false };
    let Ok(scalar) = pair.private_key().as_be_bytes() else { return false };
    let (x, y) = pair.public_key().as_ref()[1..].split_at(Curve::P256.field_bytes());
    let public = PublicPart::Ec { x: x.to_vec(), y: y.to_vec() };
    let key = ImportedKey::Ec {
        curve: Curve::P256,
        x: x.to_vec(),
        y: y.to_vec(),
        d: Secret::new(scalar.as_ref().to_vec()),
    };
    make::import(token, &key, &public, Mac::Same).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn abilities() -> Abilities {
        Abilities {
            rsa_bits_max: Some(3072),
            curves: vec![Curve::P256],
            sizes: vec![OctSize::B256],
            oaep: OaepWays { sha1: Oaep::InToken, sha256: Oaep::Here },
            mac: Mac::Own,
            imports: true,
            rewraps: true,
        }
    }

    #[test]
    fn what_was_not_found_to_work_is_refused_with_its_reason() {
        let found = abilities();
        assert_eq!(found.refusal(KeySpec::Rsa(RsaSize::B3072)), None);
        assert_eq!(found.refusal(KeySpec::Rsa(RsaSize::B4096)), Some(RSA_TOO_LARGE));
        assert_eq!(found.refusal(KeySpec::Ec(Curve::P256)), None);
        assert_eq!(found.refusal(KeySpec::Ec(Curve::P256K)), Some(NO_CURVE));
        assert_eq!(found.refusal(KeySpec::Oct(OctSize::B256)), None);
        assert_eq!(found.refusal(KeySpec::Oct(OctSize::B128)), Some(NO_OCT));
        let none = Abilities { rsa_bits_max: None, ..abilities() };
        assert_eq!(none.refusal(KeySpec::Rsa(RsaSize::B2048)), Some(NO_RSA));
    }
}
