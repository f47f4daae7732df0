//! Opens a store and checks everything in it before anything is handed out.

use std::sync::Arc;

use zeroize::Zeroize;

use crate::sealed::head::{Head, head_path};
use crate::sealed::place::{EarlierEpoch, Sealer};
use crate::sealed::state::{Known, State};
use crate::{
    CipherError, Entry, FormatError, Generation, Path, Record, RecordCipher, SealedStore, Store,
    StoreError, StoreIdentity,
};

/// Why what is stored is not what this HSM wrote. Nothing of it may be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store could not be read or written.
    #[error("the store could not be used")]
    Store(#[source] StoreError),
    /// The head of a new HSM could not be sealed.
    #[error("the new head could not be sealed")]
    Cipher(#[source] CipherError),
    /// A new HSM needs an empty store.
    #[error("the store is not empty")]
    NotEmpty,
    /// There is no head, though there should be one.
    #[error("there is no head record")]
    HeadMissing,
    /// Bytes that are no record.
    #[error("the record at {path} is malformed")]
    Malformed {
        /// Where.
        path: Path,
        /// What is wrong.
        #[source]
        cause: FormatError,
    },
    /// A record under another domain secret.
    #[error("the record at {path} is sealed under epoch {found}, not {expected}")]
    OtherEpoch {
        /// Where.
        path: Path,
        /// The record's epoch.
        found: u32,
        /// This HSM's epoch.
        expected: u32,
    },
    /// A record that the cipher refuses.
    #[error("the record at {path} was altered, moved or sealed for another HSM")]
    Unreadable {
        /// Where.
        path: Path,
    },
    /// A record written after the head.
    #[error("the record at {path} has generation {generation}, the head only {sequence}")]
    AheadOfHead {
        /// Where.
        path: Path,
        /// The record's generation.
        generation: u64,
        /// The head's sequence.
        sequence: u64,
    },
    /// Fewer records than the head counts.
    #[error("records are missing: {found} of {expected} are there")]
    Missing {
        /// How many the head counts.
        expected: u64,
        /// How many there are.
        found: u64,
    },
    /// More records than the head counts.
    #[error(
        "removed records are back: {found} are there instead of {expected}{}",
        .path.as_ref().map(|path| format!(", one too many at {path}")).unwrap_or_default()
    )]
    Extra {
        /// How many the head counts.
        expected: u64,
        /// How many there are.
        found: u64,
        /// Which one, where it is a single one.
        path: Option<Path>,
    },
    /// As many records as the head counts, but not the same.
    #[error("a record of the {records} is older than the head {sequence}")]
    Replaced {
        /// How many there are.
        records: u64,
        /// The head's sequence.
        sequence: u64,
    },
    /// The whole store is older than what is remembered.
    #[error("the store was put back: it is at change {sequence}, remembered is {floor}")]
    RolledBack {
        /// The head's sequence.
        sequence: u64,
        /// The lowest that was allowed.
        floor: u64,
    },
    /// An event whose writes do not lead to the head it carries.
    #[error("the event does not lead to its head {sequence}: one was dropped or altered")]
    Gap {
        /// The sequence of the event's head.
        sequence: u64,
    },
    /// An earlier check or change has stopped this sealed store.
    #[error("the sealed store has stopped and must be opened anew")]
    Stopped,
}

impl SealedStore {
    /// Opens a store and verifies all of it. A head below `floor`, the last sequence remembered
    /// elsewhere, is refused. The records come in order of their paths.
    pub async fn open(
        store: Arc<dyn Store>,
        cipher: Arc<dyn RecordCipher>,
        identity: StoreIdentity,
        floor: Option<u64>,
    ) -> Result<(Self, Vec<Record>), OpenError> {
        Self::open_as(store, Sealer::new(cipher, identity), floor).await
    }

    /// The same for a store whose secret was changed: records that were not brought forward yet
    /// ([`SealedStore::bring_forward`]) are opened under the epoch before.
    pub async fn open_after_turn(
        store: Arc<dyn Store>,
        cipher: Arc<dyn RecordCipher>,
        identity: StoreIdentity,
        earlier: EarlierEpoch,
        floor: Option<u64>,
    ) -> Result<(Self, Vec<Record>), OpenError> {
        Self::open_as(store, Sealer { cipher, identity, earlier: Some(earlier) }, floor).await
    }

