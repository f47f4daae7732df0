//! Backups in the courier's own folder: files, each put whole or not at all.
//!
//! Not through `object_store`: it wants to know the whole path of its root, which a confined
//! process cannot find out.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Modes of what is made.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// A folder in which backups lie.
pub(super) struct LocalFolder(PathBuf);

impl LocalFolder {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Puts a file: durable, with its name and the folders above it, when this returns.
    pub(super) fn put(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let file = self.0.join(path);
        let folder = file.parent().unwrap_or(&self.0);
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
        let beside = file.with_extension("new");
        let mut written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(FILE_MODE)
            .open(&beside)?;
        written.write_all(bytes)?;
        written.sync_all()?;
        fs::rename(&beside, &file)?;
        let within = folder.ancestors().take_while(|above| above.starts_with(&self.0));
        within.into_iter().try_for_each(|above| File::open(above)?.sync_all())
    }

    /// The file, if it is no longer than that; `None` if there is none.
    pub(super) fn get(&self, path: &str, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.0.join(path)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(bytes_max + 1).read_to_end(&mut bytes)?;
        match u64::try_from(bytes.len()) {
            Ok(length) if length <= bytes_max => Ok(Some(bytes)),
            Ok(_) | Err(_) => Err(ErrorKind::FileTooLarge.into()),
        }
    }

    /// Removes the file, and its folder if that is empty then.
    pub(super) fn remove(&self, path: &str) -> io::Result<()> {
        let file = self.0.join(path);
        fs::remove_file(&file)?;
        let folder: &Path = file.parent().unwrap_or(&self.0);
        // It may hold other objects.
        let _not_empty = fs::remove_dir(folder);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_put_whole_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let local = LocalFolder::new(dir.path().join("backups"));
        assert!(local.get("a/f/part-000000", 9).unwrap().is_none());
        for bytes in [b"one".as_slice(), b"other"] {
            local.put("a/f/part-000000", bytes).unwrap();
            assert_eq!(local.get("a/f/part-000000", 5).unwrap().unwrap(), bytes);
        }
        let too_long = local.get("a/f/part-000000", 4).unwrap_err();
        assert_eq!(too_long.kind(), ErrorKind::FileTooLarge);
        local.remove("a/f/part-000000").unwrap();
        assert!(local.remove("a/f/part-000000").is_err());
        assert!(!dir.path().join("backups/a/f").exists() && dir.path().join("backups/a").exists());
    }
}
