//! Sets of a schedule that need not be kept are removed, and what unfinished runs left.
//!
//! Invariant: an object goes only when a run of this schedule has put it. Of a set that is so, for
//! nothing is put over another object, and the set was noted when all of it had been put. What lies
//! in the folder of an unfinished run may be another's, whose name was the same: an object of it is
//! read, and goes when it opens as sealed for that very run.
//!
//! A chain goes from its newest set to its oldest, a set from its manifest to its first part: so
//! nothing that is left rests on what is gone, and what is half gone is no backup. It is noted
//! before that a chain goes, and a set is forgotten when nothing of it is left; each step can be
//! done again.

use std::sync::Arc;

use casemate_audit::Recorded;

use super::Making;
use super::record::{Leftover, ScheduleFailure, ScheduleRecord};
use super::retention::{mark_chain, to_remove, tries};
use super::settings::ScheduleName;
use super::when::{next_removal, next_try};
use crate::backup::envelope::{self, Sealed};
use crate::backup::manifest::{Manifest, PARTS_MAX, SetId, part_name, part_place};
use crate::backup::{Folder, MANIFEST, Objects, TransferError};
use crate::commit::CommitRefusal;
use crate::{Hsm, UnixSeconds};

/// A set, or what an unfinished run left, that is to be removed.
#[derive(Clone, Debug)]
pub struct Removal {
    name: ScheduleName,
    making: Making,
    folder: Folder,
    content: Content,
}

/// What lies in a folder.
#[derive(Clone, Copy, Debug)]
enum Content {
    /// A set, of so many parts.
    Set { parts: u32 },
    /// What an unfinished run has put, and may be what others have.
    OfRun(SetId),
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

    /// Whether the target does not let this go, which says nothing of what else there is.
    fn is_of_one(&self) -> bool {
        matches!(self, Self::Transfer(TransferError::Kept(_) | TransferError::Denied(_)))
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
            let (folder, content) = next_of(record, now)?;
            let folder = record.target()?.folder(folder.to_owned());
            Some(Removal { name: record.name.clone(), making: record.making, folder, content })
        })
    }

    /// Removes it. When it failed, that is noted, and it is tried again later; what the target does
    /// not let go holds up nothing else.
    pub async fn remove_set(
        self: &Arc<Self>,
        removal: &Removal,
        _intent: &Recorded,
        objects: &dyn Objects,
    ) -> Result<(), RemovalFailure> {
        let Removal { name, making, folder, content } = removal;
        let now = self.now();
        let of = (name, *making);
        // What was to go may be kept by now: then it is left alone.
        let goes = self.note_progress(of, |record| {
            let goes = next_of(record, now).is_some_and(|(next, _)| next == folder.name);
            if goes && matches!(content, Content::Set { .. }) {
                mark_chain(&mut record.progress.sets, &folder.name);
            }
            goes
        });
        if goes.await? != Some(true) {
            return Err(RemovalFailure::ScheduleEnded);
        }
        let removed = self.remove_objects(removal, objects).await;
        let noted = self.note_progress(of, |record| match &removed {
            Ok(()) => record.progress.removed(&folder.name),
            Err(RemovalFailure::Busy | RemovalFailure::ScheduleEnded) => {}
            Err(failure) => {
                let (code, message) = (failure.code().to_owned(), failure.to_string());
                let told = ScheduleFailure { at: now, code, message };
                record.progress.not_removed(&folder.name, failure.is_of_one(), told);
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
        let (has_manifest, parts) = match removal.content {
            Content::Set { parts } => (true, usize::try_from(parts).unwrap_or(PARTS_MAX)),
            Content::OfRun(set) => {
                let has_manifest = self.is_manifest_of(set, removal, objects).await?;
                (has_manifest, self.count_parts(set, removal, objects).await?)
            }
        };
        if has_manifest {
            self.remove_object(removal, MANIFEST, objects).await?;
        }
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
        match objects.remove(&self.folder_now(removal)?, object).await {
            Err(TransferError::NotFound(_)) => Ok(()),
            removed => Ok(removed?),
        }
    }

    /// The folder, with what opens it at this moment, if something may still be removed there.
    fn folder_now(&self, removal: &Removal) -> Result<Folder, RemovalFailure> {
        let target = self.schedule_target(&removal.name, removal.making);
        let target = target.ok_or(RemovalFailure::ScheduleEnded)?;
        if self.is_restoring() || self.job_under_way().is_some() {
            return Err(RemovalFailure::Busy);
        }
        Ok(target.folder(removal.folder.name.clone()))
    }

    /// How many parts of the run lie there: they were put in their order, so they end where one is
    /// missing or another's. As none but the HSM can seal one, no target makes that longer than
    /// what was put.
    async fn count_parts(
        &self,
        set: SetId,
        removal: &Removal,
        objects: &dyn Objects,
    ) -> Result<usize, RemovalFailure> {
        let cipher = &*self.backup_cipher;
        for index in 0..PARTS_MAX {
            let found = self.found(removal, &part_name(index), objects).await?;
            let place = part_place(&set, index);
            let opens = |bytes: Vec<u8>| envelope::open(Sealed::Part, cipher, &place, &bytes).ok();
            if found.and_then(opens).is_none() {
                return Ok(index);
            }
        }
        Ok(PARTS_MAX)
    }

    /// Whether the manifest there is the run's.
    async fn is_manifest_of(
        &self,
        set: SetId,
        removal: &Removal,
        objects: &dyn Objects,
    ) -> Result<bool, RemovalFailure> {
        let found = self.found(removal, MANIFEST, objects).await?;
        let folder = &removal.folder.name;
        let manifest = found.map(|bytes| Manifest::open(&*self.backup_cipher, folder, &bytes));
        Ok(manifest.and_then(Result::ok).is_some_and(|manifest| manifest.set == set))
    }

    /// The object, if there is one that may be of a backup.
    async fn found(
        &self,
        removal: &Removal,
        object: &str,
        objects: &dyn Objects,
    ) -> Result<Option<Vec<u8>>, RemovalFailure> {
        match objects.get(&self.folder_now(removal)?, object).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(TransferError::NotFound(_) | TransferError::TooLong) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// What of the schedule is to be removed next, and its folder: of what the target did not let go
/// that which was tried least often, and else what unfinished runs left first.
fn next_of(record: &ScheduleRecord, now: UnixSeconds) -> Option<(&str, Content)> {
    let ScheduleRecord { plan, progress, .. } = record;
    if !plan.enabled || progress.running.is_some() || now < next_removal(progress) {
        return None;
    }
    let may_go = |left: &&Leftover| next_try(left.held.as_ref()) <= now;
    let leftovers = progress.leftovers.iter().filter(may_go);
    let leftover = leftovers.min_by_key(|left| tries(left.held.as_ref()));
    let set = to_remove(plan, &progress.sets, now);
    match (leftover, set) {
        (Some(left), Some(set)) if tries(set.held.as_ref()) < tries(left.held.as_ref()) => {
            Some((&set.folder, Content::Set { parts: set.parts }))
        }
        (Some(left), _) => Some((&left.folder, Content::OfRun(left.job.bits()))),
        (None, Some(set)) => Some((&set.folder, Content::Set { parts: set.parts })),
        (None, None) => None,
    }
}
