//! The engine against a second implementation: the `openssl` command.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256K1_SHA256_FIXED, ECDSA_P384_SHA384_FIXED,
    ECDSA_P521_SHA512_FIXED, ParsedPublicKey,
};
use casemate_engine_conformance as conformance;
use casemate_engine_port::{
    CipherAlgorithm, Curve, DecryptInput, EncryptInput, Engine, ImportedKey, KeyHandle, Place,
    PublicPart, RsaSize, Secret, SignAlgorithm,
};
use casemate_engine_soft::SoftEngine;

/// A folder with `public.der`, and for RSA `private.der`, beside the same key in the engine.
struct Pair {
    folder: tempfile::TempDir,
    handle: Arc<dyn KeyHandle>,
}

impl Pair {
    fn rsa(size: RsaSize) -> Self {
        let key = conformance::imported_rsa(size);
        let ImportedKey::Rsa(rsa) = &key else { unreachable!() };
        let components = PublicKeyComponents { n: rsa.n.clone(), e: rsa.e.clone() };
        let public: PublicKeyX509Der<'_> = components.as_der().unwrap();
        let private = KeyPair::from_components(&KeyPairComponents {
            public_key: PublicKeyComponents { n: &rsa.n[..], e: &rsa.e[..] },
            d: rsa.d.expose(),
            p: rsa.p.expose(),
            q: rsa.q.expose(),
            dP: rsa.dp.expose(),
            dQ: rsa.dq.expose(),
            qInv: rsa.qi.expose(),
        });
        let pair = Self::new(key, public.as_ref());
        let private = private.unwrap().as_der().unwrap();
        std::fs::write(pair.path("private.der"), private.as_ref()).unwrap();
        pair
    }

    fn ec(curve: Curve) -> Self {
        let key = conformance::imported_ec(curve);
        let ImportedKey::Ec { x, y, .. } = &key else { unreachable!() };
        let algorithm = match curve {
            Curve::P256 => &ECDSA_P256_SHA256_FIXED,
            Curve::P256K => &ECDSA_P256K1_SHA256_FIXED,
            Curve::P384 => &ECDSA_P384_SHA384_FIXED,
            Curve::P521 => &ECDSA_P521_SHA512_FIXED,
        };
        let point = [&[4], &x[..], &y[..]].concat();
        let public = ParsedPublicKey::new(algorithm, point).unwrap().as_der().unwrap();
        Self::new(key, public.as_ref())
    }

    fn new(key: ImportedKey, public_der: &[u8]) -> Self {
        let engine = SoftEngine::new(Secret::new(vec![3; 32])).unwrap();
        let place = Place::new("openssl");
        let made = engine.import(key, &place).unwrap();
        assert_ne!(made.public, PublicPart::Oct);
        let handle = engine.open(made.spec, &made.wrapped, &place).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("public.der"), public_der).unwrap();
        Self { folder, handle }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `openssl pkeyutl` over the input; what it wrote, if it succeeded.
    fn pkeyutl(&self, arguments: &[&str], options: &[&str], input: &[u8]) -> Option<Vec<u8>> {
        let (given, made) = (self.path("in"), self.path("out"));
        std::fs::write(&given, input).unwrap();
        let mut command = Command::new("openssl");
        command.arg("pkeyutl").args(arguments).current_dir(self.folder.path());
        command.args(["-keyform", "DER", "-in"]).arg(&given);
        for option in options {
            command.args(["-pkeyopt", option]);
        }
        let verifies = arguments.contains(&"-verify");
        if !verifies {
            command.arg("-out").arg(&made);
        }
        let output = command.output().expect("the openssl command is there");
        if !output.status.success() {
            return None;
        }
        Some(if verifies { Vec::new() } else { std::fs::read(&made).unwrap() })
    }

    fn openssl_verifies(&self, options: &[&str], digest: &[u8], signature: &[u8]) -> bool {
        write(&self.path("sig"), signature);
        let arguments = ["-verify", "-pubin", "-inkey", "public.der", "-sigfile", "sig"];
        self.pkeyutl(&arguments, options, digest).is_some()
    }
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}

/// The DER form of r ‖ s, which is what OpenSSL reads.
fn der(signature: &[u8]) -> Vec<u8> {
    let (r, s) = signature.split_at(signature.len() / 2);
    let element = |tag: u8, body: &[u8]| {
        let length = u8::try_from(body.len()).unwrap();
        let head = if length < 0x80 { vec![tag, length] } else { vec![tag, 0x81, length] };
        [&head[..], body].concat()
    };
    let integer = |number: &[u8]| {
        let digits: Vec<u8> = number.iter().copied().skip_while(|byte| *byte == 0).collect();
        let sign = if digits[0] & 0x80 == 0 { vec![] } else { vec![0] };
        element(2, &[sign, digits].concat())
    };
    element(0x30, &[integer(r), integer(s)].concat())
}

const RSA_SIGNATURES: [(SignAlgorithm, usize, &[&str]); 7] = [
    (SignAlgorithm::Rs256, 32, &["digest:sha256"]),
    (SignAlgorithm::Rs384, 48, &["digest:sha384"]),
    (SignAlgorithm::Rs512, 64, &["digest:sha512"]),
    (
        SignAlgorithm::Ps256,
        32,
        &["digest:sha256", "rsa_padding_mode:pss", "rsa_pss_saltlen:32", "rsa_mgf1_md:sha256"],
    ),
    (
        SignAlgorithm::Ps384,
        48,
        &["digest:sha384", "rsa_padding_mode:pss", "rsa_pss_saltlen:48", "rsa_mgf1_md:sha384"],
    ),
    (
        SignAlgorithm::Ps512,
        64,
        &["digest:sha512", "rsa_padding_mode:pss", "rsa_pss_saltlen:64", "rsa_mgf1_md:sha512"],
    ),
    // Without a digest OpenSSL pads what it gets.
    (SignAlgorithm::RsNull, 51, &["rsa_padding_mode:pkcs1"]),
];

