//! What the node remembers of one HSM: never a key, never a record, only what was made when.

use casemate_channel::Engine;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::folder::{Folder, FolderError};

const FORMAT: u32 = 1;
/// Folder of the records of HSMs that are served.
const FOLDER: &str = "hsms";
/// Most HSMs of one node.
pub(crate) const HSMS_MAX: usize = 64;

/// One HSM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HsmRecord {
    format: u32,
    /// Its name, lower case.
    pub(crate) name: String,
    /// Unix seconds.
    pub(crate) created_at: i64,
    /// Its partition's own user, once the agent has run as root.
    pub(crate) user: Option<u32>,
    /// Where its keys live; settled when it was made.
    #[serde(default)]
    pub(crate) engine: Engine,
    /// The first settings, until they are sealed in it; from then on they are nowhere else.
    pub(crate) settings: Option<Value>,
}

/// Why a record is not used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The file is not ours.
    #[error("{path} is no record of an HSM of this program; restore it from a copy")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong with it.
        #[source]
        cause: serde_json::Error,
    },
    /// Written by a newer program, or under another name.
    #[error(
        "{path} is of another version of this program or of another HSM; restore it from a copy"
    )]
    Foreign {
        /// The file.
        path: String,
    },
    /// An HSM without a record.
    #[error(
        "the HSM {hsm} is in {folder}, but its record {path} is missing; restore that from a copy, \
         or move the HSM's folder away"
    )]
    Missing {
        /// The HSM.
        hsm: String,
        /// Its folder.
        folder: String,
        /// The record.
        path: String,
    },
    /// More than a node serves.
    #[error("a node serves at most {HSMS_MAX} HSMs; make the next one on another node")]
    TooMany,
}

impl HsmRecord {
    pub(crate) fn new(name: &str, created_at: i64, settings: Value, engine: Engine) -> Self {
        let (name, settings) = (name.to_owned(), Some(settings));
        Self { format: FORMAT, name, created_at, user: None, engine, settings }
    }

    /// Makes it durable.
    pub(crate) fn save(&self, folder: &Folder) -> Result<(), RecordError> {
        folder.make(FOLDER)?;
        let path = file(&self.name);
        let bytes = serde_json::to_vec_pretty(self)
            .map_err(|cause| RecordError::Malformed { path: path.clone(), cause })?;
        Ok(folder.write(&path, &bytes)?)
    }

    /// All records of the folder, by name. No HSM may lie there without one.
    pub(crate) fn all(folder: &Folder) -> Result<Vec<Self>, RecordError> {
        let mut records = Vec::new();
        for name in folder.names(FOLDER)? {
            let Some(name) = name.strip_suffix(".json") else { continue };
            records.push(Self::read(folder, name)?);
        }
        if records.len() > HSMS_MAX {
            return Err(RecordError::TooMany);
        }
        for hsm in folder.names("hsm")? {
            if !records.iter().any(|record| record.name == hsm) {
                let folder = folder.join("hsm").join(&hsm).display().to_string();
                return Err(RecordError::Missing { path: file(&hsm), hsm, folder });
            }
        }
        records.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(records)
    }

    fn read(folder: &Folder, name: &str) -> Result<Self, RecordError> {
        let path = file(name);
        let text = folder.read(&path)?.unwrap_or_default();
        let record: Self = serde_json::from_str(&text)
            .map_err(|cause| RecordError::Malformed { path: path.clone(), cause })?;
        if record.format != FORMAT || record.name != name {
            return Err(RecordError::Foreign { path });
        }
        Ok(record)
    }
}

/// The record's file in the data folder.
pub(crate) fn file(name: &str) -> String {
    format!("{FOLDER}/{name}.json")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::open(&parent.path().join("d")).unwrap();
        (parent, folder)
    }

    #[test]
    fn records_come_back_by_name() {
        let (_parent, folder) = folder();
        assert!(HsmRecord::all(&folder).unwrap().is_empty());
        let [beta, alpha] = ["beta", "alpha"]
            .map(|name| HsmRecord::new(name, 7, json!({"a": 1}), Engine::Software));
        beta.save(&folder).unwrap();
        alpha.save(&folder).unwrap();
        assert_eq!(HsmRecord::all(&folder).unwrap(), [alpha, beta]);
    }

    #[test]
    fn an_hsm_without_a_record_is_not_passed_over() {
        let (_parent, folder) = folder();
        folder.make("hsm/alpha").unwrap();
        let error = HsmRecord::all(&folder).unwrap_err();
        assert!(error.to_string().contains("hsms/alpha.json"), "{error}");
        HsmRecord::new("alpha", 7, json!({}), Engine::Software).save(&folder).unwrap();
        assert_eq!(HsmRecord::all(&folder).unwrap().len(), 1);
    }

    #[test]
    fn foreign_records_are_refused() {
        let (_parent, folder) = folder();
        HsmRecord::new("alpha", 7, json!({}), Engine::Software).save(&folder).unwrap();
        let good = folder.read("hsms/alpha.json").unwrap().unwrap();
        for bad in ["", "{}", "[]", &good.replace("alpha", "beta"), &good.replace(": 1,", ": 2,")] {
            folder.write("hsms/alpha.json", bad.as_bytes()).unwrap();
            assert!(HsmRecord::all(&folder).is_err(), "{bad}");
        }
    }
}
