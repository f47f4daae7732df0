//! The engine port over a token.

use std::sync::Arc;

use casemate_engine_port::{
    Engine, EngineError, ImportedKey, KeyHandle, KeySpec, NewMaterial, OperationError, Place,
    Secret, WrappedMaterial,
};
use casemate_engine_soft::check;

use crate::make;
use crate::material::{Binding, Stored};
use crate::token::{Stay, Token, TokenError};
use crate::trial::{self, Abilities};
use crate::wrapping::{Secrets, Under};

/// What every family says to an algorithm of another.
pub(crate) const MISFIT: OperationError =
    OperationError::BadInput("the algorithm does not fit the key");

/// What every family says to an input of the wrong length.
pub(crate) const DIGEST_LENGTH: OperationError =
    OperationError::BadInput("the digest does not have the length that the algorithm asks for");

/// Length of the material key, in bytes.
const KEY_BYTES: usize = 32;

/// Of a token that a rotation of the security domain is refused with.
const NO_REWRAP: &str = ": the token does not wrap again what it has unwrapped, so material of an \
                         earlier epoch stays outside";
/// The same, in words that go on after "so the secret stays".
const NO_AGAIN: &str = ": its token must wrap again what it has unwrapped";

/// The material key of an earlier epoch of the security domain.
pub struct EarlierKey {
    /// The epoch's number.
    pub epoch: u32,
    /// Its material key, 32 bytes.
    pub material_key: Secret,
}

/// Key material in a token.
pub struct Pkcs11Engine {
    token: Arc<Token>,
    binding: Binding,
    /// Of earlier epochs, oldest first: what is wrapped under these opens.
    earlier: Vec<Earlier>,
    abilities: Abilities,
}

/// That an engine has put its wrapping keys into a token for a short time. They are destroyed when
/// it ends or is dropped; then the engine opens nothing any more.
#[derive(Debug)]
#[must_use = "the wrapping keys go when this is dropped"]
pub struct Visit {
    token: Option<Arc<Token>>,
}

impl Visit {
    /// Takes the wrapping keys out of the token.
    ///
    /// # Errors
    /// When the token keeps one.
    pub fn end(mut self) -> Result<(), TokenError> {
        self.token.take().map_or(Ok(()), |token| token.empty())
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let Some(Err(error)) = self.token.take().map(|token| token.empty()) else { return };
        tracing::error!(%error, "wrapping keys stay in a token that was used for a short time");
    }
}

struct Earlier {
    epoch: u32,
    binding: Binding,
}

impl Pkcs11Engine {
    /// Connects with the token, puts the wrapping key in where it is not there yet, and tries what
    /// the token can do. The same with the keys of earlier epochs, oldest first, for opening only.
    /// The material keys are wiped when this returns.
    ///
    /// # Errors
    /// When the token cannot be used at all.
    pub fn open(
        token: Token,
        material_key: Secret,
        earlier: Vec<EarlierKey>,
    ) -> Result<Self, TokenError> {
        Self::open_for(Stay::Long, token, material_key, earlier)
    }

    /// The same for an HSM that is thrown away: the token must hold no keys, and holds none again
    /// when the visit has ended.
    ///
    /// # Errors
    /// When the token cannot be used at all, or holds keys.
    pub fn visit(
        token: Token,
        material_key: Secret,
        earlier: Vec<EarlierKey>,
    ) -> Result<(Self, Visit), TokenError> {
        let engine = Self::open_for(Stay::Short, token, material_key, earlier)?;
        let visit = Visit { token: Some(Arc::clone(&engine.token)) };
        Ok((engine, visit))
    }

    fn open_for(
        stay: Stay,
        token: Token,
        material_key: Secret,
        earlier: Vec<EarlierKey>,
    ) -> Result<Self, TokenError> {
        let secrets = |material_key: Secret| {
            assert_eq!(material_key.len(), KEY_BYTES, "a material key has 32 bytes");
            Secrets::of(&material_key)
        };
        let present = secrets(material_key);
        let (epochs, earlier): (Vec<u32>, Vec<Secrets>) =
            earlier.into_iter().map(|key| (key.epoch, secrets(key.material_key))).unzip();
        token.enrol(&present, &earlier, stay)?;
        let token = Arc::new(token);
        // What the token refuses then is an answer and no fault; the log gets the sum of it.
        let quiet = tracing::subscriber::NoSubscriber::default();
        let abilities = tracing::subscriber::with_default(quiet, || trial::run(&token));
        abilities.log(token.label());
        let earlier = epochs.into_iter().zip(earlier).map(|(epoch, secrets)| Earlier {
            epoch,
            binding: Binding::new(secrets.into_binding()),
        });
        let (binding, earlier) = (Binding::new(present.into_binding()), earlier.collect());
        Ok(Self { token, binding, earlier, abilities })
    }

    /// The stored key, and under which wrapping key it is.
    fn stored(
        &self,
        spec: KeySpec,
        wrapped: &WrappedMaterial,
        place: &Place,
    ) -> Result<(Stored, Under), EngineError> {
        let found = match self.binding.open(spec, place, wrapped) {
            Ok(stored) => Ok((stored, Under::Present)),
            Err(refusal) => self.stored_earlier(spec, wrapped, place).ok_or(refusal),
        };
        match found? {
            (stored, _) if !self.token.unwraps(stored.method) => {
                Err(EngineError::Unsupported(stored.method.refusal()))
            }
            found => Ok(found),
        }
    }

    fn stored_earlier(
        &self,
        spec: KeySpec,
        wrapped: &WrappedMaterial,
        place: &Place,
    ) -> Option<(Stored, Under)> {
        self.earlier.iter().enumerate().rev().find_map(|(at, earlier)| {
            let stored = earlier.binding.open(spec, place, wrapped).ok()?;
            Some((stored, Under::Earlier(at)))
        })
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
        let (stored, under) = self.stored(spec, wrapped, place)?;
        make::open(&self.token, spec, stored, under, self.abilities.oaep)
    }

    fn rewraps(&self) -> Result<(), &'static str> {
        if !self.abilities.rewraps {
            return Err(NO_AGAIN);
        }
        self.token.exchanges()
    }

    fn rewrap(
        &self,
        spec: KeySpec,
        wrapped: &WrappedMaterial,
        place: &Place,
    ) -> Result<Option<WrappedMaterial>, EngineError> {
        let (stored, under) = self.stored(spec, wrapped, place)?;
        if under == Under::Present {
            return Ok(None);
        }
        if !self.abilities.rewraps {
            return Err(EngineError::Unsupported(NO_REWRAP));
        }
        let again = make::rewrap(&self.token, spec, &stored, under)?;
        self.binding.seal(spec, place, &again).map(Some)
    }

    fn forget_before(&self, epoch: u32) -> Result<(), EngineError> {
        let earlier = self.earlier.iter().enumerate();
        let gone: Vec<usize> =
            earlier.filter(|(_, earlier)| earlier.epoch < epoch).map(|(at, _)| at).collect();
        if gone.is_empty() && !self.token.has_left_over() {
            return Ok(());
        }
        let done = self.token.remove_earlier(&gone);
        done.map_err(|fault| fault.engine("destroying the wrapping keys of earlier epochs"))
    }

    fn random(&self, out: &mut [u8]) -> Result<(), EngineError> {
        make::random(&self.token, out)
    }
}
