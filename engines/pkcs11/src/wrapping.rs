//! The wrapping key: the one key that stays in the token, and the mechanism that wraps with it.
//!
//! It is derived from the HSM's material key and put into the token once, as not extractable and
//! for nothing but wrapping. At every start of the engine a secret that is made for that is wrapped
//! in the token and opened here, with the derived key: so the token's key is known to be this one,
//! its mechanism to be the standard's (RFC 5649 or AES-GCM), and the wrapped keys to open in any
//! other token of the same domain. Then the derived key is wiped. The wrapped secret is kept: a
//! token that comes back must open it.
//!
//! After a new epoch of the security domain began, the keys of earlier epochs are there beside it,
//! under names of their own and for unwrapping only ([`establish_earlier`]): what is wrapped under
//! one of them can be used, and wrapped anew inside the token.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded};
use casemate_engine_port::Secret;
use casemate_engine_soft::{derived, random};
use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::Session;
use zeroize::Zeroizing;

use crate::fault::{Fault, NO_EARLIER};
use crate::template::{self, Template};
use crate::token::{Bound, TokenError, failed};

const KEY_LABEL: &[u8] = b"casemate pkcs11 wrapping key v1";
const ID_LABEL: &[u8] = b"casemate pkcs11 wrapping id v1";
const EARLIER_ID_LABEL: &[u8] = b"casemate pkcs11 earlier wrapping id v1";
const BINDING_LABEL: &[u8] = b"casemate pkcs11 binding key v1";
/// Length of the wrapping key's `CKA_ID`, in bytes.
const ID_BYTES: usize = 16;
/// Length of the secret that proves the key, in bytes.
const PROOF_BYTES: usize = 32;
/// Steps of a start, for the operator.
const FIND: &str = "find a key";
/// Length of AES-GCM's tag, in bits and bytes.
const TAG_BITS: u64 = 128;
const TAG_BYTES: usize = 16;

/// What is derived from the material key. Wiped as soon as the token has what it needs.
pub(crate) struct Secrets {
    key: Secret,
    id: Vec<u8>,
    /// The name that the key has once it is that of an earlier epoch.
    earlier_id: Vec<u8>,
    binding: Secret,
}

impl Secrets {
    pub(crate) fn of(material_key: &Secret) -> Self {
        let id = |label| derived(material_key, label).expose()[..ID_BYTES].to_vec();
        let (key, binding) =
            (derived(material_key, KEY_LABEL), derived(material_key, BINDING_LABEL));
        Self { key, id: id(ID_LABEL), earlier_id: id(EARLIER_ID_LABEL), binding }
    }

    /// Wipes the wrapping key and gives the other one away.
    pub(crate) fn into_binding(self) -> Secret {
        self.binding
    }
}

/// How the token wraps. The number is part of the stored form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// `CKM_AES_KEY_WRAP_PAD`: RFC 5649.
    KeyWrapPad = 1,
    /// `CKM_AES_GCM` with a random vector of 12 bytes in front.
    Gcm = 2,
}

impl Method {
    const ALL: [Self; 2] = [Self::KeyWrapPad, Self::Gcm];

    pub(crate) fn code(self) -> u8 {
        match self {
            Self::KeyWrapPad => 1,
            Self::Gcm => 2,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.code() == code)
    }

