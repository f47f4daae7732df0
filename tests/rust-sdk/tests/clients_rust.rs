//! The unmodified Rust SDK, run as a program of its own with the variables of `dev.env`.

use std::path::Path;

use casemate_test_kit::clients::Client;
use casemate_test_kit::{Dev, audit, places};

fn driver(dev: &Dev) -> Client {
    Client::of(dev, Path::new(env!("CARGO_BIN_EXE_casemate-rust-sdk")), dev.scratch())
}

fn judge(dev: &Dev, words: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../system/python/judge.py");
    let client = Client::of(dev, &places::python(), dev.scratch());
    client.word(&script.display().to_string()).words(words.iter().copied()).succeed("the judge")
}

#[test]
fn each_type_from_creation_to_purge() {
    let dev = Dev::fresh();
    driver(&dev).word("lifecycle").succeed("lifecycle");
    let counts = audit::counts(dev.data_dir());
    for (operation, least) in [("KeyCreate", 20), ("KeySign", 10), ("KeyVerify", 40)] {
        let seen = counts.get(operation).copied().unwrap_or_default();
        assert!(seen >= least, "{operation}: {seen}, all: {counts:?}");
    }
    dev.stop();
}

#[test]
fn every_algorithm_is_judged_by_openssl() {
    let dev = Dev::fresh();
    let keys = dev.scratch().join("keys.json").display().to_string();
    let transcript = dev.scratch().join("transcript.json").display().to_string();
    judge(&dev, &["prepare", &keys]);
    let before = audit::counts(dev.data_dir());
    driver(&dev).words(["algorithms", &keys, &transcript]).succeed("algorithms");
    let said = judge(&dev, &["verify", &keys, &transcript]);
    assert!(said.contains("results right"), "{said}");
    let after = audit::counts(dev.data_dir());
    let grew = |operation: &str| {
        let of = |counts: &std::collections::BTreeMap<String, usize>| {
            counts.get(operation).copied().unwrap_or_default()
        };
        of(&after) - of(&before)
    };
    // Three RSA, four EC and three oct keys; see the lists in the driver and in the judge.
    let seen = ["KeyImport", "KeySign", "KeyEncrypt", "KeyWrap"].map(grew);
    assert_eq!(seen, [10, 3 * 7 + 4 + 3 * 3, 3 * 3 + 3 * 3, 3 * 3 + 3 * 3]);
    let seen = ["KeyVerify", "KeyDecrypt", "KeyUnwrap"].map(grew);
    assert_eq!(seen, [2 * (3 * 7 + 4 + 3 * 3), 3 * 3 + 3 * 3, 3 * 3 + 3 * 3]);
    dev.stop();
}

#[test]
fn the_resource_check_stays_on_under_the_name() {
    let dev = Dev::fresh();
    let named = dev.variable("CASEMATE_HSM_NAMED_URL").trim_start_matches("https://");
    let (host, _port) = named.rsplit_once(':').expect("the URL names its port");
    driver(&dev).word("plain").hosts(&[host]).succeed("plain");
    dev.stop();
}
