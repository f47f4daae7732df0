//! Making, taking in and opening keys: every key is a session object that is wrapped, and the
//! object destroyed, on the failing paths too.

use std::sync::Arc;

use casemate_engine_port::{
    Curve, EngineError, ImportedKey, KeyHandle, KeySpec, OctSize, PublicPart, RsaSize,
};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::Session;

use crate::fault::Fault;
use crate::key::KeyObject;
use crate::material::Stored;
use crate::rsa::OaepWays;
use crate::template::{Role, Template, curve_oid, passing, passing_again};
use crate::token::{Bound, Token};
use crate::wrapping::Under;
use crate::{ec, oct, rsa, wrapping};

/// Length of a MAC key of its own, in bytes: no token refuses it for any of the hashes.
const MAC_BYTES: usize = 64;
/// First byte of an uncompressed point (SEC 1, 2.3.3), and DER's tag of an OCTET STRING.
const UNCOMPRESSED: u8 = 4;

/// Whether a symmetric key is its own MAC key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mac {
    /// The token takes HMAC keys of every length.
    Same,
    /// It does not: the MAC key is 64 bytes of its own.
    Own,
}

/// An object that is destroyed when it goes out of use, in the session that made it.
struct Passing<'a> {
    session: &'a Session,
    object: ObjectHandle,
}

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.session.destroy_object(self.object) {
            tracing::debug!(%error, "a passing object was gone before it was destroyed");
        }
    }
}

/// Makes a key in the token.
pub(crate) fn generate(token: &Token, spec: KeySpec, mac: Mac) -> Result<Stored, EngineError> {
    let made = token.with(|bound| match spec {
        KeySpec::Rsa(size) => generate_rsa(bound, size),
        KeySpec::Ec(curve) => generate_ec(bound, curve),
        KeySpec::Oct(size) => generate_oct(bound, size, mac),
    });
    made.map_err(|fault| fault.engine("key generation in the token"))
}

fn generate_rsa(bound: &Bound<'_>, size: RsaSize) -> Result<Stored, Fault> {
    let public = [
        Attribute::Token(false),
        Attribute::ModulusBits(u64::from(size.bits()).into()),
        Attribute::PublicExponent(vec![1, 0, 1]),
        Attribute::Verify(true),
    ];
    let private = private_template(&[Attribute::Sign(true), Attribute::Decrypt(true)]);
    let (public, private) = pair(bound, &Mechanism::RsaPkcsKeyPairGen, &public, &private)?;
    let asked = [AttributeType::Modulus, AttributeType::PublicExponent];
    let told = bound.session.get_attributes(public.object, &asked)?;
    let (mut n, mut e) = (None, None);
    for attribute in told {
        match attribute {
            Attribute::Modulus(bytes) => n = Some(bytes),
            Attribute::PublicExponent(bytes) => e = Some(bytes),
            _ => {}
        }
    }
    let (Some(n), Some(e)) = (n, e) else { return Err(Fault::Binding) };
    let n: Vec<u8> = n.into_iter().skip_while(|byte| *byte == 0).collect();
    let e: Vec<u8> = e.into_iter().skip_while(|byte| *byte == 0).collect();
    // What was asked for, and nothing weaker.
    if n.len() != size.bytes() || n[0] & 0x80 == 0 || e != [1, 0, 1] {
        return Err(Fault::Binding);
    }
    stored(bound, PublicPart::Rsa { n, e }, private.object)
}

fn generate_ec(bound: &Bound<'_>, curve: Curve) -> Result<Stored, Fault> {
    let public = [
        Attribute::Token(false),
        Attribute::EcParams(curve_oid(curve).to_vec()),
        Attribute::Verify(true),
    ];
    let private = private_template(&[Attribute::Sign(true)]);
    let (public, private) = pair(bound, &Mechanism::EccKeyPairGen, &public, &private)?;
    let told = bound.session.get_attributes(public.object, &[AttributeType::EcPoint])?;
    let Some(Attribute::EcPoint(point)) = told.first() else { return Err(Fault::Binding) };
    let public = coordinates(curve, point).ok_or(Fault::Binding)?;
    stored(bound, public, private.object)
}

