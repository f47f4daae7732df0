//! The issuer's folder: one JSON file for the directory, one file for the signing key.
//!
//! Files are written beside their place, synced and renamed, so a reader meets the old or the new
//! one and never half of it; all are readable by their owner alone. Changes are made under a file
//! lock, because the command line adds principals while the issuer runs; the running issuer
//! notices by the file's identity and time.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::directory::{DIRECTORY_FORMAT, Directory};
use crate::error::IssuerError;

/// The tenant and its principals.
pub(crate) const DIRECTORY_FILE: &str = "directory.json";
const KEY_FILE: &str = "signing-key.der";
const LOCK_FILE: &str = "lock";

/// The folder of one issuer.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    path: PathBuf,
}

/// Identifies one written state of the directory file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileMark {
    inode: u64,
    bytes: u64,
    modified_s: i64,
    modified_ns: i64,
}

/// Held while the folder is changed; let go when dropped.
pub(crate) struct FolderLock {
    _file: File,
}

impl Folder {
    /// The folder at `path`, made if it is not there.
    pub(crate) fn open(path: &Path) -> Result<Self, IssuerError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|cause| file_error("make the folder", path, cause))?;
        Ok(Self { path: path.to_owned() })
    }

    /// Waits until nobody else changes the folder.
    pub(crate) fn lock(&self) -> Result<FolderLock, IssuerError> {
        let path = self.path.join(LOCK_FILE);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|cause| file_error("open", &path, cause))?;
        file.lock().map_err(|cause| file_error("lock", &path, cause))?;
        Ok(FolderLock { _file: file })
    }

    /// The mark of the directory file as it is now; `None` if there is none.
    pub(crate) fn mark(&self) -> Result<Option<FileMark>, IssuerError> {
        let path = self.path.join(DIRECTORY_FILE);
        match std::fs::metadata(&path) {
            Ok(data) => Ok(Some(FileMark {
                inode: data.ino(),
                bytes: data.size(),
                modified_s: data.mtime(),
                modified_ns: data.mtime_nsec(),
            })),
            Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(file_error("look at", &path, cause)),
        }
    }

    /// Reads the directory; `None` if there is none yet.
    pub(crate) fn read_directory(&self) -> Result<Option<Directory>, IssuerError> {
        let path = self.path.join(DIRECTORY_FILE);
        let Some(json) = read_optional(&path)? else { return Ok(None) };
        let directory: Directory = serde_json::from_slice(&json)
            .map_err(|cause| IssuerError::MalformedDirectory { path: path.clone(), cause })?;
        if directory.format != DIRECTORY_FORMAT {
            let (found, known) = (directory.format, DIRECTORY_FORMAT);
            return Err(IssuerError::UnknownFormat { path, found, known });
        }
        Ok(Some(directory))
    }

    /// Writes the directory. The lock shows that nobody else does.
    pub(crate) fn write_directory(
        &self,
        directory: &Directory,
        _lock: &FolderLock,
    ) -> Result<(), IssuerError> {
        let path = self.path.join(DIRECTORY_FILE);
        let json = serde_json::to_vec_pretty(directory)
            .map_err(|cause| IssuerError::MalformedDirectory { path, cause })?;
        self.write(DIRECTORY_FILE, &json)
    }

    /// The path of the signing key, for messages.
    pub(crate) fn key_path(&self) -> PathBuf {
        self.path.join(KEY_FILE)
    }

    /// Reads the signing key; `None` if there is none yet.
    pub(crate) fn read_key(&self) -> Result<Option<Vec<u8>>, IssuerError> {
        read_optional(&self.key_path())
    }

    /// Writes the signing key. The lock shows that nobody else does.
    pub(crate) fn write_key(&self, pkcs8: &[u8], _lock: &FolderLock) -> Result<(), IssuerError> {
        self.write(KEY_FILE, pkcs8)
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), IssuerError> {
        let path = self.path.join(name);
        let beside = self.path.join(format!("{name}.new"));
        let failed = |cause| file_error("write", &path, cause);
        // A leftover of a killed run; its mode is not to be trusted.
        match std::fs::remove_file(&beside) {
            Err(cause) if cause.kind() != ErrorKind::NotFound => return Err(failed(cause)),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&beside)
            .map_err(failed)?;
        file.write_all(content).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        std::fs::rename(&beside, &path).map_err(failed)?;
        File::open(&self.path).and_then(|folder| folder.sync_all()).map_err(failed)
    }
}

fn read_optional(path: &Path) -> Result<Option<Vec<u8>>, IssuerError> {
    match std::fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(file_error("read", path, cause)),
    }
}

fn file_error(action: &'static str, path: &Path, cause: std::io::Error) -> IssuerError {
    IssuerError::File { action, path: path.to_owned(), cause }
}
