//! Reading a full backup: its manifest, then its parts, each authenticated before it is looked at.

use super::content::KeyContent;
use super::envelope::{self, Sealed};
use super::jobs::{Begun, Done, JobFailure};
use super::manifest::{Counts, MANIFEST, Manifest, part_name, part_place};
use super::parts::{Item, items};
use super::{BackupError, Folder, Objects};
use crate::{Hsm, KeyName};

/// A set whose manifest was opened.
pub(super) struct Set {
    pub(super) folder: Folder,
    pub(super) manifest: Manifest,
}

impl Hsm {
    /// Opens the manifest of a folder.
    pub(super) async fn set(
        &self,
        folder: &Folder,
        objects: &dyn Objects,
    ) -> Result<Set, JobFailure> {
        let bytes = objects.get(folder, MANIFEST).await?;
        let manifest = Manifest::open(&*self.backup_cipher, &folder.name, &bytes);
        let manifest = manifest.map_err(JobFailure::object(MANIFEST))?;
        Ok(Set { folder: folder.clone(), manifest })
    }

    /// The items of one part.
    pub(super) async fn part(
        &self,
        set: &Set,
        objects: &dyn Objects,
        index: usize,
    ) -> Result<Vec<Item>, JobFailure> {
        let name = part_name(index);
        let bytes = objects.get(&set.folder, &name).await?;
        let place = part_place(&set.manifest.set, index);
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
        let set = self.set(&begun.folder, objects).await?;
        let none = || JobFailure::NoSuchKey(name.clone());
        let index = set.manifest.part_of(name).ok_or_else(none)?;
        let items = self.part(&set, objects, index).await?;
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
        let mut reader = Reader::open(self, &begun.folder, objects).await?;
        while reader.next().await?.is_some() {}
        let Counts { keys, versions, .. } = reader.counts();
        let details = format!("{keys} keys with {versions} versions can be restored");
        Ok(Done { details, folder: None })
    }
}

/// Reads a backup from its beginning to its end, item by item. It has been compared with its
/// manifest when there is no more.
pub(super) struct Reader<'a> {
    hsm: &'a Hsm,
    objects: &'a dyn Objects,
    pub(super) set: Set,
    next_part: usize,
    items: std::vec::IntoIter<Item>,
    tally: Tally,
}

impl<'a> Reader<'a> {
    pub(super) async fn open(
        hsm: &'a Hsm,
        folder: &Folder,
        objects: &'a dyn Objects,
    ) -> Result<Self, JobFailure> {
        let set = hsm.set(folder, objects).await?;
        let items = Vec::new().into_iter();
        Ok(Self { hsm, objects, set, next_part: 0, items, tally: Tally::default() })
    }

    /// How much is in it, by its manifest.
    pub(super) fn counts(&self) -> Counts {
        self.set.manifest.counts
    }

    /// The next item; `None` after the last, when all of it was there.
    pub(super) async fn next(&mut self) -> Result<Option<Item>, JobFailure> {
        loop {
            if let Some(item) = self.items.next() {
                self.tally.count(&item)?;
                return Ok(Some(item));
            }
            if self.next_part >= self.set.manifest.parts.len() {
                self.tally.compare(&self.set.manifest)?;
                return Ok(None);
            }
            let items = self.hsm.part(&self.set, self.objects, self.next_part).await?;
            self.items = items.into_iter();
            self.next_part += 1;
        }
    }
}

/// Counts what was read, and sees to it that no key comes twice.
#[derive(Default)]
struct Tally {
    counts: Counts,
    last_key: Option<String>,
}

impl Tally {
    fn count(&mut self, item: &Item) -> Result<(), JobFailure> {
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

    fn compare(&self, manifest: &Manifest) -> Result<(), JobFailure> {
        if self.counts == manifest.counts { Ok(()) } else { Err(JobFailure::Incomplete) }
    }
}
