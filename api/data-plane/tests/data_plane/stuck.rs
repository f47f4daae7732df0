//! An engine whose token cannot go on under another secret.

use std::sync::Arc;

use casemate_engine_port::{
    Engine, EngineError, ImportedKey, KeyHandle, KeySpec, NewMaterial, Place, WrappedMaterial,
};

/// Around another one, with the reason.
pub(crate) struct Stuck {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) why: &'static str,
}

impl Engine for Stuck {
    fn name(&self) -> &'static str {
        "pkcs11"
    }

    fn supports(&self, spec: KeySpec) -> bool {
        self.engine.supports(spec)
    }

    fn generate(&self, spec: KeySpec, place: &Place) -> Result<NewMaterial, EngineError> {
        self.engine.generate(spec, place)
    }

    fn import(&self, key: ImportedKey, place: &Place) -> Result<NewMaterial, EngineError> {
        self.engine.import(key, place)
    }

    fn open(
        &self,
        spec: KeySpec,
        wrapped: &WrappedMaterial,
        place: &Place,
    ) -> Result<Arc<dyn KeyHandle>, EngineError> {
        self.engine.open(spec, wrapped, place)
    }

    fn rewraps(&self) -> Result<(), &'static str> {
        Err(self.why)
    }

    fn random(&self, out: &mut [u8]) -> Result<(), EngineError> {
        self.engine.random(out)
    }
}
