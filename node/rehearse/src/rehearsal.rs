//! The steps: a new HSM of the domain, the restore, the opening anew, the comparison.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use casemate_audit::{Call, Phase, Record, Recorded, Trail, Verdict};
use casemate_hsm::backup::{Compared, Folder, MANIFEST, Objects, epoch_of_manifest};
use casemate_hsm::rbac::{Principal, Scope, act};
use casemate_hsm::security_domain::Domain;
use casemate_hsm::{
    Creation, Escalation, Hsm, HsmLimits, OctKeyOps, RetentionDays, Separation, Settings,
};
use casemate_partition::{DomainPorts, PortsRefusal, domain_ports, record_cipher};
use casemate_store_embedded::EmbeddedStore;
use casemate_store_port::{SealedStore, StoreIdentity};
use uuid::Uuid;

use crate::aside::TemporaryAside;
use crate::ports::{SoftVerifier, ports};
use crate::source::Source;
use crate::{Rehearsal, RehearseError, keys};

/// What a throw-away HSM may hold: whatever an operator has allowed the one that was backed up.
const LIMITS: HsmLimits = HsmLimits {
    keys_max: 10_000_000,
    versions_max: 10_000,
    handles_max: 16,
    assignments_max: 10_000_000,
    definitions_max: 10_000_000,
};

/// Days of its settings; nothing is deleted in it.
const RETENTION_DAYS: u32 = 90;

/// A throw-away HSM's name, id and who administers it.
struct ThrowAway<'a> {
    domain: &'a Domain,
    ports: &'a DomainPorts,
    id: [u8; 16],
    administrator: Uuid,
}

/// Restores the backup, opens what came of it anew, and compares.
pub(crate) async fn compared(rehearsal: &Rehearsal) -> Result<Compared, RehearseError> {
    let source = Source::open(&rehearsal.backup, &rehearsal.token)?;
    let against = rehearsal.against.as_deref();
    let against = against.map(|other| Source::open(other, &rehearsal.token)).transpose()?;
    let domain = keys::domain(&rehearsal.domain)?;
    let manifest = source.object(MANIFEST).await;
    let manifest = manifest.map_err(|error| RehearseError::Restore(error.into()))?;
    let epoch = epoch_of_manifest(&manifest).map_err(RehearseError::Manifest)?;
    if !domain.epochs().iter().any(|held| held.number == epoch) {
        return Err(RehearseError::Epoch { epoch, newest: domain.epoch() });
    }
    let work = work_folder(rehearsal.work_dir.as_deref())?;
    let mut of_domain = domain_ports(&domain, rehearsal.engine_token.as_ref()).map_err(
        |refusal| match refusal {
            PortsRefusal::Token(error) => RehearseError::Token(error),
            PortsRefusal::Engine(error) => RehearseError::Made(Box::new(error)),
        },
    )?;
    let throw_away = ThrowAway {
        domain: &domain,
        ports: &of_domain,
        id: Uuid::new_v4().into_bytes(),
        administrator: Uuid::new_v4(),
    };
    let restored = throw_away.restored(&source, work.path()).await?;
    let own = throw_away.administrator;
    let compared = match &against {
        Some(other) => compare(&restored, &other.folder, other, (own, false)).await,
        None => compare(&restored, &source.folder, &source, (own, true)).await,
    };
    drop(restored);
    if let Some(visit) = of_domain.visit.take() {
        visit.end().map_err(RehearseError::Token)?;
    }
    work.close().map_err(|error| RehearseError::Made(Box::new(error)))?;
    compared
}

async fn compare(
    restored: &Hsm,
    folder: &Folder,
    objects: &dyn Objects,
    whose: (Uuid, bool),
) -> Result<Compared, RehearseError> {
    restored.compare(folder, objects, &SoftVerifier, whose).await.map_err(RehearseError::Compare)
}

/// A folder that goes with the value, readable by nobody else.
fn work_folder(within: Option<&Path>) -> Result<tempfile::TempDir, RehearseError> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("casemate-verify-");
    let made = match within {
        Some(within) => builder.tempdir_in(within),
        None => builder.tempdir(),
    };
    made.map_err(|error| RehearseError::Made(Box::new(error)))
}

