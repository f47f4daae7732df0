//! What the domain needs done for it by a runtime that it does not know.

use casemate_engine_port::Cost;
use casemate_store_port::BoxFuture;
use uuid::Uuid;

/// Threads for work that would hold up a connection's worker.
pub trait Pool: Send + Sync + 'static {
    /// Queues the job for this principal; it runs once. The pool's time is shared out by principal.
    /// Refused when too much is queued, altogether or for this one. The HSM's own work comes as
    /// that of the nil principal, one job after another; how much others queued does not matter to
    /// it.
    fn run(&self, caller: Uuid, job: Box<dyn FnOnce() + Send>) -> Result<(), PoolBusy>;

    /// Told of each request's principal and cost; answers whether work of this cost should leave
    /// the worker that it arrived at, given what else was asked of late, and by whom.
    fn takes(&self, caller: Uuid, cost: Cost) -> bool;

    /// A turn for costly work that stays on its worker, for as long as the result is held: only so
    /// many have one at a time that a cheap request waits for few of them. Turns are shared out by
    /// principal, as the pool's time is. Refused when too many wait already.
    fn turn(&self, caller: Uuid) -> BoxFuture<'_, Result<Turn, PoolBusy>>;
}

/// A turn, given back when it is dropped.
pub type Turn = Box<dyn Send>;

/// The pool's queue is full.
#[derive(Debug, thiserror::Error)]
#[error("too many costly operations are waiting")]
pub struct PoolBusy;

/// Why the pool gave no result.
#[derive(Debug, thiserror::Error)]
pub enum PoolFailure {
    /// The job was never begun.
    #[error(transparent)]
    Busy(#[from] PoolBusy),
    /// The job ended without a result: it panicked, and its thread's log says where.
    #[error("a costly operation ended without a result")]
    Died,
}

/// Runs a future to its end, whoever waits for it or no longer does.
pub trait Spawn: Send + Sync + 'static {
    /// Starts the future.
    fn spawn(&self, future: BoxFuture<'static, ()>);
}
