//! Jobs: backups and restores of the whole HSM, one at a time, each with a status that outlives a
//! restart.
//!
//! Invariant: a job that is under way is stored as such before its start is answered. So a start
//! after a death knows that it was not finished.

use std::sync::Arc;

use casemate_engine_port::EngineError;
use casemate_store_port::{Change, CommitError, Write};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{BackupError, Folder, TargetError, TransferError};
use crate::commit::CommitRefusal;
use crate::keys::RestoreRefusal;
use crate::rbac::Duty;
use crate::{Hsm, KeyName, PoolFailure, UnixSeconds, records};

/// Most jobs that are remembered.
const JOBS_MAX: usize = 32;

/// The id of a job: 128 random bits, as 32 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobId(String);

impl JobId {
    /// Reads an id; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let text = text.to_ascii_lowercase();
        (text.len() == 32 && text.bytes().all(digit)).then_some(Self(text))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The bits, which name the set that the job makes, too: so what a job has put is known by its
    /// id for good.
    pub(super) fn bits(&self) -> [u8; 16] {
        u128::from_str_radix(&self.0, 16).unwrap_or_default().to_be_bytes()
    }
}

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobKind {
    /// A full backup.
    Backup,
    /// Whether a full backup could be made.
    BackupCheck,
    /// A full restore.
    Restore,
    /// Whether a backup could be restored.
    RestoreCheck,
    /// One key from a full backup.
    KeyRestore,
}

impl JobKind {
    /// Whether its status is that of a backup; else it is that of a restore.
    pub fn is_backup(self) -> bool {
        matches!(self, Self::Backup | Self::BackupCheck)
    }
}

/// How a job is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobState {
    /// Under way.
    InProgress,
    /// Done.
    Succeeded,
    /// Given up; nothing was changed.
    Failed {
        /// The code, for programs.
        code: String,
        /// What was wrong, and what to do.
        message: String,
    },
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What it does.
    pub kind: JobKind,
    /// How it is.
    pub state: JobState,
    /// More about it, for people.
    pub details: String,
    /// When it began.
    pub started: UnixSeconds,
    /// When it ended.
    pub ended: Option<UnixSeconds>,
    /// Where the backup lies, once it does.
    pub folder: Option<String>,
    /// The one key that it is about; none if it is about all.
    #[serde(default)]
    pub key: Option<KeyName>,
}

