//! How key material is wrapped.
//!
//! Wrapped form, version 1:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version, `0x01` |
//! | 32 | salt, fresh for every wrap |
//! | n | AES-256-GCM ciphertext of the material |
//! | 16 | tag |
//!
//! Key: HKDF-SHA256(material key, salt, `casemate material v1`); nonce: zero, since a key is used
//! once. Authenticated with it: version ‖ kind ‖ size ‖ place, the first three of one byte each, so
//! that material of one kind, place or format never opens as another.
//!
//! The material itself: RSA is PKCS #8 DER with all CRT values; EC is the private scalar and the
//! uncompressed point, each coordinate of the field's length (d ‖ 04 ‖ x ‖ y); oct is the key.

use casemate_engine_port::{
    Curve, EngineError, KeySpec, OctSize, Place, RsaSize, Secret, WrappedMaterial,
};

use crate::aead;

const VERSION: u8 = 1;
const LABEL: &[u8] = b"casemate material v1";

/// Wraps material to its place.
pub(crate) fn wrap(
    material_key: &Secret,
    spec: KeySpec,
    place: &Place,
    material: &Secret,
) -> Result<WrappedMaterial, EngineError> {
    let aad = associated_data(VERSION, spec, place);
    aead::seal(material_key, LABEL, &[VERSION], &aad, material.expose())
        .map(WrappedMaterial)
        .map_err(|_| EngineError::Failed("wrapping key material"))
}

/// Opens wrapped material at its place.
pub(crate) fn unwrap(
    material_key: &Secret,
    spec: KeySpec,
    place: &Place,
    wrapped: &WrappedMaterial,
) -> Result<Secret, EngineError> {
    let Some((&VERSION, sealed)) = wrapped.0.split_first() else {
        return Err(EngineError::NotAuthentic);
    };
    let aad = associated_data(VERSION, spec, place);
    aead::open(material_key, LABEL, &aad, sealed).ok_or(EngineError::NotAuthentic)
}

/// What binds wrapped material of one format to its kind and place.
#[must_use]
pub fn associated_data(version: u8, spec: KeySpec, place: &Place) -> Vec<u8> {
    let (kind, size) = code(spec);
    let mut data = vec![version, kind, size];
    data.extend_from_slice(place.as_bytes());
    data
}

/// Part of the stored format: a code is never given a second meaning.
fn code(spec: KeySpec) -> (u8, u8) {
    match spec {
        KeySpec::Rsa(RsaSize::B2048) => (1, 1),
        KeySpec::Rsa(RsaSize::B3072) => (1, 2),
        KeySpec::Rsa(RsaSize::B4096) => (1, 3),
        KeySpec::Ec(Curve::P256) => (2, 1),
        KeySpec::Ec(Curve::P256K) => (2, 2),
        KeySpec::Ec(Curve::P384) => (2, 3),
        KeySpec::Ec(Curve::P521) => (2, 4),
        KeySpec::Oct(OctSize::B128) => (3, 1),
        KeySpec::Oct(OctSize::B192) => (3, 2),
        KeySpec::Oct(OctSize::B256) => (3, 3),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_kind_has_a_code_of_its_own() {
        let codes: HashSet<_> = KeySpec::all().map(code).collect();
        assert_eq!(codes.len(), KeySpec::all().count());
    }

    #[test]
    fn another_version_byte_is_refused() {
        let key = Secret::new(vec![7; 32]);
        let (spec, place) = (KeySpec::Oct(OctSize::B128), Place::new("k"));
        let mut wrapped = wrap(&key, spec, &place, &Secret::new(vec![1; 16])).unwrap();
        wrapped.0[0] = 2;
        let refusal = unwrap(&key, spec, &place, &wrapped).unwrap_err();
        assert!(matches!(refusal, EngineError::NotAuthentic));
    }

    #[test]
    fn nothing_at_all_is_refused() {
        let (spec, place) = (KeySpec::Oct(OctSize::B128), Place::new("k"));
        let nothing = WrappedMaterial(Vec::new());
        let refusal = unwrap(&Secret::new(vec![7; 32]), spec, &place, &nothing).unwrap_err();
        assert!(matches!(refusal, EngineError::NotAuthentic));
    }
}
