//! What callers are told of backups and restores of the whole HSM.

use casemate_hsm::backup::{StartRefusal, TargetError};

use super::{Problem, S, commit, engine, sentence};

/// How long a caller should wait for a restore, in seconds.
const RESTORE_RETRY_S: u16 = 10;

pub(super) fn start(refusal: &StartRefusal) -> Problem {
    match refusal {
        StartRefusal::Busy(_) => Problem::conflict(sentence(refusal)),
        StartRefusal::Target(refusal) => target(refusal),
        StartRefusal::Commit(refusal) => commit(refusal),
        StartRefusal::Engine(error) => engine(error),
    }
}

pub(super) fn target(refusal: &TargetError) -> Problem {
    match refusal {
        TargetError::Uri | TargetError::Token | TargetError::Folder => {
            Problem::bad(sentence(refusal))
        }
    }
}

pub(super) fn restoring() -> Problem {
    let message = "The HSM is being restored, and nothing else is answered until that is done; \
                   follow it at /restore/JOB/pending.";
    Problem::new(S::SERVICE_UNAVAILABLE, "ServiceUnavailable", message).after(RESTORE_RETRY_S)
}

pub(super) fn no_such_job() -> Problem {
    let message = "There is no job of this id; the status of the last 32 is kept.";
    Problem::new(S::NOT_FOUND, "JobNotFound", message)
}
