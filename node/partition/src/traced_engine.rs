//! An engine whose work is a step of the request that it is done for.

use std::sync::Arc;

use casemate_engine_port::{
    CipherAlgorithm, Cost, DecryptInput, Decrypted, EncryptInput, Encrypted, Engine, EngineError,
    ImportedKey, KeyHandle, KeySpec, KeyUse, NewMaterial, OperationError, Place, SignAlgorithm,
    WrappedMaterial,
};
use casemate_trace::{Step, step};

/// What the engine was asked to do, as a word of this program.
const CALL: &str = "casemate.engine.call";

/// The same engine.
pub(crate) struct TracedEngine(Arc<dyn Engine>);

struct TracedHandle(Arc<dyn KeyHandle>);

impl TracedEngine {
    pub(crate) fn around(engine: Arc<dyn Engine>) -> Arc<dyn Engine> {
        Arc::new(Self(engine))
    }
}

fn call(name: &'static str) -> Step {
    let mut step = step("engine");
    step.note(CALL, name);
    step
}

/// The end of a step. A wrong input is the caller's fault and no failure of the engine.
fn ended<T>(mut step: Step, done: Result<T, OperationError>) -> Result<T, OperationError> {
    if let Err(OperationError::Failed(_) | OperationError::Unavailable(_)) = &done {
        step.fail();
    }
    done
}

/// The same, of what the engine does with material.
fn made<T>(mut step: Step, done: Result<T, EngineError>) -> Result<T, EngineError> {
    if let Err(EngineError::Failed(_) | EngineError::NotAuthentic | EngineError::Unavailable(_)) =
        &done
    {
        step.fail();
    }
    done
}

impl Engine for TracedEngine {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn why_not(&self, spec: KeySpec) -> &'static str {
        self.0.why_not(spec)
    }

    fn supports(&self, spec: KeySpec) -> bool {
        self.0.supports(spec)
    }

    fn generate(&self, spec: KeySpec, place: &Place) -> Result<NewMaterial, EngineError> {
        made(call("generate"), self.0.generate(spec, place))
    }

    fn import(&self, key: ImportedKey, place: &Place) -> Result<NewMaterial, EngineError> {
        made(call("import"), self.0.import(key, place))
    }

    fn open(
        &self,
        spec: KeySpec,
        wrapped: &WrappedMaterial,
        place: &Place,
    ) -> Result<Arc<dyn KeyHandle>, EngineError> {
        let handle = made(call("open"), self.0.open(spec, wrapped, place))?;
        Ok(Arc::new(TracedHandle(handle)))
    }

    fn rewraps(&self) -> Result<(), &'static str> {
        self.0.rewraps()
    }

    fn rewrap(
        &self,
        spec: KeySpec,
        wrapped: &WrappedMaterial,
        place: &Place,
    ) -> Result<Option<WrappedMaterial>, EngineError> {
        self.0.rewrap(spec, wrapped, place)
    }

    fn forget_before(&self, epoch: u32) -> Result<(), EngineError> {
        self.0.forget_before(epoch)
    }

    fn random(&self, out: &mut [u8]) -> Result<(), EngineError> {
        made(call("random"), self.0.random(out))
    }
}

impl KeyHandle for TracedHandle {
    fn cost(&self, key_use: KeyUse) -> Cost {
        self.0.cost(key_use)
    }

    fn sign(&self, algorithm: SignAlgorithm, input: &[u8]) -> Result<Vec<u8>, OperationError> {
        ended(call("sign"), self.0.sign(algorithm, input))
    }

    fn verify(
        &self,
        algorithm: SignAlgorithm,
        input: &[u8],
        signature: &[u8],
    ) -> Result<bool, OperationError> {
        ended(call("verify"), self.0.verify(algorithm, input, signature))
    }

    fn encrypt(
        &self,
        algorithm: CipherAlgorithm,
        input: EncryptInput<'_>,
    ) -> Result<Encrypted, OperationError> {
        ended(call("encrypt"), self.0.encrypt(algorithm, input))
    }

    fn decrypt(
        &self,
        algorithm: CipherAlgorithm,
        input: DecryptInput<'_>,
    ) -> Result<Decrypted, OperationError> {
        ended(call("decrypt"), self.0.decrypt(algorithm, input))
    }
}
