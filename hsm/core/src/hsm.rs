//! The active HSM: what it is made of, how it is created and opened.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, Guard};
use casemate_audit_sinks::{SealedSinks, Sinks};
use casemate_engine_port::{Engine, EngineError};
use casemate_store_port::{Change, CommitError, Committed, Condition, Generation, Record};
use casemate_store_port::{SealedStore, Write};
use parking_lot::RwLock;

use crate::backup::{BackupCipher, Job, Jobs};
use crate::commit::{QuietFlag, Turnstiles};
use crate::handles::Handles;
use crate::keys::Restoring;
use crate::rbac::{
    ADMINISTRATOR, ActionSet, Assignment, Definition, Duty, Scope, built_in_role,
    built_in_role_named, together,
};
use crate::records::{self, GcmRecord, KeyRecord, Kind, VersionRecord};
use crate::state::{Applied, State};
use crate::{Clock, Creation, Pool, Separation, Settings, Spawn, UnixSeconds, VersionId};

/// What the HSM works with.
pub struct Ports {
    /// Where key material lives.
    pub engine: Arc<dyn Engine>,
    /// Where records live.
    pub store: SealedStore,
    /// What seals backups.
    pub backup: Arc<dyn BackupCipher>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Threads for costly operations.
    pub pool: Arc<dyn Pool>,
    /// What runs changes to their end.
    pub spawn: Arc<dyn Spawn>,
}

/// Bounds of one HSM.
#[derive(Clone, Copy, Debug)]
pub struct HsmLimits {
    /// Most keys, deleted ones included.
    pub keys_max: usize,
    /// Most versions of one key.
    pub versions_max: usize,
    /// Most opened keys kept.
    pub handles_max: usize,
    /// Most role assignments.
    pub assignments_max: usize,
    /// Most role definitions beside the built-in ones.
    pub definitions_max: usize,
}

impl Default for HsmLimits {
    fn default() -> Self {
        Self {
            keys_max: 100_000,
            versions_max: 100,
            handles_max: 4_096,
            assignments_max: 20_000,
            definitions_max: 2_000,
        }
    }
}

/// Most role assignments of a new HSM: activation seals all its records anew in one transaction.
const FIRST_ASSIGNMENTS_MAX: usize = 48;

/// Why an HSM does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenFailure {
    /// A record is missing, or its content is not of a form that this release reads.
    #[error("the record '{0}' is missing or not readable by this release")]
    Unreadable(String),
    /// A first role that is no built-in role.
    #[error("there is no built-in role '{0}'")]
    NoSuchRole(String),
    /// There is nobody to administer the HSM.
    #[error("an HSM needs at least one first administrator with 'Managed HSM Administrator'")]
    NoAdministrator,
    /// More first assignments than are sealed anew in one transaction at activation.
    #[error(
        "an HSM begins with at most {FIRST_ASSIGNMENTS_MAX} role assignments, not {0}: name fewer \
         first administrators, and let them grant the others"
    )]
    TooManyAssignments(usize),
    /// The first records were not stored.
    #[error("the first records of the HSM could not be stored")]
    Store(#[from] CommitError),
    /// The first administrators would hold duties that the settings keep apart.
    #[error(
        "the settings keep duties apart ('separation'), and the first roles hold {0} beside using \
         keys: name fewer first roles"
    )]
    KeptApart(Duty),
    /// The store was not empty.
    #[error("the store already holds an HSM")]
    NotEmpty,
    /// No random numbers.
    #[error("the engine gave no random numbers")]
    Engine(#[from] EngineError),
}

/// An active HSM.
///
/// Only an active HSM has this type, and only this type has key methods: nothing can be signed by
/// an HSM that is not yet activated ([`NotActivated`](crate::security_domain::NotActivated)) or is
/// being restored. Who puts it together hands in a store that is sealed under a domain.
pub struct Hsm {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) store: SealedStore,
    pub(crate) backup_cipher: Arc<dyn BackupCipher>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) pool: Arc<dyn Pool>,
    pub(crate) spawn: Arc<dyn Spawn>,
    /// As it was created with them.
    created_with: Settings,
    /// In force: with what was changed since. Written under the state's lock.
    settings: ArcSwap<Settings>,
    pub(crate) limits: HsmLimits,
    pub(crate) state: RwLock<State>,
    /// Copy of the state's, readable without its lock.
    pub(crate) rights_revision: AtomicU64,
    pub(crate) handles: Handles,
    pub(crate) turnstiles: Turnstiles,
    pub(crate) restoring: Restoring,
    pub(crate) jobs: Jobs,
    /// Set while a full restore is under way.
    pub(crate) quiet: QuietFlag,
}