    /// What is said of a key that was wrapped like this where the token does not do it.
    pub(crate) fn refusal(self) -> &'static str {
        match self {
            Self::KeyWrapPad => {
                ": it was wrapped with CKM_AES_KEY_WRAP_PAD, which this token does not do"
            }
            Self::Gcm => ": it was wrapped with CKM_AES_GCM, which this token does not do",
        }
    }

    fn wrap(
        self,
        session: &Session,
        wrapping: ObjectHandle,
        key: ObjectHandle,
    ) -> Result<Vec<u8>, Error> {
        match self {
            Self::KeyWrapPad => session.wrap_key(&Mechanism::AesKeyWrapPad, wrapping, key),
            Self::Gcm => {
                let mut iv = [0; NONCE_LEN];
                random(&mut iv);
                let mut out = iv.to_vec();
                let gcm = GcmParams::new(&mut iv, &[], TAG_BITS.into())?;
                out.extend(session.wrap_key(&Mechanism::AesGcm(gcm), wrapping, key)?);
                Ok(out)
            }
        }
    }

    fn unwrap(
        self,
        session: &Session,
        wrapping: ObjectHandle,
        wrapped: &[u8],
        template: &[Attribute],
    ) -> Result<ObjectHandle, Error> {
        match self {
            Self::KeyWrapPad => {
                session.unwrap_key(&Mechanism::AesKeyWrapPad, wrapping, wrapped, template)
            }
            Self::Gcm => {
                let (iv, body) =
                    wrapped.split_first_chunk::<NONCE_LEN>().ok_or(Error::InvalidValue)?;
                let mut iv = *iv;
                let gcm = GcmParams::new(&mut iv, &[], TAG_BITS.into())?;
                session.unwrap_key(&Mechanism::AesGcm(gcm), wrapping, body, template)
            }
        }
    }

    /// The same as the token does, here.
    fn seal(self, key: &Secret, secret: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::KeyWrapPad => {
                let kek = AesKek::new(&AES_256, key.expose()).ok()?;
                let mut out = vec![0; secret.len().next_multiple_of(8) + 8];
                let length = kek.wrap_with_padding(secret, &mut out).ok()?.len();
                out.truncate(length);
                Some(out)
            }
            Self::Gcm => {
                let mut iv = [0; NONCE_LEN];
                random(&mut iv);
                let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.expose()).ok()?);
                let mut body = Zeroizing::new(secret.to_vec());
                let nonce = Nonce::assume_unique_for_key(iv);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut body).ok()?;
                Some([&iv, body.as_slice(), tag.as_ref()].concat())
            }
        }
    }

    /// The same as the token does, here.
    fn open(self, key: &Secret, wrapped: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut out = Zeroizing::new(vec![0; wrapped.len()]);
        let length = match self {
            Self::KeyWrapPad => {
                let kek = AesKek::new(&AES_256, key.expose()).ok()?;
                kek.unwrap_with_padding(wrapped, &mut out).ok()?.len()
            }
            Self::Gcm => {
                let (iv, body) = wrapped.split_first_chunk::<NONCE_LEN>()?;
                let (text, tag) = body.split_at_checked(body.len().checked_sub(TAG_BYTES)?)?;
                let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.expose()).ok()?);
                let nonce = Nonce::assume_unique_for_key(*iv);
                out.truncate(text.len());
                out.copy_from_slice(text);
                key.open_in_place_separate_tag(nonce, Aad::empty(), tag, &mut out).ok()?;
                text.len()
            }
        };
        out.truncate(length);
        Some(out)
    }
}

/// What stays known of the wrapping keys when they are wiped here.
pub(crate) struct Known {
    key: KnownKey,
    pub(crate) method: Method,
    /// All that the token opens, the one above among them.
    unwraps: Vec<Method>,
    /// Those of earlier epochs, oldest first.
    earlier: Vec<KnownKey>,
    /// Names of keys that were to be destroyed, and that the token kept.
    pub(crate) left_over: Vec<Vec<u8>>,
}

/// One key in the token.
struct KnownKey {
    id: Vec<u8>,
    /// A secret that the right key wrapped.
    proof: Vec<u8>,
}

/// The keys of one connection.
pub(crate) struct Keys {
    /// The one that wraps.
    pub(crate) present: ObjectHandle,
    /// Those of earlier epochs, oldest first; none where the token that came back lacks one.
    pub(crate) earlier: Vec<Option<ObjectHandle>>,
}

impl Keys {
    /// These earlier ones are there no more.
    pub(crate) fn forget(&mut self, which: &[usize]) {
        for at in which {
            if let Some(key) = self.earlier.get_mut(*at) {
                *key = None;
            }
        }
    }
}

/// Under which of the wrapping keys a key is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Under {
    Present,
    /// That of an earlier epoch, by its place among them.
    Earlier(usize),
}

