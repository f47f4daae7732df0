//! Brings records forward: what is sealed under the epoch before is sealed under the present one, a
//! few records at a time, while everything else goes on.
//!
//! Invariant: a record that is brought forward keeps its content and its generation, so nobody who
//! knows the one or the other has to learn anything. Only its sealed bytes are new, and the head
//! vouches for those.

use zeroize::Zeroize;

use crate::sealed::batch::{CHANGE_BYTES_MAX, CHANGE_WRITES_MAX, Plain};
use crate::sealed::state::Known;
use crate::{
    Change, CommitError, Condition, Generation, OpenError, Path, SEAL_OVERHEAD_BYTES_MAX,
    SealedStore, Write,
};

/// Most bytes of values in one transaction, so that one more record of any size still fits.
const BYTES_MAX: usize = CHANGE_BYTES_MAX / 2;
/// What a write takes beside its plaintext and its path, at most.
const OVERHEAD_BYTES: usize = SEAL_OVERHEAD_BYTES_MAX + 32;

/// Why records were not brought forward.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// What is stored is not what this wrapper knows.
    #[error("a record that is to be brought forward is not what it was")]
    Open(#[from] OpenError),
    /// The transaction.
    #[error("records could not be brought forward")]
    Commit(#[from] CommitError),
}

/// Records that were read, with their generations.
#[derive(Default)]
struct Found {
    writes: Vec<Write>,
    kept: Vec<Generation>,
    bytes: usize,
}

impl Drop for Found {
    fn drop(&mut self) {
        for write in &mut self.writes {
            if let Write::Put(_, value) = write {
                value.zeroize();
            }
        }
    }
}

impl SealedStore {
    /// How many records are sealed under the epoch before.
    pub fn behind(&self) -> usize {
        self.inner.state.lock().behind.len()
    }

    /// How many records there are, without the head.
    pub fn records(&self) -> u64 {
        self.inner.state.lock().head.records
    }

    /// Brings some of them forward, as many as fit one transaction, and says how many are left.
    /// One that is changed meanwhile is sealed under the present epoch by that.
    pub async fn bring_forward(&self) -> Result<usize, ForwardError> {
        let chosen: Vec<(Path, Known)> = {
            let state = self.inner.state.lock();
            let known = |path: &Path| Some((path.clone(), *state.records.get(path)?));
            state.behind.iter().take(CHANGE_WRITES_MAX).filter_map(known).collect()
        };
        let mut found = Found::default();
        for (path, known) in chosen {
            self.find(&path, known, &mut found).await?;
            if found.bytes >= BYTES_MAX {
                break;
            }
        }
        if !found.writes.is_empty() {
            let kept = std::mem::take(&mut found.kept);
            let writes = std::mem::take(&mut found.writes);
            let at = |(write, generation): (&Write, &Generation)| {
                (write.path().clone(), Condition::At(*generation))
            };
            let expect = writes.iter().zip(&kept).map(at).collect();
            // Lost: one of them was changed meanwhile, and the others come with the next turn.
            self.commit_kept(Plain(Change { expect, writes }), kept, Box::new(|_| ())).await?;
        }
        Ok(self.behind())
    }

    /// Reads one of them, unless it is being changed or removed just now.
    async fn find(&self, path: &Path, known: Known, found: &mut Found) -> Result<(), OpenError> {
        let entry = self.inner.store.read(path).await.map_err(OpenError::Store)?;
        let sealer = &self.inner.sealer;
        let Some(entry) = entry.filter(|entry| sealer.is_behind(&entry.value)) else {
            return Ok(());
        };
        let (generation, value) = sealer.open(path, &entry.value)?;
        let write = Write::Put(path.clone(), value);
        if sealer.mark(path, generation, &entry.value) != known.mark {
            drop(Plain(Change { expect: Vec::new(), writes: vec![write] }));
            let sequence = self.sequence();
            return Err(OpenError::Replaced { records: 1, sequence });
        }
        if let Write::Put(_, value) = &write {
            found.bytes += path.as_str().len() + value.len() + OVERHEAD_BYTES;
        }
        found.writes.push(write);
        found.kept.push(generation);
        Ok(())
    }
}
