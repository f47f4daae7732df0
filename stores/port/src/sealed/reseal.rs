//! From one domain secret to another, in one transaction.
//!
//! Either every record is sealed anew, which is for an HSM of few records: one that was not
//! activated yet. Or the head alone is, whatever the number of records: those are then brought
//! forward while the HSM serves ([`SealedStore::bring_forward`]). The transaction is the one moment
//! at which the old secret stops and the new one begins to count; there is no state between.
//!
//! Invariant: whatever came of it, this wrapper takes no change under the old secret any more
//! unless it is certain that nothing was written.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use zeroize::Zeroize;

use crate::sealed::batch::Plain;
use crate::sealed::head::{Head, head_path};
use crate::sealed::place::Sealer;
use crate::sealed::state::{Known, meets};
use crate::{
    Change, CommitError, Entry, Expect, Generation, OpenError, Outcome, Path, RecordCipher,
    Revision, SealedStore, StoreError, StoreIdentity, Transaction, Write,
};

/// Why the records were not sealed anew.
#[derive(Debug, thiserror::Error)]
pub enum ResealError {
    /// What is stored is not what this wrapper knows. Nothing was written.
    #[error("the records are not what they were")]
    Open(#[from] OpenError),
    /// The transaction.
    #[error("the records could not be sealed anew")]
    Commit(#[from] CommitError),
    /// A condition of the change does not hold. Nothing was written.
    #[error("what the change rests on has changed")]
    Lost,
    /// Records of an epoch before the present one are left. Nothing was written.
    #[error("{records} records are not brought forward from the epoch before")]
    Behind {
        /// How many there are.
        records: usize,
    },
    /// More than fits one transaction. Nothing was written.
    #[error("{records} records do not fit one transaction, so they cannot be sealed anew at once")]
    TooMany {
        /// How many there are.
        records: usize,
    },
}

/// What was known when it began.
struct Before {
    head: Head,
    revision: Revision,
    records: HashMap<Path, Known>,
    behind: usize,
    generation: Generation,
}

/// What is sealed anew.
#[derive(Clone, Copy)]
enum Reach {
    Everything,
    /// The head, and what the change writes.
    Head,
}

impl SealedStore {
    /// Seals all records under another cipher and identity, together with a change. Durable when it
    /// returns; from then on this wrapper takes nothing any more, and the store is opened anew.
    pub async fn reseal(
        &self,
        cipher: Arc<dyn RecordCipher>,
        identity: StoreIdentity,
        change: Change,
    ) -> Result<Generation, ResealError> {
        self.switch(&Sealer::new(cipher, identity), Plain(change), Reach::Everything).await
    }

    /// Seals the head under another cipher and identity, together with a change; the other records
    /// stay as they are, and the next opening is [`SealedStore::open_after_turn`]. Durable when it
    /// returns; from then on this wrapper takes nothing any more.
    pub async fn turn(
        &self,
        cipher: Arc<dyn RecordCipher>,
        identity: StoreIdentity,
        change: Change,
    ) -> Result<Generation, ResealError> {
        self.switch(&Sealer::new(cipher, identity), Plain(change), Reach::Head).await
    }

    async fn switch(
        &self,
        next: &Sealer,
        change: Plain,
        reach: Reach,
    ) -> Result<Generation, ResealError> {
        // Past all numbers that an earlier process may have used up: the claim that goes before.
        self.commit(Change::default()).await?;
        self.settled().await;
        let before = self.stop()?;
        let done = self.resealed(next, &before, &change.0, reach).await;
        match &done {
            Ok(generation) => self.inner.sequence.store(generation.0, Ordering::Release),
            // Nothing was written, for certain.
            Err(
                ResealError::TooMany { .. }
                | ResealError::Lost
                | ResealError::Behind { .. }
                | ResealError::Commit(
                    CommitError::Full { .. }
                    | CommitError::Unavailable(_)
                    | CommitError::Cipher(_)
                    | CommitError::BadChange,
                ),
            ) => {
                let mut state = self.inner.state.lock();
                state.attempted = before.generation.0;
                state.stopped = false;
            }
            Err(_) => {}
        }
        done
    }

    /// Waits for the transaction under way.
    async fn settled(&self) {
        loop {
            let work = self.work.lock().clone();
            match work {
                Some(work) if work.peek().is_none() => work.await,
                Some(_) | None => return,
            }
        }
    }

    /// Takes no change any more, and says what is known.
    fn stop(&self) -> Result<Before, CommitError> {
        let mut state = self.inner.state.lock();
        if state.stopped {
            return Err(CommitError::Stopped);
        }
        state.stopped = true;
        let Some(generation) = state.next_number() else { return Err(CommitError::Stopped) };
        Ok(Before {
            head: state.head,
            revision: state.head_revision,
            behind: state.behind.len(),
            records: state.records.clone(),
            generation,
        })
    }

    async fn resealed(
        &self,
        next: &Sealer,
        before: &Before,
        change: &Change,
        reach: Reach,
    ) -> Result<Generation, ResealError> {
        let store = &self.inner.store;
        if !meets(&before.records, &change.expect) {
            return Err(ResealError::Lost);
        }
        if before.behind > 0 {
            return Err(ResealError::Behind { records: before.behind });
        }
        let (writes, head) = match reach {
            Reach::Everything => {
                let (entries, _) = store.read_all().await.map_err(OpenError::Store)?;
                sealed(next, before, &self.opened(before, &entries)?, change)?
            }
            Reach::Head => changed(next, before, change)?,
        };
        let head_value = next.seal_head(&head).map_err(CommitError::Cipher)?;
        let mut transaction =
            Transaction { expect: vec![(head_path(), Expect::At(before.revision))], writes };
        transaction.writes.push(Write::Put(head_path(), head_value.clone()));
        if !transaction.is_within_limits() {
            return Err(ResealError::TooMany { records: before.records.len() });
        }
        match store.commit(transaction).await {
            Ok(Outcome::Committed(_)) => Ok(before.generation),
            Ok(Outcome::Lost) => Err(CommitError::HeadMoved.into()),
            Err(StoreError::Full { place }) => Err(CommitError::Full { place }.into()),
            Err(cause @ StoreError::Unknown(_)) => {
                self.found(before, &head_value, cause).await.map_err(ResealError::from)
            }
            Err(cause) => Err(CommitError::Unavailable(Arc::new(cause)).into()),
        }
    }

    /// All records in clear, if they are exactly those that are known.
    fn opened(&self, before: &Before, entries: &[Entry]) -> Result<Opened, OpenError> {
        let sealer = &self.inner.sealer;
        let place = head_path();
        let mut opened = Opened(Vec::with_capacity(entries.len()));
        for Entry { path, value, revision } in entries {
            if *path == place {
                let head = sealer.open_head(value)?;
                if head != before.head || *revision != before.revision {
                    return Err(OpenError::Gap { sequence: head.sequence });
                }
                continue;
            }
            let (generation, plaintext) = sealer.open(path, value)?;
            opened.0.push((path.clone(), plaintext));
            let mark = sealer.mark(path, generation, value);
            let known = before.records.get(path);
            if !known.is_some_and(|known| known.generation == generation && known.mark == mark) {
                return Err(OpenError::Unreadable { path: path.clone() });
            }
        }
        let (expected, found) = (before.head.records, opened.0.len());
        let found = u64::try_from(found).unwrap_or(u64::MAX);
        if expected != found {
            return Err(OpenError::Missing { expected, found });
        }
        Ok(opened)
    }

    /// Reads what became of a transaction that gave no answer.
    async fn found(
        &self,
        before: &Before,
        head_value: &[u8],
        cause: StoreError,
    ) -> Result<Generation, CommitError> {
        let cause = Arc::new(cause);
        match self.inner.store.read(&head_path()).await {
            // Sealing is randomised: nobody else has written these very bytes.
            Ok(Some(Entry { value, .. })) if value == head_value => Ok(before.generation),
            Ok(Some(Entry { revision, .. })) if revision == before.revision => {
                Err(CommitError::Unavailable(cause))
            }
            Ok(_) | Err(_) => Err(CommitError::Unknown(cause)),
        }
    }
}

/// Records in clear; wiped.
struct Opened(Vec<(Path, Vec<u8>)>);

impl Drop for Opened {
    fn drop(&mut self) {
        for (_, value) in &mut self.0 {
            value.zeroize();
        }
    }
}

/// What a change writes, and the head that vouches for it together with all that stays.
fn changed(
    next: &Sealer,
    before: &Before,
    change: &Change,
) -> Result<(Vec<Write>, Head), CommitError> {
    let Before { generation, .. } = *before;
    let mut head = Head { sequence: generation.0, ..before.head };
    let mut writes = Vec::new();
    for write in &change.writes {
        if let Some(old) = before.records.get(write.path()) {
            head.toggle(&old.mark);
            head.records -= 1;
        }
        writes.push(match write {
            Write::Put(path, plaintext) => {
                let value = next.seal(path, generation, plaintext).map_err(CommitError::Cipher)?;
                head.toggle(&next.mark(path, generation, &value));
                head.records += 1;
                Write::Put(path.clone(), value)
            }
            Write::Delete(path) => Write::Delete(path.clone()),
        });
    }
    Ok((writes, head))
}

/// What is to be written, and the head that vouches for it.
fn sealed(
    next: &Sealer,
    before: &Before,
    plain: &Opened,
    change: &Change,
) -> Result<(Vec<Write>, Head), CommitError> {
    let Before { generation, .. } = *before;
    let mut head = Head { sequence: generation.0, records: 0, set: [0; 32] };
    let mut writes = Vec::new();
    let mut put = |path: &Path, plaintext: &[u8]| {
        let value = next.seal(path, generation, plaintext).map_err(CommitError::Cipher)?;
        head.toggle(&next.mark(path, generation, &value));
        head.records += 1;
        writes.push(Write::Put(path.clone(), value));
        Ok::<_, CommitError>(())
    };
    let changed = |path: &Path| change.writes.iter().any(|write| write.path() == path);
    for (path, plaintext) in plain.0.iter().filter(|(path, _)| !changed(path)) {
        put(path, plaintext)?;
    }
    let mut gone = Vec::new();
    for write in &change.writes {
        match write {
            Write::Put(path, plaintext) => put(path, plaintext)?,
            Write::Delete(path) => gone.push(Write::Delete(path.clone())),
        }
    }
    writes.append(&mut gone);
    Ok((writes, head))
}