impl Known {
    /// The keys of a token that came back.
    pub(crate) fn find(&self, session: &Session) -> Found {
        let of = |key: &KnownKey| find(session, &key.id).ok().and_then(|it| it.first().copied());
        let is_proved = |key: &KnownKey, object| key.is_proved(session, self.method, object);
        let Some(present) = of(&self.key) else { return Found::Nothing };
        if !is_proved(&self.key, present) {
            return Found::Another;
        }
        let earlier = self.earlier.iter();
        let earlier = earlier.map(|key| of(key).filter(|object| is_proved(key, *object)));
        Found::All(Keys { present, earlier: earlier.collect() })
    }

    /// Whether the token opens what was wrapped like this.
    pub(crate) fn unwraps(&self, method: Method) -> bool {
        self.unwraps.contains(&method)
    }

    /// The names of the keys of these earlier epochs, and of those that are left over.
    pub(crate) fn ids_to_remove(&self, which: &[usize]) -> Vec<&[u8]> {
        let earlier = which.iter().filter_map(|at| self.earlier.get(*at)).map(|key| &key.id);
        earlier.chain(&self.left_over).map(Vec::as_slice).collect()
    }
}

/// What a token that came back holds.
pub(crate) enum Found {
    /// The key that wraps, at least.
    All(Keys),
    /// Another key in its place.
    Another,
    /// No such key.
    Nothing,
}

impl KnownKey {
    /// With a secret that is wrapped here.
    fn of(id: &[u8], key: &Secret, method: Method) -> Option<Self> {
        let mut proof = Zeroizing::new([0; PROOF_BYTES]);
        random(proof.as_mut_slice());
        Some(Self { id: id.to_vec(), proof: method.seal(key, proof.as_slice())? })
    }

    /// Whether this key opens what the right one wrapped.
    fn is_proved(&self, session: &Session, method: Method, wrapping: ObjectHandle) -> bool {
        let template = template::proof_out();
        match method.unwrap(session, wrapping, &self.proof, &template) {
            Ok(object) => session.destroy_object(object).is_ok(),
            Err(_) => false,
        }
    }
}

/// Wraps a key that is in the token.
pub(crate) fn wrap(bound: &Bound<'_>, key: ObjectHandle) -> Result<Vec<u8>, Fault> {
    Ok(bound.known.method.wrap(bound.session, bound.keys.present, key)?)
}

/// Opens a wrapped key inside the token.
pub(crate) fn unwrap(
    bound: &Bound<'_>,
    under: Under,
    method: Method,
    wrapped: &[u8],
    template: &[Attribute],
) -> Result<ObjectHandle, Fault> {
    let key = match under {
        Under::Present => Some(bound.keys.present),
        Under::Earlier(at) => bound.keys.earlier.get(at).copied().flatten(),
    };
    let key = key.ok_or(Fault::Gone(NO_EARLIER))?;
    Ok(method.unwrap(bound.session, key, wrapped, template)?)
}

/// Whether the wrapping key can be seen: so is the token there.
pub(crate) fn is_there(bound: &Bound<'_>) -> bool {
    bound
        .session
        .get_attributes(bound.keys.present, &[AttributeType::Class])
        .is_ok_and(|it| !it.is_empty())
}

/// Finds the wrapping keys or puts them in, and proves them.
pub(crate) fn establish(
    session: &Session,
    secrets: &Secrets,
    earlier: &[Secrets],
    label: &str,
) -> Result<(Keys, Known), TokenError> {
    let mut left_over = Vec::new();
    // An HSM that was put back to this epoch may have left its key there as an earlier one.
    left_over.extend(let_go(session, &secrets.earlier_id, label));
    let (present, method, key) = establish_present(session, secrets, label)?;
    let unwraps = Method::ALL.into_iter().filter(|other| {
        *other == method
            || KnownKey::of(&secrets.id, &secrets.key, *other)
                .is_some_and(|key| key.is_proved(session, *other, present))
    });
    let (unwraps, mut keys) = (unwraps.collect(), Keys { present, earlier: Vec::new() });
    let mut known_earlier = Vec::new();
    for secrets in earlier {
        let (object, key) = establish_earlier(session, secrets, method, label)?;
        keys.earlier.push(Some(object));
        known_earlier.push(key);
        left_over.extend(let_go(session, &secrets.id, label));
    }
    let known = Known { key, method, unwraps, earlier: known_earlier, left_over };
    Ok((keys, known))
}

