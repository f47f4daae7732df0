//! What the engine does with every token.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded};
use casemate_engine_conformance as conformance;
use casemate_engine_pkcs11::{Token, TokenError};
use casemate_engine_port::{
    CipherAlgorithm, Curve, DecryptInput, EncryptInput, Engine, EngineError, ImportedKey,
    KeyHandle, KeySpec, OctSize, Place, RsaSize, Secret, SignAlgorithm, WrappedMaterial,
};
use casemate_engine_soft::SoftEngine;
use casemate_test_kit::softhsm::{self, LABEL};
use casemate_token_tests::Given;
use cryptoki::context::Pkcs11;
use cryptoki::object::{Attribute, AttributeType, ObjectClass};

use crate::engines::{Planted, beside, engine, is_wrapped, keys, options, plant, try_engine};

macro_rules! suite {
    ($($name:ident),*) => {$(
        pub(crate) fn $name(given: &Given) {
            conformance::$name(&engine(given));
        }
    )*};
}

suite!(material, import_rsa, import_ec, import_oct, rsa, ec, oct, random);

/// What the token encrypted is what everybody else decrypts, and the reverse.
pub(crate) fn imported_keys_do_what_the_software_engine_does_with_them(given: &Given) {
    let (token, place) = (engine(given), Place::new("k"));
    let soft = SoftEngine::new(Secret::new(vec![1; 32])).expect("a key of 32 bytes");
    let both = |key: fn() -> ImportedKey| {
        let engines: [&dyn Engine; 2] = [&token, &soft];
        engines.map(|engine| {
            let made = engine.import(key(), &place).expect("a sound key is taken");
            engine.open(made.spec, &made.wrapped, &place).expect("it opens")
        })
    };
    let keys: [(fn() -> ImportedKey, KeySpec); 4] = [
        (oct16, KeySpec::Oct(OctSize::B128)),
        (oct24, KeySpec::Oct(OctSize::B192)),
        (oct32, KeySpec::Oct(OctSize::B256)),
        (rsa2048, KeySpec::Rsa(RsaSize::B2048)),
    ];
    for (key, spec) in keys {
        let [in_token, in_memory] = both(key);
        agree(&*in_token, &*in_memory, spec);
        agree(&*in_memory, &*in_token, spec);
    }
}

fn oct16() -> ImportedKey {
    ImportedKey::Oct(Secret::new((1..=16).collect()))
}

fn oct24() -> ImportedKey {
    ImportedKey::Oct(Secret::new((1..=24).collect()))
}

fn oct32() -> ImportedKey {
    ImportedKey::Oct(Secret::new((1..=32).collect()))
}

fn rsa2048() -> ImportedKey {
    conformance::imported_rsa(RsaSize::B2048)
}

/// What one makes the other takes.
fn agree(one: &dyn KeyHandle, other: &dyn KeyHandle, spec: KeySpec) {
    for algorithm in SignAlgorithm::ALL.into_iter().filter(|one| one.fits(spec)) {
        let length = match algorithm {
            SignAlgorithm::Rs384 | SignAlgorithm::Ps384 => 48,
            SignAlgorithm::Rs512 | SignAlgorithm::Ps512 => 64,
            _ => 32,
        };
        let input = vec![0x5a; length];
        let signature = one.sign(algorithm, &input).expect("a key signs");
        assert!(other.verify(algorithm, &input, &signature).expect("no error"), "{algorithm:?}");
    }
    for algorithm in CipherAlgorithm::ALL.into_iter().filter(|one| one.fits(spec)) {
        let iv = match algorithm {
            CipherAlgorithm::AesGcm(_) => Some([9; 12].as_slice()),
            CipherAlgorithm::AesCbc(_) | CipherAlgorithm::AesCbcPad(_) => Some([9; 16].as_slice()),
            _ => None,
        };
        let input = EncryptInput { plaintext: &[0x42; 32], iv, aad: None };
        let made = one.encrypt(algorithm, input).expect("it encrypts");
        let (ciphertext, tag) = (made.ciphertext.as_slice(), made.tag.as_deref());
        let input = DecryptInput { ciphertext, iv, aad: None, tag };
        let opened = other.decrypt(algorithm, input).expect("it decrypts");
        assert_eq!(opened.expose(), [0x42; 32], "{algorithm:?}");
    }
}

