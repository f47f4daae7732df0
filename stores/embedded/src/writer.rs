//! The thread that owns the database.

use std::path::{Path as FilePath, PathBuf};

use casemate_store_port::{Entry, Event, Outcome, Path, Revision, StoreError, Transaction};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::failure::{Failure, failure};
use crate::watch::{EventStream, Log};
use crate::{database, transact};

/// Most requests that wait for the thread; further callers wait for room.
pub const QUEUE_REQUESTS_MAX: usize = 128;

/// Most transactions that share one sync of the disk.
const GROUP_TRANSACTIONS_MAX: usize = QUEUE_REQUESTS_MAX;

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the thread is asked for.
pub(crate) enum Request {
    ReadAll(Answer<(Vec<Entry>, Revision)>),
    Read(Path, Answer<Option<Entry>>),
    Commit(Transaction, Answer<Outcome>),
    Watch(Revision, Answer<EventStream>),
}

/// The database and what the thread keeps beside it.
pub(crate) struct Writer {
    connection: Connection,
    dir: PathBuf,
    revision: Revision,
    log: Log,
    /// Set by a commit whose outcome is unknown: memory and disk may differ from then on.
    stopped: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("the store stopped after a commit without outcome and must be opened anew")]
struct Stopped;

impl Writer {
    pub(crate) fn open(dir: &FilePath) -> Result<Self, StoreError> {
        let connection = database::open(dir)?;
        let revision = transact::revision(&connection).map_err(|error| failure(error, dir))?;
        let log = Log::new(revision);
        Ok(Self { connection, dir: dir.to_owned(), revision, log, stopped: false })
    }

    /// Works until every sender is gone and everything that was asked is done.
    pub(crate) fn run(mut self, mut inbox: mpsc::Receiver<Request>) {
        let mut held = None;
        while let Some(request) = held.take().or_else(|| inbox.blocking_recv()) {
            match request {
                Request::Commit(transaction, answer) => {
                    let mut group = vec![(transaction, answer)];
                    held = gather(&mut inbox, &mut group);
                    self.commit(group);
                }
                Request::ReadAll(answer) => reply(answer, self.read_all()),
                Request::Read(path, answer) => reply(answer, self.read(&path)),
                Request::Watch(after, answer) => {
                    let stream = self.serving().map(|()| self.log.watch(after));
                    reply(answer, stream);
                }
            }
        }
    }

    fn serving(&self) -> Result<(), StoreError> {
        if self.stopped { Err(StoreError::Unavailable(Box::new(Stopped))) } else { Ok(()) }
    }

    fn read_all(&self) -> Result<(Vec<Entry>, Revision), StoreError> {
        self.serving()?;
        let entries =
            transact::read_all(&self.connection).map_err(|error| failure(error, &self.dir))?;
        Ok((entries, self.revision))
    }

    fn read(&self, path: &Path) -> Result<Option<Entry>, StoreError> {
        self.serving()?;
        transact::read(&self.connection, path).map_err(|error| failure(error, &self.dir))
    }

    /// Commits a group with one sync; each transaction has its own revision and outcome.
    fn commit(&mut self, group: Vec<(Transaction, Answer<Outcome>)>) {
        if self.stopped {
            for (_, answer) in group {
                reply(answer, Err(StoreError::Unavailable(Box::new(Stopped))));
            }
            return;
        }
        let mut round = Round { revision: self.revision, answers: Vec::new(), events: Vec::new() };
        let failed = self.commit_round(group, &mut round).err();
        if let Some(failure) = &failed {
            self.give_up(failure);
        } else {
            self.revision = round.revision;
            // Before the answers: who reads after its answer finds its event told.
            round.events.into_iter().for_each(|event| self.log.publish(event));
        }
        for (answer, outcome) in round.answers {
            let outcome = match &failed {
                Some(failure) => Err(failure.to_error(&self.dir)),
                None => outcome,
            };
            reply(answer, outcome);
        }
    }

    fn commit_round(
        &self,
        group: Vec<(Transaction, Answer<Outcome>)>,
        round: &mut Round,
    ) -> Result<(), Failure> {
        let begun = self.connection.prepare_cached("BEGIN IMMEDIATE");
        let mut broken =
            begun.and_then(|mut begin| begin.execute(())).err().map(Failure::before_commit);
        for (transaction, answer) in group {
            if broken.is_some() {
                // Its answer is the group's failure.
                round.answers.push((answer, Ok(Outcome::Lost)));
                continue;
            }
            let outcome = self.transact(transaction, round);
            let outcome = outcome.map_err(Failure::before_commit);
            if self.connection.is_autocommit() {
                // The error undid the whole group, not only this transaction.
                broken = outcome.as_ref().err().cloned();
            }
            let outcome = outcome.map_err(|failure| failure.to_error(&self.dir));
            round.answers.push((answer, outcome));
        }
        match broken {
            Some(failure) => Err(failure),
            None => self.sync(round),
        }
    }

    fn transact(&self, transaction: Transaction, round: &mut Round) -> rusqlite::Result<Outcome> {
        if !transact::holds(&self.connection, &transaction.expect)? {
            return Ok(Outcome::Lost);
        }
        if transaction.writes.is_empty() {
            return Ok(Outcome::Committed(round.revision));
        }
        let revision = Revision(round.revision.0 + 1);
        round.events.push(transact::write(&self.connection, transaction, revision)?);
        round.revision = revision;
        Ok(Outcome::Committed(revision))
    }

    fn sync(&self, round: &Round) -> Result<(), Failure> {
        if round.revision > self.revision {
            transact::set_revision(&self.connection, round.revision)
                .map_err(Failure::before_commit)?;
        }
        let mut commit =
            self.connection.prepare_cached("COMMIT").map_err(Failure::before_commit)?;
        commit.execute(()).map_err(Failure::at_commit)?;
        Ok(())
    }

    /// Undoes what is left of a failed group; stops where that is not certain to be everything.
    fn give_up(&mut self, failure: &Failure) {
        let undone =
            self.connection.is_autocommit() || self.connection.execute_batch("ROLLBACK").is_ok();
        self.stopped = !undone || matches!(failure, Failure::Unknown(_));
    }
}

/// One group on its way: nothing of it counts before the sync.
struct Round {
    revision: Revision,
    answers: Vec<(Answer<Outcome>, Result<Outcome, StoreError>)>,
    events: Vec<Event>,
}

/// Adds the transactions that wait already, and returns the request of another kind that ended it.
fn gather(
    inbox: &mut mpsc::Receiver<Request>,
    group: &mut Vec<(Transaction, Answer<Outcome>)>,
) -> Option<Request> {
    while group.len() < GROUP_TRANSACTIONS_MAX {
        match inbox.try_recv().ok()? {
            Request::Commit(transaction, answer) => group.push((transaction, answer)),
            other => return Some(other),
        }
    }
    None
}

fn reply<T>(answer: Answer<T>, result: Result<T, StoreError>) {
    // Whoever has gone does not want to know.
    let _ = answer.send(result);
}
