//! The suite of every engine over SoftHSM2, and what a token alone can go through.

use std::path::Path;
use std::time::Duration;

use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded};
use casemate_engine_conformance as conformance;
use casemate_engine_pkcs11::{Pkcs11Engine, Token, TokenError, TokenOptions};
use casemate_engine_port::{
    CipherAlgorithm, Curve, DecryptInput, EncryptInput, Engine, EngineError, ImportedKey,
    KeyHandle, KeySpec, OctSize, OperationError, Place, RsaSize, Secret, SignAlgorithm,
};
use casemate_engine_soft::SoftEngine;
use casemate_test_kit::softhsm::{self, LABEL};
use casemate_token_tests::with_softhsm;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass};
use cryptoki::session::{Session, UserType};

const ABOVE_RETRY: Duration = Duration::from_millis(1200);

fn token_options(folder: &Path, label: &str) -> TokenOptions {
    TokenOptions {
        module: softhsm::module(),
        label: label.to_owned(),
        pin_file: softhsm::pin_file(folder),
    }
}

fn try_engine(folder: &Path, label: &str, key: u8) -> Result<Pkcs11Engine, TokenError> {
    let token = Token::load(&token_options(folder, label))?;
    Pkcs11Engine::open(token, Secret::new(vec![key; 32]))
}

fn engine(folder: &Path) -> Pkcs11Engine {
    try_engine(folder, LABEL, 3).expect("the token can be used")
}

/// The same token seen by another user of the module in this process; where no engine has logged
/// in, the module is begun anew.
fn beside(logged_in: bool) -> Session {
    let module = Pkcs11::new(softhsm::module()).expect("the module loads");
    if !logged_in {
        // It was begun by an earlier look, or not at all.
        let _ended = module.clone().finalize();
        let flags = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
        module.initialize(flags).expect("the module begins");
    }
    let slots = module.get_slots_with_initialized_token().expect("there are slots");
    let session = module.open_rw_session(slots[0]).expect("a session");
    if !logged_in {
        session.login(UserType::User, Some(&softhsm::PIN.into())).expect("the PIN is right");
    }
    session
}

macro_rules! suite {
    ($($name:ident),*) => {$(
        #[test]
        fn $name() {
            with_softhsm(stringify!($name), |folder| conformance::$name(&engine(folder)));
        }
    )*};
}

suite!(material, import_rsa, import_ec, import_oct, rsa, ec, oct, random);

#[test]
fn every_kind_of_key_is_supported() {
    with_softhsm("every_kind_of_key_is_supported", |folder| {
        let engine = engine(folder);
        for spec in KeySpec::all() {
            assert!(engine.supports(spec), "{spec:?}{}", engine.why_not(spec));
        }
    });
}

