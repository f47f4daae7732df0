//! Confirms what was done with the security domain, once the HSM is open under it.

use std::sync::Arc;

use casemate_store_port::{Change, Condition, Write};

use super::held::Done;
use crate::commit::{Attempt, CommitRefusal};
use crate::state::Applied;
use crate::{Hsm, records};

impl Hsm {
    /// Whether a download or an upload is not confirmed yet.
    pub fn awaits_confirmation(&self) -> bool {
        let state = self.state.read();
        let held = state.security_domain.held.as_ref();
        held.is_some_and(|(held, _)| {
            [held.downloaded, held.uploaded].into_iter().flatten().any(|done| !done.confirmed)
        })
    }

    /// Confirms them; durable when it returns.
    ///
    /// # Errors
    /// When the store does not take it; to be tried again.
    pub async fn confirm_security_domain(self: &Arc<Self>) -> Result<(), CommitRefusal> {
        self.attempt("security-domain", || {
            let held = self.state.read().security_domain.held.clone();
            let (mut change, mut applied) = (Change::default(), Vec::new());
            if let Some((held, generation)) = held.filter(|_| self.awaits_confirmation()) {
                let confirmed = |done: Done| Done { confirmed: true, ..done };
                let mut held = held.as_ref().clone();
                held.downloaded = held.downloaded.map(confirmed);
                held.uploaded = held.uploaded.map(confirmed);
                let path = records::held_path();
                change.expect.push((path.clone(), Condition::At(generation)));
                change.writes.push(Write::Put(path, records::encode(&held)));
                applied.push(Applied::SecurityDomain(Arc::new(held)));
            }
            Ok(Attempt { change, applied, result: () })
        })
        .await
    }
}
