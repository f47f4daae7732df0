//! Taking keys in: whole and sound ones, in whatever padding, and no others.

use crate::{is_bad_key, keys};
use casemate_engine_port::{
    Curve, Engine, ImportedKey, KeySpec, NewMaterial, OctSize, Place, PublicPart, RsaSize, Secret,
    SignAlgorithm,
};

const RSA_MEMBERS: [&str; 8] = ["n", "e", "d", "p", "q", "dp", "dq", "qi"];

/// RSA keys.
pub fn rsa(engine: &dyn Engine) {
    for size in RsaSize::ALL.into_iter().filter(|size| engine.supports(KeySpec::Rsa(*size))) {
        let members = keys::rsa(size);
        let made = take(engine, members.rsa());
        let public =
            PublicPart::Rsa { n: members.member("n").to_vec(), e: members.member("e").to_vec() };
        assert_eq!(made.spec, KeySpec::Rsa(size));
        assert_eq!(made.public, public);
        signs(engine, &made, SignAlgorithm::Rs256, &[1; 32]);
    }
    if engine.supports(KeySpec::Rsa(RsaSize::B2048)) {
        rsa_members_may_carry_zeros(engine);
        rsa_members_must_fit_each_other(engine);
        for (what, key) in keys::unsound_rsa() {
            is_bad_key(engine.import(key, &Place::new("k")), what);
        }
    }
}

fn rsa_members_may_carry_zeros(engine: &dyn Engine) {
    for name in RSA_MEMBERS {
        let members = keys::rsa(RsaSize::B2048);
        let padded = [&[0, 0, 0], members.member(name)].concat();
        let made = take(engine, members.with(name, padded).rsa());
        let n = keys::rsa(RsaSize::B2048).member("n").to_vec();
        assert_eq!(made.public, PublicPart::Rsa { n, e: vec![1, 0, 1] }, "{name}");
    }
}

fn rsa_members_must_fit_each_other(engine: &dyn Engine) {
    let sound = || keys::rsa(RsaSize::B2048);
    let refused = |name: &str, value: Vec<u8>, what: &str| {
        let what = format!("{name} {what}");
        is_bad_key(engine.import(sound().with(name, value).rsa(), &Place::new("k")), &what);
    };
    for name in RSA_MEMBERS {
        let value = sound().member(name).to_vec();
        let last = value.len() - 1;
        for change in [1, 2, 0x40] {
            let mut changed = value.clone();
            changed[last] ^= change;
            refused(name, changed, "changed at its end");
        }
        let mut changed = value.clone();
        changed[0] ^= 1;
        refused(name, changed, "changed at its start");
        refused(name, value[..last].to_vec(), "cut off");
        refused(name, [value.as_slice(), &[1]].concat(), "longer");
        refused(name, Vec::new(), "absent");
        refused(name, vec![0], "zero");
        refused(name, vec![1], "one");
    }
    let (p, q) = (sound().member("p").to_vec(), sound().member("q").to_vec());
    let swapped = sound().with("p", q.clone()).with("q", p.clone());
    is_bad_key(engine.import(swapped.rsa(), &Place::new("k")), "primes swapped");
    // n = n · 1 holds, too.
    let trivial = sound().with("p", sound().member("n").to_vec()).with("q", vec![1]);
    is_bad_key(engine.import(trivial.rsa(), &Place::new("k")), "p = n, q = 1");
    let other = keys::rsa(RsaSize::B3072).member("n").to_vec();
    refused("n", other, "of another key");
}

/// EC keys.
pub fn ec(engine: &dyn Engine) {
    for curve in Curve::ALL.into_iter().filter(|curve| engine.supports(KeySpec::Ec(*curve))) {
        ec_is_taken_in_whatever_padding(engine, curve);
        ec_members_must_fit_each_other(engine, curve);
        ec_of_another_curve_is_refused(engine, curve);
    }
}

fn ec_is_taken_in_whatever_padding(engine: &dyn Engine, curve: Curve) {
    let members = keys::ec(curve);
    let (x, y, d) = (members.member("x"), members.member("y"), members.member("d"));
    assert_eq!(d[0], 0, "the test key has a scalar that starts with zeros");
    let stripped = |number: &[u8]| {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        number[zeros..].to_vec()
    };
    let padded = |number: &[u8]| [&[0, 0], number].concat();
    for (what, x_given, y_given, d_given) in [
        ("exact", x.to_vec(), y.to_vec(), d.to_vec()),
        ("stripped", stripped(x), stripped(y), stripped(d)),
        ("padded", padded(x), padded(y), padded(d)),
    ] {
        let key = ImportedKey::Ec { curve, x: x_given, y: y_given, d: Secret::new(d_given) };
        let made = take(engine, key);
        assert_eq!(made.spec, KeySpec::Ec(curve), "{what}");
        assert_eq!(made.public, PublicPart::Ec { x: x.to_vec(), y: y.to_vec() }, "{what}");
        let (algorithm, digest) = match curve {
            Curve::P256 => (SignAlgorithm::Es256, vec![1; 32]),
            Curve::P256K => (SignAlgorithm::Es256K, vec![1; 32]),
            Curve::P384 => (SignAlgorithm::Es384, vec![1; 48]),
            Curve::P521 => (SignAlgorithm::Es512, vec![1; 64]),
        };
        signs(engine, &made, algorithm, &digest);
    }
}

