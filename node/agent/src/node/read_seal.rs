//! What opens the seal of an HSM of a node, for a program beside that node: read from its files
//! alone, whether it runs or not.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use casemate_channel::Seal;

use super::config::{ConfigRefusal, NodeConfig};
use super::seals::{FILE, KEY_FILE, SealsError, Term};

/// Largest record of seals, in bytes.
const RECORD_BYTES_MAX: u64 = 64 * 1024;

/// Why it is not known.
#[derive(Debug, thiserror::Error)]
pub enum ReadSealError {
    /// The node's file.
    #[error(transparent)]
    Config(#[from] ConfigRefusal),
    /// No such HSM.
    #[error(
        "no HSM is called {name:?} in {path}; `casemate hsm list` shows the names, and --config \
         says which node",
        path = path.display()
    )]
    NoHsm {
        /// Its name.
        name: String,
        /// Where it would be.
        path: PathBuf,
    },
    /// The record of seals.
    #[error(
        "{path} cannot be read; run this as the user who owns the node's data folder",
        path = path.display()
    )]
    Unread {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// What it says.
    #[error(transparent)]
    Seals(#[from] SealsError),
}

/// The folder of an HSM of the node of this file, and what opens its seal. Nothing is locked or
/// written.
///
/// # Errors
/// When there is no such HSM, or the node's files cannot be read.
pub fn seal_in_force(config: &Path, hsm: &str) -> Result<(PathBuf, Seal), ReadSealError> {
    let data_dir = NodeConfig::read(config)?.data_dir;
    let all = data_dir.join("hsm");
    let is_there = fs::read_dir(&all).is_ok_and(|mut names| {
        names.any(|entry| entry.is_ok_and(|entry| entry.file_name() == hsm))
    });
    if !is_there {
        return Err(ReadSealError::NoHsm { name: hsm.to_owned(), path: all });
    }
    let folder = all.join(hsm);
    let seal = term(&data_dir.join(FILE))?.seal_in(&data_dir, hsm, &folder)?;
    Ok((folder, seal))
}

/// The same for the folder of an HSM whose seal a key file opens, as `casemate dev` has it.
#[must_use]
pub fn key_file_seal(folder: &Path) -> Seal {
    Seal::Key { path: folder.join(KEY_FILE) }
}

fn term(path: &Path) -> Result<Term, ReadSealError> {
    let unread = |cause| ReadSealError::Unread { path: path.to_owned(), cause };
    let text = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(unread(error)),
        Ok(facts) if facts.len() > RECORD_BYTES_MAX => {
            return Err(unread(io::ErrorKind::FileTooLarge.into()));
        }
        Ok(_) => Some(fs::read_to_string(path).map_err(unread)?),
    };
    Ok(Term::in_force(text.as_deref())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use casemate_channel::Guard;

    fn node(record: Option<&str>) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("hsm/alpha")).unwrap();
        if let Some(record) = record {
            fs::write(dir.path().join(FILE), record).unwrap();
        }
        let config = dir.path().join("node.toml");
        let text = format!(
            "data_dir = {:?}\ndomain = \"hsm.example.org\"\nregion = \"eu-west\"\n\
             [listen]\nhsm = \"127.0.0.1:8443\"\nmanagement = \"127.0.0.1:8445\"\n",
            dir.path()
        );
        fs::write(&config, text).unwrap();
        (dir, config)
    }

    #[test]
    fn an_hsm_is_opened_with_the_seal_in_force() {
        let (dir, config) = node(None);
        let (folder, seal) = seal_in_force(&config, "alpha").unwrap();
        assert_eq!(folder, dir.path().join("hsm/alpha"));
        assert_eq!(seal, key_file_seal(&folder));
        let (dir, config) = node(Some(
            r#"{"format": 1, "current": {"generation": 3, "seal": {"kind": "passphrase",
                "file": "/etc/three"}}, "next": {"generation": 4, "seal": {"kind": "passphrase",
                "file": "/etc/four"}}}"#,
        ));
        let (_, seal) = seal_in_force(&config, "alpha").unwrap();
        let Seal::Slot(slot) = seal else { panic!("a slot") };
        assert_eq!(slot.path, dir.path().join("seals/alpha/3.seal"));
        assert_eq!(slot.guard, Guard::Passphrase { file: "/etc/three".into() });
        assert!(!dir.path().join("seals").exists(), "nothing is made");
    }

    #[test]
    fn what_is_not_there_or_not_of_this_program_is_refused() {
        let (dir, config) = node(None);
        for name in ["", "beta", ".", "..", "alpha/", "../hsm/alpha", "/"] {
            let said = seal_in_force(&config, name).unwrap_err().to_string();
            assert!(said.contains("casemate hsm list"), "{name}: {said}");
        }
        for (record, says) in [
            ("{", "restore it"),
            (
                r#"{"format": 2, "current": {"generation": 0, "seal": {"kind": "key-file"}}}"#,
                "another version",
            ),
        ] {
            fs::write(dir.path().join(FILE), record).unwrap();
            let said = seal_in_force(&config, "alpha").unwrap_err().to_string();
            assert!(said.contains(says), "{record}: {said}");
        }
        let long = " ".repeat(usize::try_from(RECORD_BYTES_MAX).unwrap() + 1);
        fs::write(dir.path().join(FILE), long).unwrap();
        assert!(matches!(seal_in_force(&config, "alpha"), Err(ReadSealError::Unread { .. })));
    }
}
