//! Wrapped material: opens at its place, as its kind, unchanged, and not otherwise.

use crate::{flipped, is_not_authentic, keys, samples};
use casemate_engine_port::{
    Curve, Engine, ImportedKey, KeySpec, NewMaterial, OctSize, Place, RsaSize, Secret,
    WrappedMaterial,
};

const PLACE: &str = "keys/one/1";

/// The whole family.
pub fn run(engine: &dyn Engine) {
    for (key, spec) in samples_of_each_family() {
        if !engine.supports(spec) {
            continue;
        }
        let place = Place::new(PLACE);
        let made = engine.import(key, &place).expect("a sound key is taken");
        assert_eq!(made.spec, spec);
        opens_again_and_again(engine, &made, &place);
        another_place_is_refused(engine, &made);
        another_kind_is_refused(engine, &made, &place);
        changed_material_is_refused(engine, &made, &place);
    }
    wrapping_hides_and_never_repeats(engine);
}

fn samples_of_each_family() -> [(ImportedKey, KeySpec); 5] {
    [
        (keys::imported_rsa(RsaSize::B2048), KeySpec::Rsa(RsaSize::B2048)),
        (keys::imported_ec(Curve::P256), KeySpec::Ec(Curve::P256)),
        (keys::imported_ec(Curve::P256K), KeySpec::Ec(Curve::P256K)),
        (ImportedKey::Oct(Secret::new(vec![7; 16])), KeySpec::Oct(OctSize::B128)),
        (ImportedKey::Oct(Secret::new(vec![7; 32])), KeySpec::Oct(OctSize::B256)),
    ]
}

fn opens_again_and_again(engine: &dyn Engine, made: &NewMaterial, place: &Place) {
    for _ in 0..3 {
        engine.open(made.spec, &made.wrapped, place).expect("material opens at its place");
    }
}

fn another_place_is_refused(engine: &dyn Engine, made: &NewMaterial) {
    for other in ["", "keys/one/2", "keys/two/1", "keys/one/", "keys/one/11", "Keys/one/1"] {
        is_not_authentic(engine.open(made.spec, &made.wrapped, &Place::new(other)), other);
    }
}

fn another_kind_is_refused(engine: &dyn Engine, made: &NewMaterial, place: &Place) {
    for other in KeySpec::all().filter(|other| *other != made.spec) {
        let what = format!("{:?} as {other:?}", made.spec);
        is_not_authentic(engine.open(other, &made.wrapped, place), &what);
    }
}

fn changed_material_is_refused(engine: &dyn Engine, made: &NewMaterial, place: &Place) {
    let bytes = &made.wrapped.0;
    let refused = |changed: Vec<u8>, what: &str| {
        is_not_authentic(engine.open(made.spec, &WrappedMaterial(changed), place), what);
    };
    let every_byte = (0..bytes.len()).filter(|position| bytes.len() < 200 || *position < 64);
    for position in every_byte.chain(samples(bytes.len())) {
        refused(flipped(bytes, position), "changed");
        refused(bytes[..position].to_vec(), "cut off");
    }
    refused([bytes.as_slice(), &[0]].concat(), "longer");
    refused([bytes.as_slice(), bytes.as_slice()].concat(), "doubled");
}

fn wrapping_hides_and_never_repeats(engine: &dyn Engine) {
    if !engine.supports(KeySpec::Oct(OctSize::B256)) {
        return;
    }
    let key: Vec<u8> = (100..132).collect();
    let wrapped = || {
        let imported = ImportedKey::Oct(Secret::new(key.clone()));
        engine.import(imported, &Place::new(PLACE)).expect("a sound key is taken").wrapped
    };
    let (first, second) = (wrapped(), wrapped());
    assert_ne!(first, second);
    for part in key.chunks(8) {
        assert!(!first.0.windows(part.len()).any(|window| window == part), "key bytes in clear");
    }
}
