//! Backups by schedule: made when they are due, and removed when they need not be kept. Each with
//! an intent before it and an outcome after it, of the service itself.

use std::sync::Arc;
use std::time::Duration;

use casemate_audit::{Call, Detail, Phase, Record, Recorded, Trail, TrailError, Verdict};
use casemate_data_plane::{of_removal, of_run};
use casemate_hsm::Hsm;
use casemate_hsm::backup::{Objects, Removal, RemovalFailure, ScheduledRun};

use crate::failure::chain;

/// How often it is looked whether something is due.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// After something that could not be recorded or stored.
const TROUBLE_INTERVAL: Duration = Duration::from_secs(30);

const RUN: &str = "ScheduledBackup";
const REMOVAL: &str = "ScheduledBackupRemove";

/// Why nothing could be done at all.
type Trouble = Box<dyn std::error::Error + Send + Sync>;

/// Who makes the backups.
pub(crate) struct Schedules {
    pub(crate) hsm: Arc<Hsm>,
    pub(crate) trail: Trail,
    /// Who carries the objects.
    pub(crate) objects: Arc<dyn Objects>,
    /// The HSM's name, which folders carry.
    pub(crate) name: String,
}

impl Schedules {
    /// Does what is due, one thing after the other. Never ends.
    pub(crate) async fn keep(self) {
        loop {
            let pause = match self.step().await {
                Ok(true) => continue,
                Ok(false) => LOOK_INTERVAL,
                Err(trouble) => {
                    tracing::warn!("schedules of backups wait: {}", chain(&*trouble));
                    TROUBLE_INTERVAL
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// One run or removal; whether there was something to do.
    async fn step(&self) -> Result<bool, Trouble> {
        self.hsm.settle_runs().await?;
        if let Some(run) = self.hsm.due_run() {
            self.run(&run).await?;
            return Ok(true);
        }
        if let Some(removal) = self.hsm.due_removal() {
            self.remove(&removal).await?;
            return Ok(true);
        }
        Ok(false)
    }

    async fn run(&self, run: &ScheduledRun) -> Result<(), Trouble> {
        let hsm = &self.hsm;
        let asked = of_run(run, None, None);
        let intent = self.record(RUN, &asked, Verdict::Pending, None).await?;
        let begun = match hsm.begin_run(run, &intent, &self.name).await {
            Ok(begun) => begun,
            Err(failure) => {
                tracing::warn!(schedule = %run.name(), "no backup was begun: {}", chain(&failure));
                let told = failed(failure.code(), &failure);
                self.record(RUN, &asked, told.verdict(), Some(&intent)).await?;
                return Ok(hsm.fail_run(run, &failure).await?);
            }
        };
        let done = hsm.back_up_scheduled(run, &begun, &*self.objects).await;
        let done = hsm.note_run(run, &begun, done).await;
        if let Err(failure) = &done {
            tracing::warn!(schedule = %run.name(), "no backup was made: {}", chain(failure));
        }
        let told = done.as_ref().err().map(|failure| failed(failure.code(), failure));
        let verdict = told.as_ref().map_or(Verdict::Success, Told::verdict);
        let made = done.as_ref().ok().map(|made| made.done());
        let details = of_run(run, Some(begun.job()), made);
        let recorded = self.record(RUN, &details, verdict, Some(&intent)).await;
        hsm.end_run(begun, done).await;
        recorded?;
        Ok(())
    }

    async fn remove(&self, removal: &Removal) -> Result<(), Trouble> {
        let details = of_removal(removal);
        let intent = self.record(REMOVAL, &details, Verdict::Pending, None).await?;
        let done = self.hsm.remove_set(removal, &intent, &*self.objects).await;
        let told = done.as_ref().err().map(|failure| failed(failure.code(), failure));
        if let Err(failure) = &done {
            let (schedule, folder) = (removal.name(), &removal.folder().name);
            tracing::warn!(%schedule, folder, "not removed: {}", chain(failure));
        }
        let verdict = told.as_ref().map_or(Verdict::Success, Told::verdict);
        self.record(REMOVAL, &details, verdict, Some(&intent)).await?;
        match done {
            Err(failure @ RemovalFailure::Commit(_)) => Err(failure.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    async fn record(
        &self,
        operation: &str,
        details: &[Detail],
        verdict: Verdict<'_>,
        intent: Option<&Recorded>,
    ) -> Result<Recorded, TrailError> {
        let call = Call { consistency: self.hsm.sequence(), details, ..Call::default() };
        let record = Record {
            phase: Phase::Service,
            operation,
            call: &call,
            verdict,
            permit: None,
            key: None,
            intent,
        };
        self.trail.append(&record).await
    }
}

/// A failure as it is recorded.
struct Told {
    code: &'static str,
    description: String,
}

fn failed(code: &'static str, failure: &(dyn std::error::Error + 'static)) -> Told {
    Told { code, description: failure.to_string() }
}

impl Told {
    fn verdict(&self) -> Verdict<'_> {
        let Self { code, description } = self;
        Verdict::Failure { status: None, code, description }
    }
}
