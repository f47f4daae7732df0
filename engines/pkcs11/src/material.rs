//! The stored form of a key: what the token wrapped, bound to kind and place.
//!
//! Specified in `docs/design/engines.md`. It is opened before it is read, so that what is read here
//! was written here.

use casemate_engine_port::{EngineError, KeySpec, Place, PublicPart, Secret, WrappedMaterial};
use casemate_engine_soft::{Envelope, associated_data};

use crate::wrapping::Method;

/// First byte; the software engine's is 1.
const VERSION: u8 = 0x21;
/// The label of the key that binds.
const LABEL: &[u8] = b"casemate pkcs11 material v1";
/// 65537: no other exponent is made or taken in.
const EXPONENT: [u8; 3] = [1, 0, 1];

/// Seals and opens stored keys.
pub(crate) struct Binding(Envelope);

/// A stored key, opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) method: Method,
    pub(crate) public: PublicPart,
    /// The key as the token wrapped it.
    pub(crate) main: Vec<u8>,
    /// A symmetric key's second part, where the MAC key is one of its own.
    pub(crate) mac: Option<Vec<u8>>,
}

impl Binding {
    pub(crate) fn new(key: Secret) -> Self {
        Self(Envelope::new(key, LABEL))
    }

    pub(crate) fn seal(
        &self,
        spec: KeySpec,
        place: &Place,
        stored: &Stored,
    ) -> Result<WrappedMaterial, EngineError> {
        let content =
            stored.encode().ok_or(EngineError::Failed("wrapping: the key is too long"))?;
        let aad = associated_data(VERSION, spec, place);
        self.0.seal(&[VERSION], &aad, &content).map(WrappedMaterial)
    }

    pub(crate) fn open(
        &self,
        spec: KeySpec,
        place: &Place,
        wrapped: &WrappedMaterial,
    ) -> Result<Stored, EngineError> {
        let Some((&VERSION, sealed)) = wrapped.0.split_first() else {
            return Err(EngineError::NotAuthentic);
        };
        let aad = associated_data(VERSION, spec, place);
        let content = self.0.open(&aad, sealed).ok_or(EngineError::NotAuthentic)?;
        Stored::decode(spec, content.expose()).ok_or(EngineError::NotAuthentic)
    }
}

impl Stored {
    /// `None` if a part is longer than 65,535 bytes, which none is.
    fn encode(&self) -> Option<Vec<u8>> {
        let public = match &self.public {
            PublicPart::Rsa { n, .. } => n.clone(),
            PublicPart::Ec { x, y } => [x.as_slice(), y].concat(),
            PublicPart::Oct => Vec::new(),
        };
        let mut out = vec![self.method.code()];
        for part in [&public, &self.main, self.mac.as_ref().unwrap_or(&Vec::new())] {
            out.extend_from_slice(&u16::try_from(part.len()).ok()?.to_be_bytes());
            out.extend_from_slice(part);
        }
        Some(out)
    }

    fn decode(spec: KeySpec, bytes: &[u8]) -> Option<Self> {
        let (code, rest) = bytes.split_first()?;
        let method = Method::from_code(*code)?;
        let (public, rest) = part(rest)?;
        let (main, rest) = part(rest)?;
        let (mac, rest) = part(rest)?;
        let public = match spec {
            KeySpec::Rsa(size) if public.len() == size.bytes() => {
                PublicPart::Rsa { n: public.to_vec(), e: EXPONENT.to_vec() }
            }
            KeySpec::Ec(curve) if public.len() == 2 * curve.field_bytes() => {
                let (x, y) = public.split_at(curve.field_bytes());
                PublicPart::Ec { x: x.to_vec(), y: y.to_vec() }
            }
            KeySpec::Oct(_) if public.is_empty() => PublicPart::Oct,
            _ => return None,
        };
        let mac = (!mac.is_empty()).then(|| mac.to_vec());
        let whole = rest.is_empty() && !main.is_empty();
        whole.then(|| Self { method, public, main: main.to_vec(), mac })
    }
}

fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use casemate_engine_port::{Curve, OctSize, RsaSize};

    fn samples() -> Vec<(KeySpec, Stored)> {
        let rsa = PublicPart::Rsa { n: vec![0x80; 256], e: EXPONENT.to_vec() };
        let ec = PublicPart::Ec { x: vec![1; 66], y: vec![2; 66] };
        let of = |public, mac| Stored { method: Method::Gcm, public, main: vec![3; 1232], mac };
        vec![
            (KeySpec::Rsa(RsaSize::B2048), of(rsa, None)),
            (KeySpec::Ec(Curve::P521), of(ec, None)),
            (KeySpec::Oct(OctSize::B256), of(PublicPart::Oct, None)),
            (KeySpec::Oct(OctSize::B256), of(PublicPart::Oct, Some(vec![4; 72]))),
        ]
    }

    #[test]
    fn what_was_stored_is_read() {
        for (spec, stored) in samples() {
            let bytes = stored.encode().unwrap();
            assert_eq!(Stored::decode(spec, &bytes), Some(stored));
        }
    }

    #[test]
    fn no_shorter_longer_or_other_content_is_read() {
        for (spec, stored) in samples() {
            let bytes = stored.encode().unwrap();
            for cut in 0..bytes.len() {
                assert_eq!(Stored::decode(spec, &bytes[..cut]), None, "{spec:?} {cut}");
            }
            assert_eq!(Stored::decode(spec, &[bytes.as_slice(), &[0]].concat()), None);
            let mut other = bytes.clone();
            other[0] = 9;
            assert_eq!(Stored::decode(spec, &other), None);
        }
    }

    #[test]
    fn another_place_kind_key_or_version_does_not_open() {
        let binding = Binding::new(Secret::new(vec![1; 32]));
        let (spec, stored) = samples().remove(1);
        let place = Place::new("k");
        let sealed = binding.seal(spec, &place, &stored).unwrap();
        assert_eq!(binding.open(spec, &place, &sealed).unwrap(), stored);
        let refused = |binding: &Binding, spec, place: &Place, sealed: &WrappedMaterial| {
            matches!(binding.open(spec, place, sealed), Err(EngineError::NotAuthentic))
        };
        assert!(refused(&binding, spec, &Place::new("l"), &sealed));
        assert!(refused(&binding, KeySpec::Ec(Curve::P384), &place, &sealed));
        let other = Binding::new(Secret::new(vec![2; 32]));
        assert!(refused(&other, spec, &place, &sealed));
        let mut soft = sealed.clone();
        soft.0[0] = 1;
        assert!(refused(&binding, spec, &place, &soft));
        assert!(refused(&binding, spec, &place, &WrappedMaterial(Vec::new())));
    }
}
