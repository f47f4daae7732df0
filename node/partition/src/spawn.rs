//! The runtime, as the domain sees it.

use casemate_hsm::Spawn;
use casemate_store_port::BoxFuture;
use tokio::runtime::Handle;

/// Runs changes to their end on the runtime.
pub(crate) struct RuntimeSpawn(pub(crate) Handle);

impl Spawn for RuntimeSpawn {
    fn spawn(&self, future: BoxFuture<'static, ()>) {
        drop(self.0.spawn(future));
    }
}
