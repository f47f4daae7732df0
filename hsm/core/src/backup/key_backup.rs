//! The backup of one key, as it is handed out: an envelope, and the sealed content.

use super::envelope::{self, Sealed};
use super::{BackupCipher, BackupError, KeyContent};
use crate::records::{self, Life};
use crate::{KeyName, VersionId};

/// Longest backup of one key, in bytes: in base64url, with the JSON around it, it is within 1 MiB.
/// A hundred versions of 4,096-bit RSA keys take less than half of it.
pub const KEY_BACKUP_BYTES_MAX: usize = 720 * 1024;

/// The backup of one key, opened: it was sealed by an HSM of this security domain.
#[derive(Debug)]
pub struct KeyBackup(KeyContent);

impl KeyBackup {
    /// Opens a backup; nothing of it is believed before.
    pub fn open(cipher: &dyn BackupCipher, bytes: &[u8]) -> Result<Self, BackupError> {
        if bytes.len() > KEY_BACKUP_BYTES_MAX {
            return Err(BackupError::TooLong { bytes: bytes.len(), most: KEY_BACKUP_BYTES_MAX });
        }
        let opened = envelope::open(Sealed::Key, cipher, &[], bytes)?;
        let content: KeyContent = records::decode(&opened).ok_or(BackupError::Content)?;
        if content.is_whole() && content.key.life == Life::Live {
            Ok(Self(content))
        } else {
            Err(BackupError::Content)
        }
    }

    /// The key's name.
    pub fn name(&self) -> &KeyName {
        &self.0.key.name
    }

    /// Its versions, oldest first.
    pub fn versions(&self) -> &[VersionId] {
        &self.0.key.versions
    }

    pub(crate) fn into_content(self) -> KeyContent {
        self.0
    }
}

/// Seals a key's content.
pub(crate) fn seal(
    cipher: &dyn BackupCipher,
    content: &KeyContent,
) -> Result<Vec<u8>, BackupError> {
    let sealed = envelope::seal(Sealed::Key, cipher, &[], &records::encode(content))?;
    let bytes = sealed.len();
    if bytes > KEY_BACKUP_BYTES_MAX {
        return Err(BackupError::TooLong { bytes, most: KEY_BACKUP_BYTES_MAX });
    }
    Ok(sealed)
}
