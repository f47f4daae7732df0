//! The port: what takes a few secret bytes into its keeping and gives them back later.

use std::path::Path;

use casemate_channel::Guard;
use casemate_engine_port::Secret;
use casemate_engine_soft::seal::SealError;

use crate::credential::Credential;
use crate::error::GuardError;
use crate::passphrase::Passphrase;

/// One kind of guard, ready to work.
pub(crate) trait Keeper {
    /// Seals a payload; `slot` is where it will lie, for messages.
    fn seal(&self, payload: &Secret, slot: &Path) -> Result<Vec<u8>, GuardError>;

    /// Opens what this guard sealed.
    fn open(&self, sealed: &[u8], slot: &Path) -> Result<Secret, GuardError>;
}

/// Makes the guard ready: its passphrase, credential or connection is had from here on.
pub(crate) fn ready(guard: &Guard) -> Result<Box<dyn Keeper>, GuardError> {
    Ok(match guard {
        Guard::Passphrase { file } => Box::new(Passphrase::read(file)?),
        Guard::Credential { file } => Box::new(Credential::read(file)?),
    })
}

/// Why a seal was not opened: the wrong secret is for the guard to name, the rest is the same.
pub(crate) fn not_opened(cause: SealError, slot: &Path, wrong: GuardError) -> GuardError {
    let slot = slot.to_owned();
    match cause {
        SealError::NotAuthentic => wrong,
        SealError::OtherKind => GuardError::OtherGuard { slot },
        other => GuardError::Malformed { slot, cause: Some(other) },
    }
}