/// What the token encrypted is what everybody else decrypts, and the reverse.
#[test]
fn imported_keys_do_what_the_software_engine_does_with_them() {
    with_softhsm("imported_keys_do_what_the_software_engine_does_with_them", |folder| {
        let (token, place) = (engine(folder), Place::new("k"));
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
    });
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

#[test]
fn another_material_key_opens_nothing_and_the_same_one_does_after_a_restart() {
    let name = "another_material_key_opens_nothing_and_the_same_one_does_after_a_restart";
    with_softhsm(name, |folder| {
        let (spec, place) = (KeySpec::Ec(Curve::P256), Place::new("k"));
        let first = engine(folder);
        let made = first.generate(spec, &place).expect("it is made");
        let key = first.open(spec, &made.wrapped, &place).expect("it opens");
        let signature = key.sign(SignAlgorithm::Es256, &[7; 32]).expect("it signs");
        drop((key, first));
        let other = try_engine(folder, LABEL, 4).expect("the token can be used");
        let refused = other.open(spec, &made.wrapped, &place);
        assert!(matches!(refused.err(), Some(EngineError::NotAuthentic)));
        drop(other);
        let again = engine(folder);
        let key = again.open(spec, &made.wrapped, &place).expect("it opens");
        assert!(key.verify(SignAlgorithm::Es256, &[7; 32], &signature).expect("no error"));
        key.sign(SignAlgorithm::Es256, &[7; 32]).expect("it signs");
        let soft = SoftEngine::new(Secret::new(vec![3; 32])).expect("a key of 32 bytes");
        let refused = soft.open(spec, &made.wrapped, &place);
        assert!(matches!(refused.err(), Some(EngineError::NotAuthentic)), "another engine");
    });
}

#[test]
fn a_token_that_is_lost_is_said_to_be_and_found_again() {
    with_softhsm("a_token_that_is_lost_is_said_to_be_and_found_again", |folder| {
        let (engine, place) = (engine(folder), Place::new("k"));
        let spec = KeySpec::Ec(Curve::P256);
        let made = engine.generate(spec, &place).expect("it is made");
        let key = engine.open(spec, &made.wrapped, &place).expect("it opens");
        for round in 0..3 {
            softhsm::remove(folder);
            let lost = engine.open(spec, &made.wrapped, &place).err();
            assert!(matches!(lost, Some(EngineError::Unavailable(_))), "{round}: {lost:?}");
            let lost = engine.generate(spec, &place).err();
            assert!(matches!(lost, Some(EngineError::Unavailable(_))), "{round}: {lost:?}");
            let lost = key.sign(SignAlgorithm::Es256, &[7; 32]).err();
            assert!(matches!(lost, Some(OperationError::Unavailable(_))), "{round}: {lost:?}");
            softhsm::put_back(folder);
            std::thread::sleep(ABOVE_RETRY);
            let signature = key.sign(SignAlgorithm::Es256, &[7; 32]).expect("it signs again");
            assert!(key.verify(SignAlgorithm::Es256, &[7; 32], &signature).expect("no error"));
            engine.open(spec, &made.wrapped, &place).expect("it opens again");
            engine.generate(spec, &place).expect("it is made again");
        }
    });
}

/// Somebody else ends every session and begins the module anew: no handle of before is used.
#[test]
fn lost_sessions_are_opened_anew_within_the_same_call() {
    with_softhsm("lost_sessions_are_opened_anew_within_the_same_call", |folder| {
        let (engine, place) = (engine(folder), Place::new("k"));
        let open = |spec| {
            let made = engine.generate(spec, &place).expect("it is made");
            engine.open(spec, &made.wrapped, &place).expect("it opens")
        };
        let mut keys = [
            (open(KeySpec::Ec(Curve::P256)), SignAlgorithm::Es256),
            (open(KeySpec::Ec(Curve::P256)), SignAlgorithm::Es256),
            (open(KeySpec::Rsa(RsaSize::B2048)), SignAlgorithm::Ps256),
        ];
        let module = Pkcs11::new(softhsm::module()).expect("the module loads");
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
    });
}

#[test]
fn objects_of_keys_that_nobody_has_are_destroyed() {
    with_softhsm("objects_of_keys_that_nobody_has_are_destroyed", |folder| {
        let (engine, place) = (engine(folder), Place::new("k"));
        let session = beside(true);
        let count = || session.find_objects(&[]).expect("objects can be found").len();
        assert_eq!(count(), 1, "the wrapping key alone is left of the trial");
        for spec in [KeySpec::Ec(Curve::P256), KeySpec::Oct(OctSize::B256)] {
            let made = engine.generate(spec, &place).expect("it is made");
            assert_eq!(count(), 1, "{spec:?} leaves nothing when it is made");
            let keys: Vec<_> = (0..10)
                .map(|_| engine.open(spec, &made.wrapped, &place).expect("it opens"))
                .collect();
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
    });
}

#[test]
fn no_key_in_the_token_can_be_read_or_wrapped_by_another_user_of_it() {
    let name = "no_key_in_the_token_can_be_read_or_wrapped_by_another_user_of_it";
    with_softhsm(name, |folder| {
        let (engine, place) = (engine(folder), Place::new("k"));
        let made = engine.generate(KeySpec::Oct(OctSize::B256), &place).expect("it is made");
        let _open = engine.open(made.spec, &made.wrapped, &place).expect("it opens");
        let session = beside(true);
        let objects = session.find_objects(&[]).expect("objects can be found");
        assert_eq!(objects.len(), 2);
        for object in &objects {
            let value = session.get_attributes(*object, &[AttributeType::Value]);
            let shown = value.is_ok_and(|value| !value.is_empty());
            assert!(!shown, "a value is shown");
            for other in &objects {
                let pad = cryptoki::mechanism::Mechanism::AesKeyWrapPad;
                assert!(session.wrap_key(&pad, *other, *object).is_err(), "it is wrapped");
            }
        }
    });
}

#[test]
fn a_wrong_pin_is_tried_once_and_exposed_or_missing_files_are_refused() {
    let name = "a_wrong_pin_is_tried_once_and_exposed_or_missing_files_are_refused";
    with_softhsm(name, |folder| {
        let pin = softhsm::pin_file(folder);
        softhsm::write_pin(&pin, "000000");
        let refused = try_engine(folder, LABEL, 3).err();
        assert!(matches!(refused, Some(TokenError::PinRefused { .. })), "{refused:?}");
        assert!(refused.is_some_and(|error| error.lasts()));
        softhsm::write_pin(&pin, softhsm::PIN);
        let refused = try_engine(folder, "nobody", 3).err();
        assert!(matches!(refused, Some(TokenError::NoToken { .. })), "{refused:?}");
        let mut options = token_options(folder, LABEL);
        options.module = "/nonexistent.so".into();
        let refused = Token::load(&options).err();
        assert!(matches!(refused, Some(TokenError::Module { .. })), "{refused:?}");
        options.module = folder.join("softhsm2.conf");
        assert!(matches!(Token::load(&options).err(), Some(TokenError::Module { .. })));
        engine(folder);
    });
}

#[test]
fn a_planted_wrapping_key_is_refused() {
    with_softhsm("a_planted_wrapping_key_is_refused", |folder| {
        drop(engine(folder));
        let session = beside(false);
        let found = session.find_objects(&[Attribute::Class(ObjectClass::SECRET_KEY)]);
        let real = found.expect("objects can be found")[0];
        let id = session.get_attributes(real, &[AttributeType::Id]).expect("an id")[0].clone();
        session.destroy_object(real).expect("the user may do that");
        // The right key under wrong attributes is as dangerous as another key.
        let right = casemate_engine_soft::derived(
            &Secret::new(vec![3; 32]),
            b"casemate pkcs11 wrapping key v1",
        );
        let right = right.expose().to_vec();
        for (extractable, decrypt, value) in
            [(false, false, vec![9; 32]), (true, false, right.clone()), (false, true, right)]
        {
            let session = beside(false);
            let planted = session.create_object(&[
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::KeyType(KeyType::AES),
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(extractable),
                Attribute::Encrypt(decrypt),
                Attribute::Decrypt(decrypt),
                Attribute::Wrap(true),
                Attribute::Unwrap(true),
                Attribute::Value(value),
                id.clone(),
            ]);
            planted.expect("the user may do that");
            drop(session);
            // The engine begins the module anew; what is planted stays in the token.
            let refused = try_engine(folder, LABEL, 3).err();
            assert!(matches!(refused, Some(TokenError::WrongKey { .. })), "{refused:?}");
            let session = beside(false);
            for key in session.find_objects(&[]).expect("objects can be found") {
                session.destroy_object(key).expect("the user may do that");
            }
        }
        engine(folder);
    });
}

#[test]
fn a_token_of_the_same_label_without_the_key_is_not_taken_for_the_lost_one() {
    let name = "a_token_of_the_same_label_without_the_key_is_not_taken_for_the_lost_one";
    with_softhsm(name, |folder| {
        let (engine, place) = (engine(folder), Place::new("k"));
        let spec = KeySpec::Ec(Curve::P256);
        let made = engine.generate(spec, &place).expect("it is made");
        softhsm::remove(folder);
        std::fs::create_dir(folder.join("tokens")).expect("the folder can be written");
        let done = std::process::Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", LABEL, "--pin", softhsm::PIN])
            .args(["--so-pin", "314159"])
            .status();
        assert!(done.expect("softhsm2-util can be started").success());
        std::thread::sleep(ABOVE_RETRY);
        let lost = engine.open(spec, &made.wrapped, &place).err();
        assert!(matches!(lost, Some(EngineError::Unavailable(_))), "{lost:?}");
        std::fs::remove_dir_all(folder.join("tokens")).expect("it is ours");
        softhsm::put_back(folder);
        std::thread::sleep(ABOVE_RETRY);
        engine.open(spec, &made.wrapped, &place).expect("the right one is back");
    });
}

/// The stored form, read by its specification: what the token wrapped opens with the key derived
/// from the material key, so that it opens in any other token of the domain.
#[test]
fn the_stored_form_is_the_one_that_is_written_down() {
    with_softhsm("the_stored_form_is_the_one_that_is_written_down", |folder| {
        let engine = engine(folder);
        let made = engine.import(oct32(), &Place::new("k")).expect("a sound key is taken");
        let material_key = Secret::new(vec![3; 32]);
        let derived = |label: &[u8]| casemate_engine_soft::derived(&material_key, label);
        let binding = derived(b"casemate pkcs11 binding key v1");
        let envelope = casemate_engine_soft::Envelope::new(binding, b"casemate pkcs11 material v1");
        assert_eq!(made.wrapped.0[0], 0x21);
        let aad = [&[0x21, 3, 3], b"k".as_slice()].concat();
        let content = envelope.open(&aad, &made.wrapped.0[1..]).expect("it opens");
        let content = content.expose();
        // Method 1, no public part, then the wrapped key.
        assert_eq!(content[..5], [1, 0, 0, 0, 40]);
        let key = derived(b"casemate pkcs11 wrapping key v1");
        let kek = AesKek::new(&AES_256, key.expose()).expect("a key of 32 bytes");
        let mut out = [0; 40];
        let opened = kek.unwrap_with_padding(&content[5..45], &mut out).expect("it unwraps");
        assert_eq!(opened, (1..=32).collect::<Vec<u8>>());
    });
}

#[test]
fn many_threads_share_a_few_sessions() {
    with_softhsm("many_threads_share_a_few_sessions", |folder| {
        let (engine, place) = (engine(folder), Place::new("k"));
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
        let session = beside(true);
        // What was dropped while every session was busy goes with the next call.
        engine.generate(spec, &place).expect("it is made");
        assert_eq!(session.find_objects(&[]).expect("objects can be found").len(), 1);
    });
}
