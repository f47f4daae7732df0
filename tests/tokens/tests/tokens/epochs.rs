//! Material of earlier epochs of the security domain: used, wrapped anew inside the token, and what
//! the token keeps for that.
//!
//! Epochs are told apart here by the byte that their material key is made of.

use casemate_engine_conformance as conformance;
use casemate_engine_pkcs11::{Pkcs11Engine, TokenError};
use casemate_engine_port::{
    CipherAlgorithm, Curve, DecryptInput, EncryptInput, Engine, EngineError, KeyHandle, KeySpec,
    NewMaterial, OctSize, Place, RsaSize, SignAlgorithm, WrappedMaterial,
};
use casemate_engine_soft::derived;
use casemate_test_kit::softhsm::LABEL;
use casemate_token_tests::Given;
use cryptoki::context::Pkcs11;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use crate::engines::{
    Planted, beside, engine, engine_of, is_wrapped, keys, material_key, plant, plant_labelled,
    try_engine,
};

/// The material keys of the first epochs.
const ONE: u8 = 3;
const TWO: u8 = 4;
const THREE: u8 = 5;

const ID: &[u8] = b"casemate pkcs11 wrapping id v1";
const EARLIER_ID: &[u8] = b"casemate pkcs11 earlier wrapping id v1";
const KEY: &[u8] = b"casemate pkcs11 wrapping key v1";
const TRIAL_LABEL: &[u8] = b"casemate trial key, of no use";

fn place() -> Place {
    Place::new("k")
}

/// A name of a wrapping key, as it is written down.
fn id(key: u8, label: &[u8]) -> Vec<u8> {
    derived(&material_key(key), label).expose()[..16].to_vec()
}

/// The names of all keys that stay in the token.
fn ids(session: &Session) -> Vec<Vec<u8>> {
    let found = session.find_objects(&[Attribute::Token(true)]).expect("objects can be found");
    let name = |object| match session.get_attributes(object, &[AttributeType::Id]).as_deref() {
        Ok([Attribute::Id(id)]) => id.clone(),
        other => unreachable!("no name: {other:?}"),
    };
    let mut names: Vec<_> = found.into_iter().map(name).collect();
    names.sort();
    names
}

fn demand_ids(session: &Session, wanted: &[(u8, &[u8])], when: &str) {
    let mut wanted: Vec<_> = wanted.iter().map(|(key, label)| id(*key, label)).collect();
    wanted.sort();
    assert_eq!(ids(session), wanted, "{when}");
}

fn named(session: &Session, id: Vec<u8>) -> ObjectHandle {
    let found = session.find_objects(&[Attribute::Id(id)]).expect("objects can be found");
    *found.first().expect("the key is there")
}

/// What was made with a key before, and shows afterwards that it is the same one.
struct Proof {
    made: NewMaterial,
    signed: Vec<(SignAlgorithm, Vec<u8>)>,
    encrypted: Vec<(CipherAlgorithm, Vec<u8>, Option<Vec<u8>>)>,
}

fn iv_of(algorithm: CipherAlgorithm) -> Option<&'static [u8]> {
    match algorithm {
        CipherAlgorithm::AesGcm(_) => Some(&[9; 12]),
        CipherAlgorithm::AesCbc(_) | CipherAlgorithm::AesCbcPad(_) => Some(&[9; 16]),
        _ => None,
    }
}

fn digest_of(algorithm: SignAlgorithm) -> Vec<u8> {
    use SignAlgorithm::{Es384, Es512, Ps384, Ps512, Rs384, Rs512};
    match algorithm {
        Rs384 | Ps384 | Es384 => vec![0x5a; 48],
        Rs512 | Ps512 | Es512 => vec![0x5a; 64],
        _ => vec![0x5a; 32],
    }
}

impl Proof {
    /// By every algorithm that fits.
    fn of(engine: &dyn Engine, made: NewMaterial) -> Self {
        let key = engine.open(made.spec, &made.wrapped, &place()).expect("it opens");
        let fits = |algorithm: &SignAlgorithm| algorithm.fits(made.spec);
        let sign = |algorithm| {
            let signature = key.sign(algorithm, &digest_of(algorithm)).expect("it signs");
            (algorithm, signature)
        };
        let signed = SignAlgorithm::ALL.into_iter().filter(fits).map(sign).collect();
        let fits = |algorithm: &CipherAlgorithm| algorithm.fits(made.spec);
        let encrypt = |algorithm| {
            let input = EncryptInput { plaintext: &[0x42; 32], iv: iv_of(algorithm), aad: None };
            let done = key.encrypt(algorithm, input).expect("it encrypts");
            (algorithm, done.ciphertext, done.tag)
        };
        let encrypted = CipherAlgorithm::ALL.into_iter().filter(fits).map(encrypt).collect();
        Self { made, signed, encrypted }
    }