fn establish_present(
    session: &Session,
    secrets: &Secrets,
    label: &str,
) -> Result<(ObjectHandle, Method, KnownKey), TokenError> {
    let found = find(session, &secrets.id).map_err(|error| failed(label, FIND, error))?;
    let wrong = || TokenError::WrongKey { label: label.to_owned() };
    let wrapping = match found.as_slice() {
        [] => {
            let template = Template::wrapping_key(&secrets.id, &secrets.key);
            let step = "take in the wrapping key";
            session.create_object(&template).map_err(|error| failed(label, step, error))?
        }
        [key] if is_guarded(session, *key, Wraps::Yes) => *key,
        _ => return Err(wrong()),
    };
    let mut proof = Zeroizing::new([0; PROOF_BYTES]);
    random(proof.as_mut_slice());
    let template = Template::proof(proof.as_slice());
    let step = "take in a secret";
    let object = session.create_object(&template).map_err(|error| failed(label, step, error))?;
    let mut wrapped_otherwise = false;
    let mut known = None;
    for method in Method::ALL {
        let Ok(wrapped) = method.wrap(session, wrapping, object) else { continue };
        match method.open(&secrets.key, &wrapped) {
            Some(opened) if opened.as_slice() == proof.as_slice() => {
                let candidate = KnownKey { id: secrets.id.clone(), proof: wrapped };
                if candidate.is_proved(session, method, wrapping) {
                    known = Some((method, candidate));
                    break;
                }
            }
            _ => wrapped_otherwise = true,
        }
    }
    let _gone = session.destroy_object(object);
    match known {
        Some((method, key)) => Ok((wrapping, method, key)),
        None if wrapped_otherwise => Err(wrong()),
        None => Err(TokenError::NoWrapping { label: label.to_owned() }),
    }
}

/// The key of an earlier epoch, under its other name and for unwrapping only. The one that wrapped
/// while the epoch was in force is let go of when this one is there: cut off between the two, both
/// are, and the next start goes on.
fn establish_earlier(
    session: &Session,
    secrets: &Secrets,
    method: Method,
    label: &str,
) -> Result<(ObjectHandle, KnownKey), TokenError> {
    let id = &secrets.earlier_id;
    let found = find(session, id).map_err(|error| failed(label, FIND, error))?;
    let wrong = || TokenError::WrongKey { label: label.to_owned() };
    let object = match found.as_slice() {
        [] => {
            let template = Template::earlier_wrapping_key(id, &secrets.key);
            let step = "take in the wrapping key of an earlier epoch";
            session.create_object(&template).map_err(|error| failed(label, step, error))?
        }
        [key] if is_guarded(session, *key, Wraps::No) => *key,
        _ => return Err(wrong()),
    };
    let key = KnownKey::of(id, &secrets.key, method).ok_or_else(wrong)?;
    if !key.is_proved(session, method, object) {
        return Err(wrong());
    }
    Ok((object, key))
}

/// Destroys a key that is not used any more, and answers with its name if the token kept it. That
/// stops no start: it is tried again before the epoch is left.
fn let_go(session: &Session, id: &[u8], label: &str) -> Option<Vec<u8>> {
    let error = remove(session, id).err()?;
    tracing::warn!(
        token = label,
        %error,
        "the token keeps a wrapping key that is not used any more; it is tried again before the \
         epoch of the security domain is left, and at the next start"
    );
    Some(id.to_vec())
}

/// Destroys the key of this name, if there is one.
pub(crate) fn remove(session: &Session, id: &[u8]) -> Result<(), Error> {
    for object in find(session, id)? {
        session.destroy_object(object)?;
    }
    Ok(())
}

