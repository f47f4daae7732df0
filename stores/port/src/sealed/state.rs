//! What the wrapper remembers of the store: the head, and of each record its generation and mark.

use std::collections::{BTreeSet, HashMap};

use crate::sealed::head::Head;
use crate::{Condition, Generation, Path, Revision};

/// Most numbers that a process may use up without a success, and how far the claim of the next
/// process moves the head: past all of them.
pub(super) const NUMBERS_SKIPPED: u64 = 1 << 20;

/// What is known of one record.
#[derive(Clone, Copy)]
pub(super) struct Known {
    pub(super) generation: Generation,
    pub(super) mark: [u8; 32],
}

/// Whether all conditions hold among these records.
pub(super) fn meets(records: &HashMap<Path, Known>, expect: &[(Path, Condition)]) -> bool {
    expect.iter().all(|(path, condition)| {
        let found = records.get(path).map(|known| known.generation);
        match condition {
            Condition::Absent => found.is_none(),
            Condition::At(generation) => found == Some(*generation),
        }
    })
}

pub(super) struct State {
    pub(super) head: Head,
    pub(super) head_revision: Revision,
    pub(super) records: HashMap<Path, Known>,
    /// Those of them that are sealed under the epoch before.
    pub(super) behind: BTreeSet<Path>,
    /// The highest number that was ever tried, whatever became of it.
    pub(super) attempted: u64,
    /// Whether this process has moved the head past the numbers that the one before it may have
    /// used up in transactions that failed.
    pub(super) claimed: bool,
    /// Set once and for good when memory and store may differ.
    pub(super) stopped: bool,
}

impl State {
    pub(super) fn new(head: Head, head_revision: Revision, claimed: bool) -> Self {
        let records = HashMap::new();
        let attempted = head.sequence;
        let behind = BTreeSet::new();
        Self { head, head_revision, records, behind, attempted, claimed, stopped: false }
    }

    /// Whether all conditions hold.
    pub(super) fn meets(&self, expect: &[(Path, Condition)]) -> bool {
        meets(&self.records, expect)
    }

    /// The head of a claim: it changes no record, so it may be tried again under its number.
    pub(super) fn claim(&self) -> Option<Head> {
        let sequence = self.head.sequence.checked_add(NUMBERS_SKIPPED)?;
        Some(Head { sequence, ..self.head })
    }

    /// The number for the next change; `None` when too many were used up without a success.
    pub(super) fn next_number(&self) -> Option<Generation> {
        let next = self.attempted.checked_add(1)?;
        let last = self.head.sequence.checked_add(NUMBERS_SKIPPED)?;
        (next <= last).then_some(Generation(next))
    }

    /// Takes over what a transaction wrote.
    pub(super) fn advance(
        &mut self,
        head: Head,
        revision: Revision,
        effects: Vec<(Path, Option<Known>)>,
    ) {
        for (path, known) in effects {
            self.behind.remove(&path);
            match known {
                Some(known) => self.records.insert(path, known),
                None => self.records.remove(&path),
            };
        }
        self.head = head;
        self.head_revision = revision;
        self.attempted = self.attempted.max(head.sequence);
    }
}