impl Hsm {
    /// Stores the settings and the first administrators in an empty store, and opens it.
    pub async fn create(
        ports: Ports,
        creation: Creation,
        limits: HsmLimits,
    ) -> Result<Arc<Self>, OpenFailure> {
        let assignments = first_assignments(&ports, &creation)?;
        let settings_path = records::settings_path();
        let mut change = Change {
            expect: vec![(settings_path.clone(), Condition::Absent)],
            writes: vec![Write::Put(settings_path, records::encode(&creation.settings))],
        };
        for assignment in &assignments {
            let path = records::assignment_path(assignment.name);
            change.writes.push(Write::Put(path, records::encode(assignment)));
        }
        let generation = match ports.store.commit(change).await? {
            Committed::Done(generation) => generation,
            Committed::Lost => return Err(OpenFailure::NotEmpty),
        };
        let mut state = State::default();
        for assignment in assignments {
            state.apply(Applied::Assignment(Arc::new(assignment)), generation);
        }
        let settings = creation.settings;
        let jobs = Jobs::default();
        Ok(Self::assemble(ports, settings.clone(), settings, limits, state, jobs))
    }

    /// Opens an HSM from the records that its store holds.
    pub fn open(
        ports: Ports,
        stored: Vec<Record>,
        limits: HsmLimits,
    ) -> Result<Arc<Self>, OpenFailure> {
        let Loaded { settings: created_with, state, jobs } = load(stored)?;
        let settings = created_with
            .with_changes(state.changed_settings())
            .ok_or_else(|| OpenFailure::Unreadable(records::settings_path().to_string()))?;
        Ok(Self::assemble(ports, created_with, settings, limits, state, Jobs::stored(jobs)))
    }

    /// The sealed settings in force. Do not hold them over a wait: they may change.
    pub fn settings(&self) -> Guard<Arc<Settings>> {
        self.settings.load()
    }

    /// Puts in force what the state holds.
    pub(crate) fn put_settings(&self, state: &State) {
        let settings = self.created_with.with_changes(state.changed_settings());
        let settings = settings.expect("a value was understood before it was stored");
        self.settings.store(Arc::new(settings));
    }

    /// The engine's name.
    pub fn engine_name(&self) -> &'static str {
        self.engine.name()
    }

    /// The present time, by the HSM's clock.
    pub fn now(&self) -> UnixSeconds {
        self.clock.now()
    }

    /// The sequence of the last durable change.
    pub fn sequence(&self) -> u64 {
        self.store.sequence()
    }

    /// How many opened keys are kept, and how many were opened since the start.
    pub fn handle_counts(&self) -> (usize, u64) {
        self.handles.counts()
    }

    /// The revision of the rights.
    pub fn rights_revision(&self) -> u64 {
        self.rights_revision.load(Ordering::Acquire)
    }

    fn assemble(
        ports: Ports,
        created_with: Settings,
        settings: Settings,
        limits: HsmLimits,
        state: State,
        jobs: Jobs,
    ) -> Arc<Self> {
        let Ports { engine, store, backup, clock, pool, spawn } = ports;
        Arc::new(Self {
            engine,
            store,
            backup_cipher: backup,
            clock,
            pool,
            spawn,
            created_with,
            settings: ArcSwap::from_pointee(settings),
            limits,
            rights_revision: AtomicU64::new(state.rights_revision),
            state: RwLock::new(state),
            handles: Handles::new(limits.handles_max),
            turnstiles: Turnstiles::new(),
            restoring: Restoring::default(),
            jobs,
            quiet: QuietFlag::default(),
        })
    }
}

fn first_assignments(ports: &Ports, creation: &Creation) -> Result<Vec<Assignment>, OpenFailure> {
    let mut assignments = Vec::new();
    for principal in &creation.first_administrators {
        for role in &creation.first_roles {
            let role =
                built_in_role_named(role).ok_or_else(|| OpenFailure::NoSuchRole(role.clone()))?;
            let mut name = [0; 16];
            ports.engine.random(&mut name)?;
            assignments.push(Assignment {
                name: uuid::Builder::from_random_bytes(name).into_uuid(),
                scope: Scope::Root,
                role: role.id,
                principal: *principal,
                created: ports.clock.now(),
            });
        }
    }
    if assignments.len() > FIRST_ASSIGNMENTS_MAX {
        return Err(OpenFailure::TooManyAssignments(assignments.len()));
    }
    if creation.settings.separation == Separation::Refuse {
        let all = assignments.iter().filter_map(|one| built_in_role(one.role));
        let held = all.map(|role| role.actions).fold(ActionSet::default(), ActionSet::and);
        if let Some(duty) = together(held) {
            return Err(OpenFailure::KeptApart(duty));
        }
    }
    let administered = assignments.iter().any(|assignment| assignment.role == ADMINISTRATOR);
    if administered { Ok(assignments) } else { Err(OpenFailure::NoAdministrator) }
}

