//! Mounts the suite that every engine runs.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use casemate_engine_conformance as conformance;
use casemate_engine_port::{Cost, Curve, Engine, KeySpec, KeyUse, OctSize, Place, RsaSize, Secret};
use casemate_engine_soft::SoftEngine;

fn engine() -> SoftEngine {
    SoftEngine::new(Secret::new(vec![3; 32])).unwrap()
}

#[test]
fn every_kind_of_key_is_supported() {
    assert!(KeySpec::all().all(|spec| engine().supports(spec)));
}

#[test]
fn random() {
    conformance::random(&engine());
}

#[test]
fn material() {
    conformance::material(&engine());
}

#[test]
fn import_rsa() {
    conformance::import_rsa(&engine());
}

#[test]
fn import_ec() {
    conformance::import_ec(&engine());
}

#[test]
fn import_oct() {
    conformance::import_oct(&engine());
}

#[test]
fn rsa() {
    conformance::rsa(&engine());
}

#[test]
fn ec() {
    conformance::ec(&engine());
}

#[test]
fn oct() {
    conformance::oct(&engine());
}

#[test]
fn another_engine_does_not_open_the_material() {
    let place = Place::new("k");
    let made = engine().generate(KeySpec::Oct(OctSize::B256), &place).unwrap();
    let other = SoftEngine::new(Secret::new(vec![4; 32])).unwrap();
    assert!(other.open(made.spec, &made.wrapped, &place).is_err());
    assert!(engine().open(made.spec, &made.wrapped, &place).is_ok());
}

/// The suite asks for a refusal; here each key must fall to the check that is meant for it.
#[test]
fn each_unsound_key_is_refused_for_its_own_reason() {
    let reasons = [
        ("1024 bits", "2048, 3072 or 4096"),
        ("exponent 3", "must be 65537"),
        ("flawed generator", "CVE-2017-15361"),
        ("close primes", "too close"),
        ("equal primes", "too close"),
        ("small private exponent", "too small"),
        ("unbalanced primes", "half the length"),
        ("composite factor", "not prime"),
    ];
    let keys = conformance::unsound_rsa();
    assert_eq!(keys.len(), reasons.len());
    for ((what, key), (expected, reason)) in keys.into_iter().zip(reasons) {
        assert_eq!(what, expected);
        let refusal = engine().import(key, &Place::new("k")).unwrap_err().to_string();
        assert!(refusal.contains(reason), "{what}: {refusal}");
    }
}

#[test]
fn costs_are_those_that_were_measured() {
    let place = Place::new("k");
    let open = |key| {
        let made = engine().import(key, &place).unwrap();
        engine().open(made.spec, &made.wrapped, &place).unwrap()
    };
    let rsa = open(conformance::imported_rsa(RsaSize::B2048));
    assert_eq!(rsa.cost(KeyUse::Sign), Cost::Pool);
    assert_eq!(rsa.cost(KeyUse::Decrypt), Cost::Pool);
    assert_eq!(rsa.cost(KeyUse::Verify), Cost::Inline);
    assert_eq!(rsa.cost(KeyUse::Encrypt), Cost::Inline);
    for (curve, sign, verify) in [
        (Curve::P256, Cost::Inline, Cost::Inline),
        (Curve::P256K, Cost::Inline, Cost::PoolUnderLoad),
        (Curve::P384, Cost::PoolUnderLoad, Cost::PoolUnderLoad),
        (Curve::P521, Cost::PoolUnderLoad, Cost::PoolUnderLoad),
    ] {
        let key = open(conformance::imported_ec(curve));
        assert_eq!(key.cost(KeyUse::Sign), sign, "{curve:?}");
        assert_eq!(key.cost(KeyUse::Verify), verify, "{curve:?}");
    }
}
