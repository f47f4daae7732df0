//! An HSM whose keys live in a token, through real clients: SoftHSM2 and kryoptic behind
//! `casemate dev`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use casemate_system_tests::{nodes, python};
use casemate_test_kit::process::eventually;
use casemate_test_kit::scan::Scanner;
use casemate_test_kit::softhsm::{LABEL, SoftHsm, module};
use casemate_test_kit::tokens::{Kind, TestToken, options};
use casemate_test_kit::{Dev, Node, Options};
use serde_json::{Value, json};

/// SoftHSM2 leaves its files to the user that made them; as root the HSM's own user takes them over
/// and the test, being root, still moves them.
fn started(token: &SoftHsm) -> Dev {
    Dev::start(options(Kind::SoftHsm, token.folder()))
}

fn create(dev: &Dev, name: &str, body: &Value) -> Value {
    let path = format!("/keys/{name}/create");
    dev.rest().call("POST", &path, body).expect("an answer").expect_ok(name)
}

fn sign(dev: &Dev, name: &str, algorithm: &str) -> casemate_test_kit::Answer {
    let body = json!({ "alg": algorithm, "value": URL_SAFE_NO_PAD.encode([7; 32]) });
    dev.rest().call("POST", &format!("/keys/{name}/sign"), &body).expect("an answer")
}

/// The public key and the signature, judged by openssl.
fn openssl_takes(dev: &Dev, jwk: &Value, signature: &str) -> bool {
    let der = |name: &str| dev.scratch().join(name);
    let member = |name: &str| {
        let text = jwk[name].as_str().expect("a public member");
        URL_SAFE_NO_PAD.decode(text).expect("base64url")
    };
    // SubjectPublicKeyInfo of a P-256 point.
    let mut spki = vec![
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08,
        0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
    ];
    spki.extend(member("x"));
    spki.extend(member("y"));
    let raw = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    let integer = |bytes: &[u8]| {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let mut number = bytes[zeros..].to_vec();
        if number.first().is_none_or(|byte| byte & 0x80 != 0) {
            number.insert(0, 0);
        }
        [vec![2, u8::try_from(number.len()).expect("33 bytes at most")], number].concat()
    };
    let body = [integer(&raw[..32]), integer(&raw[32..])].concat();
    let sequence = [vec![0x30, u8::try_from(body.len()).expect("short")], body].concat();
    for (name, bytes) in [("pub", &spki), ("sig", &sequence), ("digest", &vec![7; 32])] {
        std::fs::write(der(name), bytes).expect("the scratch folder can be written");
    }
    Command::new("openssl")
        .args(["pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey"])
        .arg(der("pub"))
        .arg("-in")
        .arg(der("digest"))
        .arg("-sigfile")
        .arg(der("sig"))
        .output()
        .expect("openssl can be started")
        .status
        .success()
}

