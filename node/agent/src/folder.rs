//! The data folder of one agent: who may use it now, where things are, how files are written.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another agent works in it.
    #[error(
        "another casemate (process {pid}) uses {path}; stop it, or choose another --data-dir",
        path = path.display()
    )]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The other agent's process id, as it wrote it.
        pid: String,
    },
    /// Somebody else could change what is in it.
    #[error(
        "{path} belongs to user {owner} and has mode {mode:o}; it must be yours and writable by \
         you alone: choose another --data-dir, or chown it and chmod 700 it",
        path = path.display()
    )]
    NotOursAlone {
        /// The folder.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Its mode.
        mode: u32,
    },
    /// The data folder is something else.
    #[error("{path} is not a folder; choose another --data-dir", path = path.display())]
    NotAFolder {
        /// What is there.
        path: PathBuf,
    },
    /// A file or folder cannot be used.
    #[error(
        "could not {action} {path}; {advice}",
        path = path.display(),
        advice = advice(cause)
    )]
    File {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
}

/// What helps, by what the system said.
fn advice(cause: &io::Error) -> &'static str {
    use io::ErrorKind as Kind;
    match cause.kind() {
        Kind::PermissionDenied => "check its owner and mode",
        Kind::ReadOnlyFilesystem => {
            "its file system is read-only: mount it writable, or choose another --data-dir"
        }
        Kind::StorageFull | Kind::QuotaExceeded => {
            "there is no room for it: free some, or choose another --data-dir"
        }
        _ => "mend what the system says of it, or choose another --data-dir",
    }
}

/// The lock, with the process id of who holds it.
pub(crate) const LOCK_FILE: &str = "agent.lock";

/// The folder, locked for this process.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// The lock ends with the descriptor, so a killed agent never blocks the next one.
    _lock: File,
}

impl Folder {
    /// Makes the folder if needed and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, FolderError> {
        if path.exists() && !path.is_dir() {
            return Err(FolderError::NotAFolder { path: path.to_owned() });
        }
        make_folder(path)?;
        let path = fs::canonicalize(path).map_err(fails("find", path))?;
        let facts = fs::metadata(&path).map_err(fails("look at", &path))?;
        let (owner, mode) = (facts.uid(), facts.mode() & 0o7777);
        if owner != nix::unistd::geteuid().as_raw() || mode & 0o022 != 0 {
            return Err(FolderError::NotOursAlone { path, owner, mode });
        }
        let lock_path = path.join(LOCK_FILE);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(fails("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                lock.read_to_string(&mut pid).map_err(fails("read", &lock_path))?;
                return Err(FolderError::InUse { path, pid: pid.trim().to_owned() });
            }
            Err(TryLockError::Error(cause)) => return Err(fails("lock", &lock_path)(cause)),
        }
        lock.set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(fails("write", &lock_path))?;
        Ok(Self { path, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file of mode 0600 as a whole or not at all.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> Result<(), FolderError> {
        let path = self.join(name);
        write_whole(&path, content).map_err(fails("write", &path))
    }

    /// The file's content, or `None` if it is not there.
    pub(crate) fn read(&self, name: &str) -> Result<Option<String>, FolderError> {
        let path = self.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(fails("read", &path)(cause)),
        }
    }

    /// Removes a file; one that is not there is fine.
    pub(crate) fn remove(&self, name: &str) -> Result<(), FolderError> {
        let path = self.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(fails("remove", &path)(error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The name of an HSM that lies here: one whose own folder has anything in it. What the HSM
    /// trusts is then sealed, and cannot be made anew by us.
    pub(crate) fn hsm(&self) -> Result<Option<String>, FolderError> {
        let all = self.join("hsm");
        let entries = match fs::read_dir(&all) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(fails("read", &all)(cause)),
        };
        for entry in entries {
            let path = entry.map_err(fails("read", &all))?.path();
            if path.is_dir() && fs::read_dir(&path).map_err(fails("read", &path))?.next().is_some()
            {
                let name = path.file_name().unwrap_or_default();
                return Ok(Some(name.to_string_lossy().into_owned()));
            }
        }
        Ok(None)
    }

    /// The names of what lies in a folder inside, sorted; none if it is not there.
    pub(crate) fn names(&self, name: &str) -> Result<Vec<String>, FolderError> {
        let path = self.join(name);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(cause) => return Err(fails("read", &path)(cause)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(fails("read", &path))?.file_name();
            names.push(name.to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    /// Makes a folder inside, of mode 0700, and returns its path.
    pub(crate) fn make(&self, name: &str) -> Result<PathBuf, FolderError> {
        let path = self.join(name);
        make_folder(&path)?;
        Ok(path)
    }
}

/// Turns what the system said about a path into our error.
pub(crate) fn fails(action: &'static str, path: &Path) -> impl Fn(io::Error) -> FolderError {
    let path = path.to_owned();
    move |cause| FolderError::File { action, path: path.clone(), cause }
}

fn make_folder(path: &Path) -> Result<(), FolderError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(fails("make", path))
}

fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_second_agent_is_told_who_has_the_folder_and_a_dead_one_leaves_nothing_behind() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let first = Folder::open(&path).unwrap();
        let error = Folder::open(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        assert!(path.join("agent.lock").exists());
        Folder::open(&path).unwrap();
    }

    #[test]
    fn a_folder_that_others_may_change_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("d");
        fs::create_dir(&path).unwrap();
        for (mode, good) in [(0o700, true), (0o755, true), (0o775, false), (0o1777, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let opened = Folder::open(&path);
            assert_eq!(opened.is_ok(), good, "{mode:o}: {opened:?}");
        }
        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(Folder::open(&file), Err(FolderError::NotAFolder { .. })));
    }

    #[test]
    fn the_advice_fits_what_the_system_said() {
        for (number, says) in [
            (nix::libc::EACCES, "owner and mode"),
            (nix::libc::EROFS, "read-only"),
            (nix::libc::ENOSPC, "no room"),
            (nix::libc::EDQUOT, "no room"),
            (nix::libc::EIO, "what the system says"),
        ] {
            let cause = io::Error::from_raw_os_error(number);
            let text = fails("write", Path::new("/d/agent.lock"))(cause).to_string();
            assert!(text.contains(says), "{text}");
            assert_eq!(text.contains("owner"), number == nix::libc::EACCES, "{text}");
        }
    }

    #[test]
    fn an_hsm_is_there_once_anything_is_in_its_folder() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::open(&parent.path().join("d")).unwrap();
        assert_eq!(folder.hsm().unwrap(), None);
        let hsm = folder.make("hsm/alpha").unwrap();
        assert_eq!(folder.hsm().unwrap(), None);
        fs::write(hsm.join("seal.key"), "").unwrap();
        assert_eq!(folder.hsm().unwrap().as_deref(), Some("alpha"));
    }

    #[test]
    fn files_are_for_the_owner_alone() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::open(&parent.path().join("d")).unwrap();
        folder.write("x", b"1").unwrap();
        folder.write("x", b"2").unwrap();
        assert_eq!(folder.read("x").unwrap().unwrap(), "2");
        assert_eq!(fs::metadata(folder.join("x")).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(folder.path()).unwrap().permissions().mode() & 0o777, 0o700);
        folder.remove("x").unwrap();
        folder.remove("x").unwrap();
        assert!(folder.read("x").unwrap().is_none());
    }
}
