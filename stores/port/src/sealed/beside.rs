//! A second sealed store, for the same HSM: to be made ready aside, and to take the first one's
//! place as a whole.

use std::sync::Arc;

use crate::sealed::head::Head;
use crate::sealed::place::Sealer;
use crate::sealed::state::NUMBERS_SKIPPED;
use crate::sealed::{create, head};
use crate::{OpenError, Path, Record, SealedStore, Store};

/// How far the sequence of a store that is made aside lies beyond that of the present one: half of
/// a claim, so that one claim of the present one leaves an abandoned store behind.
const SEQUENCES_SKIPPED: u64 = NUMBERS_SKIPPED / 2;

impl SealedStore {
    /// Makes a sealed store for the same HSM in an empty store. Its sequence is far beyond this
    /// one's, so that whoever remembers this one's takes it for newer.
    pub async fn beside(&self, store: Arc<dyn Store>) -> Result<Self, OpenError> {
        let present = &self.inner.sealer;
        let sealer = Sealer::new(Arc::clone(&present.cipher), present.identity);
        let sequence = self.sequence().checked_add(SEQUENCES_SKIPPED).ok_or(OpenError::Stopped)?;
        create::with_head(store, sealer, Head { sequence, ..Head::EMPTY }).await
    }

    /// Leaves a store behind that was made aside and given up: the next change here is made beyond
    /// its sequence, so that it can never be taken for newer.
    pub fn outrun(&self) {
        self.inner.state.lock().claimed = false;
    }

    /// Where the records are, without the head, in order.
    pub fn paths(&self) -> Vec<Path> {
        let mut paths: Vec<_> = self.inner.state.lock().records.keys().cloned().collect();
        paths.sort();
        paths
    }

    /// Reads one record anew, and checks that it is the one that the head vouches for. `None` if
    /// there is none. No change may be under way.
    pub async fn read(&self, path: &Path) -> Result<Option<Record>, OpenError> {
        let known = self.inner.state.lock().records.get(path).copied();
        let Some(known) = known.filter(|_| *path != head::head_path()) else { return Ok(None) };
        let entry = self.inner.store.read(path).await.map_err(OpenError::Store)?;
        let sequence = self.sequence();
        let entry = entry.ok_or(OpenError::Missing { expected: 1, found: 0 })?;
        let (generation, value) = self.inner.sealer.open(path, &entry.value)?;
        let mark = self.inner.sealer.mark(path, generation, &entry.value);
        if generation != known.generation || mark != known.mark {
            return Err(OpenError::Replaced { records: 1, sequence });
        }
        Ok(Some(Record { path: path.clone(), value, generation }))
    }
}