#[test]
fn keys_in_a_token_serve_survive_a_restart_and_the_loss_of_the_token() {
    let token = SoftHsm::new();
    let dev = started(&token);
    let key = create(&dev, "signer", &json!({ "kty": "EC-HSM", "crv": "P-256" }))["key"].clone();
    let answer = sign(&dev, "signer", "ES256").expect_ok("sign");
    assert!(openssl_takes(&dev, &key, answer["value"].as_str().expect("a signature")));
    assert!(!openssl_takes(&dev, &key, &URL_SAFE_NO_PAD.encode([1; 64])), "not any signature");
    every_kind_of(&dev, &[RSA, P256K, OCT]);

    // Twice: the token goes, callers are told so, and the keys are back with it.
    for round in 0..2 {
        token.remove();
        let told = eventually(Duration::from_secs(10), || {
            let body = json!({ "kty": "EC-HSM", "crv": "P-256" });
            let path = format!("/keys/absent-{round}/create");
            let answer = dev.rest().call("POST", &path, &body).expect("an answer");
            answer.status == 503 && answer.text().contains("token")
        });
        assert!(told, "a caller is told that the token is not there");
        let lost = sign(&dev, "signer", "ES256");
        assert_eq!(lost.status, 503, "{}", lost.text());
        assert!(lost.header("retry-after").is_some());
        token.put_back();
        let back =
            eventually(Duration::from_secs(20), || sign(&dev, "signer", "ES256").status == 200);
        assert!(back, "the keys are back with the token");
    }

    let data_dir = dev.data_dir().to_owned();
    let stopped = dev.stop();
    // The options are remembered; only the environment is said again.
    let mut again = Options::in_dir(&data_dir);
    again.variables.push(("SOFTHSM2_CONF".to_owned(), token.conf().display().to_string()));
    let dev = Dev::start(again);
    let answer = sign(&dev, "signer", "ES256").expect_ok("sign after the restart");
    assert!(openssl_takes(&dev, &key, answer["value"].as_str().expect("a signature")));
    let data_dir = dev.data_dir().to_owned();
    let second = dev.stop();
    // Another engine would find keys that it cannot open.
    let refused = Dev::try_start(Options::in_dir(&data_dir).with(&["--engine", "software"]));
    assert!(refused.is_err_and(|failed| failed.log.contains("--engine")));
    drop((stopped, second));
}

#[test]
fn keys_in_a_token_of_kryoptic_serve_and_what_it_cannot_hold_is_refused_at_once() {
    let token = TestToken::new(Kind::Kryoptic);
    let dev = Dev::start(token.options());
    let key = create(&dev, "signer", &json!({ "kty": "EC-HSM", "crv": "P-256" }))["key"].clone();
    every_kind_of(&dev, &[RSA, OCT]);
    let body = json!({ "kty": "EC-HSM", "crv": "P-256K" });
    let refused = dev.rest().call("POST", "/keys/p256k/create", &body).expect("an answer");
    assert_eq!(refused.status, 400, "{}", refused.text());
    let why = "does not hold keys of this type and size: the token cannot make a key on this curve";
    assert!(refused.text().contains(why), "{}", refused.text());
    assert_eq!(dev.rest().ask("GET", "/keys/p256k").expect("an answer").status, 404);
    let data_dir = dev.data_dir().to_owned();
    let stopped = dev.stop();
    let dev = Dev::start(token.options_again(&data_dir));
    let answer = sign(&dev, "signer", "ES256").expect_ok("sign after the restart");
    assert!(openssl_takes(&dev, &key, answer["value"].as_str().expect("a signature")));
    sign(&dev, "rsa", "PS256").expect_ok("sign after the restart");
    dev.stop();
    drop(stopped);
}