impl ThrowAway<'_> {
    async fn restored(&self, source: &Source, work: &Path) -> Result<Arc<Hsm>, RehearseError> {
        let made = |error: Box<dyn std::error::Error + Send + Sync>| RehearseError::Made(error);
        let first = work.join("first");
        std::fs::create_dir(&first).map_err(|error| made(Box::new(error)))?;
        let first = EmbeddedStore::open(&first).map_err(|error| made(Box::new(error)))?;
        let cipher = record_cipher(self.domain);
        let store = SealedStore::create(Arc::new(first), cipher, self.identity()).await;
        let store = store.map_err(|error| made(Box::new(error)))?;
        let ports = ports(self.ports, store);
        let hsm = Hsm::create(ports, creation(self.administrator), LIMITS).await;
        let hsm = hsm.map_err(|error| made(Box::new(error)))?;
        let aside = TemporaryAside { folder: work.join("restored"), taken: AtomicBool::new(false) };
        self.restore(&hsm, source, &aside).await?;
        drop(hsm);
        self.opened(&aside).await
    }

    /// As an Administrator restores it: keys, role assignments and definitions.
    async fn restore(
        &self,
        hsm: &Arc<Hsm>,
        source: &Source,
        aside: &TemporaryAside,
    ) -> Result<(), RehearseError> {
        let trail = Trail::in_memory().0;
        let principal = Arc::new(Principal { id: self.administrator, groups: Vec::new() });
        let permit = hsm.authorize::<act::RestoreStart>(&principal, Scope::Root);
        let permit = permit.map_err(|error| RehearseError::Restore(error.into()))?;
        let intent = recorded(&trail).await?;
        let (target, name) = (&source.folder.target, &source.folder.name);
        let begun = hsm.begin_restore(&permit, &intent, target, name).await?;
        let prepared = hsm.prepare_restore(&permit, &begun, source, aside).await;
        let prepared = prepared.map_err(RehearseError::Restore)?;
        let last = recorded(&trail).await?;
        hsm.switch(prepared, &last, aside).await.map_err(RehearseError::Restore)
    }

    /// Opens the restored HSM from its database, every record verified.
    async fn opened(&self, aside: &TemporaryAside) -> Result<Arc<Hsm>, RehearseError> {
        let made = |error: Box<dyn std::error::Error + Send + Sync>| RehearseError::Made(error);
        let store = EmbeddedStore::open(&aside.folder).map_err(|error| made(Box::new(error)))?;
        let cipher = record_cipher(self.domain);
        let opened = SealedStore::open(Arc::new(store), cipher, self.identity(), None).await;
        let (store, records) = opened.map_err(RehearseError::Reopened)?;
        Hsm::open(ports(self.ports, store), records, LIMITS).map_err(|error| made(Box::new(error)))
    }

    fn identity(&self) -> StoreIdentity {
        StoreIdentity { hsm: self.id, epoch: self.domain.epoch() }
    }
}

/// The throw-away HSM believes nobody, and reaches nothing.
fn creation(administrator: Uuid) -> Creation {
    let settings = Settings {
        tenant: Uuid::nil(),
        authority: String::new(),
        issuers: Vec::new(),
        audiences: Vec::new(),
        outbound: Vec::new(),
        retention_days: RetentionDays::new(RETENTION_DAYS).expect("90 days are within bounds"),
        purge_protection: false,
        oct_key_ops: OctKeyOps::Omit,
        escalation: Escalation::Strict,
        separation: Separation::Warn,
        arm_key_operations: false,
        audit_loss_accepted: false,
        development: false,
    };
    Creation {
        settings,
        first_administrators: vec![administrator],
        first_roles: vec!["Managed HSM Administrator".to_owned()],
    }
}

/// Its audit log is in memory and is thrown away too.
async fn recorded(trail: &Trail) -> Result<Recorded, RehearseError> {
    let appended = trail.append(&Record {
        phase: Phase::Service,
        operation: "Rehearsal",
        call: &Call::default(),
        verdict: Verdict::Success,
        permit: None,
        key: None,
        intent: None,
    });
    appended.await.map_err(|error| RehearseError::Made(Box::new(error)))
}