/// Why a job was not begun.
#[derive(Debug, thiserror::Error)]
pub enum StartRefusal {
    /// One is under way.
    #[error("a backup or restore is under way already; wait for the job {}", .0.as_str())]
    Busy(JobId),
    /// The target.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// What an increment shall be made on.
    #[error(transparent)]
    Base(#[from] BackupError),
    /// Not stored.
    #[error(transparent)]
    Commit(#[from] CommitRefusal),
    /// No random numbers.
    #[error("the engine gave no random numbers")]
    Engine(#[from] casemate_engine_port::EngineError),
}

impl StartRefusal {
    /// The code, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Busy(_) => "Conflict",
            Self::Target(_) | Self::Base(_) => "BadParameter",
            Self::Commit(_) | Self::Engine(_) => "InternalServerError",
        }
    }
}

/// Why a job was given up. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum JobFailure {
    /// The target.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// What was read is no backup for this HSM.
    #[error("{object}: {cause}")]
    Object {
        /// Which object.
        object: String,
        /// What is wrong.
        #[source]
        cause: BackupError,
    },
    /// Fewer or more things than the manifest says.
    #[error("the backup does not hold what its manifest says; use another one")]
    Incomplete,
    /// It holds no such key.
    #[error("the backup holds no key '{0}'")]
    NoSuchKey(KeyName),
    /// More than this HSM can hold.
    #[error("the backup holds more {0} than this HSM can hold")]
    TooMany(&'static str),
    /// Keys would be lost that purge protection keeps.
    #[error(
        "the HSM has purge protection and holds {0} key versions that the backup does not hold; a \
         restore would purge them"
    )]
    WouldPurge(usize),
    /// The settings keep duties apart that the backup's assignments put into one hand.
    #[error(
        "the settings keep duties apart ('CasemateSeparation'), and in the backup somebody who may \
         use keys holds {0} too; change the setting first"
    )]
    KeptApart(Duty),
    /// A key that cannot be part of a backup.
    #[error("the key '{0}' is too long for a backup; shorten its tags")]
    KeyTooLong(KeyName),
    /// The engine cannot hold such keys.
    #[error(
        "the backup's key '{key}': the engine '{engine}' does not hold keys of this type and \
         size{why}; nothing was restored"
    )]
    Unsupported {
        /// Which key.
        key: KeyName,
        /// The engine.
        engine: &'static str,
        /// Why, in words that go on after that; perhaps empty.
        why: &'static str,
    },
    /// The engine did not open a key's material, or not wrap it under the present secret.
    #[error("material of the key '{key}' cannot be used: {cause}")]
    Material {
        /// Which key.
        key: KeyName,
        /// What the engine said.
        #[source]
        cause: EngineError,
    },
    /// The pool ended without a result.
    #[error(transparent)]
    Pool(#[from] PoolFailure),
    /// One key was not restored.
    #[error(transparent)]
    Restore(#[from] RestoreRefusal),
    /// A run of a schedule was not begun.
    #[error(transparent)]
    NotBegun(Arc<StartRefusal>),
    /// What it was made for stands no longer.
    #[error("the schedule was removed, disabled or pointed elsewhere; nothing more is sent")]
    ScheduleEnded,
    /// The permit fell meanwhile.
    #[error(transparent)]
    NotAuthorized(#[from] crate::rbac::NotAuthorized),
    /// The place aside, or the store.
    #[error("the store cannot be used: the operator must look at its disk")]
    Store(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// Nothing is done without a record.
    #[error("the audit trail took no record of it; the operator must look at its disk")]
    NotRecorded,
    /// The engine gave no random numbers.
    #[error("the engine gave no random numbers")]
    Engine(#[from] EngineError),
}

impl JobFailure {
    pub(super) fn store(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Store(Arc::new(error))
    }

    pub(super) fn object(object: &str) -> impl Fn(BackupError) -> Self {
        move |cause| Self::Object { object: object.to_owned(), cause }
    }

    /// The code, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Transfer(
                TransferError::NoIdentity
                | TransferError::IdentityUnusable
                | TransferError::NoToken(_),
            ) => "ManagedIdentityError",
            Self::Transfer(_) => "StorageAccountError",
            Self::Object { .. } | Self::Incomplete => "BadBackup",
            Self::NoSuchKey(_) => "KeyNotFound",
            Self::TooMany(_)
            | Self::WouldPurge(_)
            | Self::KeptApart(_)
            | Self::KeyTooLong(_)
            | Self::Unsupported { .. }
            | Self::Material { cause: EngineError::Unsupported(_), .. }
            | Self::Restore(_) => "Conflict",
            Self::NotAuthorized(_) => "AccessDenied",
            Self::ScheduleEnded => "ScheduleEnded",
            Self::NotBegun(refusal) => refusal.code(),
            Self::NotRecorded
            | Self::Store(_)
            | Self::Material { .. }
            | Self::Pool(_)
            | Self::Engine(_) => "InternalServerError",
        }
    }
}

/// A job that has begun. Its end is told by [`Hsm::end_job`].
#[derive(Debug)]
pub struct Begun {
    pub(super) job: Job,
    pub(super) folder: Folder,
    /// What an increment is made on.
    pub(super) base: Option<Folder>,
}

impl Begun {
    /// The job, as its start is answered.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// The folder that it is about.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }
}

/// The jobs of one HSM, the newest last.
#[derive(Default)]
pub(crate) struct Jobs {
    list: Mutex<Vec<Job>>,
    /// One writer at a time.
    turn: futures_util::lock::Mutex<()>,
}

impl Jobs {
    /// Whether a backup that is remembered lies in a folder of this name.
    pub(super) fn has_folder(&self, name: &str) -> bool {
        let lies = |job: &Job| {
            let folder = job.folder.as_deref();
            folder.and_then(|url| url.rsplit('/').next()).is_some_and(|last| last == name)
        };
        self.list.lock().iter().any(lies)
    }

    /// As they were stored. What was under way is no longer.
    pub(crate) fn stored(mut list: Vec<Job>) -> Self {
        for job in list.iter_mut().filter(|job| job.state == JobState::InProgress) {
            job.state = JobState::Failed {
                code: "Interrupted".to_owned(),
                message: "The HSM stopped before the job was done. Nothing was changed by it; \
                          start it again."
                    .to_owned(),
            };
            job.ended = Some(job.started);
        }
        Self { list: Mutex::new(list), ..Self::default() }
    }
}

impl Hsm {
    /// A job's status. `backup`: whether that of a backup is asked for, or of a restore.
    pub fn job(&self, id: &JobId, backup: bool) -> Option<Job> {
        let list = self.jobs.list.lock();
        list.iter().find(|job| job.id == *id && job.kind.is_backup() == backup).cloned()
    }

    /// The job that is under way.
    pub(crate) fn job_under_way(&self) -> Option<JobId> {
        let list = self.jobs.list.lock();
        let busy = list.iter().find(|job| job.state == JobState::InProgress);
        busy.map(|job| job.id.clone())
    }

    /// Where the full backups lie that were made between these times, as far as the jobs are
    /// remembered. A time that is not known leaves that side open.
    pub(crate) fn full_backups_between(
        &self,
        from: Option<UnixSeconds>,
        to: Option<UnixSeconds>,
    ) -> Vec<String> {
        let list = self.jobs.list.lock();
        let made = list.iter().filter(|job| {
            job.kind == JobKind::Backup
                && from.is_none_or(|from| job.started >= from)
                && to.is_none_or(|to| job.started <= to)
        });
        made.filter_map(|job| job.folder.clone()).collect()
    }

    /// Begins a job, if none is under way.
    pub(super) async fn begin_job(
        &self,
        kind: JobKind,
        folder: Folder,
        key: Option<KeyName>,
    ) -> Result<Begun, StartRefusal> {
        let mut id = [0; 16];
        self.engine.random(&mut id)?;
        let job = Job {
            id: JobId(id.iter().map(|byte| format!("{byte:02x}")).collect()),
            kind,
            state: JobState::InProgress,
            details: String::new(),
            started: self.now(),
            ended: None,
            folder: None,
            key,
        };
        let _turn = self.jobs.turn.lock().await;
        let with = {
            let list = self.jobs.list.lock();
            if let Some(busy) = list.iter().find(|job| job.state == JobState::InProgress) {
                return Err(StartRefusal::Busy(busy.id.clone()));
            }
            let skipped = (list.len() + 1).saturating_sub(JOBS_MAX);
            list.iter().skip(skipped).cloned().chain([job.clone()]).collect::<Vec<_>>()
        };
        self.store_jobs(&with).await.map_err(|error| CommitRefusal::Store(Arc::new(error)))?;
        *self.jobs.list.lock() = with;
        Ok(Begun { job, folder, base: None })
    }

    /// Ends a job. If that cannot be stored, it is remembered until the next start, which then
    /// finds it interrupted.
    pub async fn end_job(&self, begun: Begun, done: Result<Done, JobFailure>) -> Job {
        let ended = ended(begun, done, self.now());
        let _turn = self.jobs.turn.lock().await;
        let with = {
            let mut list = self.jobs.list.lock();
            for job in list.iter_mut().filter(|job| job.id == ended.id) {
                *job = ended.clone();
            }
            list.clone()
        };
        if let Err(error) = self.store_jobs(&with).await {
            tracing::error!(%error, "the end of a backup or restore was not stored");
        }
        ended
    }

    /// All jobs with this one ended, as they are stored.
    pub(super) fn jobs_with_ended(&self, begun: &Begun, done: &Done) -> Vec<u8> {
        let copy = Begun { job: begun.job.clone(), folder: begun.folder.clone(), base: None };
        let ended = ended(copy, Ok(done.clone()), self.now());
        let mut list = self.jobs.list.lock().clone();
        for job in list.iter_mut().filter(|job| job.id == ended.id) {
            *job = ended.clone();
        }
        records::encode(&list)
    }

    async fn store_jobs(&self, jobs: &Vec<Job>) -> Result<(), CommitError> {
        let writes = vec![Write::Put(records::jobs_path(), records::encode(jobs))];
        self.store.commit(Change { expect: Vec::new(), writes }).await.map(drop)
    }
}

/// What came of a job that was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// More about it, for people.
    pub details: String,
    /// Where the backup lies.
    pub folder: Option<String>,
}

fn ended(begun: Begun, done: Result<Done, JobFailure>, now: UnixSeconds) -> Job {
    let job = Job { ended: Some(now), ..begun.job };
    match done {
        Ok(Done { details, folder }) => Job { state: JobState::Succeeded, details, folder, ..job },
        Err(failure) => {
            let state =
                JobState::Failed { code: failure.code().to_owned(), message: failure.to_string() };
            Job { state, ..job }
        }
    }
}
