//! The manifest of a full backup: the object that makes a set of parts one, and is put last.

use serde::{Deserialize, Serialize};

use super::envelope::{self, Sealed};
use super::{BackupCipher, BackupError};
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
        envelope::seal(Sealed::Manifest, cipher, &[], &records::encode(self))
    }

    /// Opens the manifest of a folder.
    pub(super) fn open(
        cipher: &dyn BackupCipher,
        folder: &str,
        bytes: &[u8],
    ) -> Result<Self, BackupError> {
        let opened = envelope::open(Sealed::Manifest, cipher, &[], bytes)?;
        let manifest: Self = records::decode(&opened).ok_or(BackupError::Content)?;
        if manifest.folder != folder {
            return Err(BackupError::Moved);
        }
        if manifest.parts.len() > PARTS_MAX {
            return Err(BackupError::Content);
        }
        Ok(manifest)
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
        };
        let of = |name: &str| manifest.part_of(&KeyName::new(name).unwrap());
        assert_eq!(
            [of("a"), of("B"), of("c"), of("d"), of("z")],
            [None, Some(1), Some(1), Some(2), Some(2)]
        );
    }
}
