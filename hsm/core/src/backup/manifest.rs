//! The manifest of a full backup: the object that makes a set of parts one, and is put last.

use serde::{Deserialize, Serialize};

use super::envelope::{self, Sealed};
use super::{BackupCipher, BackupError, DIGEST_BYTES};
use crate::{KeyName, UnixSeconds, records};

/// The manifest's object.
pub const MANIFEST: &str = "manifest";

/// Most parts of a set.
pub(super) const PARTS_MAX: usize = 100_000;

/// The id of a set: random.
pub(super) type SetId = [u8; 16];

/// What a set is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    #[serde(with = "serde_bytes")]
    pub(super) set: SetId,
    /// The folder that it was put into: a set that was moved to another is refused.
    pub(super) folder: String,
    pub(super) made: UnixSeconds,
    /// The HSM's last change that it holds.
    pub(super) sequence: u64,
    pub(super) counts: Counts,
    /// In order.
    pub(super) parts: Vec<PartFacts>,
    /// What an increment can be made on, and what this one was; `None` of earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lineage: Option<Lineage>,
}

/// Where a set stands among others of the same HSM.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Lineage {
    /// The HSM.
    #[serde(with = "serde_bytes")]
    pub(super) hsm: [u8; 16],
    /// The last change of the HSM that it holds; it holds all before.
    pub(super) through: u64,
    /// How many sets it rests on.
    pub(super) depth: u32,
    /// What it rests on; `None` of a full backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) base: Option<RestsOn>,
}

/// The set that an increment was made on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RestsOn {
    /// Its folder, in the same container.
    pub(super) folder: String,
    /// SHA-256 of its manifest, as it lies there.
    #[serde(with = "serde_bytes")]
    pub(super) digest: [u8; DIGEST_BYTES],
    /// How much the increment and all that it rests on hold together.
    pub(super) whole: Counts,
}

/// How much is in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Keys, deleted ones included.
    pub keys: u64,
    /// Their versions.
    pub versions: u64,
    /// Role assignments.
    pub assignments: u64,
    /// Role definitions that somebody wrote.
    pub definitions: u64,
}

/// What is known of a part.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PartFacts {
    /// The first key in it, in lower case.
    pub(super) first_key: Option<String>,
}

/// The object of a part.
pub(super) fn part_name(index: usize) -> String {
    format!("part-{index:06}")
}

/// What is authenticated with a part beside its envelope: the set, and the place in it.
pub(super) fn part_place(set: &SetId, index: usize) -> Vec<u8> {
    let index = u64::try_from(index).unwrap_or(u64::MAX);
    [set.as_slice(), &index.to_be_bytes()].concat()
}

impl Manifest {
    /// Seals it.
    pub(super) fn seal(&self, cipher: &dyn BackupCipher) -> Result<Vec<u8>, BackupError> {
        let sealed = match self.base() {
            Some(_) => Sealed::Increment,
            None => Sealed::Manifest,
        };
        envelope::seal(sealed, cipher, &[], &records::encode(self))
    }

    /// Opens the manifest of a folder.
    pub(super) fn open(
        cipher: &dyn BackupCipher,
        folder: &str,
        bytes: &[u8],
    ) -> Result<Self, BackupError> {
        let sealed = Sealed::of_manifest(bytes);
        let opened = envelope::open(sealed, cipher, &[], bytes)?;
        let manifest: Self = records::decode(&opened).ok_or(BackupError::Content)?;
        if manifest.base().is_some() != (sealed == Sealed::Increment) {
            return Err(BackupError::Content);
        }
        if manifest.folder != folder {
            return Err(BackupError::Moved);
        }
        if manifest.parts.len() > PARTS_MAX {
            return Err(BackupError::Content);
        }
        Ok(manifest)
    }

    /// What it rests on; `None` of a full backup.
    pub(super) fn base(&self) -> Option<&RestsOn> {
        self.lineage.as_ref()?.base.as_ref()
    }

    /// How much it holds with all that it rests on.
    pub(super) fn whole(&self) -> Counts {
        self.base().map_or(self.counts, |base| base.whole)
    }

    /// The part that the key is in, if it is in any.
    pub(super) fn part_of(&self, key: &KeyName) -> Option<usize> {
        let begins =
            |part: &PartFacts| part.first_key.as_deref().map(|first| first <= key.folded());
        self.parts.iter().rposition(|part| begins(part) == Some(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_looked_for_in_the_last_part_that_begins_before_it() {
        let part = |first: Option<&str>| PartFacts { first_key: first.map(str::to_owned) };
        let manifest = Manifest {
            set: [0; 16],
            folder: String::new(),
            made: UnixSeconds(0),
            sequence: 0,
            counts: Counts::default(),
            parts: vec![part(None), part(Some("b")), part(Some("d"))],
            lineage: None,
        };
        let of = |name: &str| manifest.part_of(&KeyName::new(name).unwrap());
        assert_eq!(
            [of("a"), of("B"), of("c"), of("d"), of("z")],
            [None, Some(1), Some(1), Some(2), Some(2)]
        );
    }
}
