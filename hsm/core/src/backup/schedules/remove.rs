//! Sets of a schedule that need not be kept are removed, and what unfinished runs left.
//!
//! A chain goes from its newest set to its oldest, a set from its manifest to its first part: so
//! nothing that is left rests on what is gone, and what is half gone is no backup. It is noted
//! before that a chain goes, and a set is forgotten when nothing of it is left; each step can be
//! done again.

use std::sync::Arc;

use casemate_audit::Recorded;

use super::Making;
use super::record::{ScheduleFailure, ScheduleRecord};
use super::retention::to_remove;
use super::settings::ScheduleName;
use super::when::next_removal;
use crate::backup::manifest::{PARTS_MAX, part_name};
use crate::backup::{Folder, MANIFEST, Objects, TransferError};
use crate::commit::CommitRefusal;
use crate::{Hsm, UnixSeconds};

/// A set, or what an unfinished run left, that is to be removed.
#[derive(Clone, Debug)]
pub struct Removal {
    name: ScheduleName,
    making: Making,
    folder: Folder,
    /// How many parts it has; not known of an unfinished run.
    parts: Option<u32>,
}

/// Why something was not removed, or not all of it. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum RemovalFailure {
    /// The target.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// The schedule is gone, disabled, or points elsewhere.
    #[error("the schedule was removed, disabled or pointed elsewhere; nothing more is removed")]
    ScheduleEnded,
    /// A job has begun meanwhile, which may read the set.
    #[error("a backup or restore has begun; nothing is removed until it has ended")]
    Busy,
    /// Not stored.
    #[error(transparent)]
    Commit(#[from] CommitRefusal),
}

impl RemovalFailure {
    /// The code, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Transfer(_) => "StorageAccountError",
            Self::ScheduleEnded => "ScheduleEnded",
            Self::Busy => "Conflict",
            Self::Commit(_) => "InternalServerError",
        }
    }
}

impl Removal {
    /// The schedule's name.
    pub fn name(&self) -> &ScheduleName {
        &self.name
    }

    /// What is removed.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }
}

impl Hsm {
    /// What is to be removed next, if no job is under way: it might read it.
    pub fn due_removal(&self) -> Option<Removal> {
        if self.is_restoring() || self.job_under_way().is_some() {
            return None;
        }
        let now = self.now();
        let state = self.state.read();
        state.schedules.values().find_map(|(record, _)| {
            let (folder, parts) = next_of(record, now)?;
            let folder = record.target()?.folder(folder);
            Some(Removal { name: record.name.clone(), making: record.making, folder, parts })
        })
    }

    /// Removes it. When it failed, that is noted, and it is tried again later.
    pub async fn remove_set(
        self: &Arc<Self>,
        removal: &Removal,
        _intent: &Recorded,
        objects: &dyn Objects,
    ) -> Result<(), RemovalFailure> {
        let Removal { name, making, folder, parts } = removal;
        let now = self.now();
        let of = (name, *making);
        // What was to go may be kept by now: then it is left alone.
        let goes = self.note_progress(of, |record| {
            let goes = next_of(record, now).is_some_and(|(next, _)| next == folder.name);
            if goes && parts.is_some() {
                mark_chain(record, now);
            }
            goes
        });
        if goes.await? != Some(true) {
            return Err(RemovalFailure::ScheduleEnded);
        }
        let removed = self.remove_objects(removal, objects).await;
        let noted = self.note_progress(of, |record| match &removed {
            Ok(()) => {
                record.progress.left.retain(|left| *left != folder.name);
                record.progress.sets.retain(|set| set.folder != folder.name);
                record.progress.removal_failures = 0;
                record.progress.removal_failure = None;
            }
            Err(RemovalFailure::Busy | RemovalFailure::ScheduleEnded) => {}
            Err(failure) => {
                let tries = record.progress.removal_failures;
                record.progress.removal_failures = tries.saturating_add(1);
                let (code, message) = (failure.code().to_owned(), failure.to_string());
                record.progress.removal_failure = Some(ScheduleFailure { at: now, code, message });
            }
        });
        noted.await?;
        removed
    }

    async fn remove_objects(
        &self,
        removal: &Removal,
        objects: &dyn Objects,
    ) -> Result<(), RemovalFailure> {
        let Removal { folder, parts, .. } = removal;
        self.remove_object(removal, MANIFEST, objects).await?;
        let parts = match parts {
            Some(parts) => usize::try_from(*parts).unwrap_or(PARTS_MAX),
            None => count_parts(folder, objects).await?,
        };
        for index in (0..parts).rev() {
            self.remove_object(removal, &part_name(index), objects).await?;
        }
        Ok(())
    }

    async fn remove_object(
        &self,
        removal: &Removal,
        object: &str,
        objects: &dyn Objects,
    ) -> Result<(), RemovalFailure> {
        if !self.schedule_stands(&removal.name, removal.making) {
            return Err(RemovalFailure::ScheduleEnded);
        }
        if self.is_restoring() || self.job_under_way().is_some() {
            return Err(RemovalFailure::Busy);
        }
        match objects.remove(&removal.folder, object).await {
            Err(TransferError::NotFound(_)) => Ok(()),
            removed => Ok(removed?),
        }
    }
}

/// What of the schedule is to be removed next: its folder, and how many parts that has.
fn next_of(record: &ScheduleRecord, now: UnixSeconds) -> Option<(String, Option<u32>)> {
    let ScheduleRecord { plan, progress, .. } = record;
    if !plan.enabled || progress.running.is_some() || now < next_removal(progress) {
        return None;
    }
    if let Some(left) = progress.left.first() {
        return Some((left.clone(), None));
    }
    let chain = to_remove(plan, &progress.sets, now)?;
    let newest = progress.sets.get(chain)?.last()?;
    Some((newest.folder.clone(), Some(newest.parts)))
}

/// Notes that the chain which is to be removed goes.
fn mark_chain(record: &mut ScheduleRecord, now: UnixSeconds) {
    let sets = &mut record.progress.sets;
    if let Some(chain) = to_remove(&record.plan, sets, now) {
        sets.get_mut(chain).into_iter().flatten().for_each(|set| set.going = true);
    }
}

/// How many parts lie there: they were put in their order, and are removed from the last on.
async fn count_parts(folder: &Folder, objects: &dyn Objects) -> Result<usize, RemovalFailure> {
    for index in 0..PARTS_MAX {
        match objects.get(folder, &part_name(index)).await {
            Err(TransferError::NotFound(_)) => return Ok(index),
            // Whatever it is, it is there.
            Ok(_) | Err(TransferError::TooLong) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(PARTS_MAX)
}
