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

    /// Puts a file: durable, with its name and the folders above it, when this returns. Nothing is
    /// put over another one: then it is false. No one else puts files here.
    pub(super) fn put(&self, path: &str, bytes: &[u8]) -> io::Result<bool> {
        let file = self.0.join(path);
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        match self.get(path, length) {
            Ok(None) => {}
            Ok(Some(there)) => return Ok(there == bytes),
            Err(error) if error.kind() == ErrorKind::FileTooLarge => return Ok(false),
            Err(error) => return Err(error),
        }
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
        within.into_iter().try_for_each(|above| File::open(above)?.sync_all())?;
        Ok(true)
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

    /// Removes the file, if it is there, and its folder if that is empty then.
    pub(super) fn remove(&self, path: &str) -> io::Result<()> {
        let file = self.0.join(path);
        match fs::remove_file(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            removed => removed?,
        }
        // What a courier that was killed had not put to its end.
        let _none = fs::remove_file(file.with_extension("new"));
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
        assert!(local.put("a/f/part-000000", b"other").unwrap());
        assert_eq!(local.get("a/f/part-000000", 5).unwrap().unwrap(), b"other");
        let too_long = local.get("a/f/part-000000", 4).unwrap_err();
        assert_eq!(too_long.kind(), ErrorKind::FileTooLarge);
        local.remove("a/f/part-000000").unwrap();
        local.remove("a/f/part-000000").unwrap();
        assert!(!dir.path().join("backups/a/f").exists() && dir.path().join("backups/a").exists());
    }
    #[test]
    fn nothing_is_put_over_another_file() {
        let dir = tempfile::tempdir().unwrap();
        let local = LocalFolder::new(dir.path().join("backups"));
        assert!(local.put("f/manifest", b"first").unwrap());
        for other in [b"second".as_slice(), b"firsT", b"fir", b"", b"first and more"] {
            assert!(!local.put("f/manifest", other).unwrap(), "{other:?}");
            assert_eq!(local.get("f/manifest", 9).unwrap().unwrap(), b"first");
        }
        assert!(local.put("f/manifest", b"first").unwrap(), "a try whose answer was lost");
        local.remove("f/manifest").unwrap();
        assert!(local.put("f/manifest", b"second").unwrap());
    }
}
