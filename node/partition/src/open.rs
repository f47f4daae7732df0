//! From the folder and the seal to an open HSM with its audit trail.

use std::sync::Arc;

use casemate_audit::{
    Call, Ledger, Loss, Origin, Phase, Reader, Record as AuditRecord, Trail, TrailError, Verdict,
};
use casemate_channel::{Creation as CreationMessage, Start};
use casemate_engine_pkcs11::{EarlierKey, Pkcs11Engine, Token};
use casemate_engine_port::{Engine, Secret};
use casemate_engine_soft::SoftEngine;
use casemate_engine_soft::backup::BackupKeys;
use casemate_engine_soft::domain::{DomainKeys, RecordCipher, backup_keys};
use casemate_harden::lock;
use casemate_hsm::security_domain::EpochKeys;
use casemate_hsm::{Clock, Creation, Door, Hsm, HsmLimits, Pool, Ports, Spawn, UnixSeconds};
use casemate_store_embedded::EmbeddedStore;
use casemate_store_port::{
    EarlierEpoch, OpenError, Path, Record, SealedStore, Store, StoreIdentity, decode_record,
};

use crate::backup_cipher::DomainBackups;
use crate::clock::millis;
use crate::failure::Failure;
use crate::files;
use crate::ledger::Kept;
use crate::metrics::{Counts, TimedStore};
use crate::record_cipher::DomainCipher;
use crate::resolve;
use crate::seal::NodeSeal;
use crate::sentinel::Sentinel;
use crate::traced_engine::TracedEngine;

/// Folder of the audit trail inside the HSM's.
pub(crate) const AUDIT_FOLDER: &str = "audit";

/// File of the count of who uses which key; it can be counted anew from the trail.
const USAGE_FILE: &str = "usage.json";

/// What of the system the domain is given.
pub(crate) struct System {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) pool: Arc<dyn Pool>,
    pub(crate) spawn: Arc<dyn Spawn>,
    pub(crate) counts: Arc<Counts>,
}

/// The keys in use, each with its user.
pub(crate) struct Keys {
    pub(crate) engine: Arc<dyn Engine>,
    /// Of the records.
    pub(crate) records: Arc<DomainCipher>,
    /// Of the records that are not brought forward yet.
    pub(crate) leaving: Option<EarlierEpoch>,
    /// Of what else lies in the folder.
    pub(crate) files: Arc<RecordCipher>,
    /// Of backups.
    pub(crate) backups: Arc<DomainBackups>,
}

/// Derives the keys; locks each in memory where the system does not lock all.
///
/// With a token, the material keys are put into it and wiped here.
pub(crate) fn keys(
    seal: &NodeSeal,
    memory_is_locked: bool,
    token: Option<Token>,
) -> Result<Keys, Failure> {
    let of_records = DomainKeys::derive(seal.domain_secret());
    let of_files = DomainKeys::derive(seal.node_secret());
    if !memory_is_locked {
        let derived = [&of_records, &of_files].map(|keys| {
            [keys.record_key(), keys.head_key(), keys.material_key(), keys.backup_key()]
        });
        let kept = [seal.domain_secret(), seal.node_secret()];
        lock_all(derived.into_iter().flatten().chain(kept));
    }
    let (record, head, material, backup) = of_records.into_parts();
    let Earlier { leaving, materials, backups } = earlier(seal, memory_is_locked);
    let engine: Arc<dyn Engine> = match token {
        None => {
            let engine = SoftEngine::new(material)?;
            let mut materials = materials.into_iter().map(|earlier| earlier.material_key);
            Arc::new(materials.try_fold(engine, SoftEngine::and_earlier)?)
        }
        Some(token) => Arc::new(Pkcs11Engine::open(token, material, materials)?),
    };
    let records = Arc::new(DomainCipher(RecordCipher::new(record, head)));
    let (record, head, _, _) = of_files.into_parts();
    let present = BackupKeys::new(seal.identity().epoch, backup);
    let all = backups.into_iter().fold(present, |all, (epoch, key)| all.and_earlier(epoch, key));
    let (files, backups) =
        (Arc::new(RecordCipher::new(record, head)), Arc::new(DomainBackups(all)));
    Ok(Keys { engine, records, leaving, files, backups })
}

