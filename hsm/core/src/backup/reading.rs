//! Reading a full backup: its manifest, then its parts, each authenticated before it is looked at.

use super::content::KeyContent;
use super::envelope::{self, Sealed};
use super::jobs::{Begun, Done, JobFailure};
use super::manifest::{Counts, MANIFEST, Manifest, part_name, part_place};
use super::parts::{Item, items};
use super::{BackupError, Objects};
use crate::{Hsm, KeyName};

impl Hsm {
    /// The manifest of the job's folder.
    pub(super) async fn manifest(
        &self,
        begun: &Begun,
        objects: &dyn Objects,
    ) -> Result<Manifest, JobFailure> {
        let bytes = objects.get(&begun.folder, MANIFEST).await?;
        Manifest::open(&*self.backup_cipher, &begun.folder.name, &bytes)
            .map_err(JobFailure::object(MANIFEST))
    }

    /// The items of one part.
    pub(super) async fn part(
        &self,
        begun: &Begun,
        objects: &dyn Objects,
        manifest: &Manifest,
        index: usize,
    ) -> Result<Vec<Item>, JobFailure> {
        let name = part_name(index);
        let bytes = objects.get(&begun.folder, &name).await?;
        let place = part_place(&manifest.set, index);
        let opened = envelope::open(Sealed::Part, &*self.backup_cipher, &place, &bytes);
        drop(bytes);
        let opened = opened.map_err(JobFailure::object(&name))?;
        let whole = |item: &Item| match item {
            Item::Key(content) => content.is_whole(),
            Item::Assignment(_) | Item::Definition(_) => true,
        };
        let unknown = || JobFailure::object(&name)(BackupError::Content);
        let items: Option<Vec<Item>> = items(&opened).collect();
        items.filter(|items| items.iter().all(whole)).ok_or_else(unknown)
    }

    /// The key with all its versions, as the job's folder has it.
    pub(super) async fn key_in(
        &self,
        begun: &Begun,
        objects: &dyn Objects,
        name: &KeyName,
    ) -> Result<KeyContent, JobFailure> {
        let manifest = self.manifest(begun, objects).await?;
        let none = || JobFailure::NoSuchKey(name.clone());
        let index = manifest.part_of(name).ok_or_else(none)?;
        let items = self.part(begun, objects, &manifest, index).await?;
        let found = items.into_iter().find_map(|item| match item {
            Item::Key(content) if content.key.name == *name => Some(*content),
            Item::Key(_) | Item::Assignment(_) | Item::Definition(_) => None,
        });
        found.ok_or_else(none)
    }

    /// Reads the whole backup and changes nothing.
    pub async fn check_restore(
        &self,
        begun: &Begun,
        objects: &dyn Objects,
    ) -> Result<Done, JobFailure> {
        let manifest = self.manifest(begun, objects).await?;
        let mut tally = Tally::default();
        for index in 0..manifest.parts.len() {
            for item in self.part(begun, objects, &manifest, index).await? {
                tally.count(&item)?;
            }
        }
        tally.compare(&manifest)?;
        let Counts { keys, versions, .. } = manifest.counts;
        let details = format!("{keys} keys with {versions} versions can be restored");
        Ok(Done { details, folder: None })
    }
}

/// Counts what was read, and sees to it that no key comes twice.
#[derive(Default)]
pub(super) struct Tally {
    counts: Counts,
    last_key: Option<String>,
}

impl Tally {
    pub(super) fn count(&mut self, item: &Item) -> Result<(), JobFailure> {
        match item {
            Item::Definition(_) => self.counts.definitions += 1,
            Item::Assignment(_) => self.counts.assignments += 1,
            Item::Key(content) => {
                let name = content.key.name.folded();
                if self.last_key.as_deref().is_some_and(|last| last >= name) {
                    return Err(JobFailure::Incomplete);
                }
                self.last_key = Some(name.to_owned());
                self.counts.keys += 1;
                self.counts.versions += u64::try_from(content.versions.len()).unwrap_or_default();
            }
        }
        Ok(())
    }

    pub(super) fn compare(&self, manifest: &Manifest) -> Result<(), JobFailure> {
        if self.counts == manifest.counts { Ok(()) } else { Err(JobFailure::Incomplete) }
    }
}
