//! Where copies of the audit log go: one sealed record, read and replaced by an Administrator.
//!
//! The right asked for, to read as well, is that to change settings: of the built-in roles only the
//! Administrator holds it, and in strict mode only an Administrator grants it. Who sets a sink has
//! all that the HSM records sent to a place of their choice; who sees the sinks knows where copies
//! of the log lie.

use std::sync::Arc;

use casemate_audit::Recorded;
use casemate_audit_sinks::{Sinks, SinksError, SinksRequest};
use casemate_store_port::{Change, Condition, Write};

use crate::Hsm;
use crate::commit::{Attempt, CommitRefusal};
use crate::rbac::{Permit, act};
use crate::records;
use crate::state::Applied;

/// Why the sinks were not changed.
#[derive(Debug, thiserror::Error)]
pub enum SetSinksRefusal {
    /// They are not whole.
    #[error(transparent)]
    Sinks(#[from] SinksError),
    /// Not stored.
    #[error(transparent)]
    Commit(#[from] CommitRefusal),
}

impl Hsm {
    /// The sinks in force, for those who carry copies there.
    pub fn audit_sinks(&self) -> Arc<Sinks> {
        Arc::clone(&self.state.read().audit_sinks.0)
    }

    /// The sinks in force, for a caller; serialised, they show no secret.
    pub fn show_audit_sinks(&self, _permit: &Permit<act::SettingsWrite>) -> Arc<Sinks> {
        self.audit_sinks()
    }

    /// Replaces all sinks. A secret that was not sent is kept where its sink stayed what it was.
    pub async fn set_audit_sinks(
        self: &Arc<Self>,
        permit: &Permit<act::SettingsWrite>,
        _intent: &Recorded,
        request: SinksRequest,
    ) -> Result<Arc<Sinks>, SetSinksRefusal> {
        self.attempt_by(permit, "audit-sinks", || {
            let (before, generation) = self.state.read().audit_sinks.clone();
            let sinks = Arc::new(request.clone().complete(&before)?);
            let path = records::audit_sinks_path();
            let condition = generation.map_or(Condition::Absent, Condition::At);
            Ok(Attempt {
                change: Change {
                    expect: vec![(path.clone(), condition)],
                    writes: vec![Write::Put(path, records::encode(&sinks.seal()))],
                },
                applied: vec![Applied::AuditSinks(Arc::clone(&sinks))],
                result: sinks,
            })
        })
        .await
    }
}
