//! After a new epoch of the domain began: brings forward what is sealed under the one before, then
//! forgets that one. It goes on after every start until it is done.

use std::sync::Arc;
use std::time::Duration;

use casemate_audit::Trail;
use casemate_hsm::Hsm;
use casemate_hsm::security_domain::Keeper;

use crate::failure::chain;
use crate::keeper::NodeKeeper;
use crate::open::record_service;

/// The pause after something did not go along.
const PAUSE: Duration = Duration::from_secs(10);
/// Recorded when nothing is left under the epoch before, and just before that is forgotten.
const OPERATION: &str = "SecurityDomainEpochLeft";

/// Brings everything forward, then has the HSM opened anew without the epoch before.
pub(crate) async fn leave_epoch(hsm: Arc<Hsm>, keeper: Arc<NodeKeeper>, trail: Trail) {
    let Some(epoch) = keeper.leaving() else { return };
    let left = hsm.left_behind();
    tracing::info!(epoch, records = left.records, "bringing records forward from this epoch");
    loop {
        match leave(&hsm, &keeper, &trail).await {
            Ok(()) => break,
            Err(error) => {
                tracing::warn!(epoch, "not left: {}; tried again later", chain(&*error));
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    tracing::info!(epoch, "nothing is sealed under this epoch any more");
    keeper.reopen();
}

async fn leave(
    hsm: &Arc<Hsm>,
    keeper: &Arc<NodeKeeper>,
    trail: &Trail,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    hsm.bring_forward().await?;
    // Before the node forgets what tells which keys in a token those are; again after a crash.
    hsm.forget_material_before(keeper.forget_before()).await?;
    record_service(trail, OPERATION).await?;
    keeper.leave_epoch(hsm.sequence())?;
    Ok(())
}
