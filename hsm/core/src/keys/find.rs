//! Finding a key, and getting it.

use std::sync::Arc;

use super::KeyView;
use crate::rbac::{Permit, act};
use crate::records::Life;
use crate::state::{KeyEntry, State, VersionEntry};
use crate::{Hsm, KeyName, VersionId};

/// Which version of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The newest.
    Latest,
    /// This one.
    Exactly(VersionId),
}

/// Why a key was not found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindRefusal {
    /// There is no such key, or it is deleted.
    #[error("there is no key '{0}'")]
    NoSuchKey(KeyName),
    /// The key has no such version.
    #[error("the key '{0}' has no version {1}")]
    NoSuchVersion(KeyName, VersionId),
    /// There is no such deleted key.
    #[error("there is no deleted key '{0}'")]
    NoSuchDeletedKey(KeyName),
}

impl Hsm {
    /// A version with its public part.
    pub fn key(
        &self,
        permit: &Permit<act::KeysRead>,
        selector: Selector,
    ) -> Result<KeyView, FindRefusal> {
        let state = self.state.read();
        let (key, version) = live_version(&state, key_of(permit.scope()), selector)?;
        Ok(self.view(key, version))
    }

    /// The version that is to be changed, so that the record of the change can say what it was.
    pub fn key_to_update(
        &self,
        permit: &Permit<act::KeysWrite>,
        selector: Selector,
    ) -> Option<KeyView> {
        let state = self.state.read();
        let (key, version) = live_version(&state, key_of(permit.scope()), selector).ok()?;
        Some(self.view(key, version))
    }

    /// A deleted key's newest version, with the dates of its deletion.
    pub fn deleted_key(
        &self,
        permit: &Permit<act::DeletedKeysRead>,
    ) -> Result<KeyView, FindRefusal> {
        let state = self.state.read();
        let key = deleted(&state, key_of(permit.scope()))?;
        Ok(self.view(key, newest(key)))
    }
}

/// The key that a permit is for.
///
/// Acts on keys are only reached with permits at a key's scope: the router asks for nothing else.
pub(super) fn key_of(scope: &crate::rbac::Scope) -> &KeyName {
    scope.key().expect("acts on a key are authorised at the scope of that key")
}

pub(super) fn live<'a>(state: &'a State, name: &KeyName) -> Result<&'a KeyEntry, FindRefusal> {
    state
        .keys
        .get(name.folded())
        .filter(|key| key.record.life == Life::Live)
        .ok_or_else(|| FindRefusal::NoSuchKey(name.clone()))
}

pub(super) fn live_version<'a>(
    state: &'a State,
    name: &KeyName,
    selector: Selector,
) -> Result<(&'a KeyEntry, &'a Arc<VersionEntry>), FindRefusal> {
    let key = live(state, name)?;
    let version = match selector {
        Selector::Latest => newest(key),
        Selector::Exactly(id) => key
            .versions
            .iter()
            .find(|version| version.record.id == id)
            .ok_or_else(|| FindRefusal::NoSuchVersion(name.clone(), id))?,
    };
    Ok((key, version))
}

pub(super) fn deleted<'a>(state: &'a State, name: &KeyName) -> Result<&'a KeyEntry, FindRefusal> {
    state
        .keys
        .get(name.folded())
        .filter(|key| matches!(key.record.life, Life::Deleted { .. }))
        .ok_or_else(|| FindRefusal::NoSuchDeletedKey(name.clone()))
}

pub(super) fn newest(key: &KeyEntry) -> &Arc<VersionEntry> {
    key.versions.last().expect("a key that is not being purged has a version")
}
