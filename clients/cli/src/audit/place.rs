//! Where audit logs lie, and whose they are.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use casemate_audit::{Certificate, Reader};

use super::AuditError;

/// The folder of a log.
const LOG_FOLDER: &str = "audit";
/// What every log's folder holds.
const LOCK_FILE: &str = "audit.lock";
/// Logs lie at most this deep below the folder that is named.
const DEPTH_MAX: usize = 3;

/// The logs at or below a folder, in the order of their names.
pub(crate) fn logs(folder: &Path) -> Result<Vec<PathBuf>, AuditError> {
    let mut found = Vec::new();
    if folder.join(LOCK_FILE).is_file() {
        found.push(folder.to_owned());
    } else {
        look(folder, DEPTH_MAX, &mut found)?;
    }
    found.sort();
    if found.is_empty() { Err(AuditError::NoLog { path: folder.to_owned() }) } else { Ok(found) }
}

fn look(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        if entry.file_name() == LOG_FOLDER {
            found.push(entry.path());
        } else if depth > 1 {
            look(&entry.path(), depth - 1, found)?;
        }
    }
    Ok(())
}

pub(crate) fn print_keys(log: &Path, out: &mut dyn Write) -> Result<(), AuditError> {
    let none = || AuditError::NoCertificate { path: log.to_owned() };
    let note = Reader::new(log).certificate()?.ok_or_else(none)?;
    let certificate = Certificate::read(&note).map_err(AuditError::Certificate)?;
    writeln!(out, "log       {}", certificate.log)?;
    writeln!(out, "identity  {}", certificate.identity)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_found_at_and_below_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a/audit", "b/c/audit", "audit", "x/y/z/audit"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("a/audit").join(LOCK_FILE), "").unwrap();
        let found = logs(dir.path()).unwrap();
        let expected: Vec<_> =
            ["a/audit", "audit", "b/c/audit"].iter().map(|name| dir.path().join(name)).collect();
        assert_eq!(found, expected, "and no deeper");
        assert_eq!(logs(&dir.path().join("a/audit")).unwrap().len(), 1);
        assert!(matches!(logs(&dir.path().join("none")), Err(AuditError::NoLog { .. })));
        fs::create_dir(dir.path().join("empty")).unwrap();
        assert!(matches!(logs(&dir.path().join("empty")), Err(AuditError::NoLog { .. })));
    }
}
