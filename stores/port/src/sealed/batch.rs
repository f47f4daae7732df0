//! Decides which waiting changes go into one transaction, and seals them.

use std::collections::{HashSet, VecDeque};

use futures_channel::oneshot;
use zeroize::Zeroize;

use crate::sealed::codec::HEADER_BYTES;
use crate::sealed::head::{HEAD_BYTES, Head, head_path};
use crate::sealed::place::Sealer;
use crate::sealed::state::{Known, State};
use crate::{
    Change, CipherError, CommitError, Committed, Expect, Generation, OPERATIONS_MAX, Path,
    SEAL_OVERHEAD_BYTES_MAX, TRANSACTION_BYTES_MAX, Transaction, Write,
};

/// Most writes in one change: a transaction's operations without the head's.
pub const CHANGE_WRITES_MAX: usize = OPERATIONS_MAX - 1;

/// Most bytes of one change, with 141 added for the sealing of each value.
pub const CHANGE_BYTES_MAX: usize = TRANSACTION_BYTES_MAX - HEAD_COST_BYTES;

/// What sealing adds to a plaintext.
const SEALING_BYTES: usize = HEADER_BYTES + SEAL_OVERHEAD_BYTES_MAX;

/// The head's path, as precondition and as write, and its value.
const HEAD_COST_BYTES: usize = 2 * "head".len() + HEAD_BYTES + SEALING_BYTES;

/// A change that waits for its turn. Its caller may have gone: then it is given up.
pub(super) struct Waiting {
    pub(super) change: Plain,
    /// Generations that its writes keep, in their order, where what they hold stays as it is.
    pub(super) kept: Vec<Generation>,
    pub(super) answer: Answer,
}

/// Called once a change is durable, in the order of the changes and before anyone is answered.
pub(super) type Then = Box<dyn FnOnce(Generation) + Send + Sync>;

/// Who waits for a change, and what is to be done first when it is durable.
pub(super) struct Answer {
    pub(super) sender: oneshot::Sender<Result<Committed, CommitError>>,
    pub(super) then: Then,
}

impl Answer {
    /// Whether nobody waits any more.
    pub(super) fn is_canceled(&self) -> bool {
        self.sender.is_canceled()
    }

    pub(super) fn send(self, outcome: Result<Committed, CommitError>) {
        if let Ok(Committed::Done(generation)) = outcome {
            (self.then)(generation);
        }
        // Whoever has gone does not want to know.
        let _ = self.sender.send(outcome);
    }
}

/// A change whose values are wiped when it is dropped.
pub(super) struct Plain(pub(super) Change);

impl Drop for Plain {
    fn drop(&mut self) {
        for write in &mut self.0.writes {
            if let Write::Put(_, value) = write {
                value.zeroize();
            }
        }
    }
}

/// A sealed transaction, and what its success means.
pub(super) struct Batch {
    pub(super) transaction: Transaction,
    pub(super) promise: Promise,
}

/// What a transaction brings about if it happens.
pub(super) struct Promise {
    pub(super) members: Vec<(Answer, Generation)>,
    pub(super) head: Head,
    pub(super) head_value: Vec<u8>,
    pub(super) effects: Vec<(Path, Option<Known>)>,
}

/// What a change costs of a transaction's limits; `None` when it can never be done.
pub(super) fn cost(change: &Change) -> Option<(usize, usize)> {
    let head = head_path();
    let mut paths = HashSet::new();
    let mut bytes = 0_usize;
    for write in &change.writes {
        let (path, value) = match write {
            Write::Put(path, value) => (path, value.len().checked_add(SEALING_BYTES)?),
            Write::Delete(path) => (path, 0),
        };
        if *path == head || !paths.insert(path) {
            return None;
        }
        bytes = bytes.checked_add(value)?.checked_add(path.as_str().len())?;
    }
    let writes = change.writes.len();
    let fits = writes <= CHANGE_WRITES_MAX
        && change.expect.len() <= OPERATIONS_MAX
        && bytes <= CHANGE_BYTES_MAX;
    fits.then_some((writes, bytes))
}

/// Takes what fits out of the queue. Changes whose conditions fail are answered at once; those that
/// touch what another one of the batch writes, or find no room, stay for the next turn, in order.
pub(super) fn draft(
    sealer: &Sealer,
    state: &mut State,
    queue: &mut VecDeque<Waiting>,
) -> Option<Batch> {
    let mut draft = Draft::new(state.head);
    let mut left = VecDeque::new();
    while let Some(waiting) = queue.pop_front() {
        if draft.writes.len() >= CHANGE_WRITES_MAX {
            queue.push_front(waiting);
            break;
        }
        if waiting.answer.is_canceled() {
            continue;
        }
        if draft.must_wait(&waiting.change.0) {
            left.push_back(waiting);
            continue;
        }
        if !state.meets(&waiting.change.0.expect) {
            waiting.answer.send(Ok(Committed::Lost));
            continue;
        }
        draft.take(sealer, state, waiting);
    }
    left.append(queue);
    *queue = left;
    draft.finish(sealer, state)
}

