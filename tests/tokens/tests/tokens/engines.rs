//! Engines over the token of this process, and a look at it from beside.

use casemate_engine_pkcs11::{EarlierKey, Pkcs11Engine, Token, TokenError, TokenOptions};
use casemate_engine_port::Secret;
use casemate_test_kit::softhsm::{self, LABEL};
use casemate_token_tests::Given;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};

pub(crate) fn options(given: &Given, label: &str) -> TokenOptions {
    TokenOptions {
        module: given.kind.module(),
        label: label.to_owned(),
        pin_file: softhsm::pin_file(&given.folder),
    }
}

pub(crate) fn material_key(byte: u8) -> Secret {
    Secret::new(vec![byte; 32])
}

/// An engine under this material key, with those of earlier epochs: each its number and its key.
pub(crate) fn try_engine(
    given: &Given,
    label: &str,
    key: u8,
    earlier: &[(u32, u8)],
) -> Result<Pkcs11Engine, TokenError> {
    let token = Token::load(&options(given, label))?;
    let earlier = earlier.iter();
    let earlier =
        earlier.map(|(epoch, key)| EarlierKey { epoch: *epoch, material_key: material_key(*key) });
    Pkcs11Engine::open(token, material_key(key), earlier.collect())
}

pub(crate) fn engine(given: &Given) -> Pkcs11Engine {
    engine_of(given, 3, &[])
}

pub(crate) fn engine_of(given: &Given, key: u8, earlier: &[(u32, u8)]) -> Pkcs11Engine {
    try_engine(given, LABEL, key, earlier).expect("the token can be used")
}

/// The same token seen by another user of the module in this process; where no engine has logged
/// in, the module is begun anew.
pub(crate) fn beside(given: &Given, logged_in: bool) -> Session {
    let module = Pkcs11::new(given.kind.module()).expect("the module loads");
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

/// All keys that the token shows. Kryoptic shows objects that describe its mechanisms, too.
pub(crate) fn keys(session: &Session) -> Vec<ObjectHandle> {
    let classes = [ObjectClass::SECRET_KEY, ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY];
    let of = |class| session.find_objects(&[Attribute::Class(class)]);
    classes.into_iter().flat_map(|class| of(class).expect("objects can be found")).collect()
}

/// Whether somebody gets the key out, by any mechanism that a wrapping key is used with.
pub(crate) fn is_wrapped(session: &Session, wrapping: ObjectHandle, key: ObjectHandle) -> bool {
    let mut iv = [1; 12];
    let gcm = GcmParams::new(&mut iv, &[], 128.into()).expect("a vector of 12 bytes");
    let pad = session.wrap_key(&Mechanism::AesKeyWrapPad, wrapping, key);
    pad.is_ok() || session.wrap_key(&Mechanism::AesGcm(gcm), wrapping, key).is_ok()
}

/// What a key says of itself that somebody puts in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planted {
    pub(crate) wraps: bool,
    pub(crate) extractable: bool,
    pub(crate) decrypts: bool,
    pub(crate) signs: bool,
    pub(crate) derives: bool,
    pub(crate) modifiable: bool,
    pub(crate) private: bool,
    pub(crate) destroyable: bool,
}

impl Planted {
    /// As the engine puts one in.
    pub(crate) fn right(wraps: bool) -> Self {
        Self {
            wraps,
            extractable: false,
            decrypts: false,
            signs: false,
            derives: false,
            modifiable: false,
            private: true,
            destroyable: true,
        }
    }

    /// Each with one thing otherwise.
    pub(crate) fn wrong(wraps: bool) -> [Self; 7] {
        let right = Self::right(wraps);
        [
            Self { wraps: !wraps, ..right },
            Self { extractable: true, ..right },
            Self { decrypts: true, ..right },
            Self { signs: true, ..right },
            Self { derives: true, ..right },
            Self { modifiable: true, ..right },
            Self { private: false, ..right },
        ]
    }
}

/// A key as somebody else could put it in.
pub(crate) fn plant(session: &Session, id: Vec<u8>, what: Planted, value: Vec<u8>) {
    plant_labelled(session, (id, b"planted"), what, value);
}

pub(crate) fn plant_labelled(
    session: &Session,
    (id, label): (Vec<u8>, &[u8]),
    what: Planted,
    value: Vec<u8>,
) {
    let mut template = vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Token(true),
        Attribute::Private(what.private),
        Attribute::Sensitive(true),
        Attribute::Extractable(what.extractable),
        Attribute::Modifiable(what.modifiable),
        Attribute::Encrypt(what.decrypts),
        Attribute::Decrypt(what.decrypts),
        Attribute::Sign(what.signs),
        Attribute::Verify(what.signs),
        Attribute::Derive(what.derives),
        Attribute::Wrap(what.wraps),
        Attribute::Unwrap(true),
        Attribute::Value(value),
        Attribute::Id(id),
        Attribute::Label(label.to_vec()),
    ];
    if !what.destroyable {
        template.push(Attribute::Destroyable(false));
    }
    session.create_object(&template).expect("the user may do that");
}
