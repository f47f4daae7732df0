//! A credential that the service manager gives: a file of 32 random bytes, which systemd decrypts
//! (by the machine's TPM or its host key) for this service alone.

use std::path::{Path, PathBuf};

use casemate_engine_port::Secret;
use casemate_engine_soft::seal::{open_with_key, under_key};

use crate::error::GuardError;
use crate::files::read_secret;
use crate::guard::{Keeper, not_opened};
use crate::keys::KEY_BYTES;

/// Longest file that is looked at, in bytes, so that its length can be told.
const CREDENTIAL_BYTES_MAX: usize = 4096;

/// The credential, read.
pub(crate) struct Credential {
    file: PathBuf,
    key: Secret,
}

impl Credential {
    /// Reads the file. systemd keeps it from others by the folder that it is in, and by its mode
    /// or an access list, which shows as a group's.
    pub(crate) fn read(file: &Path) -> Result<Self, GuardError> {
        let key = read_secret(file, CREDENTIAL_BYTES_MAX, false)?;
        if key.len() != KEY_BYTES {
            return Err(GuardError::CredentialLength { file: file.to_owned(), found: key.len() });
        }
        Ok(Self { file: file.to_owned(), key })
    }
}

impl Keeper for Credential {
    fn seal(&self, payload: &Secret, slot: &Path) -> Result<Vec<u8>, GuardError> {
        under_key(&self.key, payload)
            .map_err(|cause| GuardError::Seal { slot: slot.to_owned(), cause })
    }

    fn open(&self, sealed: &[u8], slot: &Path) -> Result<Secret, GuardError> {
        let wrong = GuardError::WrongCredential { file: self.file.clone(), slot: slot.to_owned() };
        open_with_key(&self.key, sealed).map_err(|cause| not_opened(cause, slot, wrong))
    }
}
