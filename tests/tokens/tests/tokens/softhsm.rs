//! What SoftHSM2 does that others do not, or not in this way: its token is a folder that can be
//! moved away under it.

use std::time::Duration;

use casemate_engine_port::{
    Curve, Engine, EngineError, KeySpec, OperationError, Place, SignAlgorithm,
};
use casemate_test_kit::softhsm::{self, LABEL};
use casemate_test_kit::tokens::Kind;
use casemate_token_tests::{Given, with_token};

use crate::engines::engine;

const ABOVE_RETRY: Duration = Duration::from_millis(1200);

#[test]
fn every_kind_of_key_is_supported() {
    with_token(Kind::SoftHsm, "softhsm::every_kind_of_key_is_supported", |given| {
        let engine = engine(given);
        for spec in KeySpec::all() {
            assert!(engine.supports(spec), "{spec:?}{}", engine.why_not(spec));
        }
        assert_eq!(engine.rewraps(), Ok(()));
    });
}

#[test]
fn a_token_that_is_lost_is_said_to_be_and_found_again() {
    let name = "softhsm::a_token_that_is_lost_is_said_to_be_and_found_again";
    with_token(Kind::SoftHsm, name, is_lost_and_found);
}

#[test]
fn a_token_of_the_same_label_without_the_key_is_not_taken_for_the_lost_one() {
    let name = "softhsm::a_token_of_the_same_label_without_the_key_is_not_taken_for_the_lost_one";
    with_token(Kind::SoftHsm, name, another_is_not_taken);
}

fn is_lost_and_found(given: &Given) {
    let (engine, place) = (engine(given), Place::new("k"));
    let spec = KeySpec::Ec(Curve::P256);
    let made = engine.generate(spec, &place).expect("it is made");
    let key = engine.open(spec, &made.wrapped, &place).expect("it opens");
    for round in 0..3 {
        softhsm::remove(&given.folder);
        let lost = engine.open(spec, &made.wrapped, &place).err();
        assert!(matches!(lost, Some(EngineError::Unavailable(_))), "{round}: {lost:?}");
        let lost = engine.generate(spec, &place).err();
        assert!(matches!(lost, Some(EngineError::Unavailable(_))), "{round}: {lost:?}");
        let lost = key.sign(SignAlgorithm::Es256, &[7; 32]).err();
        assert!(matches!(lost, Some(OperationError::Unavailable(_))), "{round}: {lost:?}");
        softhsm::put_back(&given.folder);
        std::thread::sleep(ABOVE_RETRY);
        let signature = key.sign(SignAlgorithm::Es256, &[7; 32]).expect("it signs again");
        assert!(key.verify(SignAlgorithm::Es256, &[7; 32], &signature).expect("no error"));
        engine.open(spec, &made.wrapped, &place).expect("it opens again");
        engine.generate(spec, &place).expect("it is made again");
    }
}

fn another_is_not_taken(given: &Given) {
    let (engine, place) = (engine(given), Place::new("k"));
    let spec = KeySpec::Ec(Curve::P256);
    let made = engine.generate(spec, &place).expect("it is made");
    softhsm::remove(&given.folder);
    std::fs::create_dir(given.folder.join("tokens")).expect("the folder can be written");
    let done = std::process::Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", LABEL, "--pin", softhsm::PIN])
        .args(["--so-pin", "314159"])
        .status();
    assert!(done.expect("softhsm2-util can be started").success());
    std::thread::sleep(ABOVE_RETRY);
    let lost = engine.open(spec, &made.wrapped, &place).err();
    assert!(matches!(lost, Some(EngineError::Unavailable(_))), "{lost:?}");
    std::fs::remove_dir_all(given.folder.join("tokens")).expect("it is ours");
    softhsm::put_back(&given.folder);
    std::thread::sleep(ABOVE_RETRY);
    engine.open(spec, &made.wrapped, &place).expect("the right one is back");
}
