//! The folder of an ephemeral run, and those that killed ephemeral runs left behind.
//!
//! Invariant: only a folder with the mark is ever removed. An ephemeral run writes the mark once it
//! holds the folder's lock and before anything else; a durable run takes it away. So a folder that
//! is marked and whose lock can be had is what a killed ephemeral run left.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::folder::{Folder, FolderError, LOCK_FILE, fails};

const PREFIX: &str = "casemate-dev-";
const MARK: &str = "ephemeral";
const MARK_TEXT: &[u8] = b"Made by casemate dev --ephemeral, which removes this folder.\n";

/// Removes the folder, with all that is in it, when dropped.
#[derive(Debug)]
pub(crate) struct Ephemeral(PathBuf);

impl Drop for Ephemeral {
    fn drop(&mut self) {
        // What cannot be removed now keeps its mark, and the next run tries again.
        let _ = clear(&self.0);
    }
}

/// Makes a marked folder. A run killed before the mark leaves a folder with no secret in it.
pub(crate) fn make(parent: &Path) -> Result<(Folder, Ephemeral), FolderError> {
    let made = tempfile::Builder::new()
        .prefix(PREFIX)
        .tempdir_in(parent)
        .map_err(fails("make a folder in", parent))?;
    let folder = Folder::open(made.path())?;
    folder.write(MARK, MARK_TEXT)?;
    Ok((folder, Ephemeral(made.keep())))
}

/// Makes a durable folder of one that an ephemeral run may have left.
pub(crate) fn keep(folder: &Folder) -> Result<(), FolderError> {
    folder.remove(MARK)
}

/// Removes what killed ephemeral runs of this user left behind: keys must not lie about.
pub(crate) fn remove_abandoned(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let named = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if !named || !is_marked(&path) {
            continue;
        }
        // The lock of a running agent cannot be had. The mark is looked at again under the lock:
        // a durable run may just have taken the folder over.
        if let Ok(folder) = Folder::open(&path)
            && is_marked(folder.path())
        {
            let _another_time = clear(folder.path());
        }
    }
}

/// Whether this user made the folder for an ephemeral run. A link is not followed.
fn is_marked(path: &Path) -> bool {
    let ours = |facts: &fs::Metadata| facts.uid() == nix::unistd::geteuid().as_raw();
    fs::symlink_metadata(path).is_ok_and(|facts| facts.is_dir() && ours(&facts))
        && fs::symlink_metadata(path.join(MARK)).is_ok_and(|facts| facts.is_file() && ours(&facts))
}

/// Removes the mark and the lock last: a removal that is cut short can be taken up again.
fn clear(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if [MARK, LOCK_FILE].iter().any(|kept| entry.file_name() == *kept) {
            continue;
        }
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    fs::remove_dir_all(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::time::SystemTime;

    /// As if nothing had been done in it for years.
    fn age(path: &Path) {
        fs::File::open(path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }

    /// What a killed run leaves. Made without a lock: a program that another test starts at that
    /// moment would hold it for a while.
    fn killed(parent: &Path) -> PathBuf {
        let path = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent).unwrap().keep();
        fs::write(path.join(MARK), MARK_TEXT).unwrap();
        fs::create_dir_all(path.join("hsm/dev")).unwrap();
        fs::write(path.join("hsm/dev/seal.key"), "secret").unwrap();
        path
    }

    #[test]
    fn a_durable_folder_is_never_removed_whatever_its_name_and_age() {
        let parent = tempfile::tempdir().unwrap();
        let durable = parent.path().join("casemate-dev-mine");
        let folder = Folder::open(&durable).unwrap();
        folder.write("agent.json", b"{}").unwrap();
        drop(folder);
        age(&durable);
        remove_abandoned(parent.path());
        assert!(durable.join("agent.json").exists());
    }

    #[test]
    fn what_a_killed_run_left_is_removed_at_once_and_a_running_one_stays() {
        let parent = tempfile::tempdir().unwrap();
        let left = killed(parent.path());
        let (folder, running) = make(parent.path()).unwrap();
        age(folder.path());
        remove_abandoned(parent.path());
        assert!(!left.exists());
        assert!(folder.join(MARK).exists());
        drop(folder);
        drop(running);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_left_folder_that_a_durable_run_took_over_is_durable() {
        let parent = tempfile::tempdir().unwrap();
        let left = killed(parent.path());
        keep(&Folder::open(&left).unwrap()).unwrap();
        age(&left);
        remove_abandoned(parent.path());
        assert!(left.join("hsm/dev/seal.key").exists());
    }

    #[test]
    fn links_and_other_names_are_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let target = killed(elsewhere.path());
        let link = parent.path().join("casemate-dev-link");
        symlink(&target, &link).unwrap();
        let linked_mark = parent.path().join("casemate-dev-mark");
        drop(Folder::open(&linked_mark).unwrap());
        symlink(target.join(MARK), linked_mark.join(MARK)).unwrap();
        let other = parent.path().join("other");
        fs::rename(killed(elsewhere.path()), &other).unwrap();
        remove_abandoned(parent.path());
        for path in [&target, &linked_mark, &other] {
            assert!(path.exists(), "{}", path.display());
        }
        assert!(target.join("hsm/dev/seal.key").exists());
    }

    #[test]
    fn a_removal_that_was_cut_short_is_taken_up_again() {
        let parent = tempfile::tempdir().unwrap();
        let left = killed(parent.path());
        // As a removal leaves it that got no further than the keys.
        fs::remove_dir_all(left.join("hsm")).unwrap();
        remove_abandoned(parent.path());
        assert!(!left.exists());
    }
}