pub(crate) fn another_material_key_opens_nothing_and_the_same_one_does_after_a_restart(
    given: &Given,
) {
    let (spec, place) = (KeySpec::Ec(Curve::P256), Place::new("k"));
    let first = engine(given);
    let made = first.generate(spec, &place).expect("it is made");
    let key = first.open(spec, &made.wrapped, &place).expect("it opens");
    let signature = key.sign(SignAlgorithm::Es256, &[7; 32]).expect("it signs");
    drop((key, first));
    let other = try_engine(given, LABEL, 4, &[]).expect("the token can be used");
    let refused = other.open(spec, &made.wrapped, &place);
    assert!(matches!(refused.err(), Some(EngineError::NotAuthentic)));
    drop(other);
    let again = engine(given);
    let key = again.open(spec, &made.wrapped, &place).expect("it opens");
    assert!(key.verify(SignAlgorithm::Es256, &[7; 32], &signature).expect("no error"));
    key.sign(SignAlgorithm::Es256, &[7; 32]).expect("it signs");
    let soft = SoftEngine::new(Secret::new(vec![3; 32])).expect("a key of 32 bytes");
    let refused = soft.open(spec, &made.wrapped, &place);
    assert!(matches!(refused.err(), Some(EngineError::NotAuthentic)), "another engine");
}

/// Somebody else ends every session and begins the module anew: no handle of before is used.
pub(crate) fn lost_sessions_are_opened_anew_within_the_same_call(given: &Given) {
    let (engine, place) = (engine(given), Place::new("k"));
    let open = |spec| {
        let made = engine.generate(spec, &place).expect("it is made");
        engine.open(spec, &made.wrapped, &place).expect("it opens")
    };
    let mut keys = [
        (open(KeySpec::Ec(Curve::P256)), SignAlgorithm::Es256),
        (open(KeySpec::Ec(Curve::P256)), SignAlgorithm::Es256),
        (open(KeySpec::Rsa(RsaSize::B2048)), SignAlgorithm::Ps256),
    ];
    let module = Pkcs11::new(given.kind.module()).expect("the module loads");
    for round in 0..6 {
        module.clone().finalize().expect("the module ends");
        // In another order each time: a number of before is then that of another key, and a
        // signature with it is a wrong one.
        for (key, algorithm) in &keys {
            let signature = key.sign(*algorithm, &[7; 32]).expect("in the same call");
            let right = key.verify(*algorithm, &[7; 32], &signature);
            assert!(right.expect("no error"), "{round} {algorithm:?}");
        }
        keys.reverse();
    }
}

pub(crate) fn objects_of_keys_that_nobody_has_are_destroyed(given: &Given) {
    let (engine, place) = (engine(given), Place::new("k"));
    let session = beside(given, true);
    let count = || keys(&session).len();
    assert_eq!(count(), 1, "the wrapping key alone is left of the trial");
    for spec in [KeySpec::Ec(Curve::P256), KeySpec::Oct(OctSize::B256)] {
        let made = engine.generate(spec, &place).expect("it is made");
        assert_eq!(count(), 1, "{spec:?} leaves nothing when it is made");
        let keys: Vec<_> =
            (0..10).map(|_| engine.open(spec, &made.wrapped, &place).expect("it opens")).collect();
        assert_eq!(count(), 11, "{spec:?}");
        drop(keys);
        assert_eq!(count(), 1, "{spec:?}");
        assert!(engine.open(spec, &made.wrapped, &Place::new("l")).is_err());
        assert_eq!(count(), 1, "{spec:?} at another place");
    }
    for (what, key) in conformance::unsound_rsa() {
        engine.import(key, &place).expect_err(what);
    }
    engine.import(oct32(), &place).expect("a sound key is taken");
    assert_eq!(count(), 1, "imports leave nothing");
}

