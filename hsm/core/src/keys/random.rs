//! Random bytes from the engine's generator.

use std::sync::Arc;

use casemate_engine_port::{EngineError, Secret};

use crate::Hsm;
use crate::rbac::{Permit, act};

/// Most bytes of one call.
pub const RANDOM_BYTES_MAX: usize = 128;

/// Why no random bytes were given.
#[derive(Debug, thiserror::Error)]
pub enum RandomRefusal {
    /// Too few or too many were asked for.
    #[error("the count of random bytes is 1 to {RANDOM_BYTES_MAX}, not {0}")]
    Count(usize),
    /// The engine failed.
    #[error("the engine failed")]
    Engine(#[from] EngineError),
}

impl Hsm {
    /// Draws random bytes.
    pub fn random_bytes(
        self: &Arc<Self>,
        _permit: &Permit<act::Rng>,
        count: usize,
    ) -> Result<Secret, RandomRefusal> {
        if !(1..=RANDOM_BYTES_MAX).contains(&count) {
            return Err(RandomRefusal::Count(count));
        }
        let mut bytes = vec![0; count];
        self.engine.random(&mut bytes)?;
        Ok(Secret::new(bytes))
    }
}
