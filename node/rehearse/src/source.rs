//! Where a backup is read from: a target of the courier's kinds, or a folder with its objects.
//! Nothing is written there.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use casemate_courier::{BackupTarget, TargetRefusal};
use casemate_hsm::backup::{Folder, OBJECT_BYTES_MAX, Objects, Target, TransferError};
use casemate_store_port::BoxFuture;

/// Why a backup cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The address.
    #[error("{0:?} is neither the URL of a backup's folder nor the path of one")]
    Address(String),
    /// The target.
    #[error(transparent)]
    Target(#[from] TargetRefusal),
}

/// A place to read from, and which folder in it.
pub(crate) struct Source {
    objects: Reading,
    /// The folder in it.
    pub(crate) folder: Folder,
}

enum Reading {
    Target(BackupTarget),
    Folder(PathBuf),
}

impl Source {
    /// From a URL, or from the path of a folder.
    pub(crate) fn open(address: &str, token: &str) -> Result<Self, SourceError> {
        let wrong = || SourceError::Address(address.to_owned());
        let address = address.trim_end_matches('/');
        let (above, name) = address.rsplit_once('/').unwrap_or((".", address));
        if !above.contains("://") {
            let above = if above.is_empty() { "/" } else { above };
            // The address is for messages alone.
            let target = Target::new("file:///here", "").map_err(|_| wrong())?;
            let folder = target.existing(name).map_err(|_| wrong())?;
            return Ok(Self { objects: Reading::Folder(PathBuf::from(above)), folder });
        }
        let target = Target::new(above, token).map_err(|_| wrong())?;
        let folder = target.existing(name).map_err(|_| wrong())?;
        let objects = BackupTarget::open(folder.target.uri(), folder.target.expose_token())?;
        Ok(Self { objects: Reading::Target(objects), folder })
    }

    /// An object of the folder.
    pub(crate) async fn object(&self, name: &str) -> Result<Vec<u8>, TransferError> {
        self.read(&self.folder, name).await
    }

    async fn read(&self, folder: &Folder, name: &str) -> Result<Vec<u8>, TransferError> {
        match &self.objects {
            Reading::Folder(above) => read_file(&above.join(&folder.name).join(name), name),
            Reading::Target(target) => match target.get(&folder.name, name).await {
                Ok(bytes) => Ok(bytes),
                Err(TargetRefusal::NotFound) => Err(TransferError::NotFound(name.to_owned())),
                Err(refusal) => Err(TransferError::Refused(refusal.to_string())),
            },
        }
    }
}

fn read_file(path: &Path, name: &str) -> Result<Vec<u8>, TransferError> {
    let refused = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => TransferError::NotFound(name.to_owned()),
        _ => TransferError::Refused(format!("{}: {error}", path.display())),
    };
    let file = File::open(path).map_err(refused)?;
    let most = u64::try_from(OBJECT_BYTES_MAX).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(refused)?;
    if bytes.len() > OBJECT_BYTES_MAX { Err(TransferError::TooLong) } else { Ok(bytes) }
}

impl Objects for Source {
    fn put<'a>(
        &'a self,
        _: &'a Folder,
        _: &'a str,
        _: Vec<u8>,
    ) -> BoxFuture<'a, Result<(), TransferError>> {
        Box::pin(async { Err(read_only()) })
    }

    fn get<'a>(
        &'a self,
        folder: &'a Folder,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Vec<u8>, TransferError>> {
        Box::pin(self.read(folder, name))
    }

    fn remove<'a>(&'a self, _: &'a Folder, _: &'a str) -> BoxFuture<'a, Result<(), TransferError>> {
        Box::pin(async { Err(read_only()) })
    }
}

fn read_only() -> TransferError {
    TransferError::Refused("a backup that is verified is only read".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_paths_are_told_apart() {
        let keys = "accessKeyId=a&secretAccessKey=b";
        for (address, token, folder) in [
            ("https://a.blob.example/c/mhsm-dev-1", "sig=x", "mhsm-dev-1"),
            ("https://a.blob.example/c/mhsm-dev-1/", "?sig=x", "mhsm-dev-1"),
            ("s3+https://s3.example/bucket/below/mhsm-dev-1", keys, "mhsm-dev-1"),
            ("/backups/nightly/mhsm-dev-1", "", "mhsm-dev-1"),
            ("mhsm-dev-1", "", "mhsm-dev-1"),
            ("./mhsm-dev-1/", "", "mhsm-dev-1"),
            ("/mhsm-dev-1", "", "mhsm-dev-1"),
        ] {
            let source = Source::open(address, token);
            let source = source.unwrap_or_else(|error| panic!("{address}: {error}"));
            assert_eq!(source.folder.name, folder, "{address}");
        }
        for (address, token) in [
            ("", ""),
            ("/", ""),
            ("..", ""),
            ("a/..", ""),
            ("a b", ""),
            ("https://a.blob.example/c/mhsm-dev-1", ""),
            ("https://a.blob.example/mhsm-dev-1", "sig=x"),
            ("http://a.blob.example/c/mhsm-dev-1", "sig=x"),
            ("ftp://a.example/c/mhsm-dev-1", "sig=x"),
        ] {
            assert!(Source::open(address, token).is_err(), "{address}");
        }
    }

    #[tokio::test]
    async fn a_folder_is_read_and_never_written() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("mhsm-dev-1")).unwrap();
        std::fs::write(dir.path().join("mhsm-dev-1/manifest"), b"m").unwrap();
        let address = dir.path().join("mhsm-dev-1").display().to_string();
        let source = Source::open(&address, "").unwrap();
        assert_eq!(source.object("manifest").await.unwrap(), b"m");
        let missing = source.object("part-000000").await.unwrap_err();
        assert_eq!(missing, TransferError::NotFound("part-000000".to_owned()));
        let folder = source.folder.clone();
        assert!(source.put(&folder, "manifest", Vec::new()).await.is_err());
        assert!(source.remove(&folder, "manifest").await.is_err());
        assert_eq!(source.object("manifest").await.unwrap(), b"m");
    }
}
