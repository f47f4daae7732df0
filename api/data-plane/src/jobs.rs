//! What backups and restores of the whole HSM share: the parameters, the status, and the work that
//! goes on when its beginning has been answered.
//!
//! The beginning is recorded as a change, with intent and outcome. The end is recorded as something
//! that the service did.

use std::sync::Arc;

use casemate_audit::{Call, Detail, Phase, Record, Recorded, TrailError, Verdict};
use casemate_hsm::Hsm;
use casemate_hsm::backup::{Aside, Begun, Done, Job, JobFailure, JobState, Objects, Target};
use casemate_hsm::rbac::{DataAction, Permit};
use casemate_wire::{JobError, JobStatus, StorageParameters};
use http::StatusCode;

use crate::answer::Answer;
use crate::details::{of_end, of_job};
use crate::exchange::Exchange;
use crate::parameters::BadParameter;
use crate::plane::DataPlane;
use crate::refusal::{OfBackups, Refusal};
use crate::render::json;

/// What full backups and restores are made with.
#[derive(Clone)]
pub struct Backups {
    /// The HSM's name, which folders of backups carry.
    pub hsm: String,
    /// Who carries the objects.
    pub objects: Arc<dyn Objects>,
    /// Where a restored HSM is made ready.
    pub aside: Arc<dyn Aside>,
}

/// Where a backup lies.
pub(crate) fn target(storage: &StorageParameters) -> Result<Target, Refusal> {
    let token = storage.token.as_deref().unwrap_or_default();
    match storage.use_managed_identity {
        Some(true) if !token.is_empty() => Err(BadParameter::TokenAndIdentity.into()),
        Some(true) => Ok(Target::with_identity(&storage.storage_resource_uri)?),
        Some(false) | None => Ok(Target::new(&storage.storage_resource_uri, token)?),
    }
}

/// A job's status as an answer.
pub(crate) fn status(job: &Job) -> Vec<u8> {
    let (status, error) = match &job.state {
        JobState::InProgress => ("InProgress", None),
        JobState::Succeeded => ("Succeeded", None),
        JobState::Failed { code, message } => ("Failed", Some(JobError { code, message })),
    };
    let is_backup = job.kind.is_backup();
    json(&JobStatus {
        status,
        status_details: Some(job.details.as_str()).filter(|details| !details.is_empty()),
        error,
        start_time: job.started.0,
        end_time: job.ended.map(|time| time.0),
        job_id: job.id.as_str(),
        azure_storage_blob_container_uri: is_backup.then_some(job.folder.as_deref()),
    })
}

/// The status that was asked for.
pub(crate) fn shown(job: Option<Job>) -> Result<Answer, Refusal> {
    let job = job.ok_or(OfBackups::NoSuchJob)?;
    Ok(Answer::json(StatusCode::OK, status(&job)))
}

/// Answers the beginning of a job, and lets the work begin once that is recorded. Work whose
/// beginning could not be recorded is not done.
pub(crate) async fn begin<A, F, W>(
    x: &mut Exchange,
    permit: &Permit<A>,
    begun: Begun,
    work: F,
) -> Result<Answer, Refusal>
where
    A: DataAction,
    F: FnOnce(Working) -> W,
    W: Future<Output = ()> + Send + 'static,
{
    let job = begun.job();
    let area = if job.kind.is_backup() { "backup" } else { "restore" };
    let url = format!("{}/{area}/{}/pending", x.url, job.id.as_str());
    let answer = Answer::accepted(status(job), &url);
    x.tell_more(of_job(job));
    let plane = Arc::clone(&x.plane);
    let answered = x.ended_by(permit, answer).await;
    if answered.is_err() {
        x.hsm().end_job(begun, Err(JobFailure::NotRecorded)).await;
        return answered;
    }
    drop(tokio::spawn(work(Working { plane, hsm: x.hsm(), begun })));
    x.hsm().still_authorized(permit)?;
    answered
}

/// A job at work.
pub(crate) struct Working {
    pub(crate) plane: Arc<DataPlane>,
    pub(crate) hsm: Arc<Hsm>,
    pub(crate) begun: Begun,
}

impl Working {
    /// Ends the job, and records how.
    pub(crate) async fn end(self, operation: &str, done: Result<Done, JobFailure>) {
        if let Err(failure) = &done {
            let mut cause = std::error::Error::source(failure);
            let mut causes = Vec::new();
            while let Some(error) = cause {
                causes.push(error.to_string());
                cause = error.source();
            }
            tracing::warn!(operation, %failure, ?causes, "a job was given up");
        }
        let path = self.path();
        let failure = done.as_ref().err().map(|failure| (failure.code(), failure.to_string()));
        let verdict = match &failure {
            None => Verdict::Success,
            Some((code, description)) => Verdict::Failure { status: None, code, description },
        };
        let details = of_end(self.begun.job(), done.as_ref().ok());
        let recorded = record(&self.plane, operation, &path, &details, verdict).await;
        if let Err(error) = recorded {
            tracing::error!(%error, operation, "the end of a job was not recorded");
        }
        self.hsm.end_job(self.begun, done).await;
    }

    /// Where its status is.
    pub(crate) fn path(&self) -> String {
        let job = self.begun.job();
        let area = if job.kind.is_backup() { "backup" } else { "restore" };
        format!("/{area}/{}/pending", job.id.as_str())
    }
}

/// Records something that the service did for a job.
pub(crate) async fn record(
    plane: &DataPlane,
    operation: &str,
    path: &str,
    details: &[Detail],
    verdict: Verdict<'_>,
) -> Result<Recorded, TrailError> {
    let consistency = plane.door.sequence();
    let call = Call { request_uri: path, consistency, details, ..Call::default() };
    let record = Record {
        phase: Phase::Service,
        operation,
        call: &call,
        verdict,
        permit: None,
        key: None,
        intent: None,
    };
    plane.trail.append(&record).await
}
