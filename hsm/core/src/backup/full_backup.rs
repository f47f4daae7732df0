//! A full backup: everything that is not the HSM's own, as of one moment, in sealed parts, and the
//! manifest that makes them a backup. An increment holds of the keys those alone that were changed
//! since its base, and a roll of all that there are.
//!
//! It holds keys with all their versions, role assignments and definitions. Settings, sinks, the
//! times from which on tokens count, and the keys of the audit log are the HSM's own: a restore
//! leaves them as they are.
//!
//! Invariant: the manifest is put when all parts lie there.

use std::sync::Arc;

use casemate_audit::Recorded;

use super::chain::Foundation;
use super::content::KeyContent;
use super::envelope::{self, Sealed};
use super::jobs::{Begun, Done, JobFailure, JobKind, StartRefusal};
use super::manifest::{
    Counts, Lineage, MANIFEST, Manifest, PartFacts, SetId, part_name, part_place,
};
use super::parts::{Item, Part, PartWriter, Rolled};
use super::schedules::ScheduledRun;
use super::{BackupError, Folder, Objects, Target, TransferError};
use crate::rbac::{Assignment, Definition, Permit, act};
use crate::records::{KeyRecord, Life};
use crate::state::VersionEntry;
use crate::{Hsm, UnixSeconds};

/// The object that a check puts and removes.
const PROBE: &str = "probe";

/// Failures of a schedule's runs in a row after which one is made without a base that cannot be
/// reached: more than a target that is away for a moment makes.
const BASE_TRIES: u32 = 3;

/// Keys in one item of a roll.
const ROLL_KEYS: usize = 1_000;

/// Everything as of one moment. Entries are shared with the state, which replaces what changes: so
/// it costs some words for each version, however long the backup takes.
struct Snapshot {
    definitions: Vec<Arc<Definition>>,
    assignments: Vec<Arc<Assignment>>,
    keys: Vec<SnapshotKey>,
    sequence: u64,
    /// The last change that is part of it, and all before.
    through: u64,
}

/// A key, its versions, and the last change of anything of it.
type SnapshotKey = (Arc<KeyRecord>, Vec<Arc<VersionEntry>>, u64);

impl Snapshot {
    /// Where a set of this moment stands.
    fn lineage(&self, hsm: [u8; 16], base: Option<Foundation>, counts: Counts) -> Lineage {
        let versions = self.keys.iter().map(|(_, versions, _)| count(versions.len())).sum();
        let whole = Counts { keys: count(self.keys.len()), versions, ..counts };
        let depth = base.as_ref().map_or(0, |base| base.depth() + 1);
        let base = base.map(|base| base.into_record(whole));
        Lineage { hsm, through: self.through, depth, base }
    }
}

fn rolled((key, versions, last): &SnapshotKey) -> Rolled {
    let name = key.name.folded().to_owned();
    Rolled { name, last: *last, versions: count(versions.len()) }
}

fn count(of: usize) -> u64 {
    u64::try_from(of).unwrap_or(u64::MAX)
}

/// Under what a backup is made. Once that is gone nothing more is sent.
#[derive(Clone, Copy)]
pub(super) enum Mandate<'a> {
    /// Somebody may.
    Permit(&'a Permit<act::BackupStart>),
    /// A schedule stands.
    Schedule(&'a ScheduledRun),
}

impl Mandate<'_> {
    /// The folder, with what opens it at this moment, if this still stands.
    fn folder(self, hsm: &Hsm, folder: &Folder) -> Result<Folder, JobFailure> {
        match self {
            Self::Permit(permit) => {
                hsm.still_authorized(permit)?;
                Ok(folder.clone())
            }
            Self::Schedule(run) => {
                Ok(Folder { target: run.target_now(hsm)?, name: folder.name.clone() })
            }
        }
    }

    /// Whether a full backup is made where the base of an increment cannot be had. A schedule makes
    /// one where it is gone, is not what it was, or may not be read; where it cannot be reached, it
    /// fails with that, and makes one when that has not mended itself. Who asks for an increment
    /// gets that or none.
    fn takes_full_instead(self, failure: &JobFailure) -> bool {
        let Self::Schedule(run) = self else { return false };
        match failure {
            JobFailure::Object { .. }
            | JobFailure::Transfer(
                TransferError::NotFound(_) | TransferError::TooLong | TransferError::Denied(_),
            ) => true,
            JobFailure::Transfer(_) => run.failures() >= BASE_TRIES,
            _ => false,
        }
    }
}

/// A set that was made.
#[derive(Clone, Debug)]
pub struct Made {
    pub(super) done: Done,
    pub(super) parts: u32,
    pub(super) is_increment: bool,
}

impl Made {
    /// What came of it.
    pub fn done(&self) -> &Done {
        &self.done
    }

    /// Whether it rests on another set.
    pub fn is_increment(&self) -> bool {
        self.is_increment
    }
}

