//! Restore one key from a full backup. Its name must be free: nothing is overwritten, and what
//! would have been is told.

use std::sync::Arc;

use casemate_audit::Recorded;

use super::jobs::{Begun, Done, JobFailure, JobKind, StartRefusal};
use super::{Objects, Target};
use crate::Hsm;
use crate::keys::RestoreRefusal;
use crate::rbac::{Permit, act};
use crate::records::Life;

impl Hsm {
    /// Begins to restore the permit's key from a backup.
    pub async fn begin_key_restore(
        &self,
        permit: &Permit<act::RestoreStart>,
        _intent: &Recorded,
        target: &Target,
        folder: &str,
    ) -> Result<Begun, StartRefusal> {
        let key = permit.scope().key().cloned();
        self.begin_job(JobKind::KeyRestore, target.existing(folder)?, key).await
    }

    /// Restores the permit's key. A key that was deleted when the backup was made comes back live.
    pub async fn restore_key_from(
        self: &Arc<Self>,
        permit: &Permit<act::RestoreStart>,
        begun: &Begun,
        objects: &dyn Objects,
    ) -> Result<Done, JobFailure> {
        let name = permit.scope().key().ok_or(JobFailure::Incomplete)?;
        let mut content = self.key_in(begun, objects, name).await?;
        content.key.life = Life::Live;
        let versions = content.versions.len();
        let (restored, kept) = match self.restore_content(permit, content).await {
            Ok(_) => (versions, 0),
            Err(
                RestoreRefusal::NameIsTaken(_)
                | RestoreRefusal::NameIsDeleted(_)
                | RestoreRefusal::NameIsBusy(_),
            ) => (0, versions),
            Err(refusal) => return Err(refusal.into()),
        };
        let details = format!(
            "Number of successful key versions restored: {restored}, Number of key versions could \
             not overwrite: {kept}"
        );
        Ok(Done { details, folder: None })
    }
}
