//! What callers are told of backups and restores: of single keys, and of the whole HSM.

use casemate_hsm::backup::{BackupError, ScheduleRefusal, StartRefusal, TargetError};
use casemate_hsm::keys::{BackUpRefusal, RestoreRefusal};

use super::{Problem, Refusal, S, commit, engine, find, name_is_deleted, pool, sentence};

/// How long a caller should wait for a restore, in seconds.
const RESTORE_RETRY_S: u16 = 10;

/// Why a backup or restore was not done, or not begun.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OfBackups {
    #[error(transparent)]
    BackUp(#[from] BackUpRefusal),
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error(transparent)]
    Restore(#[from] RestoreRefusal),
    #[error(transparent)]
    Start(#[from] StartRefusal),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Schedule(#[from] ScheduleRefusal),
    #[error("there is no such job")]
    NoSuchJob,
    #[error("a full restore is under way")]
    Restoring,
}

macro_rules! of_backups {
    ($($refusal:ty),+) => {$(
        impl From<$refusal> for Refusal {
            fn from(refusal: $refusal) -> Self {
                Self::OfBackups(refusal.into())
            }
        }
    )+};
}

of_backups!(BackUpRefusal, BackupError, RestoreRefusal, ScheduleRefusal, StartRefusal, TargetError);

impl OfBackups {
    pub(super) fn problem(&self, url: &str) -> Problem {
        match self {
            Self::BackUp(BackUpRefusal::Find(refusal)) => find(refusal, url),
            Self::BackUp(BackUpRefusal::Backup(refusal @ BackupError::TooLong { .. })) => {
                Problem::conflict(sentence(refusal))
            }
            // What this HSM holds can be sealed; otherwise it is its own fault.
            Self::BackUp(BackUpRefusal::Backup(_)) => Problem::internal(),
            Self::BackUp(BackUpRefusal::Engine(error)) => engine(error),
            Self::BackUp(BackUpRefusal::Pool(failure)) => pool(failure),
            Self::Backup(refusal) => backup(refusal),
            Self::Restore(refusal) => restore(refusal),
            Self::Start(StartRefusal::Busy(_)) => Problem::conflict(sentence(self)),
            Self::Start(StartRefusal::Commit(refusal)) => commit(refusal),
            Self::Start(StartRefusal::Engine(error)) => engine(error),
            Self::Start(StartRefusal::Base(refusal)) => backup(refusal),
            Self::Start(StartRefusal::Target(refusal)) | Self::Target(refusal) => target(refusal),
            Self::Schedule(refusal) => schedule(refusal),
            Self::NoSuchJob => {
                let message = "There is no job of this id; the status of the last 32 is kept.";
                Problem::new(S::NOT_FOUND, "JobNotFound", message)
            }
            Self::Restoring => restoring(),
        }
    }
}

fn backup(refusal: &BackupError) -> Problem {
    match refusal {
        BackupError::NotABackup
        | BackupError::Format { .. }
        | BackupError::OtherEpoch { .. }
        | BackupError::OtherDomain
        | BackupError::Altered
        | BackupError::Content
        | BackupError::Moved
        | BackupError::BaseIsMissing
        | BackupError::NotTheBase
        | BackupError::BaseWithoutLineage
        | BackupError::BaseOfAnotherHsm
        | BackupError::BaseOfAnotherEpoch
        | BackupError::BaseIsNewer
        | BackupError::ChainTooLong { .. }
        | BackupError::BaseElsewhere
        | BackupError::OtherKey => Problem::bad(sentence(refusal)),
        BackupError::TooLong { .. } => {
            Problem::new(S::PAYLOAD_TOO_LARGE, "BadParameter", sentence(refusal))
        }
    }
}

fn restore(refusal: &RestoreRefusal) -> Problem {
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

fn schedule(refusal: &ScheduleRefusal) -> Problem {
    match refusal {
        ScheduleRefusal::Number { .. }
        | ScheduleRefusal::TooManySets { .. }
        | ScheduleRefusal::TokenIsNeeded => Problem::bad(sentence(refusal)),
        ScheduleRefusal::Target(refusal) => target(refusal),
        ScheduleRefusal::TooMany | ScheduleRefusal::Disabled(_) => {
            Problem::conflict(sentence(refusal))
        }
        ScheduleRefusal::NoSuchSchedule(_) => {
            let message = format!("{} GET /backup/schedules lists them.", sentence(refusal));
            Problem::new(S::NOT_FOUND, "ScheduleNotFound", message)
        }
        ScheduleRefusal::Engine(error) => engine(error),
        ScheduleRefusal::Commit(refusal) => commit(refusal),
    }
}

fn target(refusal: &TargetError) -> Problem {
    match refusal {
        TargetError::Uri | TargetError::Token | TargetError::Identity | TargetError::Folder => {
            Problem::bad(sentence(refusal))
        }
    }
}

pub(super) fn restoring() -> Problem {
    let message = "The HSM is being restored, and nothing else is answered until that is done; \
                   follow it at /restore/JOB/pending.";
    Problem::new(S::SERVICE_UNAVAILABLE, "ServiceUnavailable", message).after(RESTORE_RETRY_S)
}