/// What the stored records say.
struct Loaded {
    settings: Settings,
    state: State,
    jobs: Vec<Job>,
}

/// Sorts the stored records into the state. Keys come first, so that versions find theirs, and
/// definitions before the assignments of their roles.
fn load(stored: Vec<Record>) -> Result<Loaded, OpenFailure> {
    let mut state = State::default();
    let mut settings = None;
    let mut jobs = Vec::new();
    let mut versions: HashMap<(String, VersionId), (VersionRecord, Generation)> = HashMap::new();
    let mut reserved: Vec<(String, VersionId, GcmRecord, Generation)> = Vec::new();
    let mut assignments: Vec<(Assignment, Generation)> = Vec::new();
    for record in stored {
        match records::kind(&record.path) {
            Kind::Settings => settings = Some(read::<Settings>(&record)?),
            Kind::Key => {
                let key: KeyRecord = read(&record)?;
                state.apply(Applied::Key(Arc::new(key)), record.generation);
            }
            Kind::Version { key } => {
                let version: VersionRecord = read(&record)?;
                versions.insert((key, version.id), (version, record.generation));
            }
            Kind::Gcm { key, version } => {
                reserved.push((key, version, read(&record)?, record.generation));
            }
            Kind::Assignment => {
                assignments.push((read::<Assignment>(&record)?, record.generation));
            }
            Kind::Definition => {
                let definition: Definition = read(&record)?;
                state.apply(Applied::Definition(Arc::new(definition)), record.generation);
            }
            Kind::Setting(setting) => {
                let changed = Arc::new(read(&record)?);
                state.apply(Applied::Setting(setting, changed), record.generation);
            }
            Kind::AuditSinks => {
                let sinks = Arc::new(read_sinks(&record)?);
                state.apply(Applied::AuditSinks(sinks), record.generation);
            }
            Kind::Schedule => {
                let schedule = Arc::new(read(&record)?);
                state.apply(Applied::Schedule(schedule), record.generation);
            }
            Kind::CutOffs => {
                let cut_offs = Arc::new(read(&record)?);
                state.apply(Applied::CutOffs(cut_offs), record.generation);
            }
            Kind::Held => {
                let held = Arc::new(read(&record)?);
                state.apply(Applied::SecurityDomain(held), record.generation);
            }
            Kind::Exchange => {
                let exchange = Arc::new(read(&record)?);
                state.apply(Applied::ExchangeKey(exchange), record.generation);
            }
            Kind::Jobs => jobs = read(&record)?,
            Kind::Other => {}
        }
    }
    let settings =
        settings.ok_or_else(|| OpenFailure::Unreadable(records::settings_path().to_string()))?;
    for (assignment, generation) in assignments {
        state.apply(Applied::Assignment(Arc::new(assignment)), generation);
    }
    attach_versions(&mut state, versions)?;
    for (key, version, record, generation) in reserved {
        let reserved = record.reserved;
        // Nothing of it is granted: what a stopped partition had left is given up.
        let applied = Applied::Gcm { key, version, reserved, granted: 0 };
        state.apply(applied, generation);
    }
    Ok(Loaded { settings, state, jobs })
}

/// Gives each key its versions, in the key's order. A key being purged may lack some.
fn attach_versions(
    state: &mut State,
    mut versions: HashMap<(String, VersionId), (VersionRecord, Generation)>,
) -> Result<(), OpenFailure> {
    let keys: Vec<Arc<KeyRecord>> =
        state.keys.values().map(|entry| Arc::clone(&entry.record)).collect();
    for key in keys {
        let name = key.name.folded().to_owned();
        for id in &key.versions {
            let Some((record, generation)) = versions.remove(&(name.clone(), *id)) else {
                if key.life == records::Life::Purging {
                    continue;
                }
                let path = records::version_path(&key.name, *id);
                return Err(OpenFailure::Unreadable(path.to_string()));
            };
            let record = Box::new(record);
            state.apply(Applied::Version { key: name.clone(), record }, generation);
        }
    }
    Ok(())
}

fn read<T: serde::de::DeserializeOwned>(record: &Record) -> Result<T, OpenFailure> {
    records::decode(&record.value).ok_or_else(|| OpenFailure::Unreadable(record.path.to_string()))
}

fn read_sinks(record: &Record) -> Result<Sinks, OpenFailure> {
    let sealed: SealedSinks = read(record)?;
    sealed.open().map_err(|_| OpenFailure::Unreadable(record.path.to_string()))
}