    /// It does what it did, and what it makes is taken by a key that was opened before.
    fn demand(&self, key: &dyn KeyHandle, when: &str) {
        let spec = self.made.spec;
        for (algorithm, signature) in &self.signed {
            let digest = digest_of(*algorithm);
            let right = key.verify(*algorithm, &digest, signature).expect("no error");
            assert!(right, "{spec:?} {algorithm:?} {when}");
            let again = key.sign(*algorithm, &digest).expect("it signs");
            assert!(key.verify(*algorithm, &digest, &again).expect("no error"));
        }
        for (algorithm, ciphertext, tag) in &self.encrypted {
            let (iv, tag) = (iv_of(*algorithm), tag.as_deref());
            let input = DecryptInput { ciphertext, iv, aad: None, tag };
            let opened = key.decrypt(*algorithm, input).expect("it decrypts");
            assert_eq!(opened.expose(), [0x42; 32], "{spec:?} {algorithm:?} {when}");
        }
    }
}

/// One key of each family that was made in the token, and one that was brought.
fn proofs(engine: &Pkcs11Engine) -> Vec<Proof> {
    let specs = KeySpec::all().filter(|spec| {
        engine.supports(*spec) && !matches!(spec, KeySpec::Rsa(RsaSize::B3072 | RsaSize::B4096))
    });
    let made = specs.map(|spec| engine.generate(spec, &place()).expect("it is made"));
    let oct = casemate_engine_port::ImportedKey::Oct(material_key(0x77));
    let brought =
        [conformance::imported_rsa(RsaSize::B2048), conformance::imported_ec(Curve::P521), oct]
            .map(|key| engine.import(key, &place()).expect("a sound key is taken"));
    made.chain(brought).map(|made| Proof::of(engine, made)).collect()
}

fn open(engine: &dyn Engine, proof: &Proof, wrapped: &WrappedMaterial) -> Opened {
    engine.open(proof.made.spec, wrapped, &place())
}

type Opened = Result<std::sync::Arc<dyn KeyHandle>, EngineError>;

fn is_not_authentic<T>(answer: Result<T, EngineError>) -> bool {
    matches!(answer.err(), Some(EngineError::NotAuthentic))
}

pub(crate) fn material_of_an_earlier_epoch_is_used_and_wrapped_anew_inside_the_token(
    given: &Given,
) {
    let first = engine(given);
    let proofs = proofs(&first);
    assert!(proofs.len() > 8, "{}", proofs.len());
    drop(first);
    let both = engine_of(given, TWO, &[(1, ONE)]);
    let mut anew = Vec::new();
    for proof in &proofs {
        let (spec, before) = (proof.made.spec, &proof.made.wrapped);
        let key = open(&both, proof, before).expect("it opens before it is wrapped anew");
        proof.demand(&*key, "before");
        let wrapped = both.rewrap(spec, before, &place()).expect("it is wrapped anew");
        let wrapped = wrapped.expect("it was under the earlier key");
        assert_ne!(wrapped, *before);
        assert_eq!(both.rewrap(spec, &wrapped, &place()).expect("it is there"), None);
        proof.demand(&*open(&both, proof, &wrapped).expect("it opens"), "after");
        anew.push(wrapped);
    }
    let session = beside(given, true);
    let left = || keys(&session).len();
    // Those who were opened last are destroyed when an idle session comes by.
    both.generate(KeySpec::Ec(Curve::P256), &place()).expect("it is made");
    assert_eq!(left(), 2, "nothing but the wrapping keys stays of all that");
    drop((session, both));
    // Without the earlier epoch, and in its own.
    let present = engine_of(given, TWO, &[]);
    for (proof, wrapped) in proofs.iter().zip(&anew) {
        proof.demand(&*open(&present, proof, wrapped).expect("it opens"), "alone");
        assert!(is_not_authentic(open(&present, proof, &proof.made.wrapped)));
    }
    drop(present);
    let earlier = engine(given);
    for (proof, wrapped) in proofs.iter().zip(&anew) {
        assert!(is_not_authentic(open(&earlier, proof, wrapped)), "nothing newer opens");
    }
}