/// Parts on their way to the target.
struct Sending<'a> {
    hsm: &'a Hsm,
    mandate: Mandate<'a>,
    objects: &'a dyn Objects,
    folder: &'a Folder,
    set: SetId,
    writer: PartWriter,
    parts: Vec<PartFacts>,
    counts: Counts,
}

impl Hsm {
    /// Begins a backup into a new folder of the target: of everything, or on a base of what was
    /// changed since.
    pub async fn begin_backup(
        &self,
        _permit: &Permit<act::BackupStart>,
        _intent: &Recorded,
        hsm: &str,
        target: Target,
        base: Option<&str>,
    ) -> Result<Begun, StartRefusal> {
        let base = base.map(|name| target.existing(name)).transpose()?;
        if base.as_ref().is_some_and(|base| base.target != target) {
            return Err(BackupError::BaseElsewhere.into());
        }
        let folder = target.folder(self.new_folder(hsm)?);
        let begun = self.begin_job(JobKind::Backup, folder, None).await?;
        Ok(Begun { base, ..begun })
    }

    /// Begins to look whether a full backup could be made.
    pub async fn begin_backup_check(
        &self,
        _permit: &Permit<act::BackupStart>,
        _intent: &Recorded,
        hsm: &str,
        target: Target,
    ) -> Result<Begun, StartRefusal> {
        self.begin_job(JobKind::BackupCheck, target.folder(self.new_folder(hsm)?), None).await
    }

    /// Makes the backup. Once the role that allows it is gone nothing more is sent; what was sent
    /// has no manifest then, and so is no backup.
    pub async fn back_up(
        &self,
        permit: &Permit<act::BackupStart>,
        begun: &Begun,
        objects: &dyn Objects,
    ) -> Result<Done, JobFailure> {
        Ok(self.make_backup(Mandate::Permit(permit), begun, objects).await?.done)
    }

    pub(super) async fn make_backup(
        &self,
        mandate: Mandate<'_>,
        begun: &Begun,
        objects: &dyn Objects,
    ) -> Result<Made, JobFailure> {
        mandate.folder(self, &begun.folder)?;
        let set = begun.job.id.bits();
        let (snapshot, base) = self.on_base(mandate, begun, objects).await?;
        let since = base.as_ref().map(Foundation::through);
        let (writer, parts) = (PartWriter::default(), Vec::new());
        let (folder, counts) = (&begun.folder, Counts::default());
        let mut sending =
            Sending { hsm: self, mandate, objects, folder, set, writer, parts, counts };
        for definition in &snapshot.definitions {
            sending.counts.definitions += 1;
            sending.add(Item::Definition(Definition::clone(definition))).await?;
        }
        for assignment in &snapshot.assignments {
            sending.counts.assignments += 1;
            sending.add(Item::Assignment(Assignment::clone(assignment))).await?;
        }
        if since.is_some() {
            for keys in snapshot.keys.chunks(ROLL_KEYS) {
                sending.add(Item::Roll(keys.iter().map(rolled).collect())).await?;
            }
        }
        for (key, versions, last) in &snapshot.keys {
            if since.is_none_or(|since| *last > since) {
                sending.counts.keys += 1;
                sending.counts.versions += count(versions.len());
                let content = self.carried(KeyContent::of(key, versions)).await?;
                sending.add(Item::Key(Box::new(content))).await?;
            }
        }
        let lineage = snapshot.lineage(self.store.identity().hsm, base, sending.counts);
        sending.finish(snapshot.sequence, lineage).await
    }

