//! The runtime, as the domain sees it.

use casemate_hsm::Spawn;
use casemate_store_port::BoxFuture;
use casemate_trace::{current, step, within};
use tokio::runtime::Handle;

/// Runs changes to their end on the runtime.
pub(crate) struct RuntimeSpawn(pub(crate) Handle);

impl Spawn for RuntimeSpawn {
    /// The domain starts nothing but the commit of a change: it is a step of the request that made
    /// it, also when it shares a transaction with others.
    fn spawn(&self, future: BoxFuture<'static, ()>) {
        let commit = async move {
            let _step = step("store_commit");
            future.await;
        };
        drop(self.0.spawn(within(current(), commit)));
    }
}
