//! Targets of backups, for a program that reads one and is no courier.

use std::path::Path as FilePath;

use super::http::Roots;
use super::target::{Access, Place, TargetFailure};

/// A target from which a backup is read.
pub struct BackupTarget(Place);

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum TargetRefusal {
    /// There is no such object.
    #[error("the target has no such object")]
    NotFound,
    /// The address, the token, or the target itself.
    #[error(transparent)]
    Refused(Box<dyn std::error::Error + Send + Sync>),
}

impl From<TargetFailure> for TargetRefusal {
    fn from(failure: TargetFailure) -> Self {
        match failure {
            TargetFailure::NotFound => Self::NotFound,
            other => Self::Refused(Box::new(other)),
        }
    }
}

impl BackupTarget {
    /// Opens an address of Azure Blob or S3; nothing is sent yet. Roots are the machine's.
    ///
    /// # Errors
    /// When the address is none of those, or the token is none for it.
    pub fn open(uri: &str, token: &str) -> Result<Self, TargetRefusal> {
        // A folder of a courier's is nobody else's to look for.
        if uri.starts_with("file:") {
            return Err(TargetFailure::Address.into());
        }
        let place =
            Place::open(uri, &Access::token(token), FilePath::new(""), &Roots::of_the_machine())?;
        Ok(Self(place))
    }

    /// Reads an object, whole.
    ///
    /// # Errors
    /// When there is none, it is too long, or the target refuses.
    pub async fn get(&self, folder: &str, name: &str) -> Result<Vec<u8>, TargetRefusal> {
        let path = self.0.path(folder, name)?;
        Ok(self.0.get(&path).await?)
    }
}
