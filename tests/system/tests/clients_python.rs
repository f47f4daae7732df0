//! The unmodified Python SDK, each script against a server of its own.

use casemate_system_tests::python;
use casemate_test_kit::{Dev, Options};

fn passes(script: &str) {
    let dev = Dev::fresh();
    let out = python(&dev, script).succeed(script);
    assert!(out.contains(" checks"), "{script} said: {out}");
    dev.stop();
}

#[test]
fn each_type_from_creation_to_purge() {
    passes("lifecycle.py");
}

#[test]
fn rsa_both_ways_with_openssl() {
    passes("algorithms_rsa.py");
}

#[test]
fn ec_both_ways_with_openssl() {
    passes("algorithms_ec.py");
}

#[test]
fn oct_both_ways_with_openssl() {
    passes("algorithms_oct.py");
}

#[test]
fn refusals() {
    passes("refusals.py");
}

#[test]
fn paging() {
    passes("paging.py");
}

#[test]
fn roles() {
    passes("access.py");
}

#[test]
fn settings() {
    passes("settings.py");
}

#[test]
fn tokens_that_were_cut_off() {
    passes("cut_off.py");
}

#[test]
fn more_groups_than_a_token_lists() {
    passes("groups.py");
}

#[test]
fn every_method_of_access_control() {
    passes("roles.py");
}

#[test]
fn purge_protection_and_a_short_retention() {
    let dev = Dev::start(Options::default().with(&["--purge-protection", "--retention-days", "7"]));
    python(&dev, "protected.py").succeed("protected.py");
    dev.stop();
}