#[test]
fn openssl_verifies_the_engines_rsa_signatures() {
    for size in RsaSize::ALL {
        let pair = Pair::rsa(size);
        for (algorithm, length, options) in RSA_SIGNATURES {
            let digest = vec![0x5a; length];
            let mut signature = pair.handle.sign(algorithm, &digest).unwrap();
            assert!(pair.openssl_verifies(options, &digest, &signature), "{algorithm:?}");
            assert!(!pair.openssl_verifies(options, &vec![0x5b; length], &signature));
            signature[100] ^= 1;
            assert!(!pair.openssl_verifies(options, &digest, &signature), "{algorithm:?}");
        }
    }
}

#[test]
fn the_engine_verifies_openssls_rsa_signatures() {
    for size in RsaSize::ALL {
        let pair = Pair::rsa(size);
        for (algorithm, length, options) in RSA_SIGNATURES {
            let digest = vec![0x5a; length];
            let arguments = ["-sign", "-inkey", "private.der"];
            let mut signature = pair.pkeyutl(&arguments, options, &digest).unwrap();
            assert!(pair.handle.verify(algorithm, &digest, &signature).unwrap(), "{algorithm:?}");
            signature[100] ^= 1;
            assert!(!pair.handle.verify(algorithm, &digest, &signature).unwrap());
        }
    }
}

#[test]
fn rsnull_is_the_signature_that_openssl_makes() {
    // Type 1 padding has no randomness, so both come to the same bytes. OpenSSL's command signs
    // no more than the longest digest.
    let pair = Pair::rsa(RsaSize::B2048);
    for length in [1, 32, 51, 64] {
        let input = vec![0xa5; length];
        let arguments = ["-sign", "-inkey", "private.der"];
        let theirs = pair.pkeyutl(&arguments, &["rsa_padding_mode:pkcs1"], &input).unwrap();
        assert_eq!(pair.handle.sign(SignAlgorithm::RsNull, &input).unwrap(), theirs, "{length}");
    }
}

#[test]
fn openssl_recovers_what_rsnull_signed() {
    for size in RsaSize::ALL {
        let pair = Pair::rsa(size);
        for length in [1, 100, size.bytes() - 11] {
            let input = vec![0xa5; length];
            let signature = pair.handle.sign(SignAlgorithm::RsNull, &input).unwrap();
            let arguments = ["-verifyrecover", "-pubin", "-inkey", "public.der"];
            let options = ["rsa_padding_mode:pkcs1"];
            let recovered = pair.pkeyutl(&arguments, &options, &signature).unwrap();
            assert_eq!(recovered, input, "{length}");
        }
    }
}

#[test]
fn openssl_verifies_the_engines_ec_signatures() {
    for (curve, algorithm, length) in [
        (Curve::P256, SignAlgorithm::Es256, 32),
        (Curve::P256K, SignAlgorithm::Es256K, 32),
        (Curve::P384, SignAlgorithm::Es384, 48),
        (Curve::P521, SignAlgorithm::Es512, 64),
    ] {
        let pair = Pair::ec(curve);
        for round in 0..8 {
            let digest = vec![round; length];
            let signature = der(&pair.handle.sign(algorithm, &digest).unwrap());
            assert!(pair.openssl_verifies(&[], &digest, &signature), "{curve:?}");
            assert!(!pair.openssl_verifies(&[], &vec![0xee; length], &signature), "{curve:?}");
        }
    }
}

const RSA_CIPHERS: [(CipherAlgorithm, &[&str]); 3] = [
    (CipherAlgorithm::RsaOaep, &["rsa_padding_mode:oaep"]),
    (
        CipherAlgorithm::RsaOaep256,
        &["rsa_padding_mode:oaep", "rsa_oaep_md:sha256", "rsa_mgf1_md:sha256"],
    ),
    (CipherAlgorithm::Rsa15, &["rsa_padding_mode:pkcs1"]),
];

#[test]
fn the_engine_decrypts_what_openssl_encrypted() {
    for size in RsaSize::ALL {
        let pair = Pair::rsa(size);
        for (algorithm, options) in RSA_CIPHERS {
            for plaintext in [&b"p"[..], &[0; 32], &[0xff; 100]] {
                let arguments = ["-encrypt", "-pubin", "-inkey", "public.der"];
                let ciphertext = pair.pkeyutl(&arguments, options, plaintext).unwrap();
                let input =
                    DecryptInput { ciphertext: &ciphertext, iv: None, aad: None, tag: None };
                let opened = pair.handle.decrypt(algorithm, input).unwrap();
                assert_eq!(opened.expose(), plaintext, "{algorithm:?}");
            }
        }
    }
}

#[test]
fn openssl_decrypts_what_the_engine_encrypted() {
    for size in RsaSize::ALL {
        let pair = Pair::rsa(size);
        for (algorithm, options) in RSA_CIPHERS {
            let input = EncryptInput { plaintext: b"plaintext", iv: None, aad: None };
            let ciphertext = pair.handle.encrypt(algorithm, input).unwrap().ciphertext;
            let arguments = ["-decrypt", "-inkey", "private.der"];
            let opened = pair.pkeyutl(&arguments, options, &ciphertext).unwrap();
            assert_eq!(opened, b"plaintext", "{algorithm:?}");
        }
    }
}
