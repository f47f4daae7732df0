//! The engine port over a token.

use std::sync::Arc;

use casemate_engine_port::{
    Engine, EngineError, ImportedKey, KeyHandle, KeySpec, NewMaterial, OperationError, Place,
    Secret, WrappedMaterial,
};
use casemate_engine_soft::check;

use crate::make;
use crate::material::{Binding, Stored};
use crate::token::{Token, TokenError};
use crate::trial::{self, Abilities};
use crate::wrapping::Secrets;

/// What every family says to an algorithm of another.
pub(crate) const MISFIT: OperationError =
    OperationError::BadInput("the algorithm does not fit the key");

/// What every family says to an input of the wrong length.
pub(crate) const DIGEST_LENGTH: OperationError =
    OperationError::BadInput("the digest does not have the length that the algorithm asks for");

/// Length of the material key, in bytes.
const KEY_BYTES: usize = 32;

/// Key material in a token.
pub struct Pkcs11Engine {
    token: Arc<Token>,
    binding: Binding,
    abilities: Abilities,
}

impl Pkcs11Engine {
    /// Connects with the token, puts the wrapping key in where it is not there yet, and tries what
    /// the token can do. The material key is wiped when this returns.
    ///
    /// # Errors
    /// When the token cannot be used at all.
    pub fn open(token: Token, material_key: Secret) -> Result<Self, TokenError> {
        assert_eq!(material_key.len(), KEY_BYTES, "a material key has 32 bytes");
        let secrets = Secrets::of(&material_key);
        drop(material_key);
        token.enrol(&secrets)?;
        let token = Arc::new(token);
        // What the token refuses then is an answer and no fault; the log gets the sum of it.
        let quiet = tracing::subscriber::NoSubscriber::default();
        let abilities = tracing::subscriber::with_default(quiet, || trial::run(&token));
        abilities.log(token.label());
        Ok(Self { token, binding: Binding::new(secrets.into_binding()), abilities })
    }

    fn sealed(
        &self,
        spec: KeySpec,
        place: &Place,
        stored: Stored,
    ) -> Result<NewMaterial, EngineError> {
        let wrapped = self.binding.seal(spec, place, &stored)?;
        Ok(NewMaterial { wrapped, spec, public: stored.public })
    }
}

impl Engine for Pkcs11Engine {
    fn name(&self) -> &'static str {
        "pkcs11"
    }

    fn supports(&self, spec: KeySpec) -> bool {
        self.abilities.refusal(spec).is_none()
    }

    fn why_not(&self, spec: KeySpec) -> &'static str {
        self.abilities.refusal(spec).unwrap_or_default()
    }

    fn generate(&self, spec: KeySpec, place: &Place) -> Result<NewMaterial, EngineError> {
        if let Some(why) = self.abilities.refusal(spec) {
            return Err(EngineError::Unsupported(why));
        }
        let stored = make::generate(&self.token, spec, self.abilities.mac)?;
        self.sealed(spec, place, stored)
    }

    fn import(&self, key: ImportedKey, place: &Place) -> Result<NewMaterial, EngineError> {
        let (spec, public) = check(&key)?;
        if let Some(why) = self.abilities.refusal(spec) {
            return Err(EngineError::Unsupported(why));
        }
        if !self.abilities.imports {
            return Err(EngineError::Unsupported(": the token takes no key in from outside"));
        }
        let stored = make::import(&self.token, &key, &public, self.abilities.mac)?;
        self.sealed(spec, place, stored)
    }

    fn open(
        &self,
        spec: KeySpec,
        wrapped: &WrappedMaterial,
        place: &Place,
    ) -> Result<Arc<dyn KeyHandle>, EngineError> {
        let stored = self.binding.open(spec, place, wrapped)?;
        make::open(&self.token, spec, stored, self.abilities.oaep)
    }

    fn random(&self, out: &mut [u8]) -> Result<(), EngineError> {
        make::random(&self.token, out)
    }
}