/// What is still used of the epochs before the one in force.
#[derive(Default)]
struct Earlier {
    leaving: Option<EarlierEpoch>,
    /// Material keys, oldest first.
    materials: Vec<EarlierKey>,
    /// Backup keys, with their epochs.
    backups: Vec<(u32, Secret)>,
}

fn earlier(seal: &NodeSeal, memory_is_locked: bool) -> Earlier {
    let mut all = Earlier::default();
    let Some((_, epochs)) = seal.domain().and_then(|domain| domain.epochs().split_last()) else {
        return all;
    };
    for epoch in epochs {
        let (backup, material) = match &epoch.keys {
            EpochKeys::Whole(secret) => {
                let keys = DomainKeys::derive(secret);
                if !memory_is_locked {
                    lock_all([keys.record_key(), keys.head_key()].into_iter().chain([secret]));
                }
                let (record, head, material, backup) = keys.into_parts();
                let cipher = Arc::new(DomainCipher(RecordCipher::new(record, head)));
                all.leaving = Some(EarlierEpoch { epoch: epoch.number, cipher });
                (backup, material)
            }
            EpochKeys::BackupOnly(both) => {
                backup_keys(both).expect("a domain's backup keys have their length")
            }
        };
        if !memory_is_locked {
            lock_all([&backup, &material].into_iter());
        }
        // Material is opened as long as records of it may be left; backups are forgotten at once.
        if epoch.number >= seal.forget_before() {
            all.backups.push((epoch.number, backup));
        }
        all.materials.push(EarlierKey { epoch: epoch.number, material_key: material });
    }
    all
}

/// Locks secrets in memory, as far as the system allows it.
pub(crate) fn lock_all<'a>(secrets: impl Iterator<Item = &'a Secret>) {
    for secret in secrets {
        if let Err(error) = lock(secret.expose()) {
            tracing::warn!(%error, "a secret could not be locked in memory: raise `ulimit -l`");
            return;
        }
    }
}

/// Finds out what the records are sealed under, where a change of that was cut off.
pub(crate) async fn settle(start: &Start, seal: &mut NodeSeal) -> Result<(), Failure> {
    if !seal.is_undecided() && seal.leaving().is_none() {
        return Ok(());
    }
    let store = EmbeddedStore::open(&start.folder).map_err(Failure::Store)?;
    let head = Path::new("head").expect("`head` is a path");
    let head = store.read(&head).await.map_err(Failure::Store)?;
    // What it says is not trusted: under the wrong secret the records do not open.
    let header = head.as_ref().and_then(|entry| decode_record(&entry.value).ok());
    let epoch = header.map_or(seal.identity().epoch, |(header, _)| header.epoch);
    seal.settle(epoch);
    Ok(())
}

/// Opens the HSM, or creates it where it was not created yet.
pub(crate) async fn hsm(
    start: &Start,
    seal: &mut NodeSeal,
    keys: &Keys,
    system: System,
    sentinel: &Arc<Sentinel>,
) -> Result<(Arc<Hsm>, Kept), Failure> {
    let embedded = EmbeddedStore::open(&start.folder).map_err(Failure::Store)?;
    let System { clock, pool, spawn, counts } = system;
    let store = sentinel.guard(TimedStore::around(Arc::new(embedded), counts));
    let may_be_new = start.create.is_some();
    let (store, records) = sealed(store, keys, seal, may_be_new).await?;
    let engine = TracedEngine::around(Arc::clone(&keys.engine));
    let backup = Arc::<DomainBackups>::clone(&keys.backups);
    let ports = Ports { engine, store, backup, clock, pool, spawn };
    let limits = limits(start);
    let mut kept = Kept::from_records(&records)?;
    let hsm = match (&start.create, records.is_empty()) {
        (Some(message), true) => Hsm::create(ports, creation(message)?, limits).await?,
        (_, _) => Hsm::open(ports, records, limits)?,
    };
    if hsm.settings().development && !start.development {
        return Err(Failure::Development);
    }
    kept.complete(&hsm).await?;
    seal.remember(hsm.sequence())?;
    Ok((hsm, kept))
}

