//! What kryoptic cannot do, said when such a key is made.

use casemate_engine_conformance as conformance;
use casemate_engine_port::{Curve, Engine, EngineError, KeySpec, Place};
use casemate_test_kit::tokens::Kind;
use casemate_token_tests::with_token;

use crate::engines::engine;

const REFUSED: KeySpec = KeySpec::Ec(Curve::P256K);

#[test]
fn every_kind_but_one_is_supported_and_that_one_is_refused_when_a_key_is_made() {
    let name = "kryoptic::\
                every_kind_but_one_is_supported_and_that_one_is_refused_when_a_key_is_made";
    with_token(Kind::Kryoptic, name, |given| {
        let (engine, place) = (engine(given), Place::new("k"));
        for spec in KeySpec::all() {
            assert_eq!(engine.supports(spec), spec != REFUSED, "{spec:?}{}", engine.why_not(spec));
        }
        assert_eq!(engine.rewraps(), Ok(()));
        let why = "the token cannot make a key on this curve, wrap it and sign with it";
        assert!(engine.why_not(REFUSED).contains(why));
        let import = conformance::imported_ec(Curve::P256K);
        for refused in [engine.generate(REFUSED, &place), engine.import(import, &place)] {
            let refused = refused.err();
            let told =
                matches!(refused, Some(EngineError::Unsupported(told)) if told.contains(why));
            assert!(told, "{refused:?}");
        }
    });
}
