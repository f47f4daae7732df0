//! The attributes of every object that this engine makes in a token.

use casemate_engine_port::{Curve, ImportedKey, ImportedRsa, KeySpec, Secret};
use cryptoki::object::{Attribute, KeyType, ObjectClass};
use zeroize::Zeroize;

/// The label of keys that only show whether the token takes keys in and destroys them.
const TRIAL_LABEL: &[u8] = b"casemate trial key, of no use";

/// What an object is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A private key, or a symmetric one that encrypts.
    Main(KeySpec),
    /// A symmetric key that makes MACs: tokens want a key of another type for that.
    Mac,
}

/// Attributes with key material in clear, wiped when dropped.
pub(crate) struct Template(Vec<Attribute>);

impl std::ops::Deref for Template {
    type Target = [Attribute];

    fn deref(&self) -> &[Attribute] {
        &self.0
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        for attribute in &mut self.0 {
            match attribute {
                Attribute::Value(bytes)
                | Attribute::PrivateExponent(bytes)
                | Attribute::Prime1(bytes)
                | Attribute::Prime2(bytes)
                | Attribute::Exponent1(bytes)
                | Attribute::Exponent2(bytes)
                | Attribute::Coefficient(bytes) => bytes.zeroize(),
                _ => {}
            }
        }
    }
}

impl Template {
    /// The wrapping key: stays, is never shown, wraps and does nothing else.
    pub(crate) fn wrapping_key(id: &[u8], key: &Secret) -> Self {
        Self::kept(id, key, b"casemate wrapping key", true)
    }

    /// That of an earlier epoch: opens what it wrapped, and wraps nothing any more.
    pub(crate) fn earlier_wrapping_key(id: &[u8], key: &Secret) -> Self {
        Self::kept(id, key, b"casemate wrapping key of an earlier epoch", false)
    }

    /// As a wrapping key of an earlier epoch, but nothing is ever wrapped under it.
    pub(crate) fn trial_key(id: &[u8], key: &Secret) -> Self {
        Self::kept(id, key, TRIAL_LABEL, false)
    }

    fn kept(id: &[u8], key: &Secret, label: &[u8], wraps: bool) -> Self {
        let mut attributes = wrapping_key_named(id);
        attributes.extend([
            Attribute::Label(label.to_vec()),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Modifiable(false),
            Attribute::Encrypt(false),
            Attribute::Decrypt(false),
            Attribute::Sign(false),
            Attribute::Verify(false),
            Attribute::Derive(false),
            Attribute::Wrap(wraps),
            Attribute::Unwrap(true),
            Attribute::Value(key.expose().to_vec()),
        ]);
        Self(attributes)
    }

    /// A secret that only proves the wrapping key.
    pub(crate) fn proof(secret: &[u8]) -> Self {
        let mut attributes = vec![
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::GENERIC_SECRET),
        ];
        attributes.extend(passing());
        attributes.push(Attribute::Value(secret.to_vec()));
        Self(attributes)
    }

    /// An imported private key, on its way to be wrapped.
    pub(crate) fn import(key: &ImportedKey) -> Self {
        let (class, key_type, values) = match key {
            ImportedKey::Rsa(key) => (ObjectClass::PRIVATE_KEY, KeyType::RSA, rsa(key)),
            ImportedKey::Ec { curve, d, .. } => (
                ObjectClass::PRIVATE_KEY,
                KeyType::EC,
                vec![
                    Attribute::EcParams(curve_oid(*curve).to_vec()),
                    Attribute::Value(padded(d.expose(), curve.field_bytes())),
                ],
            ),
            ImportedKey::Oct(key) => (
                ObjectClass::SECRET_KEY,
                KeyType::AES,
                vec![Attribute::Value(key.expose().to_vec())],
            ),
        };
        let mut attributes = vec![Attribute::Class(class), Attribute::KeyType(key_type)];
        attributes.extend(passing());
        attributes.extend(values);
        Self(attributes)
    }

    /// An imported MAC key: padded with zeros to this length, which HMAC does anyway.
    pub(crate) fn import_mac(key: &Secret, length: usize) -> Self {
        let mut value = Vec::with_capacity(length.max(key.len()));
        value.extend_from_slice(key.expose());
        value.resize(length.max(key.len()), 0);
        let mut attributes = vec![
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::GENERIC_SECRET),
        ];
        attributes.extend(passing());
        attributes.push(Attribute::Value(value));
        Self(attributes)
    }
}

fn rsa(key: &ImportedRsa) -> Vec<Attribute> {
    let number = |bytes: &[u8]| without_zeros(bytes).to_vec();
    vec![
        Attribute::Modulus(number(&key.n)),
        Attribute::PublicExponent(number(&key.e)),
        Attribute::PrivateExponent(number(key.d.expose())),
        Attribute::Prime1(number(key.p.expose())),
        Attribute::Prime2(number(key.q.expose())),
        Attribute::Exponent1(number(key.dp.expose())),
        Attribute::Exponent2(number(key.dq.expose())),
        Attribute::Coefficient(number(key.qi.expose())),
    ]
}

/// A new key that is wrapped and destroyed at once: a session object that may be wrapped, and is
/// never shown.
pub(crate) fn passing() -> [Attribute; 4] {
    [
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(true),
    ]
}

/// A key of an earlier epoch, on its way to be wrapped under the present one.
pub(crate) fn passing_again(role: Role) -> Vec<Attribute> {
    let mut attributes = kind(role).to_vec();
    attributes.extend(passing());
    attributes
}

