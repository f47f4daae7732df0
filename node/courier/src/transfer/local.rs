//! Backups in the courier's own folder: files, each put whole or not at all.
//!
//! Not through `object_store`: it wants to know the whole path of its root, which a confined
//! process cannot find out.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

/// Modes of what is made.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// What the name of a file ends with that is being written.
const UNNAMED: &str = "new";

/// A folder in which backups lie.
pub(super) struct LocalFolder(PathBuf);

impl LocalFolder {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Puts a file: durable, with its name and the folders above it, when this returns. Nothing is
    /// put over another one: then it is false. Others may put files here, where the folder is one
    /// that several machines have mounted.
    pub(super) fn put(&self, path: &str, bytes: &[u8]) -> io::Result<bool> {
        let file = self.0.join(path);
        let folder = file.parent().unwrap_or(&self.0);
        let there = match self.is_there(path, bytes)? {
            Some(same) => same,
            None => {
                DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
                put_if_free(&file, bytes)? || self.is_there(path, bytes)?.unwrap_or(false)
            }
        };
        if !there {
            return Ok(false);
        }
        // Of a try that ended before this, too.
        File::open(&file)?.sync_all()?;
        let within = folder.ancestors().take_while(|above| above.starts_with(&self.0));
        within.into_iter().try_for_each(|above| File::open(above)?.sync_all())?;
        Ok(true)
    }

    /// Whether the file there has these bytes; `None` if there is none.
    fn is_there(&self, path: &str, bytes: &[u8]) -> io::Result<Option<bool>> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        match self.get(path, length) {
            Ok(there) => Ok(there.map(|there| there == bytes)),
            Err(error) if error.kind() == ErrorKind::FileTooLarge => Ok(Some(false)),
            Err(error) => Err(error),
        }
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
        let folder: &Path = file.parent().unwrap_or(&self.0);
        // What a courier that was killed had not put to its end is no object, and in nobody's way.
        let _none = sweep(folder, &file);
        // It may hold other objects.
        let _not_empty = fs::remove_dir(folder);
        Ok(())
    }
}

/// Writes a file and gives it its name, if that is free: whether it was.
fn put_if_free(file: &Path, bytes: &[u8]) -> io::Result<bool> {
    let beside = beside(file)?;
    let put = written(&beside, bytes).and_then(|_open| name_if_free(&beside, file));
    // It has its name by now, or is to have none.
    let _moved = fs::remove_file(&beside);
    put
}

/// A name that no other writer takes while the file is being written.
fn beside(file: &Path) -> io::Result<PathBuf> {
    let mut mark = [0; 8];
    aws_lc_rs::rand::fill(&mut mark).map_err(io::Error::other)?;
    let mark = u64::from_be_bytes(mark);
    Ok(file.with_extension(format!("{mark:016x}.{UNNAMED}")))
}

/// Writes a file under a name of its own; it is locked as long as it is open.
fn written(beside: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(beside)?;
    // Where there are no locks nothing is swept.
    let _locked = file.try_lock();
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(file)
}

/// Gives the file its name, if that is free: whether it was.
fn name_if_free(beside: &Path, file: &Path) -> io::Result<bool> {
    match fs::hard_link(beside, file) {
        Ok(()) => return Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
        // There are file systems that know no links; those mostly know this.
        Err(_) => {}
    }
    match renameat2(AT_FDCWD, beside, AT_FDCWD, file, RenameFlags::RENAME_NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EEXIST) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Removes what was written beside a file and is not being written any more.
fn sweep(folder: &Path, file: &Path) -> io::Result<()> {
    let of = file.with_extension("");
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_unnamed = path.extension().is_some_and(|last| last == UNNAMED)
            && path.with_extension("").with_extension("") == of;
        if is_unnamed && File::open(&path)?.try_lock().is_ok() {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
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

    /// All files below, by their names.
    fn files(folder: &Path) -> Vec<String> {
        let name =
            |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut all: Vec<String> = fs::read_dir(folder).unwrap().map(name).collect();
        all.sort();
        all
    }

    #[test]
    fn of_many_that_put_one_file_at_once_one_does() {
        let dir = tempfile::tempdir().unwrap();
        let local = LocalFolder::new(dir.path().join("backups"));
        for round in 0..50 {
            let path = format!("f{round}/manifest");
            let all: Vec<Vec<u8>> = (0..8_u8).map(|at| vec![at; 4_096]).collect();
            let start = std::sync::Barrier::new(all.len());
            let put = |bytes: &Vec<u8>| {
                start.wait();
                local.put(&path, bytes).unwrap()
            };
            let put = &put;
            let won: Vec<bool> = std::thread::scope(|scope| {
                let all: Vec<_> = all.iter().map(|bytes| scope.spawn(move || put(bytes))).collect();
                all.into_iter().map(|one| one.join().unwrap()).collect()
            });
            assert_eq!(won.iter().filter(|won| **won).count(), 1, "{won:?}");
            let winner = won.iter().position(|won| *won).unwrap();
            assert_eq!(local.get(&path, 4_096).unwrap().unwrap(), all[winner], "and it stays");
            assert_eq!(files(&dir.path().join(format!("backups/f{round}"))), ["manifest"]);
        }
    }

    #[test]
    fn a_name_that_was_taken_meanwhile_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (beside, file) = (dir.path().join("part-000000.1.new"), dir.path().join("part-000000"));
        fs::write(&file, b"another's").unwrap();
        drop(written(&beside, b"own").unwrap());
        assert!(!name_if_free(&beside, &file).unwrap());
        assert_eq!(fs::read(&file).unwrap(), b"another's");
        assert!(written(&beside, b"more").is_err(), "nor is what is written beside shared");
        assert_eq!(fs::read(&beside).unwrap(), b"own");
        fs::remove_file(&file).unwrap();
        assert!(name_if_free(&beside, &file).unwrap());
        assert_eq!(fs::read(&file).unwrap(), b"own");
    }

    #[test]
    fn what_was_not_put_to_its_end_goes_and_what_is_being_written_stays() {
        let dir = tempfile::tempdir().unwrap();
        let local = LocalFolder::new(dir.path().join("backups"));
        assert!(local.put("f/part-000000", b"own").unwrap());
        let folder = dir.path().join("backups/f");
        drop(written(&folder.join("part-000000.1.new"), b"dead").unwrap());
        let alive = written(&folder.join("part-000000.2.new"), b"alive").unwrap();
        drop(written(&folder.join("part-000001.3.new"), b"of another object").unwrap());
        local.remove("f/part-000000").unwrap();
        assert_eq!(files(&folder), ["part-000000.2.new", "part-000001.3.new"]);
        drop(alive);
        local.remove("f/part-000000").unwrap();
        assert_eq!(files(&folder), ["part-000001.3.new"]);
        local.remove("f/part-000001").unwrap();
        assert!(!folder.exists());
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