/// A name, what is created, and how it signs.
type Sample = (&'static str, &'static str, &'static str);
const RSA: Sample = ("rsa", r#"{ "kty": "RSA-HSM", "key_size": 2048 }"#, "PS256");
const P256K: Sample = ("p256k", r#"{ "kty": "EC-HSM", "crv": "P-256K" }"#, "ES256K");
const OCT: Sample = ("oct", r#"{ "kty": "oct-HSM", "key_size": 256 }"#, "HS256");

fn every_kind_of(dev: &Dev, samples: &[Sample]) {
    for (name, body, algorithm) in samples {
        create(dev, name, &serde_json::from_str(body).expect("it is JSON"));
        sign(dev, name, algorithm).expect_ok(name);
    }
    let mut rest = dev.rest();
    for (name, algorithm) in [("rsa", "RSA-OAEP-256"), ("rsa", "RSA-OAEP"), ("oct", "A256KW")] {
        let secret = URL_SAFE_NO_PAD.encode([9; 32]);
        let body = json!({ "alg": algorithm, "value": secret });
        let wrapped = rest.call("POST", &format!("/keys/{name}/wrapkey"), &body);
        let wrapped = wrapped.expect("an answer").expect_ok("wrapkey");
        let body = json!({ "alg": algorithm, "value": wrapped["value"] });
        let opened = rest.call("POST", &format!("/keys/{name}/unwrapkey"), &body);
        assert_eq!(opened.expect("an answer").expect_ok("unwrapkey")["value"], json!(secret));
    }
}

#[test]
fn the_python_client_works_with_a_token() {
    let token = SoftHsm::new();
    let dev = started(&token);
    let script = "
import os
from azure.identity import DefaultAzureCredential
from azure.keyvault.keys import KeyClient, KeyCurveName
from azure.keyvault.keys.crypto import (CryptographyClient,
    KeyWrapAlgorithm, SignatureAlgorithm)
import hashlib
credential = DefaultAzureCredential()
keys = KeyClient(os.environ['CASEMATE_HSM_URL'], credential, verify_challenge_resource=False)
digest = hashlib.sha256(b'message').digest()
rsa = keys.create_rsa_key('py-rsa', size=3072, hardware_protected=True)
ec = keys.create_ec_key('py-ec', curve=KeyCurveName.p_384, hardware_protected=True)
crypto = CryptographyClient(rsa, credential, verify_challenge_resource=False)
signed = crypto.sign(SignatureAlgorithm.ps256, digest)
assert crypto.verify(SignatureAlgorithm.ps256, digest, signed.signature).is_valid
wrapped = crypto.wrap_key(KeyWrapAlgorithm.rsa_oaep_256, b'k' * 32)
assert crypto.unwrap_key(KeyWrapAlgorithm.rsa_oaep_256, wrapped.encrypted_key).key == b'k' * 32
signed = CryptographyClient(ec, credential, verify_challenge_resource=False).sign(
    SignatureAlgorithm.es384, hashlib.sha384(b'message').digest())
assert len(signed.signature) == 96
print('served')
";
    let path = dev.scratch().join("served_by_a_token.py");
    std::fs::write(&path, script).expect("the scratch folder can be written");
    let python = casemate_test_kit::places::python();
    let client = casemate_test_kit::clients::Client::of(&dev, &python, dev.scratch());
    let said = client.word(&path.display().to_string()).succeed("the Python client");
    assert!(said.contains("served"), "{said}");
}

/// The members of a planted key, found in the partition's memory or not.
fn planted_in_memory(dev: &Dev) -> Vec<String> {
    let file = dev.scratch().join("keys.json").display().to_string();
    python(dev, "judge.py").words(["prepare", &file]).succeed("prepare");
    let prepared = std::fs::read(&file).expect("the keys were written");
    let prepared: Value = serde_json::from_slice(&prepared).expect("the keys are JSON");
    let mut secrets = Vec::new();
    for key in prepared["keys"].as_array().into_iter().flatten() {
        let name = key["name"].as_str().expect("a key has a name").to_owned();
        let body = json!({ "key": key["jwk"] });
        let answer = dev.rest().call("PUT", &format!("/keys/{name}"), &body);
        answer.expect("an answer").expect_ok(&name);
        for algorithm in ["PS256", "ES256", "ES256K", "HS256"] {
            sign(dev, &name, algorithm);
        }
        for member in ["d", "p", "q", "dp", "dq", "qi", "k"] {
            if let Some(text) = key["jwk"][member].as_str() {
                let bytes = URL_SAFE_NO_PAD.decode(text).expect("base64url");
                secrets.push((format!("{name} {member}"), bytes));
            }
        }
    }
    assert!(secrets.len() > 20);
    // Other requests take the place of those that carried the keys.
    for _ in 0..200 {
        dev.rest().ask("GET", "/keys").expect("an answer").expect_ok("list");
    }
    let named = secrets.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
    let (found, bytes) =
        Scanner::new(named).memory(dev.partition()).expect("run as root: it reads the memory");
    assert!(bytes > 1 << 20, "{bytes} bytes were looked at");
    let mut names: Vec<String> = found.into_iter().map(|one| one.secret).collect();
    names.sort();
    names.dedup();
    names
}

/// The software engine has the keys open: the search finds them there. With a token a few pieces of
/// the requests that carried them may be left in memory that was given back, and no more.
#[test]
fn imported_keys_are_not_kept_in_the_memory_of_a_partition_with_a_token() {
    let kept = planted_in_memory(&Dev::fresh());
    assert!(kept.len() > 10, "the scanner finds keys where they are: {kept:?}");
    let token = SoftHsm::new();
    let left = planted_in_memory(&started(&token));
    assert!(left.len() * 3 < kept.len(), "with a token {left:?}, without one {kept:?}");
}

#[test]
fn a_start_without_its_token_says_what_is_missing() {
    let token = SoftHsm::new();
    let mut wrong = options(Kind::SoftHsm, token.folder());
    let label = wrong.arguments.iter_mut().find(|word| *word == LABEL).expect("a label");
    "nobody".clone_into(label);
    let failed = Dev::try_start(wrong).expect_err("no such token");
    assert!(failed.log.contains("nobody") && failed.log.contains("label"), "{failed:?}");
    let mut wrong = options(Kind::SoftHsm, token.folder());
    let pin = token.folder().join("other-pin");
    std::fs::write(&pin, "1234").expect("the folder can be written");
    let file = token.pin_file().display().to_string();
    let told = wrong.arguments.iter_mut().find(|word| **word == file).expect("a PIN file");
    *told = pin.display().to_string();
    let failed = Dev::try_start(wrong).expect_err("others may read the PIN");
    assert!(failed.log.contains("chmod 600"), "{failed:?}");
}

#[test]
fn an_hsm_of_a_node_keeps_its_keys_in_a_token_of_its_own() {
    let (dev, token) = (Dev::fresh(), SoftHsm::new());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let conf = token.conf();
    let given = [("SOFTHSM2_CONF", conf.as_path())];
    let text = |path: &Path| path.display().to_string();
    let (module, pin, own) = (text(&module()), text(&token.pin_file()), text(token.folder()));
    let words = ["--engine", "pkcs11", "--pkcs11-module", &module, "--pkcs11-token", LABEL];
    let more = ["--pkcs11-pin-file", &pin, "--pkcs11-path", &own, "--pkcs11-env", "SOFTHSM2_CONF"];
    let words = [&words[..], &more].concat();
    let node = Node::start_with(folder.path(), "", &given);
    let made = nodes::create_with(&node, &dev, "alpha", &words);
    assert_eq!(made["engine"], "pkcs11", "{made}");
    let second = [
        &nodes::create_words(&dev, "beta")[..],
        &words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>(),
    ]
    .concat();
    let second: Vec<&str> = second.iter().map(String::as_str).collect();
    let refused = node.hsm(&second);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("that of the HSM alpha"), "{said}");
    nodes::activate(&node, &dev, "alpha");
    nodes::let_use_keys(&node, &dev, "alpha");
    let mut rest = nodes::client(&node, &dev, "alpha");
    let made = json!({ "kty": "EC-HSM", "crv": "P-256" });
    let key = rest.call("POST", "/keys/signer/create", &made).expect("an answer");
    let key = key.expect_ok("signer")["key"].clone();
    let signature = |node: &Node| {
        let body = json!({ "alg": "ES256", "value": URL_SAFE_NO_PAD.encode([7; 32]) });
        let answer = nodes::client(node, &dev, "alpha").call("POST", "/keys/signer/sign", &body);
        answer.expect("an answer").expect_ok("sign")["value"].as_str().expect("text").to_owned()
    };
    assert!(openssl_takes(&dev, &key, &signature(&node)));
    assert_eq!(node.hsm_json(&["inspect", "alpha"])["hsm"]["engine"], "pkcs11");
    node.stop();
    let node = Node::start_with(folder.path(), "", &given);
    let ready = || node.hsm_json(&["show", "alpha"])["state"] == "ready";
    assert!(eventually(Duration::from_secs(20), ready), "{}", node.log());
    assert!(openssl_takes(&dev, &key, &signature(&node)), "the engine is remembered");
    node.stop();
    dev.stop();
}
