//! Increments: sets that rest on another one, down to a full backup.
//!
//! Each names its base by the digest of that manifest, which vouches for its parts. So a chain is
//! of exactly the sets that it was made of, in their order, or it is none.

use super::envelope::epoch_of_manifest;
use super::jobs::JobFailure;
use super::manifest::{Counts, Lineage, MANIFEST, Manifest, RestsOn};
use super::reading::Set;
use super::{BackupError, DIGEST_BYTES, Folder, Objects, TransferError};
use crate::Hsm;

/// Most increments that follow a full backup.
const INCREMENTS_MAX: u32 = 100;

/// A set that an increment is being made on.
pub(super) struct Foundation {
    folder: String,
    digest: [u8; DIGEST_BYTES],
    lineage: Lineage,
}

impl Foundation {
    /// The last change that it holds, and all before.
    pub(super) fn through(&self) -> u64 {
        self.lineage.through
    }

    /// How many sets it rests on.
    pub(super) fn depth(&self) -> u32 {
        self.lineage.depth
    }

    /// Whether an HSM that has seen so many changes has those of the base.
    pub(super) fn is_before(&self, through: u64) -> Result<(), BackupError> {
        if self.through() <= through { Ok(()) } else { Err(BackupError::BaseIsNewer) }
    }

    pub(super) fn into_record(self, whole: Counts) -> RestsOn {
        RestsOn { folder: self.folder, digest: self.digest, whole }
    }
}

impl Hsm {
    /// The set that an increment is to be made on, if it takes one. All that it rests on is there.
    pub(super) async fn base(
        &self,
        folder: &Folder,
        objects: &dyn Objects,
    ) -> Result<Foundation, JobFailure> {
        let manifest_at = in_folder(&folder.name);
        let refused = JobFailure::object(&manifest_at);
        let bytes = objects.get(folder, MANIFEST).await?;
        let epoch = epoch_of_manifest(&bytes).map_err(&refused)?;
        let manifest = Manifest::open(&*self.backup_cipher, &folder.name, &bytes);
        let lineage = manifest.map_err(&refused)?.lineage;
        let lineage = lineage.ok_or(BackupError::BaseWithoutLineage).map_err(&refused)?;
        let unfit = match () {
            () if lineage.hsm != self.store.identity().hsm => Some(BackupError::BaseOfAnotherHsm),
            () if epoch != self.backup_cipher.epoch() => Some(BackupError::BaseOfAnotherEpoch),
            () if lineage.depth >= INCREMENTS_MAX => {
                Some(BackupError::ChainTooLong { most: INCREMENTS_MAX })
            }
            () => None,
        };
        if let Some(unfit) = unfit {
            return Err(refused(unfit));
        }
        self.chain(folder, objects).await?;
        let digest = self.backup_cipher.digest(&bytes);
        Ok(Foundation { folder: folder.name.clone(), digest, lineage })
    }

    /// A set and all that it rests on, the newest first. Their manifests have been opened, and each
    /// is the one that the set above it was made on.
    pub(super) async fn chain(
        &self,
        folder: &Folder,
        objects: &dyn Objects,
    ) -> Result<Vec<Set>, JobFailure> {
        let newest = self.set(folder, objects).await?;
        let depth = newest.manifest.lineage.as_ref().map_or(0, |lineage| lineage.depth);
        if depth > INCREMENTS_MAX {
            let cause = BackupError::ChainTooLong { most: INCREMENTS_MAX };
            return Err(JobFailure::object(MANIFEST)(cause));
        }
        let mut sets = vec![newest];
        // Each has a smaller depth than the one before, so it ends.
        while let Some((above, base)) = sets.last().and_then(rests_on) {
            let below = self.below(folder, objects, above, base).await?;
            sets.push(below);
        }
        Ok(sets)
    }

    async fn below(
        &self,
        newest: &Folder,
        objects: &dyn Objects,
        above: &Lineage,
        base: &RestsOn,
    ) -> Result<Set, JobFailure> {
        let folder = Folder { target: newest.target.clone(), name: base.folder.clone() };
        let manifest_at = in_folder(&folder.name);
        let refused = JobFailure::object(&manifest_at);
        let bytes = match objects.get(&folder, MANIFEST).await {
            Err(TransferError::NotFound(_)) => return Err(refused(BackupError::BaseIsMissing)),
            got => got?,
        };
        if self.backup_cipher.digest(&bytes) != base.digest {
            return Err(refused(BackupError::NotTheBase));
        }
        let manifest = Manifest::open(&*self.backup_cipher, &folder.name, &bytes);
        let manifest = manifest.map_err(&refused)?;
        let follows = manifest.lineage.as_ref().is_some_and(|below| {
            below.hsm == above.hsm
                && below.depth.checked_add(1) == Some(above.depth)
                && below.through <= above.through
                && below.base.is_some() == (below.depth > 0)
        });
        match follows {
            true => Ok(Set { folder, manifest }),
            false => Err(refused(BackupError::NotTheBase)),
        }
    }
}

fn rests_on(set: &Set) -> Option<(&Lineage, &RestsOn)> {
    let lineage = set.manifest.lineage.as_ref()?;
    lineage.base.as_ref().map(|base| (lineage, base))
}

/// How a manifest of another folder is named.
fn in_folder(folder: &str) -> String {
    format!("{folder}/{MANIFEST}")
}