fn generate_oct(bound: &Bound<'_>, size: OctSize, mac: Mac) -> Result<Stored, Fault> {
    let secret = |mechanism: &Mechanism<'_>, bytes: usize, uses: &[Attribute]| {
        let mut template = passing().to_vec();
        template.push(Attribute::ValueLen(bytes.try_into().map_err(|_| Fault::Binding)?));
        template.extend_from_slice(uses);
        let object = bound.session.generate_key(mechanism, &template)?;
        Ok::<_, Fault>(Passing { session: bound.session, object })
    };
    let uses = [Attribute::Encrypt(true), Attribute::Decrypt(true)];
    let key = secret(&Mechanism::AesKeyGen, size.bytes(), &uses)?;
    let mut made = stored(bound, PublicPart::Oct, key.object)?;
    if mac == Mac::Own {
        let uses = [Attribute::Sign(true)];
        let key = secret(&Mechanism::GenericSecretKeyGen, MAC_BYTES, &uses)?;
        made.mac = Some(wrapping::wrap(bound, key.object)?);
    }
    Ok(made)
}

fn private_template(uses: &[Attribute]) -> Vec<Attribute> {
    let mut template = passing().to_vec();
    template.extend_from_slice(uses);
    template
}

fn pair<'a>(
    bound: &Bound<'a>,
    mechanism: &Mechanism<'_>,
    public: &[Attribute],
    private: &[Attribute],
) -> Result<(Passing<'a>, Passing<'a>), Fault> {
    let session = bound.session;
    let (public, private) = session.generate_key_pair(mechanism, public, private)?;
    let passing = |object| Passing { session, object };
    Ok((passing(public), passing(private)))
}

/// Takes a key in that was checked. Its bytes pass through this process; what holds them here is
/// wiped.
pub(crate) fn import(
    token: &Token,
    key: &ImportedKey,
    public: &PublicPart,
    mac: Mac,
) -> Result<Stored, EngineError> {
    let template = Template::import(key);
    let mac_template = match key {
        ImportedKey::Oct(secret) if mac == Mac::Own => {
            Some(Template::import_mac(secret, MAC_BYTES))
        }
        _ => None,
    };
    let taken = token.with(|bound| {
        let passing = |template: &Template| {
            let object = bound.session.create_object(template)?;
            Ok::<_, Fault>(Passing { session: bound.session, object })
        };
        let object = passing(&template)?;
        let mut made = stored(bound, public.clone(), object.object)?;
        if let Some(template) = &mac_template {
            let object = passing(template)?;
            made.mac = Some(wrapping::wrap(bound, object.object)?);
        }
        Ok(made)
    });
    taken.map_err(|fault| fault.engine("taking a key into the token"))
}

/// Wraps an object.
fn stored(bound: &Bound<'_>, public: PublicPart, key: ObjectHandle) -> Result<Stored, Fault> {
    let main = wrapping::wrap(bound, key)?;
    Ok(Stored { method: bound.known.method, public, main, mac: None })
}

/// Opens a stored key for use.
pub(crate) fn open(
    token: &Arc<Token>,
    spec: KeySpec,
    stored: Stored,
    under: Under,
    oaep: OaepWays,
) -> Result<Arc<dyn KeyHandle>, EngineError> {
    let Stored { method, public, main, mac } = stored;
    let object = |wrapped, role| KeyObject::new(Arc::clone(token), (under, method), wrapped, role);
    let mac = match spec {
        KeySpec::Oct(_) => Some(object(mac.unwrap_or_else(|| main.clone()), Role::Mac)),
        KeySpec::Rsa(_) | KeySpec::Ec(_) => None,
    };
    let key = object(main, Role::Main(spec));
    // Now and not at the first use: a key that the token refuses is not handed out.
    key.with(|_, _| Ok(())).map_err(|fault| fault.engine("unwrapping a key in the token"))?;
    Ok(match (spec, mac) {
        (KeySpec::Rsa(size), _) => Arc::new(rsa::Key::new(size, &public, key, oaep)?),
        (KeySpec::Ec(curve), _) => Arc::new(ec::Key::new(curve, &public, key)?),
        (KeySpec::Oct(size), Some(mac)) => Arc::new(oct::Key::new(size, key, mac)),
        (KeySpec::Oct(_), None) => return Err(EngineError::NotAuthentic),
    })
}