/// Whether the token holds no wrapping key, of whatever HSM.
pub(crate) fn holds_none(session: &Session, label: &str) -> Result<bool, TokenError> {
    let found = session.find_objects(&template::wrapping_keys());
    Ok(found.map_err(|error| failed(label, FIND, error))?.is_empty())
}

/// Destroys every wrapping key.
pub(crate) fn remove_all(session: &Session) -> Result<(), Error> {
    for object in session.find_objects(&template::wrapping_keys())? {
        session.destroy_object(object)?;
    }
    Ok(())
}

fn find(session: &Session, id: &[u8]) -> Result<Vec<ObjectHandle>, Error> {
    session.find_objects(&template::wrapping_key_named(id))
}

/// Whether a wrapping key is to wrap, or only to unwrap.
#[derive(Clone, Copy)]
enum Wraps {
    Yes,
    No,
}

/// Whether the key says of itself that it can be neither read nor changed nor used for more than it
/// is there for: a key that also decrypts would open every wrapped key to whoever holds the PIN.
/// What it does not say counts as otherwise. So would one that derives: what AES encrypts of chosen
/// blocks becomes a key that can be read, and that is the key stream of GCM.
fn is_guarded(session: &Session, key: ObjectHandle, wraps: Wraps) -> bool {
    let wanted = [
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Modifiable(false),
        Attribute::Encrypt(false),
        Attribute::Decrypt(false),
        Attribute::Sign(false),
        Attribute::Wrap(matches!(wraps, Wraps::Yes)),
    ];
    let mut asked: Vec<AttributeType> = wanted.iter().map(Attribute::attribute_type).collect();
    // A key that an earlier release put in was given no answer to that; the standard's is no.
    asked.push(AttributeType::Derive);
    session.get_attributes(key, &asked).is_ok_and(|told| {
        wanted.iter().all(|wanted| told.contains(wanted))
            && !told.contains(&Attribute::Derive(true))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_derived_differs_and_belongs_to_the_material_key() {
        let (one, two) =
            (Secrets::of(&Secret::new(vec![1; 32])), Secrets::of(&Secret::new(vec![2; 32])));
        assert_ne!(one.key, one.binding);
        assert_ne!(one.key.expose()[..ID_BYTES], one.id[..]);
        assert_ne!(one.key, two.key);
        assert_ne!(one.id, two.id);
        assert_ne!(one.id, one.earlier_id);
        assert_ne!(one.earlier_id, two.earlier_id);
        assert_ne!(one.binding, two.binding);
    }

    #[test]
    fn methods_have_codes_of_their_own() {
        for method in Method::ALL {
            assert_eq!(Method::from_code(method.code()), Some(method));
        }
        for code in [0, 3, 0x21, 255] {
            assert_eq!(Method::from_code(code), None);
        }
    }

    #[test]
    fn what_is_sealed_here_opens_here_and_under_no_other_key() {
        let (key, other) = (Secret::new(vec![1; 32]), Secret::new(vec![2; 32]));
        for method in Method::ALL {
            let sealed = method.seal(&key, &[7; PROOF_BYTES]).unwrap();
            assert_eq!(method.open(&key, &sealed).unwrap().as_slice(), [7; PROOF_BYTES]);
            assert!(method.open(&other, &sealed).is_none());
            let mut changed = sealed;
            *changed.last_mut().unwrap() ^= 1;
            assert!(method.open(&key, &changed).is_none());
        }
    }

    #[test]
    fn what_another_key_wrapped_does_not_open() {
        let (key, other) = (Secret::new(vec![1; 32]), Secret::new(vec![2; 32]));
        let kek = AesKek::new(&AES_256, key.expose()).unwrap();
        let mut out = vec![0; 48];
        let wrapped = kek.wrap_with_padding(&[7; 32], &mut out).unwrap().to_vec();
        assert_eq!(Method::KeyWrapPad.open(&key, &wrapped).unwrap().as_slice(), [7; 32]);
        assert!(Method::KeyWrapPad.open(&other, &wrapped).is_none());
        for method in Method::ALL {
            assert!(method.open(&key, &[]).is_none());
            assert!(method.open(&key, &wrapped[1..]).is_none());
        }
    }
}