/// The bounds of the domain among those of the partition.
fn limits(start: &Start) -> HsmLimits {
    HsmLimits {
        keys_max: start.limits.keys_max,
        versions_max: start.limits.versions_max,
        handles_max: start.limits.handles_max,
        assignments_max: start.limits.assignments_max,
        definitions_max: start.limits.definitions_max,
    }
}

/// The verified records. Only a store that never held any may be empty.
async fn sealed(
    store: Arc<dyn Store>,
    keys: &Keys,
    seal: &NodeSeal,
    may_be_new: bool,
) -> Result<(SealedStore, Vec<Record>), Failure> {
    let identity: StoreIdentity = seal.identity();
    let floor = seal.last_sequence();
    let cipher = Arc::<DomainCipher>::clone(&keys.records);
    let opened = match keys.leaving.clone() {
        None => SealedStore::open(Arc::clone(&store), cipher, identity, Some(floor)).await,
        Some(leaving) => {
            let store = Arc::clone(&store);
            SealedStore::open_after_turn(store, cipher, identity, leaving, Some(floor)).await
        }
    };
    match opened {
        Err(OpenError::HeadMissing) if may_be_new && floor == 0 => {
            let cipher = Arc::<DomainCipher>::clone(&keys.records);
            let created = SealedStore::create(store, cipher, identity).await?;
            Ok((created, Vec::new()))
        }
        Err(OpenError::HeadMissing) if floor > 0 => Err(Failure::Emptied { sequence: floor }),
        opened => Ok(opened?),
    }
}

fn creation(message: &CreationMessage) -> Result<Creation, Failure> {
    let mut creation: Creation =
        serde_json::from_value(message.settings.clone()).map_err(Failure::Settings)?;
    creation.settings.development |= message.development;
    Ok(creation)
}

/// Opens the audit trail. Its first record proves that it takes records; then what an earlier
/// process left open gets its outcome.
pub(crate) async fn trail(
    start: &Start,
    hsm: &Door,
    ledger: Ledger,
    losses: &[Loss],
) -> Result<Trail, Failure> {
    let folder = audit_folder(start);
    let shown = start.shown_folder.join(AUDIT_FOLDER);
    let opened = Trail::open(&folder, &origin(start, hsm, &resource_id(start)), ledger, millis());
    let trail = opened.map_err(|error| error.placed(&folder, &shown))?;
    trail.call_it(&shown);
    trail.keep_free(start.limits.disk_reserve_bytes);
    trail.follow_usage(&start.folder.join(USAGE_FILE))?;
    trail.tell_of(losses, &Reader::new(&folder)).await?;
    record_service(&trail, "PartitionStart").await?;
    resolve::left_open(&trail, hsm).await?;
    Ok(trail)
}

/// What the trail is signed with.
pub(crate) fn ledger(
    start: &Start,
    kept: Kept,
    seal: &NodeSeal,
    keys: &Keys,
    now: UnixSeconds,
) -> Result<Ledger, Failure> {
    files::folder(&start.folder.join(AUDIT_FOLDER)).map_err(Failure::Folder)?;
    kept.ledger(start, seal.identity().hsm, &keys.files, now)
}

/// Records something that the service did by itself.
pub(crate) async fn record_service(trail: &Trail, operation: &str) -> Result<(), TrailError> {
    let appended = trail.append(&AuditRecord {
        phase: Phase::Service,
        operation,
        call: &Call::default(),
        verdict: Verdict::Success,
        permit: None,
        key: None,
        intent: None,
    });
    appended.await.map(drop)
}

fn origin<'a>(start: &'a Start, hsm: &Door, resource_id: &'a str) -> Origin<'a> {
    Origin {
        resource_id,
        pool_name: &start.hsm,
        resource_group: "",
        tenant: Some(hsm.settings().tenant),
        development: hsm.settings().development,
    }
}

/// Where the audit trail lies.
pub(crate) fn audit_folder(start: &Start) -> std::path::PathBuf {
    start.folder.join(AUDIT_FOLDER)
}

/// The HSM's resource id, as records and sinks name it.
pub(crate) fn resource_id(start: &Start) -> String {
    format!("/providers/Microsoft.KeyVault/managedHSMs/{}", start.hsm)
}

#[cfg(test)]
mod tests;
