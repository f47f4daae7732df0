//! The engine port over this crate's families: makes, takes in and opens keys.
//!
//! Invariant: what a new key's `spec` and `public` say was read from its material, never from the
//! request.

use std::sync::Arc;

use casemate_engine_port::{
    Engine, EngineError, ImportedKey, KeyHandle, KeySpec, NewMaterial, Place, PublicPart, Secret,
    WrappedMaterial,
};

use crate::{aead, ec, material, oct, rsa};

/// Key material in this process's memory, wrapped under one material key when it is stored.
pub struct SoftEngine {
    material_key: Secret,
}

/// A family's answer to "make" and "take in".
pub(crate) struct Made {
    pub(crate) spec: KeySpec,
    pub(crate) public: PublicPart,
    pub(crate) material: Secret,
}

impl SoftEngine {
    /// An engine that wraps under this key of 32 bytes.
    pub fn new(material_key: Secret) -> Result<Self, EngineError> {
        if material_key.len() != aead::KEY_BYTES {
            return Err(EngineError::BadKey("a material key has 32 bytes"));
        }
        Ok(Self { material_key })
    }

    fn wrapped(&self, made: Made, place: &Place) -> Result<NewMaterial, EngineError> {
        let wrapped = material::wrap(&self.material_key, made.spec, place, &made.material)?;
        Ok(NewMaterial { wrapped, spec: made.spec, public: made.public })
    }
}

impl Engine for SoftEngine {
    fn name(&self) -> &'static str {
        "software"
    }

    fn supports(&self, spec: KeySpec) -> bool {
        match spec {
            KeySpec::Rsa(_) | KeySpec::Ec(_) | KeySpec::Oct(_) => true,
        }
    }

    fn generate(&self, spec: KeySpec, place: &Place) -> Result<NewMaterial, EngineError> {
        let made = match spec {
            KeySpec::Rsa(size) => rsa::generate(size)?,
            KeySpec::Ec(curve) => ec::generate(curve)?,
            KeySpec::Oct(size) => oct::generate(size),
        };
        self.wrapped(made, place)
    }

    fn import(&self, key: ImportedKey, place: &Place) -> Result<NewMaterial, EngineError> {
        let made = match key {
            ImportedKey::Rsa(key) => rsa::import(&key)?,
            ImportedKey::Ec { curve, x, y, d } => ec::import(curve, &x, &y, &d)?,
            ImportedKey::Oct(key) => oct::import(key)?,
        };
        self.wrapped(made, place)
    }

    fn open(
        &self,
        spec: KeySpec,
        wrapped: &WrappedMaterial,
        place: &Place,
    ) -> Result<Arc<dyn KeyHandle>, EngineError> {
        let material = material::unwrap(&self.material_key, spec, place, wrapped)?;
        Ok(match spec {
            KeySpec::Rsa(size) => Arc::new(rsa::Key::from_material(size, &material)?),
            KeySpec::Ec(curve) => Arc::new(ec::Key::from_material(curve, &material)?),
            KeySpec::Oct(size) => Arc::new(oct::Key::from_material(size, material)?),
        })
    }

    fn random(&self, out: &mut [u8]) -> Result<(), EngineError> {
        crate::random(out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_material_key_of_another_length_is_refused() {
        for length in [0, 16, 31, 33, 64] {
            assert!(SoftEngine::new(Secret::new(vec![1; length])).is_err(), "{length}");
        }
        assert!(SoftEngine::new(Secret::new(vec![1; 32])).is_ok());
    }
}
