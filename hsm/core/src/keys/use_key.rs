//! What every use of a key shares: may this version do this now, open it, let it work on the right
//! thread, and ask again before the result leaves.

use std::sync::Arc;

use casemate_engine_port::{Cost, EngineError, KeyHandle, KeyUse, OperationError};
use futures_channel::oneshot;
use uuid::Uuid;

use super::find::{key_of, live_version};
use super::{FindRefusal, GcmBudget, KeyOp, KeyRef, Selector};
use crate::commit::CommitRefusal;
use crate::rbac::{DataAction, NotAuthorized, Permit};
use crate::records::VersionRecord;
use crate::state::VersionEntry;
use crate::{Hsm, KeyName, PoolFailure, Turn, UnixSeconds};

/// Which edge of a version's window was crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowEdge {
    /// It is before `nbf`.
    NotYet(UnixSeconds),
    /// It is `exp` or later.
    Expired(UnixSeconds),
}

/// Why a key was not used.
#[derive(Debug, thiserror::Error)]
pub enum UseRefusal {
    /// There is none.
    #[error(transparent)]
    Find(#[from] FindRefusal),
    /// The version is disabled.
    #[error("the key version is disabled")]
    Disabled,
    /// Its `key_ops` do not permit the operation.
    #[error("the key does not permit the operation '{}'", .0.name())]
    OperationNotPermitted(KeyOp),
    /// The time is outside its window.
    #[error("the key may not be used for this operation at this time")]
    OutsideWindow(WindowEdge),
    /// The algorithm is for other keys.
    #[error("the algorithm '{algorithm}' does not fit the type and size of the key")]
    AlgorithmDoesNotFit {
        /// Its name.
        algorithm: &'static str,
    },
    /// The digest has not the algorithm's length.
    #[error("the algorithm '{algorithm}' takes exactly {expected} bytes, not {given}")]
    DigestLength {
        /// The algorithm.
        algorithm: &'static str,
        /// Its length in bytes.
        expected: usize,
        /// What was given.
        given: usize,
    },
    /// The input is longer than the key can take.
    #[error("the algorithm '{algorithm}' takes at most {most} bytes with this key, not {given}")]
    InputTooLong {
        /// The algorithm.
        algorithm: &'static str,
        /// The most, in bytes.
        most: usize,
        /// What was given.
        given: usize,
    },
    /// The input does not suit the algorithm.
    #[error("{0}")]
    BadInput(&'static str),
    /// It did not decrypt; nothing more is said.
    #[error("the value could not be decrypted")]
    DecryptionFailed,
    /// The version has done as many GCM encryptions as are safe.
    #[error("this key version has done as many GCM encryptions as are safe; create a new version")]
    GcmExhausted,
    /// The pool gave no result.
    #[error(transparent)]
    Pool(#[from] PoolFailure),
    /// The permit was taken away meanwhile.
    #[error(transparent)]
    NotAuthorized(#[from] NotAuthorized),
    /// The count of GCM encryptions was not stored.
    #[error(transparent)]
    Commit(#[from] CommitRefusal),
    /// The engine failed.
    #[error("the engine failed")]
    Engine(#[from] EngineError),
    /// The engine failed in the middle of the operation.
    #[error("the operation failed in the engine")]
    Operation(#[source] OperationError),
}

/// A version in use: enough to ask again whether it still may be.
#[derive(Clone)]
pub struct Used {
    name: KeyName,
    version: Arc<VersionEntry>,
    op: KeyOp,
}

impl Used {
    /// Which version of which key.
    pub fn key(&self) -> KeyRef {
        KeyRef { name: self.name.clone(), version: self.version.record.id }
    }

    pub(super) fn gcm(&self) -> &Arc<GcmBudget> {
        &self.version.gcm
    }
}

impl std::fmt::Debug for Used {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{} for {}", self.name, self.version.record.id, self.op.name())
    }
}

/// A version that was found usable, with its opened key.
pub(super) struct Opened {
    pub(super) used: Used,
    pub(super) handle: Arc<dyn KeyHandle>,
}

impl Opened {
    pub(super) fn version(&self) -> &Arc<VersionEntry> {
        &self.used.version
    }
}

impl Hsm {
    /// Finds the version, tells of it, and asks whether it may do this now.
    pub(super) fn find_for_use<A: DataAction>(
        &self,
        permit: &Permit<A>,
        selector: Selector,
        op: KeyOp,
        found: impl FnOnce(KeyRef),
    ) -> Result<Used, UseRefusal> {
        let now = self.now();
        let state = self.state.read();
        let (key, version) = live_version(&state, key_of(permit.scope()), selector)?;
        let used = Used { name: key.record.name.clone(), version: Arc::clone(version), op };
        drop(state);
        found(used.key());
        decide(&used.version.record, op, now)?;
        Ok(used)
    }

    /// Opens the version's key.
    pub(super) fn open_used(&self, used: Used) -> Result<Opened, UseRefusal> {
        let (handle, is_new) =
            self.handles.open(self.engine.as_ref(), &used.name, &used.version)?;
        if is_new && let Err(refusal) = self.still_usable(&used) {
            // It was disabled or deleted meanwhile, and had been forgotten before it was kept.
            self.handles.forget(used.version.record.id);
            return Err(refusal);
        }
        Ok(Opened { used, handle })
    }

    /// Whether a version that was used may still be: asked before the result leaves, so that a
    /// disabling or deletion that has answered is final.
    pub fn still_usable(&self, used: &Used) -> Result<(), UseRefusal> {
        let now = self.now();
        let selector = Selector::Exactly(used.version.record.id);
        let state = self.state.read();
        let (_, version) = live_version(&state, &used.name, selector)?;
        if Arc::ptr_eq(version, &used.version) {
            return Ok(());
        }
        decide(&version.record, used.op, now)
    }

    /// Lets the opened key work: here if that is cheap, else on the pool, where permit and version
    /// are asked for again after the wait.
    pub(super) async fn work<A, T, F>(
        self: &Arc<Self>,
        permit: &Permit<A>,
        opened: Opened,
        key_use: KeyUse,
        job: F,
    ) -> Result<T, UseRefusal>
    where
        A: DataAction,
        T: Send + 'static,
        F: FnOnce(&dyn KeyHandle) -> Result<T, OperationError> + Send + 'static,
    {
        let cost = opened.handle.cost(key_use);
        if !self.pool.takes(permit.principal().id, cost) {
            let turn = match cost {
                Cost::Pool => Some(self.turn(permit, &opened.used).await?),
                Cost::Inline | Cost::PoolUnderLoad => None,
            };
            let done = job(opened.handle.as_ref()).map_err(refusal);
            drop(turn);
            return done;
        }
        let hsm = Arc::clone(self);
        let permit = permit.duplicate();
        self.on_pool(permit.principal().id, move || {
            hsm.still_authorized(&permit)?;
            hsm.still_usable(&opened.used)?;
            job(opened.handle.as_ref()).map_err(refusal)
        })
        .await?
    }

    /// Waits for a turn, and asks for permit and version again.
    async fn turn<A: DataAction>(
        &self,
        permit: &Permit<A>,
        used: &Used,
    ) -> Result<Turn, UseRefusal> {
        let turn = self.pool.turn(permit.principal().id).await.map_err(PoolFailure::from)?;
        self.still_authorized(permit)?;
        self.still_usable(used)?;
        Ok(turn)
    }

    /// Tells the pool of a request that uses no key: it should not have to wait for those that do.
    pub fn light_request(&self) {
        let _stays = self.pool.takes(Uuid::nil(), Cost::Inline);
    }

    /// Runs a principal's job on the pool and waits for it.
    pub(crate) async fn on_pool<T: Send + 'static>(
        &self,
        caller: Uuid,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolFailure> {
        let (tell, told) = oneshot::channel();
        let job = Box::new(move || {
            // Who waited may be gone: then no key is used for nobody.
            if tell.is_canceled() {
                return;
            }
            // It may go now: then the result is dropped, and wiped if it is a secret.
            let _ = tell.send(job());
        });
        self.pool.run(caller, job)?;
        told.await.map_err(|oneshot::Canceled| PoolFailure::Died)
    }
}

fn decide(version: &VersionRecord, op: KeyOp, now: UnixSeconds) -> Result<(), UseRefusal> {
    if !version.enabled {
        return Err(UseRefusal::Disabled);
    }
    if !version.key_ops.contains(&op) {
        return Err(UseRefusal::OperationNotPermitted(op));
    }
    if op.works_outside_window() {
        return Ok(());
    }
    match (version.not_before, version.expires) {
        (Some(from), _) if now < from => Err(UseRefusal::OutsideWindow(WindowEdge::NotYet(from))),
        (_, Some(until)) if now >= until => {
            Err(UseRefusal::OutsideWindow(WindowEdge::Expired(until)))
        }
        _ => Ok(()),
    }
}

fn refusal(error: OperationError) -> UseRefusal {
    match error {
        OperationError::BadInput(reason) => UseRefusal::BadInput(reason),
        OperationError::DecryptionFailed => UseRefusal::DecryptionFailed,
        OperationError::Unavailable(_) | OperationError::Failed(_) => UseRefusal::Operation(error),
    }
}
