//! Records that belong to whoever put this HSM together, not to the domain: sealed with the rest,
//! vouched for by the same head, and not looked at here.

use casemate_store_port::{Change, CommitError, Condition, Path, Write};

use crate::records::Life;
use crate::{Hsm, KeyName, Setting, records};

impl Hsm {
    /// The path of such a record. The name is one lower-case word.
    #[must_use]
    pub fn kept_path(name: &'static str) -> Path {
        Path::new(format!("kept/{name}")).expect("a lower-case word makes a path")
    }

    /// Stores such a record; durable when it returns.
    ///
    /// # Errors
    /// When the store does not take it.
    pub async fn keep(&self, name: &'static str, value: Vec<u8>) -> Result<(), CommitError> {
        let writes = vec![Write::Put(Self::kept_path(name), value)];
        self.store.commit(Change { expect: Vec::new(), writes }).await.map(drop)
    }

    /// Stores such records together, and takes back what was set: it was said of something else.
    /// What is in memory is not what is stored any more: the HSM is to be opened anew.
    ///
    /// # Errors
    /// When the store does not take it.
    pub async fn keep_and_unset(
        &self,
        values: Vec<(&'static str, Vec<u8>)>,
        unset: &'static Setting,
    ) -> Result<(), CommitError> {
        let (path, held) = (records::setting_path(unset), {
            let state = self.state.read();
            state.settings.get(unset.name).map(|held| held.generation)
        });
        let puts = values.into_iter().map(|(name, value)| Write::Put(Self::kept_path(name), value));
        let mut writes: Vec<_> = puts.collect();
        let mut expect = Vec::new();
        if let Some(generation) = held {
            expect.push((path.clone(), Condition::At(generation)));
            writes.push(Write::Delete(path));
        }
        self.store.commit(Change { expect, writes }).await.map(drop)
    }

    /// The change that last wrote something of this key, deleted ones included; `None` if there is
    /// no such key.
    #[must_use]
    pub fn key_written(&self, name: &KeyName) -> Option<u64> {
        let state = self.state.read();
        let key = state.keys.get(name.folded())?;
        let versions = key.versions.iter().map(|version| version.generation.0);
        Some(versions.fold(key.generation.0, u64::max))
    }

    /// The same for a key that was to be restored: `None` where it came to nothing, and is taken
    /// away as one that is being purged.
    #[must_use]
    pub fn restored_key_written(&self, name: &KeyName) -> Option<u64> {
        let life = self.state.read().keys.get(name.folded()).map(|key| key.record.life);
        self.key_written(name).filter(|_| life != Some(Life::Purging))
    }

    /// The change that wrote this role assignment; `None` if there is none.
    #[must_use]
    pub fn assignment_written(&self, name: uuid::Uuid) -> Option<u64> {
        self.state.read().assignments.get(&name).map(|(_, generation)| generation.0)
    }

    /// The change that last wrote this role definition; `None` if there is none.
    #[must_use]
    pub fn definition_written(&self, id: uuid::Uuid) -> Option<u64> {
        self.state.read().definitions.get(&id).map(|(_, generation)| generation.0)
    }

    /// The change that last wrote this setting; `None` if none did since the HSM was created.
    #[must_use]
    pub fn setting_written(&self, name: &str) -> Option<u64> {
        let state = self.state.read();
        let mut held = state.settings.iter();
        let (_, setting) = held.find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(setting.generation.0)
    }
}
