//! The wrapping key: the one key that stays in the token, and the mechanism that wraps with it.
//!
//! It is derived from the HSM's material key and put into the token once, as not extractable and
//! for nothing but wrapping. At every start of the engine a secret that is made for that is wrapped
//! in the token and opened here, with the derived key: so the token's key is known to be this one,
//! its mechanism to be the standard's (RFC 5649 or AES-GCM), and the wrapped keys to open in any
//! other token of the same domain. Then the derived key is wiped. The wrapped secret is kept: a
//! token that comes back must open it.

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

use crate::fault::Fault;
use crate::template::{self, Template};
use crate::token::{Bound, TokenError, failed};

const KEY_LABEL: &[u8] = b"casemate pkcs11 wrapping key v1";
const ID_LABEL: &[u8] = b"casemate pkcs11 wrapping id v1";
const BINDING_LABEL: &[u8] = b"casemate pkcs11 binding key v1";
/// Length of the wrapping key's `CKA_ID`, in bytes.
const ID_BYTES: usize = 16;
/// Length of the secret that proves the key, in bytes.
const PROOF_BYTES: usize = 32;
/// Length of AES-GCM's tag, in bits and bytes.
const TAG_BITS: u64 = 128;
const TAG_BYTES: usize = 16;

/// What is derived from the material key. Wiped as soon as the token has what it needs.
pub(crate) struct Secrets {
    key: Secret,
    id: Vec<u8>,
    binding: Secret,
}

impl Secrets {
    pub(crate) fn of(material_key: &Secret) -> Self {
        let id = derived(material_key, ID_LABEL).expose()[..ID_BYTES].to_vec();
        let (key, binding) =
            (derived(material_key, KEY_LABEL), derived(material_key, BINDING_LABEL));
        Self { key, id, binding }
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

/// What stays known of the wrapping key when it is wiped here.
pub(crate) struct Known {
    id: Vec<u8>,
    pub(crate) method: Method,
    /// A secret that the right key wrapped.
    proof: Vec<u8>,
}

impl Known {
    /// The token's key, if it holds one.
    pub(crate) fn find(&self, session: &Session) -> Result<Option<ObjectHandle>, Error> {
        find(session, &self.id).map(|found| found.first().copied())
    }

    /// Whether this key opens what the right one wrapped.
    pub(crate) fn is_proved(&self, session: &Session, wrapping: ObjectHandle) -> bool {
        let template = template::proof_out();
        match self.method.unwrap(session, wrapping, &self.proof, &template) {
            Ok(object) => session.destroy_object(object).is_ok(),
            Err(_) => false,
        }
    }
}

/// Wraps a key that is in the token.
pub(crate) fn wrap(bound: &Bound<'_>, key: ObjectHandle) -> Result<Vec<u8>, Fault> {
    Ok(bound.known.method.wrap(bound.session, bound.wrapping, key)?)
}

/// Opens a wrapped key inside the token.
pub(crate) fn unwrap(
    bound: &Bound<'_>,
    method: Method,
    wrapped: &[u8],
    template: &[Attribute],
) -> Result<ObjectHandle, Fault> {
    Ok(method.unwrap(bound.session, bound.wrapping, wrapped, template)?)
}

/// Whether the wrapping key can be seen: so is the token there.
pub(crate) fn is_there(bound: &Bound<'_>) -> bool {
    bound
        .session
        .get_attributes(bound.wrapping, &[AttributeType::Class])
        .is_ok_and(|it| !it.is_empty())
}

/// Finds the wrapping key or puts it in, and proves it.
pub(crate) fn establish(
    session: &Session,
    secrets: &Secrets,
    label: &str,
) -> Result<(ObjectHandle, Known), TokenError> {
    let found = find(session, &secrets.id).map_err(|error| failed(label, "find a key", error))?;
    let wrong = || TokenError::WrongKey { label: label.to_owned() };
    let wrapping = match found.as_slice() {
        [] => {
            let template = Template::wrapping_key(&secrets.id, &secrets.key);
            let step = "take in the wrapping key";
            session.create_object(&template).map_err(|error| failed(label, step, error))?
        }
        [key] if is_guarded(session, *key) => *key,
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
                let candidate = Known { id: secrets.id.clone(), method, proof: wrapped };
                if candidate.is_proved(session, wrapping) {
                    known = Some(candidate);
                    break;
                }
            }
            _ => wrapped_otherwise = true,
        }
    }
    let _gone = session.destroy_object(object);
    match known {
        Some(known) => Ok((wrapping, known)),
        None if wrapped_otherwise => Err(wrong()),
        None => Err(TokenError::NoWrapping { label: label.to_owned() }),
    }
}

fn find(session: &Session, id: &[u8]) -> Result<Vec<ObjectHandle>, Error> {
    session.find_objects(&template::wrapping_key_named(id))
}

/// Whether the key can be neither read nor used for more than wrapping: a key that also decrypts
/// would open every wrapped key to whoever holds the PIN.
fn is_guarded(session: &Session, key: ObjectHandle) -> bool {
    let asked = [
        AttributeType::Sensitive,
        AttributeType::Extractable,
        AttributeType::Encrypt,
        AttributeType::Decrypt,
    ];
    let Ok(told) = session.get_attributes(key, &asked) else { return false };
    let has = |wanted: Attribute| told.contains(&wanted);
    has(Attribute::Sensitive(true))
        && has(Attribute::Extractable(false))
        && !has(Attribute::Encrypt(true))
        && !has(Attribute::Decrypt(true))
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