    async fn open_as(
        store: Arc<dyn Store>,
        sealer: Sealer,
        floor: Option<u64>,
    ) -> Result<(Self, Vec<Record>), OpenError> {
        let (entries, _) = store.read_all().await.map_err(OpenError::Store)?;
        let mut opened = Opened::default();
        let state = opened.verify(&sealer, &entries, floor)?;
        let records = std::mem::take(&mut opened.0);
        Ok((Self::new(store, sealer, state), records))
    }
}

/// Records that were opened but not yet vouched for. Wiped, unless they are taken out.
#[derive(Default)]
struct Opened(Vec<Record>);

impl Drop for Opened {
    fn drop(&mut self) {
        for record in &mut self.0 {
            record.value.zeroize();
        }
    }
}

impl Opened {
    fn verify(
        &mut self,
        sealer: &Sealer,
        entries: &[Entry],
        floor: Option<u64>,
    ) -> Result<State, OpenError> {
        let place = head_path();
        let stored = entries.iter().find(|entry| entry.path == place);
        let stored = stored.ok_or(OpenError::HeadMissing)?;
        let head = sealer.open_head(&stored.value)?;
        if let Some(floor) = floor.filter(|floor| head.sequence < *floor) {
            return Err(OpenError::RolledBack { sequence: head.sequence, floor });
        }
        let mut state = State::new(head, stored.revision, false);
        let mut found = Head { sequence: head.sequence, ..Head::EMPTY };
        for entry in entries.iter().filter(|entry| entry.path != place) {
            let known = self.take(sealer, &head, entry)?;
            found.toggle(&known.mark);
            found.records += 1;
            if sealer.is_behind(&entry.value) {
                state.behind.insert(entry.path.clone());
            }
            if state.records.insert(entry.path.clone(), known).is_some() {
                let (expected, found) = (head.records, found.records);
                return Err(OpenError::Extra { expected, found, path: Some(entry.path.clone()) });
            }
        }
        compare(&state, &found)?;
        Ok(state)
    }

    fn take(&mut self, sealer: &Sealer, head: &Head, entry: &Entry) -> Result<Known, OpenError> {
        let Entry { path, value, .. } = entry;
        let (generation, plaintext) = sealer.open(path, value)?;
        self.0.push(Record { path: path.clone(), value: plaintext, generation });
        refuse_ahead(path, generation, head)?;
        Ok(Known { generation, mark: sealer.mark(path, generation, value) })
    }
}

/// Refuses a record that is newer than the head.
pub(super) fn refuse_ahead(
    path: &Path,
    generation: Generation,
    head: &Head,
) -> Result<(), OpenError> {
    let (generation, sequence) = (generation.0, head.sequence);
    if generation > sequence {
        return Err(OpenError::AheadOfHead { path: path.clone(), generation, sequence });
    }
    Ok(())
}

/// Compares the records that were found with what the head says, and names the difference.
fn compare(state: &State, found: &Head) -> Result<(), OpenError> {
    let head = &state.head;
    let (expected, count) = (head.records, found.records);
    match count.cmp(&expected) {
        std::cmp::Ordering::Less => Err(OpenError::Missing { expected, found: count }),
        std::cmp::Ordering::Greater => {
            let path = surplus(state, found);
            Err(OpenError::Extra { expected, found: count, path })
        }
        std::cmp::Ordering::Equal if head.set != found.set => {
            Err(OpenError::Replaced { records: count, sequence: head.sequence })
        }
        std::cmp::Ordering::Equal => Ok(()),
    }
}

/// The one record without which the set would fit.
fn surplus(state: &State, found: &Head) -> Option<Path> {
    let mut difference = state.head;
    difference.toggle(&found.set);
    let mut records = state.records.iter();
    records.find(|(_, known)| known.mark == difference.set).map(|(path, _)| path.clone())
}