pub(crate) fn no_key_in_the_token_can_be_read_or_wrapped_by_another_user_of_it(given: &Given) {
    let (engine, place) = (engine(given), Place::new("k"));
    let made = engine.generate(KeySpec::Oct(OctSize::B256), &place).expect("it is made");
    let _open = engine.open(made.spec, &made.wrapped, &place).expect("it opens");
    let session = beside(given, true);
    let objects = keys(&session);
    assert_eq!(objects.len(), 2);
    for object in &objects {
        let value = session.get_attributes(*object, &[AttributeType::Value]);
        let shown = value.is_ok_and(|value| !value.is_empty());
        assert!(!shown, "a value is shown");
        for other in &objects {
            assert!(!is_wrapped(&session, *other, *object), "it is wrapped");
        }
    }
}

pub(crate) fn a_wrong_pin_is_tried_once_and_exposed_or_missing_files_are_refused(given: &Given) {
    let pin = softhsm::pin_file(&given.folder);
    softhsm::write_pin(&pin, "000000");
    let refused = try_engine(given, LABEL, 3, &[]).err();
    assert!(matches!(refused, Some(TokenError::PinRefused { .. })), "{refused:?}");
    assert!(refused.is_some_and(|error| error.lasts()));
    softhsm::write_pin(&pin, softhsm::PIN);
    let refused = try_engine(given, "nobody", 3, &[]).err();
    assert!(matches!(refused, Some(TokenError::NoToken { .. })), "{refused:?}");
    let mut options = options(given, LABEL);
    options.module = "/nonexistent.so".into();
    let refused = Token::load(&options).err();
    assert!(matches!(refused, Some(TokenError::Module { .. })), "{refused:?}");
    options.module = softhsm::pin_file(&given.folder);
    assert!(matches!(Token::load(&options).err(), Some(TokenError::Module { .. })));
    engine(given);
}

pub(crate) fn a_planted_wrapping_key_is_refused(given: &Given) {
    drop(engine(given));
    let session = beside(given, false);
    let found = session.find_objects(&[Attribute::Class(ObjectClass::SECRET_KEY)]);
    let real = found.expect("objects can be found")[0];
    let id = session.get_attributes(real, &[AttributeType::Id]).expect("an id");
    let [Attribute::Id(id)] = id.as_slice() else { unreachable!("an id, and not {id:?}") };
    session.destroy_object(real).expect("the user may do that");
    // The right key under wrong attributes is as dangerous as another key.
    let right = casemate_engine_soft::derived(
        &Secret::new(vec![3; 32]),
        b"casemate pkcs11 wrapping key v1",
    );
    let right = right.expose().to_vec();
    let another = (Planted::right(true), vec![9; 32]);
    let planted = Planted::wrong(true).map(|what| (what, right.clone()));
    for (what, value) in planted.into_iter().chain([another]) {
        let session = beside(given, false);
        plant(&session, id.clone(), what, value);
        drop(session);
        // The engine begins the module anew; what is planted stays in the token.
        let refused = try_engine(given, LABEL, 3, &[]).err();
        assert!(matches!(refused, Some(TokenError::WrongKey { .. })), "{what:?}: {refused:?}");
        let session = beside(given, false);
        for key in keys(&session) {
            session.destroy_object(key).expect("the user may do that");
        }
    }
    plant(&beside(given, false), id.to_vec(), Planted::right(true), right);
    engine(given);
}

/// As a token of another kind of the same domain stored it.
pub(crate) fn what_another_kind_of_token_wrapped_is_refused_with_its_mechanism(given: &Given) {
    let (first, place) = (engine(given), Place::new("k"));
    let spec = KeySpec::Oct(OctSize::B256);
    let made = first.import(oct32(), &place).expect("a sound key is taken");
    let binding =
        casemate_engine_soft::derived(&Secret::new(vec![3; 32]), b"casemate pkcs11 binding key v1");
    let envelope = casemate_engine_soft::Envelope::new(binding, b"casemate pkcs11 material v1");
    let aad = [&[0x21, 3, 3], b"k".as_slice()].concat();
    let content = envelope.open(&aad, &made.wrapped.0[1..]).expect("it opens");
    let of_another = |content: &[u8]| {
        let sealed = envelope.seal(&[0x21], &aad, content).expect("it is sealed");
        WrappedMaterial(sealed)
    };
    let mut other = content.expose().to_vec();
    other[0] = 3 - other[0];
    let mechanism = ["CKM_AES_KEY_WRAP_PAD", "CKM_AES_GCM"][usize::from(other[0]) - 1];
    let says = |refused: Option<EngineError>, when: &str| {
        let told = matches!(
            refused,
            Some(EngineError::Unsupported(told))
                if told.contains(&format!("wrapped with {mechanism}, which this token does not do"))
        );
        assert!(told, "{when}: {refused:?}");
    };
    let (same, other) = (of_another(content.expose()), of_another(&other));
    says(first.open(spec, &other, &place).err(), "to be used");
    says(first.rewrap(spec, &other, &place).err(), "restored, under the present key");
    assert!(first.open(spec, &same, &place).is_ok(), "the control");
    assert!(matches!(first.rewrap(spec, &same, &place), Ok(None)), "the control");
    drop(first);
    let both = try_engine(given, LABEL, 4, &[(1, 3)]).expect("the token can be used");
    says(both.open(spec, &other, &place).err(), "to be used, of an earlier epoch");
    says(both.rewrap(spec, &other, &place).err(), "to be wrapped anew");
    assert!(matches!(both.rewrap(spec, &same, &place), Ok(Some(_))), "the control");
}

