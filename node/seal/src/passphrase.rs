//! A passphrase in a file: Argon2id makes the key.

use std::path::{Path, PathBuf};

use casemate_engine_port::Secret;
use casemate_engine_soft::seal::{open_with_passphrase, under_passphrase};

use crate::error::GuardError;
use crate::files::read_private;
use crate::guard::{Keeper, not_opened};

/// Longest passphrase, in bytes.
const PASSPHRASE_BYTES_MAX: usize = 1024;

/// The passphrase, read.
pub(crate) struct Passphrase {
    file: PathBuf,
    passphrase: Secret,
}

impl Passphrase {
    /// Reads the file. One line feed at its end is not part of it: editors and `echo` end a line.
    pub(crate) fn read(file: &Path) -> Result<Self, GuardError> {
        let bytes = read_private(file, PASSPHRASE_BYTES_MAX)?;
        let text = bytes.expose().strip_suffix(b"\n").unwrap_or(bytes.expose());
        if text.is_empty() {
            return Err(GuardError::EmptyPassphrase { path: file.to_owned() });
        }
        Ok(Self { file: file.to_owned(), passphrase: Secret::new(text.to_vec()) })
    }
}

impl Keeper for Passphrase {
    fn seal(&self, payload: &Secret, slot: &Path) -> Result<Vec<u8>, GuardError> {
        under_passphrase(&self.passphrase, payload)
            .map_err(|cause| GuardError::Seal { slot: slot.to_owned(), cause })
    }

    fn open(&self, sealed: &[u8], slot: &Path) -> Result<Secret, GuardError> {
        let wrong = GuardError::WrongPassphrase { file: self.file.clone(), slot: slot.to_owned() };
        open_with_passphrase(&self.passphrase, sealed)
            .map_err(|cause| not_opened(cause, slot, wrong))
    }
}