fn ec_members_must_fit_each_other(engine: &dyn Engine, curve: Curve) {
    let sound = || keys::ec(curve);
    let refused = |name: &str, value: Vec<u8>, what: &str| {
        let what = format!("{curve:?}: {name} {what}");
        is_bad_key(engine.import(sound().with(name, value).ec(curve), &Place::new("k")), &what);
    };
    for name in ["x", "y", "d"] {
        let value = sound().member(name).to_vec();
        let last = value.len() - 1;
        let mut changed = value.clone();
        changed[last] ^= 1;
        refused(name, changed, "changed");
        refused(name, [value.as_slice(), &[1]].concat(), "too long");
        refused(name, Vec::new(), "absent");
        refused(name, vec![0; value.len()], "zero");
        refused(name, vec![0xff; value.len()], "all ones");
        refused(name, sound().member("order").to_vec(), "the order of the curve");
        refused(name, sound().member("prime").to_vec(), "the order of the field");
    }
    // The scalar plus the order gives the same point; at P-521 the sum even has the same length.
    let sum = plus(sound().member("d"), sound().member("order"));
    refused("d", sum, "out of range");
    // (x, -y) is on the curve but belongs to another scalar.
    let mirrored = minus(sound().member("prime"), sound().member("y"));
    refused("y", mirrored, "mirrored");
    let origin = sound().with("x", vec![0]).with("y", vec![0]).with("d", vec![0]);
    is_bad_key(engine.import(origin.ec(curve), &Place::new("k")), "nothing but zeros");
}

fn ec_of_another_curve_is_refused(engine: &dyn Engine, curve: Curve) {
    for other in Curve::ALL.into_iter().filter(|other| *other != curve) {
        let what = format!("a key of {other:?} as {curve:?}");
        is_bad_key(engine.import(keys::ec(other).ec(curve), &Place::new("k")), &what);
    }
}

/// Symmetric keys.
pub fn oct(engine: &dyn Engine) {
    for size in OctSize::ALL.into_iter().filter(|size| engine.supports(KeySpec::Oct(*size))) {
        // The content is not judged, and a leading zero is part of the key.
        for content in [0, 0xff] {
            let key = ImportedKey::Oct(Secret::new(vec![content; size.bytes()]));
            let made = take(engine, key);
            assert_eq!(made.spec, KeySpec::Oct(size));
            assert_eq!(made.public, PublicPart::Oct);
        }
    }
    for length in (0..=70).filter(|length| ![16, 24, 32].contains(length)) {
        let key = ImportedKey::Oct(Secret::new(vec![1; length]));
        is_bad_key(engine.import(key, &Place::new("k")), &format!("{length} bytes"));
    }
}

fn take(engine: &dyn Engine, key: ImportedKey) -> NewMaterial {
    engine.import(key, &Place::new("k")).expect("a sound key is taken")
}

fn signs(engine: &dyn Engine, made: &NewMaterial, algorithm: SignAlgorithm, digest: &[u8]) {
    let handle =
        engine.open(made.spec, &made.wrapped, &Place::new("k")).expect("an imported key opens");
    let signature = handle.sign(algorithm, digest).expect("an imported key signs");
    assert!(handle.verify(algorithm, digest, &signature).expect("a digest of its length"));
}

/// The sum of two numbers of equal length, in that length plus what carries over.
fn plus(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut carry = 0_u16;
    let mut sum: Vec<u8> = a
        .iter()
        .zip(b)
        .rev()
        .map(|(a, b)| {
            let [high, low] = (u16::from(*a) + u16::from(*b) + carry).to_be_bytes();
            carry = u16::from(high);
            low
        })
        .collect();
    if carry > 0 {
        sum.push(1);
    }
    sum.reverse();
    sum
}

/// The difference of two numbers of equal length, the first being the larger.
pub(super) fn minus(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut borrow = false;
    let mut difference: Vec<u8> = a
        .iter()
        .zip(b)
        .rev()
        .map(|(a, b)| {
            let (first, under_first) = a.overflowing_sub(*b);
            let (second, under_second) = first.overflowing_sub(u8::from(borrow));
            borrow = under_first || under_second;
            second
        })
        .collect();
    difference.reverse();
    difference
}