/// The head of a claim, as a transaction of its own.
pub(super) fn claim(sealer: &Sealer, state: &State) -> Result<Batch, CommitError> {
    let head = state.claim().ok_or(CommitError::Stopped)?;
    seal_batch(sealer, state, Draft::new(head)).map_err(|(_, error)| CommitError::Cipher(error))
}

struct Draft {
    members: Vec<(Answer, Generation)>,
    head: Head,
    writes: Vec<Write>,
    effects: Vec<(Path, Option<Known>)>,
    written: HashSet<Path>,
    bytes: usize,
}

impl Draft {
    fn new(head: Head) -> Self {
        let (members, writes, effects) = (Vec::new(), Vec::new(), Vec::new());
        Self { members, head, writes, effects, written: HashSet::new(), bytes: 0 }
    }

    fn must_wait(&self, change: &Change) -> bool {
        let Some((writes, bytes)) = cost(change) else { return true };
        let reads = change.expect.iter().map(|(path, _)| path);
        let touches = reads.chain(change.writes.iter().map(Write::path));
        self.writes.len() + writes > CHANGE_WRITES_MAX
            || self.bytes + bytes > CHANGE_BYTES_MAX
            || touches.into_iter().any(|path| self.written.contains(path))
    }

    fn take(&mut self, sealer: &Sealer, state: &mut State, waiting: Waiting) {
        let Waiting { change, kept, answer } = waiting;
        let Some(generation) = state.next_number() else {
            state.stopped = true;
            answer.send(Err(CommitError::Stopped));
            return;
        };
        let sealed = match seal_writes(sealer, generation, &kept, &change.0.writes) {
            Ok(sealed) => sealed,
            Err(error) => {
                answer.send(Err(CommitError::Cipher(error)));
                return;
            }
        };
        state.attempted = generation.0;
        self.head.sequence = generation.0;
        self.bytes += cost(&change.0).map_or(0, |(_, bytes)| bytes);
        for (at, write) in sealed.into_iter().enumerate() {
            let generation = kept.get(at).copied().unwrap_or(generation);
            self.write(sealer, state, generation, write);
        }
        self.members.push((answer, generation));
    }

    fn write(&mut self, sealer: &Sealer, state: &State, generation: Generation, write: Write) {
        let path = write.path().clone();
        if let Some(old) = state.records.get(&path) {
            self.head.toggle(&old.mark);
            self.head.records -= 1;
        }
        let known = match &write {
            Write::Put(path, value) => {
                let mark = sealer.mark(path, generation, value);
                self.head.toggle(&mark);
                self.head.records += 1;
                Some(Known { generation, mark })
            }
            Write::Delete(_) => None,
        };
        self.written.insert(path.clone());
        self.effects.push((path, known));
        self.writes.push(write);
    }

    fn finish(self, sealer: &Sealer, state: &State) -> Option<Batch> {
        if self.members.is_empty() {
            return None;
        }
        match seal_batch(sealer, state, self) {
            Ok(batch) => Some(batch),
            Err((members, error)) => {
                for (answer, _) in members {
                    answer.send(Err(CommitError::Cipher(error)));
                }
                None
            }
        }
    }
}

fn seal_writes(
    sealer: &Sealer,
    generation: Generation,
    kept: &[Generation],
    writes: &[Write],
) -> Result<Vec<Write>, CipherError> {
    let seal = |(at, write): (usize, &Write)| match write {
        Write::Put(path, plaintext) => {
            let generation = kept.get(at).copied().unwrap_or(generation);
            let value = sealer.seal(path, generation, plaintext)?;
            // A cipher that adds more than it may would break the transaction's limit.
            let within = value.len() <= plaintext.len() + SEALING_BYTES;
            if within { Ok(Write::Put(path.clone(), value)) } else { Err(CipherError) }
        }
        Write::Delete(path) => Ok(Write::Delete(path.clone())),
    };
    writes.iter().enumerate().map(seal).collect()
}

type Members = Vec<(Answer, Generation)>;

fn seal_batch(
    sealer: &Sealer,
    state: &State,
    draft: Draft,
) -> Result<Batch, (Members, CipherError)> {
    let Draft { members, head, mut writes, effects, .. } = draft;
    let head_value = match sealer.seal_head(&head) {
        Ok(value) => value,
        Err(error) => return Err((members, error)),
    };
    writes.push(Write::Put(head_path(), head_value.clone()));
    let expect = vec![(head_path(), Expect::At(state.head_revision))];
    let transaction = Transaction { expect, writes };
    Ok(Batch { transaction, promise: Promise { members, head, head_value, effects } })
}
