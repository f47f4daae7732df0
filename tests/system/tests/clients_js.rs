//! The unmodified JavaScript SDK.

use casemate_system_tests::javascript;
use casemate_test_kit::Dev;

fn passes(script: &str) {
    let dev = Dev::fresh();
    let out = javascript(&dev, script).succeed(script);
    assert!(out.contains(" checks"), "{script} said: {out}");
    dev.stop();
}

#[test]
fn each_type_from_creation_to_purge() {
    passes("lifecycle.mjs");
}

#[test]
fn every_algorithm_both_ways_with_openssl() {
    passes("algorithms.mjs");
}