/// Wraps a stored key under the present wrapping key: it is unwrapped into a session object that is
/// never shown, wrapped, and destroyed. Its bytes stay in the token.
pub(crate) fn rewrap(
    token: &Token,
    spec: KeySpec,
    stored: &Stored,
    under: Under,
) -> Result<Stored, EngineError> {
    let again = |bound: &Bound<'_>, wrapped: &[u8], role| {
        let template = passing_again(role);
        let object = wrapping::unwrap(bound, under, stored.method, wrapped, &template)?;
        let passing = Passing { session: bound.session, object };
        wrapping::wrap(bound, passing.object)
    };
    let done = token.with(|bound| {
        let main = again(bound, &stored.main, Role::Main(spec))?;
        let mac = stored.mac.as_ref().map(|mac| again(bound, mac, Role::Mac)).transpose()?;
        Ok(Stored { method: bound.known.method, public: stored.public.clone(), main, mac })
    });
    done.map_err(|fault| fault.engine("wrapping a key anew in the token"))
}

/// Random bytes of the token's generator.
pub(crate) fn random(token: &Token, out: &mut [u8]) -> Result<(), EngineError> {
    let length = u32::try_from(out.len()).map_err(|_| EngineError::Failed("a random length"))?;
    let bytes = token
        .with(|bound| Ok(bound.session.generate_random_vec(length)?))
        .map_err(|fault| fault.engine("the token's random generator"))?;
    if bytes.len() != out.len() {
        return Err(EngineError::Failed("the token's random generator"));
    }
    out.copy_from_slice(&bytes);
    Ok(())
}

/// The coordinates of a point as tokens give it: uncompressed, in an OCTET STRING as the standard
/// says, or bare as some do.
fn coordinates(curve: Curve, point: &[u8]) -> Option<PublicPart> {
    let length = 1 + 2 * curve.field_bytes();
    let bare = point.len().checked_sub(length).map(|header| point.split_at(header));
    let (header, bare) = bare?;
    let is_header = match header {
        [] => true,
        [UNCOMPRESSED, short] => usize::from(*short) == length,
        [UNCOMPRESSED, 0x81, long] => usize::from(*long) == length,
        _ => false,
    };
    let (first, numbers) = bare.split_first()?;
    if !is_header || *first != UNCOMPRESSED {
        return None;
    }
    let (x, y) = numbers.split_at(curve.field_bytes());
    Some(PublicPart::Ec { x: x.to_vec(), y: y.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_read_with_and_without_their_header() {
        for (curve, header) in [(Curve::P256, vec![4, 65]), (Curve::P521, vec![4, 0x81, 133])] {
            let bytes = curve.field_bytes();
            let bare = [vec![4], vec![1; bytes], vec![2; bytes]].concat();
            let wanted = PublicPart::Ec { x: vec![1; bytes], y: vec![2; bytes] };
            assert_eq!(coordinates(curve, &bare), Some(wanted.clone()));
            let wrapped = [header, bare.clone()].concat();
            assert_eq!(coordinates(curve, &wrapped), Some(wanted));
            assert_eq!(coordinates(curve, &bare[1..]), None);
            assert_eq!(coordinates(curve, &[&[5], bare.as_slice()].concat()), None);
            assert_eq!(coordinates(curve, &[&[4, 64], bare.as_slice()].concat()), None);
            let mut compressed = bare;
            compressed[0] = 2;
            assert_eq!(coordinates(curve, &compressed), None);
        }
        assert_eq!(coordinates(Curve::P256, &[]), None);
    }
}
