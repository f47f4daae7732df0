//! `casemate audit accept-loss`: an operator gives a lost log up. It only asks: the HSM decides at
//! its next start, against what it remembers itself, and an Administrator decides after it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::Path;

use casemate_audit::{GIVE_UP_FILE, GiveUp, Reader};

use super::AuditError;
use super::arguments::Accepted;

/// Held locked by the process that writes the log.
const LOCK_FILE: &str = "audit.lock";

/// Writes down what is asked for, and says what comes next.
pub(crate) fn accept(
    log: &Path,
    accepted: &Accepted,
    out: &mut dyn Write,
) -> Result<(), AuditError> {
    if is_in_use(log)? {
        return Err(AuditError::InUse { path: log.to_owned() });
    }
    let (found, records) = (count(log)?, accepted.records);
    let ask = GiveUp::new(records, found, &accepted.by, &accepted.reason)?;
    let home = log.parent().unwrap_or(log);
    write(home, &ask)?;
    let signed = Reader::new(log).checkpoint().ok().flatten();
    let signed = signed.map_or_else(
        || "no checkpoint".to_owned(),
        |signed| {
            let (size, root) = (signed.head.size, casemate_audit::hash_text(&signed.head.root));
            format!("a checkpoint over {size} with the root {root}")
        },
    );
    writeln!(out, "remembered by the HSM   {records} records, as you say")?;
    writeln!(out, "on disk                 {found} records that follow each other, {signed}")?;
    writeln!(out, "given up by             {}, because: {}", ask.by, ask.reason)?;
    writeln!(
        out,
        "Nothing is changed yet. Start the HSM: if it remembers as many, it sets what is left of \
         the log aside as evidence and begins a new one, whose first record says all this. It \
         serves nobody until an Administrator has accepted it too:\n  az keyvault setting update \
         --hsm-name NAME --name CasemateAuditLossAccepted --value true\nTo change your mind, \
         remove {} before you start the HSM.",
        home.join(GIVE_UP_FILE).display()
    )?;
    out.flush()?;
    Ok(())
}

fn is_in_use(log: &Path) -> io::Result<bool> {
    let lock = match File::open(log.join(LOCK_FILE)) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match lock.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// How many records follow each other from the first on.
fn count(log: &Path) -> Result<u64, AuditError> {
    let mut cursor = Reader::new(log).from(0);
    while cursor.next_written()?.is_some() {}
    Ok(cursor.index())
}

/// The old file or the new one stands there, whole, and is the HSM's own user's.
fn write(home: &Path, ask: &GiveUp) -> io::Result<()> {
    let (path, beside) = (home.join(GIVE_UP_FILE), home.join(format!("{GIVE_UP_FILE}.new")));
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    let (ours, owner) = (file.metadata()?, fs::metadata(home)?);
    if (ours.uid(), ours.gid()) != (owner.uid(), owner.gid()) {
        chown(&beside, Some(owner.uid()), Some(owner.gid()))?;
    }
    file.write_all(&ask.encode())?;
    file.sync_all()?;
    fs::rename(beside, path)?;
    File::open(home)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::each::samples;

    fn accepted(records: u64, by: &str) -> Accepted {
        Accepted { records, by: by.to_owned(), reason: "the disk died".to_owned() }
    }

    fn home() -> (tempfile::TempDir, std::path::PathBuf) {
        let home = tempfile::tempdir().unwrap();
        let log = home.path().join("audit");
        fs::create_dir(&log).unwrap();
        (home, log)
    }

    #[test]
    fn what_is_asked_for_is_written_down_and_said() {
        let (home, log) = home();
        samples::log(&log, 9);
        let before = fs::read(log.join("audit-00000000000000000001.jsonl")).unwrap();
        for by in ["ada", "bob"] {
            let mut out = Vec::new();
            accept(&log, &accepted(20, by), &mut out).unwrap();
            let said = String::from_utf8(out).unwrap();
            for part in ["20 records", "9 records that follow", "over 9 with the root", by] {
                assert!(said.contains(part), "{part}: {said}");
            }
            let asked = GiveUp::parse(&fs::read(home.path().join(GIVE_UP_FILE)).unwrap()).unwrap();
            assert_eq!((asked.records, asked.found, asked.by.as_str()), (20, 9, by));
        }
        let after = fs::read(log.join("audit-00000000000000000001.jsonl")).unwrap();
        assert_eq!(before, after, "the log is not touched");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_log_in_use_is_not_given_up_and_nobody_gives_up_without_a_name() {
        let (home, log) = home();
        let lock = File::create(log.join(LOCK_FILE)).unwrap();
        lock.lock().unwrap();
        let refused = accept(&log, &accepted(20, "ada"), &mut Vec::new());
        assert!(matches!(refused, Err(AuditError::InUse { .. })), "{refused:?}");
        lock.unlock().unwrap();
        let refused = accept(&log, &accepted(20, " "), &mut Vec::new());
        assert!(matches!(refused, Err(AuditError::GiveUp(_))), "{refused:?}");
        assert!(!home.path().join(GIVE_UP_FILE).exists());
        assert!(accept(&log, &accepted(20, "ada"), &mut Vec::new()).is_ok());
    }
}
