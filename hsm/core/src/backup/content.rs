//! What a backup carries of one key: the key's record, its versions, and how many GCM encryptions
//! each has reserved.

use std::collections::HashSet;
use std::sync::Arc;

use casemate_engine_port::KeySpec;
use serde::{Deserialize, Serialize};

use crate::records::{KeyRecord, Life, VersionRecord};
use crate::state::VersionEntry;

/// Most versions that any HSM lets a key have.
const VERSIONS_MAX: usize = 10_000;

/// One key, whole.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct KeyContent {
    pub(crate) key: KeyRecord,
    /// In the key's order.
    pub(crate) versions: Vec<VersionRecord>,
    /// GCM encryptions reserved by each version, in the same order.
    pub(crate) reserved: Vec<u64>,
}

impl KeyContent {
    /// What the HSM holds.
    pub(crate) fn of(key: &KeyRecord, versions: &[Arc<VersionEntry>]) -> Self {
        Self {
            key: key.clone(),
            versions: versions.iter().map(|version| version.record.clone()).collect(),
            reserved: versions.iter().map(|version| version.gcm.reserved()).collect(),
        }
    }

    /// Whether it is one that an HSM could have held: at least one version, each once and in the
    /// key's order, none of them on its way out.
    pub(crate) fn is_whole(&self) -> bool {
        let ids: Vec<_> = self.versions.iter().map(|version| version.id).collect();
        let distinct: HashSet<_> = ids.iter().collect();
        (1..=VERSIONS_MAX).contains(&ids.len())
            && distinct.len() == ids.len()
            && ids == self.key.versions
            && self.reserved.len() == ids.len()
            && self.key.life != Life::Purging
    }

    /// How many GCM encryptions each version counts as reserved when it is taken in; `None` for
    /// those that cannot do any.
    ///
    /// What was backed up may work on elsewhere, and one backup may be restored more than once, so
    /// its count cannot simply go on: a copy gets half of what was left.
    pub(crate) fn counts_of_a_copy(&self) -> Vec<Option<u64>> {
        let counts = self.versions.iter().zip(&self.reserved);
        counts
            .map(|(version, reserved)| match version.spec {
                KeySpec::Oct(_) => Some(crate::keys::reserved_by_a_copy(*reserved)),
                KeySpec::Rsa(_) | KeySpec::Ec(_) => None,
            })
            .collect()
    }
}
