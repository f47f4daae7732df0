//! Checks an event of the store's watch against the head, and takes it over.

use std::sync::atomic::Ordering;

use zeroize::Zeroize;

use crate::sealed::head::{Head, head_path};
use crate::sealed::open::refuse_ahead;
use crate::sealed::place::Sealer;
use crate::sealed::state::{Known, State};
use crate::{Event, OpenError, Path, Record, SealedStore, Write};

/// A write of another partition that was checked.
#[derive(Debug, PartialEq, Eq)]
pub enum AppliedWrite {
    /// The record now is this. The caller wipes the value.
    Put(Record),
    /// There is no record at this path any more.
    Delete(Path),
}

impl SealedStore {
    /// Checks one event and takes it over; events come in the order of the watch that began after
    /// [`SealedStore::revision`]. One that is known already (an own change) gives no writes. One
    /// that does not fit stops this sealed store.
    pub fn apply(&self, event: &Event) -> Result<Vec<AppliedWrite>, OpenError> {
        let mut state = self.inner.state.lock();
        if state.stopped {
            return Err(OpenError::Stopped);
        }
        if event.revision <= state.head_revision {
            return Ok(Vec::new());
        }
        let mut applied = Applied::default();
        let (head, effects) = match applied.verify(&self.inner.sealer, &state, event) {
            Ok(verified) => verified,
            Err(error) => {
                state.stopped = true;
                return Err(error);
            }
        };
        state.advance(head, event.revision, effects);
        self.inner.sequence.store(head.sequence, Ordering::Release);
        Ok(std::mem::take(&mut applied.0))
    }
}

/// Writes that were opened but not yet vouched for. Wiped, unless they are taken out.
#[derive(Default)]
struct Applied(Vec<AppliedWrite>);

impl Drop for Applied {
    fn drop(&mut self) {
        for write in &mut self.0 {
            if let AppliedWrite::Put(record) = write {
                record.value.zeroize();
            }
        }
    }
}

type Effects = Vec<(Path, Option<Known>)>;

impl Applied {
    fn verify(
        &mut self,
        sealer: &Sealer,
        state: &State,
        event: &Event,
    ) -> Result<(Head, Effects), OpenError> {
        let head = event_head(sealer, event)?;
        let (sequence, floor) = (head.sequence, state.head.sequence);
        if sequence <= floor {
            return Err(OpenError::RolledBack { sequence, floor });
        }
        let mut reached = Head { sequence, ..state.head };
        let mut effects = Effects::new();
        let place = head_path();
        for write in event.writes.iter().filter(|write| *write.path() != place) {
            let path = write.path();
            if effects.iter().any(|(written, _)| written == path) {
                return Err(OpenError::Gap { sequence });
            }
            if let Some(old) = state.records.get(path) {
                reached.toggle(&old.mark);
                reached.records =
                    reached.records.checked_sub(1).ok_or(OpenError::Gap { sequence })?;
            }
            let known = self.take(sealer, &head, write)?;
            if let Some(known) = known {
                reached.toggle(&known.mark);
                reached.records += 1;
            }
            effects.push((path.clone(), known));
        }
        if reached != head {
            return Err(OpenError::Gap { sequence });
        }
        Ok((head, effects))
    }

    fn take(
        &mut self,
        sealer: &Sealer,
        head: &Head,
        write: &Write,
    ) -> Result<Option<Known>, OpenError> {
        let (path, value) = match write {
            Write::Put(path, value) => (path, value),
            Write::Delete(path) => {
                self.0.push(AppliedWrite::Delete(path.clone()));
                return Ok(None);
            }
        };
        let (generation, plaintext) = sealer.open(path, value)?;
        let record = Record { path: path.clone(), value: plaintext, generation };
        self.0.push(AppliedWrite::Put(record));
        refuse_ahead(path, generation, head)?;
        Ok(Some(Known { generation, mark: sealer.mark(path, generation, value) }))
    }
}

fn event_head(sealer: &Sealer, event: &Event) -> Result<Head, OpenError> {
    let place = head_path();
    let written = event.writes.iter().find_map(|write| match write {
        Write::Put(path, value) if *path == place => Some(value),
        Write::Put(..) | Write::Delete(_) => None,
    });
    sealer.open_head(written.ok_or(OpenError::HeadMissing)?)
}
