//! A full backup: everything that is not the HSM's own, as of one moment, in sealed parts, and the
//! manifest that makes them a backup.
//!
//! It holds keys with all their versions, role assignments and definitions. Settings, sinks, the
//! times from which on tokens count, and the keys of the audit log are the HSM's own: a restore
//! leaves them as they are.
//!
//! Invariant: the manifest is put when all parts lie there.

use std::sync::Arc;

use casemate_audit::Recorded;

use super::content::KeyContent;
use super::envelope::{self, Sealed};
use super::jobs::{Begun, Done, JobFailure, JobKind, StartRefusal};
use super::manifest::{Counts, MANIFEST, Manifest, PartFacts, SetId, part_name, part_place};
use super::parts::{Item, Part, PartWriter};
use super::{Folder, Objects, Target};
use crate::rbac::{Assignment, Definition, Permit, act};
use crate::records::{KeyRecord, Life};
use crate::state::VersionEntry;
use crate::{Hsm, UnixSeconds};

/// The object that a check puts and removes.
const PROBE: &str = "probe";

/// Everything as of one moment. Entries are shared with the state, which replaces what changes: so
/// it costs some words for each version, however long the backup takes.
struct Snapshot {
    definitions: Vec<Arc<Definition>>,
    assignments: Vec<Arc<Assignment>>,
    keys: Vec<(Arc<KeyRecord>, Vec<Arc<VersionEntry>>)>,
    sequence: u64,
}

/// Parts on their way to the target.
struct Sending<'a> {
    hsm: &'a Hsm,
    permit: &'a Permit<act::BackupStart>,
    objects: &'a dyn Objects,
    folder: &'a Folder,
    set: SetId,
    writer: PartWriter,
    parts: Vec<PartFacts>,
    counts: Counts,
}

impl Hsm {
    /// Begins a full backup into a new folder of the target.
    pub async fn begin_backup(
        &self,
        _permit: &Permit<act::BackupStart>,
        _intent: &Recorded,
        hsm: &str,
        target: Target,
    ) -> Result<Begun, StartRefusal> {
        self.begin_job(JobKind::Backup, target.folder(self.new_folder(hsm)?)).await
    }

    /// Begins to look whether a full backup could be made.
    pub async fn begin_backup_check(
        &self,
        _permit: &Permit<act::BackupStart>,
        _intent: &Recorded,
        hsm: &str,
        target: Target,
    ) -> Result<Begun, StartRefusal> {
        self.begin_job(JobKind::BackupCheck, target.folder(self.new_folder(hsm)?)).await
    }

    /// Makes the backup. Once the role that allows it is gone nothing more is sent; what was sent
    /// has no manifest then, and so is no backup.
    pub async fn back_up(
        &self,
        permit: &Permit<act::BackupStart>,
        begun: &Begun,
        objects: &dyn Objects,
    ) -> Result<Done, JobFailure> {
        self.still_authorized(permit)?;
        let mut set = [0; 16];
        self.engine.random(&mut set)?;
        let snapshot = self.snapshot();
        let (writer, parts) = (PartWriter::default(), Vec::new());
        let (folder, counts) = (&begun.folder, Counts::default());
        let mut sending =
            Sending { hsm: self, permit, objects, folder, set, writer, parts, counts };
        for definition in &snapshot.definitions {
            sending.counts.definitions += 1;
            sending.add(Item::Definition(Definition::clone(definition))).await?;
        }
        for assignment in &snapshot.assignments {
            sending.counts.assignments += 1;
            sending.add(Item::Assignment(Assignment::clone(assignment))).await?;
        }
        for (key, versions) in &snapshot.keys {
            sending.counts.keys += 1;
            sending.counts.versions += u64::try_from(versions.len()).unwrap_or_default();
            let content = self.under_present_key(KeyContent::of(key, versions))?;
            sending.add(Item::Key(Box::new(content))).await?;
        }
        sending.finish(snapshot.sequence).await
    }

    /// Looks whether a backup could be made: whether the target takes an object and lets it go.
    pub async fn check_backup(
        &self,
        begun: &Begun,
        objects: &dyn Objects,
    ) -> Result<Done, JobFailure> {
        let probe = b"Casemate looks whether a backup can be put here.".to_vec();
        objects.put(&begun.folder, PROBE, probe).await?;
        objects.remove(&begun.folder, PROBE).await?;
        Ok(Done { details: "a backup can be put there".to_owned(), folder: None })
    }

    /// `mhsm-NAME-YYYYMMDDHHMMSSCC`: UTC, and two random digits.
    fn new_folder(&self, hsm: &str) -> Result<String, StartRefusal> {
        let mut digits = [0; 1];
        self.engine.random(&mut digits)?;
        let [digits] = digits;
        Ok(format!("mhsm-{hsm}-{}{:02}", stamp(self.now()), digits % 100))
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
                .map(|entry| (Arc::clone(&entry.record), entry.versions.clone()))
                .collect(),
            sequence: self.store.sequence(),
        }
    }
}

impl Sending<'_> {
    async fn add(&mut self, item: Item) -> Result<(), JobFailure> {
        let full = self.writer.add(&item).map_err(|_| match item {
            Item::Key(content) => JobFailure::KeyTooLong(content.key.name),
            Item::Assignment(_) | Item::Definition(_) => JobFailure::Incomplete,
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
        self.hsm.still_authorized(self.permit)?;
        self.objects.put(self.folder, &name, sealed).await?;
        self.parts.push(PartFacts { first_key: part.first_key });
        Ok(())
    }

    async fn finish(mut self, sequence: u64) -> Result<Done, JobFailure> {
        if let Some(part) = std::mem::take(&mut self.writer).rest() {
            self.send(part).await?;
        }
        let Self { hsm, permit, objects, folder, set, parts, counts, .. } = self;
        let manifest =
            Manifest { set, folder: folder.name.clone(), made: hsm.now(), sequence, counts, parts };
        let sealed = manifest.seal(&*hsm.backup_cipher).map_err(JobFailure::object(MANIFEST))?;
        hsm.still_authorized(permit)?;
        objects.put(folder, MANIFEST, sealed).await?;
        let Counts { keys, versions, assignments, definitions } = counts;
        let details = format!(
            "{keys} keys with {versions} versions, {assignments} role assignments, {definitions} \
             role definitions"
        );
        Ok(Done { details, folder: Some(folder.url()) })
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
