//! Opened keys, kept for a while: parsing an RSA key costs a good part of a signature.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use casemate_engine_port::{Engine, EngineError, KeyHandle, Place, WrappedMaterial};
use quick_cache::sync::Cache;

use crate::state::VersionEntry;
use crate::{KeyName, VersionId, records};

/// A bounded cache of opened keys. A handle that leaves it wipes what it holds as soon as its last
/// user is done.
pub(crate) struct Handles {
    cache: Cache<VersionId, Arc<dyn KeyHandle>>,
    opened: AtomicU64,
}

impl Handles {
    pub(crate) fn new(handles_max: usize) -> Self {
        Self { cache: Cache::new(handles_max), opened: AtomicU64::new(0) }
    }

    /// How many are kept, and how many were opened since the start.
    pub(crate) fn counts(&self) -> (usize, u64) {
        (self.cache.len(), self.opened.load(Ordering::Relaxed))
    }

    /// The opened key, and whether it was opened just now: then the caller asks again whether it
    /// may be kept.
    pub(crate) fn open(
        &self,
        engine: &dyn Engine,
        name: &KeyName,
        entry: &VersionEntry,
    ) -> Result<(Arc<dyn KeyHandle>, bool), EngineError> {
        let record = &entry.record;
        if let Some(handle) = self.cache.get(&record.id) {
            return Ok((handle, false));
        }
        let wrapped = WrappedMaterial(record.wrapped.clone());
        let handle = engine.open(record.spec, &wrapped, &place(name, record.id))?;
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.cache.insert(record.id, Arc::clone(&handle));
        Ok((handle, true))
    }

    /// Forgets a key that may not be used any more.
    pub(crate) fn forget(&self, version: VersionId) {
        self.cache.remove(&version);
    }
}

/// The place that a version's material is wrapped to: its record's path.
pub(crate) fn place(name: &KeyName, version: VersionId) -> Place {
    Place::new(records::version_path(name, version).as_str())
}
