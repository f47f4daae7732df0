//! Reading a full backup: its manifest and those that it rests on, then their parts, each
//! authenticated before it is looked at.

use std::collections::HashMap;

use super::content::KeyContent;
use super::envelope::{self, Sealed};
use super::jobs::{Begun, Done, JobFailure};
use super::manifest::{Counts, MANIFEST, Manifest, part_name, part_place};
use super::parts::{Item, Rolled, items};
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
    async fn part(
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
        let is_increment = set.manifest.base().is_some();
        let whole = |item: &Item| match item {
            Item::Key(content) => content.is_whole(),
            Item::Assignment(_) | Item::Definition(_) => true,
            Item::Roll(_) => is_increment,
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
        let none = || JobFailure::NoSuchKey(name.clone());
        let mut reader = Reader::open(self, &begun.folder, objects).await?;
        if let [set] = reader.sets.as_slice() {
            let index = set.manifest.part_of(name).ok_or_else(none)?;
            let items = self.part(set, objects, index).await?;
            return items.into_iter().find_map(|item| the_key(item, name)).ok_or_else(none);
        }
        // Which of the sets has it as it was in the end shows when the roll has been read.
        while let Some(item) = reader.next().await? {
            if let Some(content) = the_key(item, name) {
                return Ok(content);
            }
        }
        Err(none())
    }

    /// Reads the whole backup and changes nothing.
    pub async fn check_restore(
        &self,
        begun: &Begun,
        objects: &dyn Objects,
    ) -> Result<Done, JobFailure> {
        let mut reader = Reader::open(self, &begun.folder, objects).await?;
        while let Some(item) = reader.next().await? {
            if let Item::Key(content) = item {
                self.taken_in(*content).await?;
            }
        }
        let Counts { keys, versions, .. } = reader.newest().whole();
        let details = format!("{keys} keys with {versions} versions can be restored");
        Ok(Done { details, folder: None })
    }
}

fn the_key(item: Item, name: &KeyName) -> Option<KeyContent> {
    match item {
        Item::Key(content) if content.key.name == *name => Some(*content),
        Item::Key(_) | Item::Assignment(_) | Item::Definition(_) | Item::Roll(_) => None,
    }
}

/// Reads a backup from its beginning to its end, item by item. Each set has been compared with its
/// manifest, and all of them with the roll of the newest, when there is no more.
///
/// Of the sets that an increment rests on keys alone are given, each from the set that holds it as
/// it was in the end, and only those that there were in the end.
pub(super) struct Reader<'a> {
    hsm: &'a Hsm,
    objects: &'a dyn Objects,
    /// The newest first.
    sets: Vec<Set>,
    at: usize,
    next_part: usize,
    items: std::vec::IntoIter<Item>,
    tally: Tally,
    /// Keys that there were in the end, until they are given.
    roll: HashMap<String, Rolled>,
}

impl<'a> Reader<'a> {
    pub(super) async fn open(
        hsm: &'a Hsm,
        folder: &Folder,
        objects: &'a dyn Objects,
    ) -> Result<Self, JobFailure> {
        let sets = hsm.chain(folder, objects).await?;
        let (items, tally) = (Vec::new().into_iter(), Tally::default());
        Ok(Self { hsm, objects, sets, at: 0, next_part: 0, items, tally, roll: HashMap::new() })
    }

    /// The manifest of the set that was asked for.
    pub(super) fn newest(&self) -> &Manifest {
        &self.sets.first().expect("a chain has a set").manifest
    }

    /// The next item; `None` after the last, when all of it was there.
    pub(super) async fn next(&mut self) -> Result<Option<Item>, JobFailure> {
        loop {
            if let Some(item) = self.items.next() {
                self.tally.count(&item)?;
                if let Some(item) = self.fits(item)? {
                    return Ok(Some(item));
                }
                continue;
            }
            let Some(set) = self.sets.get(self.at) else {
                // Keys that there were, and that no set holds.
                let all = self.roll.is_empty();
                return if all { Ok(None) } else { Err(JobFailure::Incomplete) };
            };
            if self.next_part < set.manifest.parts.len() {
                let items = self.hsm.part(set, self.objects, self.next_part).await?;
                self.items = items.into_iter();
                self.next_part += 1;
            } else {
                std::mem::take(&mut self.tally).compare(&set.manifest)?;
                self.at += 1;
                self.next_part = 0;
            }
        }
    }

    /// The item, if it is part of the backup as of its newest set.
    fn fits(&mut self, item: Item) -> Result<Option<Item>, JobFailure> {
        let is_newest = self.at == 0;
        match item {
            Item::Roll(rolled) => {
                if is_newest {
                    let names = rolled.into_iter().map(|one| (one.name.clone(), one));
                    self.roll.extend(names);
                }
                Ok(None)
            }
            Item::Assignment(_) | Item::Definition(_) => Ok(Some(item).filter(|_| is_newest)),
            Item::Key(content) if self.sets.len() == 1 => Ok(Some(Item::Key(content))),
            Item::Key(content) => {
                // Not there in the end, or given already as it was later.
                let Some(rolled) = self.roll.remove(content.key.name.folded()) else {
                    return Ok(None);
                };
                let versions = u64::try_from(content.versions.len()).unwrap_or(u64::MAX);
                match self.holds(rolled.last) && rolled.versions == versions {
                    true => Ok(Some(Item::Key(content))),
                    false => Err(JobFailure::Incomplete),
                }
            }
        }
    }

    /// Whether the set that is being read is the one with what was last changed by this change.
    fn holds(&self, last: u64) -> bool {
        let through = |at: usize| {
            let set = self.sets.get(at)?;
            set.manifest.lineage.as_ref().map(|lineage| lineage.through)
        };
        let is_later = through(self.at + 1).is_none_or(|below| last > below);
        is_later && through(self.at).is_some_and(|through| last <= through)
    }
}

/// Counts what was read, and sees to it that no key comes twice.
#[derive(Default)]
struct Tally {
    counts: Counts,
    rolled: u64,
    last_key: Option<String>,
    last_rolled: Option<String>,
}

impl Tally {
    fn count(&mut self, item: &Item) -> Result<(), JobFailure> {
        match item {
            Item::Definition(_) => self.counts.definitions += 1,
            Item::Assignment(_) => self.counts.assignments += 1,
            Item::Roll(rolled) => {
                for one in rolled {
                    follows(&mut self.last_rolled, &one.name)?;
                    self.rolled += 1;
                }
            }
            Item::Key(content) => {
                follows(&mut self.last_key, content.key.name.folded())?;
                self.counts.keys += 1;
                self.counts.versions += u64::try_from(content.versions.len()).unwrap_or_default();
            }
        }
        Ok(())
    }

    fn compare(&self, manifest: &Manifest) -> Result<(), JobFailure> {
        let rolled = manifest.base().map_or(0, |base| base.whole.keys);
        let is_whole = self.counts == manifest.counts && self.rolled == rolled;
        if is_whole { Ok(()) } else { Err(JobFailure::Incomplete) }
    }
}

/// Whether a name comes after the last one, which it is from now on.
fn follows(last: &mut Option<String>, name: &str) -> Result<(), JobFailure> {
    if last.as_deref().is_some_and(|last| last >= name) {
        return Err(JobFailure::Incomplete);
    }
    *last = Some(name.to_owned());
    Ok(())
}