pub(crate) fn what_is_not_of_a_known_epoch_or_place_is_not_wrapped_anew(given: &Given) {
    let first = engine(given);
    let made = first.generate(KeySpec::Ec(Curve::P256), &place()).expect("it is made");
    drop(first);
    let other = engine_of(given, THREE, &[(2, TWO)]);
    let rewrap = |engine: &Pkcs11Engine, spec, wrapped: &WrappedMaterial, at: &str| {
        engine.rewrap(spec, wrapped, &Place::new(at))
    };
    assert!(is_not_authentic(rewrap(&other, made.spec, &made.wrapped, "k")), "another epoch");
    drop(other);
    let both = engine_of(given, THREE, &[(1, ONE), (2, TWO)]);
    assert!(is_not_authentic(rewrap(&both, made.spec, &made.wrapped, "l")), "another place");
    let spec = KeySpec::Ec(Curve::P384);
    assert!(is_not_authentic(rewrap(&both, spec, &made.wrapped, "k")), "another kind");
    for at in [0, 1, 40, made.wrapped.0.len() - 1] {
        let mut changed = made.wrapped.clone();
        changed.0[at] ^= 1;
        assert!(is_not_authentic(rewrap(&both, made.spec, &changed, "k")), "changed at {at}");
    }
    let again = rewrap(&both, made.spec, &made.wrapped, "k").expect("it is wrapped anew");
    assert!(again.is_some());
}

