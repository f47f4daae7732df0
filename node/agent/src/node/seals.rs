//! Which seal is in force on a node, and where the slots of its HSMs are: `seal.json`.
//!
//! A change has one moment at which it counts: when `seal.json` names the new seal as the one in
//! force. Before, the old slots are whole; after, the new ones are. Every slot of another term is
//! rubbish and is removed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use casemate_channel::{Seal, Slot};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::seal::{SealConfig, SealRefusal};
use crate::folder::{Folder, FolderError};

const FORMAT: u32 = 1;
/// The record, in the data folder.
pub(crate) const FILE: &str = "seal.json";
/// Folder of the slots, one folder per HSM.
pub(crate) const SLOTS: &str = "seals";
/// The key file in an HSM's own folder.
pub(crate) const KEY_FILE: &str = "seal.key";

/// One seal, and which of the slots are its.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Term {
    /// Counts changes; 0 has key files and no slots.
    generation: u32,
    pub(crate) seal: SealConfig,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    format: u32,
    current: Term,
    /// Set while the seal is being changed.
    next: Option<Term>,
}

/// The seals of a node.
pub(crate) struct Seals {
    folder: Arc<Folder>,
    record: Mutex<Record>,
}

/// Why a seal is not used, or not changed.
#[derive(Debug, thiserror::Error)]
pub enum SealsError {
    /// The record.
    #[error("{FILE} in the data folder is none of this program; restore it from a copy")]
    Malformed(#[source] serde_json::Error),
    /// Another version.
    #[error("{FILE} in the data folder is of another version of this program; use that one")]
    Foreign,
    /// The file names another seal than the one in force.
    #[error(
        "the node's file names the seal {file}, and its HSMs are sealed with {in_force}: put that \
         back into [seal], start the node, write the new [seal] and run `casemate seal change`"
    )]
    Other {
        /// What the file says.
        file: String,
        /// What is in force.
        in_force: String,
    },
    /// Nothing to change.
    #[error(
        "the node's file names the seal that is in force ({0}); write another [seal] into it \
         first. A new passphrase goes into a new file"
    )]
    Same(String),
    /// Back to key files.
    #[error(
        "a seal is not changed to key files, which whoever reads the disk opens; choose another"
    )]
    ToKeyFile,
    /// `[seal]`.
    #[error(transparent)]
    Refusal(#[from] SealRefusal),
    /// A file.
    #[error(transparent)]
    Folder(#[from] FolderError),
}

impl Seals {
    /// Finds out which seal is in force. The file's must be that one, or the one that a change was
    /// cut off on the way to; without an HSM there is nothing sealed yet and the file's counts.
    pub(crate) fn open(
        folder: Arc<Folder>,
        wanted: &SealConfig,
        any_hsm: bool,
    ) -> Result<Self, SealsError> {
        let mut record = Record::read(folder.read(FILE)?.as_deref())?;
        let is_next = record.next.as_ref().is_some_and(|next| next.seal == *wanted);
        if record.current.seal == *wanted {
            // A change that was cut off and is not wanted any more.
            record.next = None;
        } else if !any_hsm {
            record = Record { format: FORMAT, current: record.current.to(wanted), next: None };
        } else if !is_next {
            let (file, in_force) = (wanted.shown(), record.current.seal.shown());
            return Err(SealsError::Other { file, in_force });
        }
        let seals = Self { folder, record: Mutex::new(record) };
        seals.save()?;
        Ok(seals)
    }

    /// The seal in force.
    pub(crate) fn current(&self) -> Term {
        self.record.lock().current.clone()
    }

    /// The seal that a change is on the way to.
    pub(crate) fn next(&self) -> Option<Term> {
        self.record.lock().next.clone()
    }

    /// Begins a change.
    pub(crate) fn begin(&self, to: &SealConfig) -> Result<Term, SealsError> {
        let current = self.current();
        if current.seal == *to {
            return Err(SealsError::Same(to.shown()));
        }
        if to.is_key_file() {
            return Err(SealsError::ToKeyFile);
        }
        to.guard()?;
        let next = current.to(to);
        self.record.lock().next = Some(next.clone());
        self.save()?;
        Ok(next)
    }

    /// The change is not made.
    pub(crate) fn abandon(&self) -> Result<(), SealsError> {
        self.record.lock().next = None;
        self.save()
    }

    /// The change counts from here on.
    pub(crate) fn commit(&self) -> Result<(), SealsError> {
        let before = {
            let mut record = self.record.lock();
            let before = record.clone();
            if let Some(next) = record.next.take() {
                record.current = next;
            }
            before
        };
        self.save().inspect_err(|_| *self.record.lock() = before)
    }

    /// How an HSM is unsealed in a term; `seen` is its folder as its confined process sees it.
    pub(crate) fn seal(&self, term: &Term, hsm: &str, seen: &Path) -> Result<Seal, SealsError> {
        let seal = term.seal_in(self.folder.path(), hsm, seen)?;
        if matches!(seal, Seal::Slot(_)) {
            self.folder.make(&format!("{SLOTS}/{hsm}"))?;
        }
        Ok(seal)
    }

    /// Removes the slots and key files of all terms but the one in force, and says which could not
    /// be.
    pub(crate) fn sweep(&self, hsms: &[String]) -> Vec<PathBuf> {
        let current = self.current();
        let mut left = Vec::new();
        for hsm in hsms {
            let slots = format!("{SLOTS}/{hsm}");
            for name in self.folder.names(&slots).unwrap_or_default() {
                if current.seal.is_key_file() || name != current.slot() {
                    remove(self.folder.join(&slots).join(name), &mut left);
                }
            }
            if !current.seal.is_key_file() {
                remove(self.folder.join("hsm").join(hsm).join(KEY_FILE), &mut left);
            }
        }
        left
    }

    fn save(&self) -> Result<(), SealsError> {
        let bytes =
            serde_json::to_vec_pretty(&*self.record.lock()).map_err(SealsError::Malformed)?;
        Ok(self.folder.write(FILE, &bytes)?)
    }
}

impl Record {
    /// What is written; before there was a choice, there were key files.
    fn read(text: Option<&str>) -> Result<Self, SealsError> {
        let key_files = Term { generation: 0, seal: SealConfig::KeyFile {} };
        let record = match text {
            Some(text) => serde_json::from_str(text).map_err(SealsError::Malformed)?,
            None => Self { format: FORMAT, current: key_files, next: None },
        };
        if record.format == FORMAT { Ok(record) } else { Err(SealsError::Foreign) }
    }
}

impl Term {
    /// The one in force, from the text of the record if there is one.
    pub(crate) fn in_force(record: Option<&str>) -> Result<Self, SealsError> {
        Ok(Record::read(record)?.current)
    }

    /// How an HSM is unsealed in this term; `seen` is its folder as who unseals it sees it.
    pub(crate) fn seal_in(
        &self,
        data_dir: &Path,
        hsm: &str,
        seen: &Path,
    ) -> Result<Seal, SealsError> {
        Ok(match self.seal.guard()? {
            None => Seal::Key { path: seen.join(KEY_FILE) },
            Some(guard) => {
                let path = data_dir.join(SLOTS).join(hsm).join(self.slot());
                Seal::Slot(Slot { path, guard })
            }
        })
    }

    /// The term after this one.
    fn to(&self, seal: &SealConfig) -> Self {
        Self { generation: self.generation + 1, seal: seal.clone() }
    }

    fn slot(&self) -> String {
        format!("{}.seal", self.generation)
    }
}

fn remove(path: PathBuf, left: &mut Vec<PathBuf>) {
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => left.push(path),
        Ok(()) | Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Arc<Folder>) {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::open(&parent.path().join("d")).unwrap();
        (parent, Arc::new(folder))
    }

    fn passphrase(file: &str) -> SealConfig {
        SealConfig::Passphrase { file: file.into() }
    }

    fn opened(folder: &Arc<Folder>, wanted: &SealConfig) -> Seals {
        Seals::open(Arc::clone(folder), wanted, true).unwrap()
    }

    fn slot(seals: &Seals, term: &Term) -> PathBuf {
        match seals.seal(term, "alpha", Path::new("/")).unwrap() {
            Seal::Key { path } => path,
            Seal::Slot(slot) => slot.path,
        }
    }

    #[test]
    fn without_a_record_there_are_key_files_and_no_other_seal_is_taken() {
        let (_parent, folder) = folder();
        let refused = Seals::open(Arc::clone(&folder), &passphrase("/p"), true).err().unwrap();
        assert!(refused.to_string().contains("sealed with key-file"), "{refused}");
        let seals = opened(&folder, &SealConfig::KeyFile {});
        assert_eq!(slot(&seals, &seals.current()), Path::new("/seal.key"));
    }

    #[test]
    fn without_an_hsm_the_file_decides() {
        let (_parent, folder) = folder();
        for wanted in [passphrase("/p"), passphrase("/q"), SealConfig::KeyFile {}, passphrase("/p")]
        {
            let seals = Seals::open(Arc::clone(&folder), &wanted, false).unwrap();
            assert_eq!(seals.current().seal, wanted);
        }
        assert!(Seals::open(folder, &passphrase("/q"), true).is_err());
    }

    #[test]
    fn a_change_has_one_moment_at_which_it_counts() {
        let (_parent, folder) = folder();
        let (old, new) = (SealConfig::KeyFile {}, passphrase("/p"));
        let seals = opened(&folder, &old);
        let next = seals.begin(&new).unwrap();
        // Cut off here: both files start, each with what it names; the old slots are whole.
        assert_eq!(opened(&folder, &new).current().seal, old);
        assert_eq!(opened(&folder, &new).next().as_ref(), Some(&next));
        assert_eq!(opened(&folder, &old).next(), None);
        assert!(Seals::open(Arc::clone(&folder), &new, true).is_err(), "given up by then");
        let next = seals.begin(&new).unwrap();
        seals.commit().unwrap();
        assert_eq!(opened(&folder, &new).current(), next);
        assert!(Seals::open(Arc::clone(&folder), &old, true).is_err());
    }

    #[test]
    fn a_change_that_is_none_is_refused_and_nothing_is_written() {
        let (_parent, folder) = folder();
        let seals = Seals::open(Arc::clone(&folder), &passphrase("/p"), false).unwrap();
        let before = folder.read(FILE).unwrap();
        for (to, says) in [
            (passphrase("/p"), "in force"),
            (SealConfig::KeyFile {}, "key files"),
            (SealConfig::Credential { name: "x".to_owned() }, "LoadCredentialEncrypted"),
        ] {
            let refused = seals.begin(&to).unwrap_err().to_string();
            assert!(refused.contains(says), "{refused}");
        }
        assert_eq!(folder.read(FILE).unwrap(), before);
        assert_eq!(seals.next(), None);
    }

    #[test]
    fn an_abandoned_change_leaves_its_slots_to_be_swept() {
        let (_parent, folder) = folder();
        let seals = Seals::open(Arc::clone(&folder), &passphrase("/p"), false).unwrap();
        let current = seals.current();
        let next = seals.begin(&passphrase("/q")).unwrap();
        let (ours, theirs) = (slot(&seals, &current), slot(&seals, &next));
        assert_ne!(ours, theirs);
        let torn = theirs.with_extension("seal.new");
        for file in [&ours, &theirs, &torn] {
            fs::write(file, "x").unwrap();
        }
        seals.abandon().unwrap();
        assert!(seals.sweep(&["alpha".to_owned()]).is_empty());
        assert!(ours.exists() && !theirs.exists() && !torn.exists());
    }

    #[test]
    fn a_change_from_key_files_takes_them_away_and_none_before() {
        let (_parent, folder) = folder();
        let seals = opened(&folder, &SealConfig::KeyFile {});
        let key = folder.make("hsm/alpha").unwrap().join(KEY_FILE);
        fs::write(&key, "x").unwrap();
        seals.begin(&passphrase("/p")).unwrap();
        seals.sweep(&["alpha".to_owned()]);
        assert!(key.exists(), "it is still what opens the seal");
        seals.commit().unwrap();
        seals.sweep(&["alpha".to_owned()]);
        assert!(!key.exists());
    }

    #[test]
    fn foreign_records_are_refused() {
        let (_parent, folder) = folder();
        opened(&folder, &SealConfig::KeyFile {});
        let good = folder.read(FILE).unwrap().unwrap();
        for bad in ["", "{}", "[]", &good.replace(": 1,", ": 2,"), &good.replace("null", "7")] {
            folder.write(FILE, bad.as_bytes()).unwrap();
            let opened = Seals::open(Arc::clone(&folder), &SealConfig::KeyFile {}, true);
            assert!(opened.is_err(), "{bad}");
        }
    }
}
