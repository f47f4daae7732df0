//! What callers are told of the backup and the restore of single keys.

use casemate_hsm::backup::BackupError;
use casemate_hsm::keys::{BackUpRefusal, RestoreRefusal};

use super::{Problem, S, commit, engine, find, name_is_deleted, pool, sentence};

pub(super) fn back_up(refusal: &BackUpRefusal, url: &str) -> Problem {
    match refusal {
        BackUpRefusal::Find(refusal) => find(refusal, url),
        BackUpRefusal::Backup(refusal @ BackupError::TooLong { .. }) => {
            Problem::conflict(sentence(refusal))
        }
        // What this HSM holds can be sealed; otherwise it is its own fault.
        BackUpRefusal::Backup(_) => Problem::internal(),
    }
}

pub(super) fn backup(refusal: &BackupError) -> Problem {
    match refusal {
        BackupError::NotABackup
        | BackupError::Format { .. }
        | BackupError::OtherEpoch { .. }
        | BackupError::OtherDomain
        | BackupError::Altered
        | BackupError::Content
        | BackupError::Moved
        | BackupError::OtherKey => Problem::bad(sentence(refusal)),
        BackupError::TooLong { .. } => {
            Problem::new(S::PAYLOAD_TOO_LARGE, "BadParameter", sentence(refusal))
        }
    }
}

pub(super) fn restore(refusal: &RestoreRefusal) -> Problem {
    match refusal {
        RestoreRefusal::Backup(refusal) => backup(refusal),
        RestoreRefusal::NameIsTaken(_) | RestoreRefusal::TooManyKeys => {
            Problem::conflict(sentence(refusal))
        }
        RestoreRefusal::NameIsDeleted(name) => name_is_deleted(name),
        RestoreRefusal::NameIsBusy(_) => {
            Problem::conflict(sentence(refusal)).inner("ObjectIsBeingDeleted")
        }
        RestoreRefusal::Unsupported { .. } => Problem::bad(sentence(refusal)),
        RestoreRefusal::Pool(failure) => pool(failure),
        RestoreRefusal::Commit(refusal) => commit(refusal),
        RestoreRefusal::Engine(error) => engine(error),
    }
}
