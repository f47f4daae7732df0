//! Confirms a download or an upload of the security domain, a moment after the HSM is open.

use std::sync::Arc;
use std::time::Duration;

use casemate_hsm::Hsm;

use crate::failure::chain;
use crate::keeper::NodeKeeper;

/// The moment: a client that asks at once is told that it is in progress, as by the original.
const SETTLED: Duration = Duration::from_millis(700);
/// The pause after a store that did not take it.
const PAUSE: Duration = Duration::from_secs(10);

/// Confirms what awaits it, whenever something does. Never ends.
pub(crate) async fn confirm(hsm: Arc<Hsm>, keeper: Arc<NodeKeeper>) {
    loop {
        while hsm.awaits_confirmation() {
            tokio::time::sleep(SETTLED).await;
            if let Err(error) = hsm.confirm_security_domain().await {
                tracing::warn!("not confirmed: {}; tried again later", chain(&error));
                tokio::time::sleep(PAUSE).await;
            }
        }
        keeper.gave_again().await;
    }
}