fn kind(role: Role) -> [Attribute; 2] {
    let (class, key_type) = match role {
        Role::Main(KeySpec::Rsa(_)) => (ObjectClass::PRIVATE_KEY, KeyType::RSA),
        Role::Main(KeySpec::Ec(_)) => (ObjectClass::PRIVATE_KEY, KeyType::EC),
        Role::Main(KeySpec::Oct(_)) => (ObjectClass::SECRET_KEY, KeyType::AES),
        Role::Mac => (ObjectClass::SECRET_KEY, KeyType::GENERIC_SECRET),
    };
    [Attribute::Class(class), Attribute::KeyType(key_type)]
}

/// A key in use: a session object that leaves the token in no form.
pub(crate) fn in_use(role: Role) -> Vec<Attribute> {
    let mut attributes = kind(role).to_vec();
    attributes.extend([
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
    ]);
    attributes.extend(match role {
        Role::Main(KeySpec::Rsa(_)) => vec![Attribute::Sign(true), Attribute::Decrypt(true)],
        Role::Main(KeySpec::Ec(_)) | Role::Mac => vec![Attribute::Sign(true)],
        Role::Main(KeySpec::Oct(_)) => vec![Attribute::Encrypt(true), Attribute::Decrypt(true)],
    });
    attributes
}

/// The secret that proves the wrapping key, unwrapped.
pub(crate) fn proof_out() -> [Attribute; 6] {
    [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
    ]
}

/// How any wrapping key is found, of whatever HSM.
pub(crate) fn wrapping_keys() -> [Attribute; 3] {
    [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Token(true),
    ]
}

/// How the wrapping key is found.
pub(crate) fn wrapping_key_named(id: &[u8]) -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Token(true),
        Attribute::Id(id.to_vec()),
    ]
}

/// How the keys of the trial are found.
pub(crate) fn trial_keys() -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Token(true),
        Attribute::Label(TRIAL_LABEL.to_vec()),
    ]
}

/// The curve's object identifier, DER (SEC 2; RFC 5480).
pub(crate) fn curve_oid(curve: Curve) -> &'static [u8] {
    match curve {
        Curve::P256 => &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7],
        Curve::P256K => &[6, 5, 0x2b, 0x81, 4, 0, 0x0a],
        Curve::P384 => &[6, 5, 0x2b, 0x81, 4, 0, 0x22],
        Curve::P521 => &[6, 5, 0x2b, 0x81, 4, 0, 0x23],
    }
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// The number in exactly this length; it was checked to fit.
fn padded(number: &[u8], length: usize) -> Vec<u8> {
    let number = without_zeros(number);
    let mut out = Vec::with_capacity(length);
    out.resize(length.saturating_sub(number.len()), 0);
    out.extend_from_slice(number);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use casemate_engine_port::OctSize;

    #[test]
    fn a_key_in_use_cannot_be_extracted_and_no_key_but_the_wrapping_one_stays() {
        for role in KeySpec::all().map(Role::Main).chain([Role::Mac]) {
            let attributes = in_use(role);
            assert!(attributes.contains(&Attribute::Extractable(false)), "{role:?}");
            assert!(attributes.contains(&Attribute::Sensitive(true)), "{role:?}");
            assert!(attributes.contains(&Attribute::Token(false)), "{role:?}");
        }
        assert!(passing().contains(&Attribute::Token(false)));
        for role in KeySpec::all().map(Role::Main).chain([Role::Mac]) {
            let attributes = passing_again(role);
            assert!(attributes.contains(&Attribute::Sensitive(true)), "{role:?}");
            assert!(attributes.contains(&Attribute::Token(false)), "{role:?}");
        }
    }

    #[test]
    fn the_key_of_an_earlier_epoch_wraps_nothing() {
        let template = Template::earlier_wrapping_key(&[1; 16], &Secret::new(vec![2; 32]));
        for wanted in [
            Attribute::Wrap(false),
            Attribute::Unwrap(true),
            Attribute::Extractable(false),
            Attribute::Sensitive(true),
            Attribute::Decrypt(false),
            Attribute::Encrypt(false),
        ] {
            assert!(template.contains(&wanted), "{wanted:?}");
        }
    }

    #[test]
    fn the_wrapping_key_wraps_and_does_nothing_else() {
        let template = Template::wrapping_key(&[1; 16], &Secret::new(vec![2; 32]));
        for wanted in [
            Attribute::Extractable(false),
            Attribute::Sensitive(true),
            Attribute::Decrypt(false),
            Attribute::Encrypt(false),
            Attribute::Token(true),
        ] {
            assert!(template.contains(&wanted), "{wanted:?}");
        }
    }

    #[test]
    fn a_mac_key_is_padded_with_zeros_and_never_cut() {
        let key = Secret::new(vec![7; OctSize::B192.bytes()]);
        let value = |length| {
            let template = Template::import_mac(&key, length);
            template.iter().find_map(|attribute| match attribute {
                Attribute::Value(bytes) => Some(bytes.clone()),
                _ => None,
            })
        };
        assert_eq!(value(0).unwrap(), vec![7; 24]);
        assert_eq!(value(64).unwrap(), [vec![7; 24], vec![0; 40]].concat());
    }

    #[test]
    fn numbers_are_brought_to_their_length() {
        assert_eq!(padded(&[0, 0, 1, 2], 3), [0, 1, 2]);
        assert_eq!(padded(&[1], 3), [0, 0, 1]);
        assert_eq!(without_zeros(&[0, 0]), [0_u8; 0]);
    }
}
