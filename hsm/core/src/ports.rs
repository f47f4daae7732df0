//! What the domain needs done for it by a runtime that it does not know.

use casemate_store_port::BoxFuture;

/// Threads for work that would hold up a connection's worker.
pub trait Pool: Send + Sync + 'static {
    /// Queues the job; it runs once. Refused when the bounded queue is full.
    fn run(&self, job: Box<dyn FnOnce() + Send>) -> Result<(), PoolBusy>;

    /// Whether the workers are busy enough that middling jobs should leave them.
    fn under_load(&self) -> bool;
}

/// The pool's queue is full.
#[derive(Debug, thiserror::Error)]
#[error("too many costly operations are waiting")]
pub struct PoolBusy;

/// Runs a future to its end, whoever waits for it or no longer does.
pub trait Spawn: Send + Sync + 'static {
    /// Starts the future.
    fn spawn(&self, future: BoxFuture<'static, ()>);
}