    /// What is to be backed up, and the set that it is made on.
    async fn on_base(
        &self,
        mandate: Mandate<'_>,
        begun: &Begun,
        objects: &dyn Objects,
    ) -> Result<(Snapshot, Option<Foundation>), JobFailure> {
        let Some(folder) = &begun.base else { return Ok((self.snapshot(), None)) };
        let base = self.base(&mandate.folder(self, folder)?, objects).await;
        let snapshot = self.snapshot();
        let base = base.and_then(|base| {
            base.is_before(snapshot.through).map_err(JobFailure::object(&folder.name))?;
            Ok(base)
        });
        match base {
            Ok(base) => Ok((snapshot, Some(base))),
            Err(failure) if mandate.takes_full_instead(&failure) => {
                let base = &folder.name;
                tracing::warn!(base, %failure, "no increment: a full backup is made");
                Ok((snapshot, None))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Looks whether a backup could be made: whether the target takes an object. One that does not
    /// let it go again, as an immutable target does, or for want of that right, takes backups all
    /// the same: that is told. The object is like no other: none but it is removed.
    pub async fn check_backup(
        &self,
        begun: &Begun,
        objects: &dyn Objects,
    ) -> Result<Done, JobFailure> {
        let job = begun.job.id.as_str();
        let probe = format!("Casemate looks whether a backup can be put here: {job}.");
        objects.put(&begun.folder, PROBE, probe.into_bytes()).await?;
        let details = match objects.remove(&begun.folder, PROBE).await {
            Err(TransferError::Kept(why) | TransferError::Denied(why)) => {
                let at = &begun.folder.name;
                format!("a backup can be put there; the object {at}/{PROBE} stays there: {why}")
            }
            removed => {
                removed?;
                "a backup can be put there".to_owned()
            }
        };
        Ok(Done { details, folder: None })
    }

    /// `mhsm-NAME-YYYYMMDDHHMMSSCC`: UTC, and two random digits, or the next two that no backup
    /// which is remembered has: of two in one second the later must not lie over the earlier.
    pub(super) fn new_folder(&self, hsm: &str) -> Result<String, StartRefusal> {
        let mut digits = [0; 1];
        self.engine.random(&mut digits)?;
        let [digits] = digits;
        let second = stamp(self.now());
        let mut names = (0..100_u8).map(|step| {
            let digits = (u16::from(digits) + u16::from(step)) % 100;
            format!("mhsm-{hsm}-{second}{digits:02}")
        });
        let free = names.find(|name| !self.jobs.has_folder(name));
        Ok(free.expect("fewer jobs are remembered than there are names"))
    }

    /// All that a backup holds. Keys that are on their way out are not part of it.
    fn snapshot(&self) -> Snapshot {
        let state = self.state.read();
        let stays = |key: &KeyRecord| key.life != Life::Purging;
        let entries = state.keys.values().filter(|entry| stays(&entry.record));
        Snapshot {
            definitions: state.definitions.values().map(|(one, _)| Arc::clone(one)).collect(),
            assignments: state.assignments.values().map(|(one, _)| Arc::clone(one)).collect(),
            keys: entries
                .map(|entry| {
                    (Arc::clone(&entry.record), entry.versions.clone(), entry.last_change())
                })
                .collect(),
            sequence: self.store.sequence(),
            through: state.last_applied,
        }
    }
}

impl Sending<'_> {
    async fn add(&mut self, item: Item) -> Result<(), JobFailure> {
        let full = self.writer.add(&item).map_err(|_| match item {
            Item::Key(content) => JobFailure::KeyTooLong(content.key.name),
            Item::Assignment(_) | Item::Definition(_) | Item::Roll(_) => JobFailure::Incomplete,
        })?;
        match full {
            Some(part) => self.send(part).await,
            None => Ok(()),
        }
    }

    async fn send(&mut self, part: Part) -> Result<(), JobFailure> {
        let index = self.parts.len();
        let name = part_name(index);
        let place = part_place(&self.set, index);
        let sealed = envelope::seal(Sealed::Part, &*self.hsm.backup_cipher, &place, &part.bytes);
        let sealed = sealed.map_err(JobFailure::object(&name))?;
        let folder = self.mandate.folder(self.hsm, self.folder)?;
        self.objects.put(&folder, &name, sealed).await?;
        self.parts.push(PartFacts { first_key: part.first_key });
        Ok(())
    }

    async fn finish(mut self, sequence: u64, lineage: Lineage) -> Result<Made, JobFailure> {
        if let Some(part) = std::mem::take(&mut self.writer).rest() {
            self.send(part).await?;
        }
        let Self { hsm, mandate, objects, folder, set, parts, counts, .. } = self;
        let is_increment = lineage.base.is_some();
        let sent = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        let of = match &lineage.base {
            Some(base) => format!(
                " were changed since {}, of {} keys with {} versions",
                base.folder, base.whole.keys, base.whole.versions
            ),
            None => String::new(),
        };
        let (lineage, made) = (Some(lineage), hsm.now());
        let folder_name = folder.name.clone();
        let manifest =
            Manifest { set, folder: folder_name, made, sequence, counts, parts, lineage };
        let sealed = manifest.seal(&*hsm.backup_cipher).map_err(JobFailure::object(MANIFEST))?;
        objects.put(&mandate.folder(hsm, folder)?, MANIFEST, sealed).await?;
        let Counts { keys, versions, assignments, definitions } = counts;
        let details = format!(
            "{keys} keys with {versions} versions{of}, {assignments} role assignments, \
             {definitions} role definitions"
        );
        let done = Done { details, folder: Some(folder.url()) };
        Ok(Made { done, parts: sent, is_increment })
    }
}

/// `YYYYMMDDHHMMSS`, UTC (civil from days, proleptic Gregorian).
fn stamp(time: UnixSeconds) -> String {
    let (days, seconds) = (time.0.div_euclid(86_400), time.0.rem_euclid(86_400));
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_carry_the_time_in_utc() {
        for (time, text) in [
            (0, "19700101000000"),
            (951_782_399, "20000228235959"),
            (951_782_400, "20000229000000"),
            (951_868_800, "20000301000000"),
            (1_764_030_645, "20251125003045"),
            (4_102_444_799, "20991231235959"),
        ] {
            assert_eq!(stamp(UnixSeconds(time)), text, "{time}");
        }
    }
}
