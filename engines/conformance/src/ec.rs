//! EC keys: ECDSA on every curve.

use crate::import::minus;
use crate::{bare, flipped, is_bad_input, keys, made, plain};
use casemate_engine_port::{
    CipherAlgorithm, Curve, Engine, KeyHandle, KeySpec, KeyUse, PublicPart, SignAlgorithm,
};

/// The whole family.
pub fn run(engine: &dyn Engine) {
    for curve in Curve::ALL.into_iter().filter(|curve| engine.supports(KeySpec::Ec(*curve))) {
        let (new, handle) = made(engine, KeySpec::Ec(curve));
        let PublicPart::Ec { x, y } = &new.public else { unreachable!("an EC key has a point") };
        assert_eq!((x.len(), y.len()), (curve.field_bytes(), curve.field_bytes()));
        let (other_new, other) = made(engine, KeySpec::Ec(curve));
        assert_ne!(new.public, other_new.public);

        let (algorithm, digest) = algorithm_of(curve);
        signatures_verify_and_changed_ones_do_not(&*handle, curve);
        malformed_signatures_are_wrong(&*handle, curve);
        let signature = handle.sign(algorithm, &digest).expect("a key signs");
        assert!(is_wrong(&*other, algorithm, &digest, &signature), "signed by another key");
        digests_of_another_length_are_refused(&*handle, curve);
        other_algorithms_are_refused(&*handle, curve);
        for key_use in [KeyUse::Sign, KeyUse::Verify] {
            handle.cost(key_use);
        }
    }
    if engine.supports(KeySpec::Ec(Curve::P256K)) {
        both_values_of_s_are_right(engine);
    }
}

fn algorithm_of(curve: Curve) -> (SignAlgorithm, Vec<u8>) {
    match curve {
        Curve::P256 => (SignAlgorithm::Es256, vec![0x5a; 32]),
        Curve::P256K => (SignAlgorithm::Es256K, vec![0x5a; 32]),
        Curve::P384 => (SignAlgorithm::Es384, vec![0x5a; 48]),
        Curve::P521 => (SignAlgorithm::Es512, vec![0x5a; 64]),
    }
}

fn is_wrong(
    handle: &dyn KeyHandle,
    algorithm: SignAlgorithm,
    digest: &[u8],
    signature: &[u8],
) -> bool {
    !handle.verify(algorithm, digest, signature).expect("a wrong signature is not an error")
}

fn signatures_verify_and_changed_ones_do_not(handle: &dyn KeyHandle, curve: Curve) {
    let (algorithm, _) = algorithm_of(curve);
    let length = algorithm_of(curve).1.len();
    // Zeros and ones are digests, too.
    for digest in [vec![0x5a; length], vec![0; length], vec![0xff; length]] {
        let signature = handle.sign(algorithm, &digest).expect("a key signs");
        assert_eq!(signature.len(), 2 * curve.field_bytes());
        assert!(handle.verify(algorithm, &digest, &signature).expect("a right signature"));
        for position in 0..signature.len() {
            let changed = flipped(&signature, position);
            assert!(is_wrong(handle, algorithm, &digest, &changed), "{curve:?} {position}");
        }
        for position in 0..digest.len() {
            let changed = flipped(&digest, position);
            assert!(is_wrong(handle, algorithm, &changed, &signature), "{curve:?} {position}");
        }
    }
}

fn malformed_signatures_are_wrong(handle: &dyn KeyHandle, curve: Curve) {
    let (algorithm, digest) = algorithm_of(curve);
    let half = curve.field_bytes();
    let signature = handle.sign(algorithm, &digest).expect("a key signs");
    let (r, s) = signature.split_at(half);
    let order = keys::ec(curve).member("order").to_vec();
    let zero = vec![0; half];
    let mut one = zero.clone();
    one[half - 1] = 1;
    for (what, malformed) in [
        ("empty", Vec::new()),
        ("short by one", signature[1..].to_vec()),
        ("cut by one", signature[..2 * half - 1].to_vec()),
        ("long by one", [&signature[..], &[0]].concat()),
        ("a zero in front", [&[0], &signature[..]].concat()),
        ("r alone", r.to_vec()),
        ("twice", [&signature[..], &signature[..]].concat()),
        ("swapped", [s, r].concat()),
        ("zeros", vec![0; 2 * half]),
        ("ones", vec![0xff; 2 * half]),
        ("r is zero", [&zero, s].concat()),
        ("s is zero", [r, &zero].concat()),
        ("r is the order", [&order, s].concat()),
        ("s is the order", [r, &order].concat()),
        ("both are one", [&one[..], &one[..]].concat()),
        ("DER", der(r, s)),
    ] {
        assert!(is_wrong(handle, algorithm, &digest, &malformed), "{curve:?}: {what}");
    }
}

/// A DER SEQUENCE of the two numbers, which the API does not use. Lengths stay below 256.
fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |number: &[u8]| {
        let length = u8::try_from(number.len() + 1).expect("a number of one curve");
        [&[2, length, 0], number].concat()
    };
    let body = [integer(r), integer(s)].concat();
    let length = u8::try_from(body.len()).expect("two numbers of one curve");
    [&[0x30, 0x81, length], &body[..]].concat()
}

fn digests_of_another_length_are_refused(handle: &dyn KeyHandle, curve: Curve) {
    let (algorithm, digest) = algorithm_of(curve);
    let signature = handle.sign(algorithm, &digest).expect("a key signs");
    let right = digest.len();
    for length in [0, 20, right - 1, right + 1, 2 * right] {
        let what = format!("{curve:?}: a digest of {length} bytes");
        is_bad_input(handle.sign(algorithm, &vec![1; length]), &what);
        is_bad_input(handle.verify(algorithm, &vec![1; length], &signature), &what);
    }
}

fn other_algorithms_are_refused(handle: &dyn KeyHandle, curve: Curve) {
    let spec = KeySpec::Ec(curve);
    for algorithm in SignAlgorithm::ALL.into_iter().filter(|algorithm| !algorithm.fits(spec)) {
        let what = format!("{curve:?} with {algorithm:?}");
        for length in [32, 48, 64] {
            is_bad_input(handle.sign(algorithm, &vec![1; length]), &what);
            is_bad_input(handle.verify(algorithm, &vec![1; length], &[1; 64]), &what);
        }
    }
    for algorithm in CipherAlgorithm::ALL {
        let what = format!("{curve:?} with {algorithm:?}");
        is_bad_input(handle.encrypt(algorithm, plain(&[1; 16])), &what);
        is_bad_input(handle.decrypt(algorithm, bare(&[1; 32])), &what);
    }
}

/// RFC 8812 does not ask for a low s: other implementations make either.
fn both_values_of_s_are_right(engine: &dyn Engine) {
    let (_, handle) = made(engine, KeySpec::Ec(Curve::P256K));
    let (algorithm, digest) = algorithm_of(Curve::P256K);
    let signature = handle.sign(algorithm, &digest).expect("a key signs");
    let (r, s) = signature.split_at(32);
    let members = keys::ec(Curve::P256K);
    let other_s = minus(members.member("order"), s);
    let other = [r, &other_s].concat();
    assert!(handle.verify(algorithm, &digest, &other).expect("a right signature"));
}