pub(crate) fn the_key_of_an_earlier_epoch_only_unwraps(given: &Given) {
    drop(engine(given));
    let both = engine_of(given, TWO, &[(1, ONE)]);
    let session = beside(given, true);
    demand_ids(&session, &[(TWO, ID), (ONE, EARLIER_ID)], "the one that wrapped is gone");
    let earlier = named(&session, id(ONE, EARLIER_ID));
    let asked = [
        AttributeType::Wrap,
        AttributeType::Unwrap,
        AttributeType::Sensitive,
        AttributeType::Extractable,
        AttributeType::Encrypt,
        AttributeType::Decrypt,
    ];
    let told = session.get_attributes(earlier, &asked).expect("attributes");
    for wanted in [
        Attribute::Wrap(false),
        Attribute::Unwrap(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Encrypt(false),
        Attribute::Decrypt(false),
    ] {
        assert!(told.contains(&wanted), "{wanted:?}: {told:?}");
    }
    let value = session.get_attributes(earlier, &[AttributeType::Value]);
    assert!(!value.is_ok_and(|value| !value.is_empty()), "it is shown");
    let victim = session
        .create_object(&[
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::Token(false),
            Attribute::Extractable(true),
            Attribute::Value(vec![7; 32]),
        ])
        .expect("the user may do that");
    assert!(!is_wrapped(&session, earlier, victim), "nothing is wrapped under it");
    let present = named(&session, id(TWO, ID));
    assert!(is_wrapped(&session, present, victim), "the control");
    drop(both);
}

/// The four states between which a process can end: with either key, both, or none, as in a new
/// token.
pub(crate) fn cut_off_between_the_two_keys_it_goes_on(given: &Given) {
    let first = engine(given);
    let spec = KeySpec::Ec(Curve::P256);
    let proof = Proof::of(&first, first.generate(spec, &place()).expect("it is made"));
    drop(first);
    for (has_own, has_earlier) in [(true, false), (true, true), (false, true), (false, false)] {
        let when = format!("{has_own} {has_earlier}");
        let session = beside(given, false);
        for object in keys(&session) {
            session.destroy_object(object).expect("the user may do that");
        }
        if has_own {
            plant(&session, id(ONE, ID), Planted::right(true), right());
        }
        if has_earlier {
            plant(&session, id(ONE, EARLIER_ID), Planted::right(false), right());
        }
        drop(session);
        for round in ["at once", "and at the next start"] {
            let both = engine_of(given, TWO, &[(1, ONE)]);
            let key = open(&both, &proof, &proof.made.wrapped).expect("it opens");
            proof.demand(&*key, &when);
            assert!(both.rewrap(spec, &proof.made.wrapped, &place()).is_ok(), "{when} {round}");
            let session = beside(given, true);
            demand_ids(&session, &[(TWO, ID), (ONE, EARLIER_ID)], &when);
        }
    }
}

/// The right bytes of the first epoch's wrapping key.
fn right() -> Vec<u8> {
    derived(&material_key(ONE), KEY).expose().to_vec()
}

pub(crate) fn an_hsm_that_is_put_back_wraps_with_its_key_again(given: &Given) {
    drop(engine(given));
    drop(engine_of(given, TWO, &[(1, ONE)]));
    let back = engine(given);
    let made = back.generate(KeySpec::Ec(Curve::P256), &place()).expect("it is made");
    let proof = Proof::of(&back, made);
    demand_ids(&beside(given, true), &[(TWO, ID), (ONE, ID)], "put back");
    drop(back);
    let both = engine_of(given, TWO, &[(1, ONE)]);
    proof.demand(&*open(&both, &proof, &proof.made.wrapped).expect("it opens"), "turned again");
    demand_ids(&beside(given, true), &[(TWO, ID), (ONE, EARLIER_ID)], "turned again");
}

pub(crate) fn forgotten_epochs_leave_nothing_in_the_token(given: &Given) {
    let spec = KeySpec::Oct(OctSize::B256);
    let of = |key| {
        let engine = engine_of(given, key, &[]);
        Proof::of(&engine, engine.generate(spec, &place()).expect("it is made"))
    };
    let (one, two) = (of(ONE), of(TWO));
    let all = engine_of(given, THREE, &[(1, ONE), (2, TWO)]);
    let session = beside(given, true);
    let three = [(THREE, ID), (ONE, EARLIER_ID), (TWO, EARLIER_ID)];
    for before in [0, 1] {
        all.forget_before(before).expect("nothing is to be done");
        demand_ids(&session, &three, "nothing is before it");
    }
    assert!(open(&all, &one, &one.made.wrapped).is_ok());
    // Again after a crash.
    for round in 0..2 {
        all.forget_before(2).expect("it is destroyed");
        demand_ids(&session, &[(THREE, ID), (TWO, EARLIER_ID)], "the first is forgotten");
        for lost in [
            open(&all, &one, &one.made.wrapped).err(),
            all.rewrap(spec, &one.made.wrapped, &place()).err(),
        ] {
            assert!(matches!(lost, Some(EngineError::Unavailable(_))), "{round}: {lost:?}");
        }
        two.demand(&*open(&all, &two, &two.made.wrapped).expect("it opens"), "it is kept");
    }
    // It is another process that goes on after a crash, before the node forgot the epoch.
    drop((all, session));
    let all = engine_of(given, THREE, &[(1, ONE), (2, TWO)]);
    one.demand(&*open(&all, &one, &one.made.wrapped).expect("it opens"), "not forgotten yet");
    all.forget_before(3).expect("they are destroyed");
    drop(all);
    let last = engine_of(given, THREE, &[]);
    demand_ids(&beside(given, true), &[(THREE, ID)], "all are forgotten");
    for proof in [&one, &two] {
        assert!(is_not_authentic(open(&last, proof, &proof.made.wrapped)));
    }
}

pub(crate) fn a_planted_key_of_an_earlier_epoch_is_refused(given: &Given) {
    drop(engine(given));
    let another = (Planted::right(false), vec![9; 32]);
    let planted = Planted::wrong(false).map(|what| (what, right()));
    for (what, value) in planted.into_iter().chain([another]) {
        let session = beside(given, false);
        plant(&session, id(ONE, EARLIER_ID), what, value);
        drop(session);
        let refused = try_engine(given, LABEL, TWO, &[(1, ONE)]).err();
        assert!(matches!(refused, Some(TokenError::WrongKey { .. })), "{what:?}: {refused:?}");
        let session = beside(given, false);
        assert!(ids(&session).contains(&id(ONE, ID)), "the one that wrapped is still there");
        session.destroy_object(named(&session, id(ONE, EARLIER_ID))).expect("the user may");
    }
    engine_of(given, TWO, &[(1, ONE)]);
}

pub(crate) fn a_token_that_lost_an_earlier_key_serves_everything_else(given: &Given) {
    let first = engine(given);
    let spec = KeySpec::Ec(Curve::P256);
    let old = Proof::of(&first, first.generate(spec, &place()).expect("it is made"));
    drop(first);
    let both = engine_of(given, TWO, &[(1, ONE)]);
    let new = Proof::of(&both, both.generate(spec, &place()).expect("it is made"));
    let session = beside(given, true);
    session.destroy_object(named(&session, id(ONE, EARLIER_ID))).expect("the user may");
    drop(session);
    // Somebody else begins the module anew: what is there is looked for again.
    Pkcs11::new(given.kind.module()).expect("it loads").finalize().expect("the module ends");
    new.demand(&*open(&both, &new, &new.made.wrapped).expect("it opens"), "without the other");
    let lost = both.rewrap(spec, &old.made.wrapped, &place()).err();
    assert!(
        matches!(lost, Some(EngineError::Unavailable(why)) if why.contains("earlier epoch")),
        "{lost:?}"
    );
    drop(both);
    let both = engine_of(given, TWO, &[(1, ONE)]);
    old.demand(&*open(&both, &old, &old.made.wrapped).expect("it opens"), "started anew");
}

/// A key that the token does not destroy shows what it would do with its own.
pub(crate) fn a_token_that_keeps_keys_serves_and_begins_no_epoch(given: &Given) {
    let free = engine(given);
    assert_eq!(free.rewraps(), Ok(()), "the control");
    demand_ids(&beside(given, true), &[(ONE, ID)], "the trial leaves nothing");
    drop(free);
    let session = beside(given, false);
    plant_labelled(&session, (vec![2; 16], TRIAL_LABEL), Planted::right(false), vec![9; 32]);
    drop(session);
    let free = engine(given);
    demand_ids(&beside(given, true), &[(ONE, ID)], "what a trial left that was cut off has gone");
    let kept = Planted { destroyable: false, ..Planted::right(false) };
    let session = beside(given, false);
    plant_labelled(&session, (vec![1; 16], TRIAL_LABEL), kept, vec![9; 32]);
    drop(session);
    assert!(free.rewraps().is_err(), "it is tried when an epoch is to begin, not at the start");
    drop(free);
    for start in 0..3 {
        let engine = engine(given);
        let asks_again = engine.rewraps().expect_err("the token keeps keys");
        let why = engine.rewraps().expect_err("the token keeps keys");
        assert!(why.contains("its token must let its user destroy a wrapping key"), "{why}");
        assert_eq!(asks_again, why);
        let spec = KeySpec::Ec(Curve::P256);
        let made = engine.generate(spec, &place()).expect("everything else is served");
        Proof::of(&engine, made);
        let session = beside(given, true);
        let trial = session.find_objects(&[Attribute::Label(TRIAL_LABEL.to_vec())]);
        let left = trial.expect("objects can be found").len();
        assert_eq!(left, 1, "the token does not fill up: {start}");
    }
}

/// The key that wrapped stays where it is: the start is not for that.
pub(crate) fn a_wrapping_key_that_the_token_keeps_stops_no_start(given: &Given) {
    let first = engine(given);
    let spec = KeySpec::Ec(Curve::P256);
    let proof = Proof::of(&first, first.generate(spec, &place()).expect("it is made"));
    drop(first);
    let session = beside(given, false);
    session.destroy_object(named(&session, id(ONE, ID))).expect("the user may do that");
    let kept = Planted { destroyable: false, ..Planted::right(true) };
    plant(&session, id(ONE, ID), kept, right());
    drop(session);
    for start in 0..2 {
        let both = engine_of(given, TWO, &[(1, ONE)]);
        let ids = [(TWO, ID), (ONE, ID), (ONE, EARLIER_ID)];
        demand_ids(&beside(given, true), &ids, "it is kept");
        proof.demand(&*open(&both, &proof, &proof.made.wrapped).expect("it opens"), "kept");
        assert!(both.rewrap(spec, &proof.made.wrapped, &place()).is_ok_and(|it| it.is_some()));
        // The epoch is not left before it has gone.
        for before in [0, 1, 2] {
            let kept = both.forget_before(before).err();
            assert!(matches!(kept, Some(EngineError::Failed(_))), "{start} {before}: {kept:?}");
        }
    }
}
