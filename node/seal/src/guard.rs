//! The port: what takes a few secret bytes into its keeping and gives them back later.

use std::path::Path;

use casemate_channel::Guard;
use casemate_engine_port::Secret;
use casemate_engine_soft::seal::SealError;

use crate::credential::Credential;
use crate::error::GuardError;
use crate::passphrase::Passphrase;
use crate::token::TokenKey;

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
        Guard::Tpm { device, pcrs } => tpm(device, pcrs)?,
        Guard::Token { module, token, pin_file, .. } => {
            Box::new(TokenKey::load(module, token, pin_file)?)
        }
    })
}

#[cfg(feature = "tpm")]
#[expect(clippy::unnecessary_wraps, reason = "without the feature it is refused")]
fn tpm(device: &str, pcrs: &[u8]) -> Result<Box<dyn Keeper>, GuardError> {
    Ok(Box::new(crate::tpm::Tpm::of(device, pcrs)))
}

#[cfg(not(feature = "tpm"))]
fn tpm(_device: &str, _pcrs: &[u8]) -> Result<Box<dyn Keeper>, GuardError> {
    Err(GuardError::WithoutTpm)
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