/// The stored form, read by its specification: what the token wrapped opens with the key derived
/// from the material key, so that it opens in any other token of the domain.
pub(crate) fn the_stored_form_is_the_one_that_is_written_down(given: &Given) {
    let engine = engine(given);
    let made = engine.import(oct32(), &Place::new("k")).expect("a sound key is taken");
    let material_key = Secret::new(vec![3; 32]);
    let derived = |label: &[u8]| casemate_engine_soft::derived(&material_key, label);
    let binding = derived(b"casemate pkcs11 binding key v1");
    let envelope = casemate_engine_soft::Envelope::new(binding, b"casemate pkcs11 material v1");
    assert_eq!(made.wrapped.0[0], 0x21);
    let aad = [&[0x21, 3, 3], b"k".as_slice()].concat();
    let content = envelope.open(&aad, &made.wrapped.0[1..]).expect("it opens");
    let content = content.expose();
    let (method, part) = (content[0], &content[5..content.len() - 2]);
    // No public part, then the wrapped key; no MAC key of its own, or one.
    assert_eq!(content[1..3], [0, 0]);
    let length = usize::from(u16::from_be_bytes([content[3], content[4]]));
    let wrapped = &part[..length];
    let key = derived(b"casemate pkcs11 wrapping key v1");
    let opened = match method {
        1 => {
            let kek = AesKek::new(&AES_256, key.expose()).expect("a key of 32 bytes");
            let mut out = [0; 40];
            kek.unwrap_with_padding(wrapped, &mut out).expect("it unwraps").to_vec()
        }
        2 => {
            let key = UnboundKey::new(&AES_256_GCM, key.expose()).expect("a key of 32 bytes");
            let (iv, body) = wrapped.split_first_chunk().expect("a vector of 12 bytes");
            let mut body = body.to_vec();
            let nonce = Nonce::assume_unique_for_key(*iv);
            let key = LessSafeKey::new(key);
            key.open_in_place(nonce, Aad::empty(), &mut body).expect("it opens").to_vec()
        }
        other => unreachable!("{other} is no method that is written down"),
    };
    assert_eq!(opened, (1..=32).collect::<Vec<u8>>());
}

pub(crate) fn many_threads_share_a_few_sessions(given: &Given) {
    let (engine, place) = (engine(given), Place::new("k"));
    let spec = KeySpec::Ec(Curve::P256);
    let made = engine.generate(spec, &place).expect("it is made");
    std::thread::scope(|scope| {
        for number in 0..40_u8 {
            let (engine, made, place) = (&engine, &made, &place);
            scope.spawn(move || {
                for _ in 0..10 {
                    let key = engine.open(spec, &made.wrapped, place).expect("it opens");
                    let digest = [number; 32];
                    let signature = key.sign(SignAlgorithm::Es256, &digest).expect("it signs");
                    let right = key.verify(SignAlgorithm::Es256, &digest, &signature);
                    assert!(right.expect("no error"));
                }
            });
        }
    });
    let session = beside(given, true);
    // What was dropped while every session was busy goes with the next call.
    engine.generate(spec, &place).expect("it is made");
    assert_eq!(keys(&session).len(), 1);
}
