//! Back up a key: all its versions, sealed for HSMs of this security domain.
//!
//! It asks neither whether a version is enabled nor whether it is within its window: what is sealed
//! here comes back as it is.

use std::sync::Arc;

use casemate_engine_port::{EngineError, KeySpec};

use super::find::{key_of, live, newest};
use super::{FindRefusal, KeyRef};
use crate::backup::{self, BackupError, KeyContent};
use crate::rbac::{Permit, act};
use crate::security_domain::under_present_key;
use crate::{Hsm, PoolFailure};

/// A key's backup, as it is handed out.
#[derive(Debug)]
pub struct BackedUp {
    /// The key, and its newest version.
    pub key: KeyRef,
    /// The newest version's kind.
    pub spec: KeySpec,
    /// The backup.
    pub backup: Vec<u8>,
}

/// Why a key was not backed up.
#[derive(Debug, thiserror::Error)]
pub enum BackUpRefusal {
    /// There is none.
    #[error(transparent)]
    Find(#[from] FindRefusal),
    /// Its material does not open.
    #[error("key material does not open in this HSM's engine")]
    Engine(#[from] EngineError),
    /// Too much costly work is waiting.
    #[error(transparent)]
    Pool(#[from] PoolFailure),
    /// It is too long, or was not sealed.
    #[error(transparent)]
    Backup(#[from] BackupError),
}

impl Hsm {
    /// The backup of the permit's key.
    pub async fn back_up_key(
        &self,
        permit: &Permit<act::KeysBackup>,
    ) -> Result<BackedUp, BackUpRefusal> {
        let (content, key, spec) = {
            let state = self.state.read();
            let entry = live(&state, key_of(permit.scope()))?;
            let newest = &newest(entry).record;
            let key = KeyRef { name: entry.record.name.clone(), version: newest.id };
            (KeyContent::of(&entry.record, &entry.versions), key, newest.spec)
        };
        let engine = Arc::clone(&self.engine);
        let content = self
            .on_pool(permit.principal().id, move || under_present_key(&*engine, &content))
            .await??;
        let backup = backup::seal_key(&*self.backup_cipher, &content)?;
        Ok(BackedUp { key, spec, backup })
    }
}
