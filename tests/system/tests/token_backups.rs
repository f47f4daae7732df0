//! Backups of a whole HSM whose keys live in a token, made before its domain was rotated: they are
//! restored in the token, and proven in another one without the HSM.

use casemate_system_tests::jobs::{back_up, held_in, local, restore, verify};
use casemate_system_tests::rotating::{
    file, make, officers, request, rotate, sign, verifies, wait_until_done,
};
use casemate_test_kit::softhsm::{LABEL, pin_file};
use casemate_test_kit::tokens::{Kind, TestToken};
use casemate_test_kit::{Dev, Rest};
use serde_json::{Value, json};

fn create(rest: &mut Rest, name: &str, body: &Value) {
    let made = rest.call("POST", &format!("/keys/{name}/create"), body);
    made.expect("an answer").expect_ok(name);
}

/// The options that name a token.
fn in_token(token: &TestToken) -> Vec<String> {
    let text = |path: &std::path::Path| path.display().to_string();
    let (module, pin) = (text(&token.kind().module()), text(&pin_file(token.folder())));
    ["--pkcs11-module", &module, "--pkcs11-token", LABEL, "--pkcs11-pin-file", &pin]
        .map(str::to_owned)
        .to_vec()
}

/// Restores the backup in the HSM, and demands that its keys are there and work.
fn demand_restored(dev: &Dev, backup: &str, signature: &Value) {
    let restored = restore(dev, backup);
    assert_eq!(restored["status"], "Succeeded", "{restored}");
    let mut rest = dev.rest();
    assert_eq!(rest.ask("GET", "/keys/later").expect("an answer").status, 404);
    assert!(verifies(&mut rest, "ec", signature));
    let again = sign(&mut rest, "ec");
    assert!(verifies(&mut rest, "ec", &again));
    let wrap = json!({"alg": "A256KW", "value": "CQkJCQkJCQkJCQkJCQkJCQ"});
    for (name, body) in [("oct", wrap), ("rsa", json!({"alg": "RSA-OAEP", "value": "CQk"}))] {
        let done = rest.call("POST", &format!("/keys/{name}/wrapkey"), &body);
        done.expect("an answer").expect_ok(name);
    }
}

#[test]
fn a_backup_of_an_earlier_epoch_comes_back_in_the_token_and_is_proven_in_another() {
    for kind in Kind::ALL {
        let token = TestToken::new(kind);
        let dev = Dev::start(token.options());
        let mut rest = dev.rest();
        make(&mut rest, "ec");
        create(&mut rest, "rsa", &json!({"kty": "RSA-HSM", "key_size": 2048}));
        create(&mut rest, "oct", &json!({"kty": "oct-HSM", "key_size": 256}));
        let signature = sign(&mut rest, "ec");
        let first = back_up(&dev, &json!({"storageResourceUri": "file:///n", "token": ""}));
        let (old, [one, two, _]) = held_in(&officers(&dev));
        let new = file(dev.scratch(), "domain-2.json");
        let rotated = rotate(&dev, &request(&dev, &old, 2, &[]), &new);
        assert!(rotated.success, "{rotated:?}");
        wait_until_done(&dev, 2);
        make(&mut dev.rest(), "later");
        let second = back_up(&dev, &json!({"storageResourceUri": "file:///n", "token": ""}));

        let aside = TestToken::new(kind);
        let backup = local(&dev, &first).display().to_string();
        let proven_with = |domain: &str, held: &TestToken, more: &[&str]| {
            let words = [backup.as_str(), "--domain", domain, "--key", &one, "--key", &two];
            let options = in_token(held);
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            verify(&[&words[..], &options[..], more].concat(), &[held.variable()])
        };
        let proven = |domain: &str, held: &TestToken| proven_with(domain, held, &[]);
        for domain in [&old, &new] {
            let whole = proven(domain, &aside);
            assert!(whole.success && whole.out.contains("3 keys with 3 versions"), "{whole:?}");
            assert!(whole.out.contains("Of the versions 3 were opened and worked"), "{whole:?}");
            assert_eq!(aside.kept(), Vec::<String>::new(), "{kind:?}: the token is empty again");
        }
        let second = local(&dev, &second).display().to_string();
        let between = proven_with(&new, &aside, &["--against", &second]);
        assert!(between.out.contains("key 'later': is not here"), "{between:?}");
        assert!(between.err.contains("in 1 places"), "no key is another one: {between:?}");
        let before = token.kept();
        let refused = proven(&new, &token);
        assert!(!refused.success && refused.err.contains("holds keys: give one"), "{refused:?}");
        assert_eq!(token.kept(), before, "{kind:?}: the HSM's own keys are left alone");
        let words = [backup.as_str(), "--domain", &new, "--key", &one, "--key", &two];
        let without = verify(&words, &[]);
        assert!(!without.success && without.out.contains("ec"), "{without:?}");

        demand_restored(&dev, &first, &signature);
        dev.stop();
    }
}
