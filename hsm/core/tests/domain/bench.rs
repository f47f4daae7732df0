//! The fixture: one HSM with a hand-set clock, a store in memory, and callers with roles.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use casemate_audit::{Call, Phase, Record, Recorded, Trail, Verdict};
use casemate_engine_port::{Cost, Engine, KeySpec, OctSize, Secret};
use casemate_engine_soft::SoftEngine;
use casemate_engine_soft::backup::BackupKeys;
use casemate_engine_soft::domain::DomainKeys;
use casemate_hsm::backup::{BackupCipher, BackupCipherError, DIGEST_BYTES, DOMAIN_SIGN_BYTES};
use casemate_hsm::keys::{CreateKey, KeyView, NewAttributes, Tags};
use casemate_hsm::rbac::{DataAction, NotAuthorized, Permit, Principal, Scope};
use casemate_hsm::{
    Clock, Creation, Escalation, Hsm, HsmLimits, KeyName, OctKeyOps, OpenFailure, Pool, PoolBusy,
    Ports, RetentionDays, Separation, Settings, Spawn, Turn, UnixSeconds,
};
use casemate_store_port::{
    BoxFuture, CipherError, EarlierEpoch, Entry, Expect, Outcome, Path, RecordCipher, Revision,
    SealedStore, Store, StoreError, StoreIdentity, Transaction, Watch, Write,
};
use std::sync::Mutex;
use uuid::Uuid;

/// The first administrator, who holds three roles at `/`.
pub(crate) const ROOT: Uuid = Uuid::from_u128(1);

/// A clock that is set by hand, and how often it was asked.
pub(crate) struct HandClock(pub(crate) AtomicI64, pub(crate) AtomicUsize);

impl Clock for HandClock {
    fn now(&self) -> UnixSeconds {
        self.1.fetch_add(1, Ordering::SeqCst);
        UnixSeconds(self.0.load(Ordering::SeqCst))
    }
}

/// A pool that runs each job on a thread of its own, after a gate opens.
#[derive(Default)]
pub(crate) struct TestPool {
    pub(crate) jobs: AtomicUsize,
    /// Jobs that came to their end.
    pub(crate) done: Arc<AtomicUsize>,
    pub(crate) gate: Mutex<Option<std::sync::mpsc::Receiver<()>>>,
}

impl Pool for TestPool {
    fn run(&self, _: Uuid, job: Box<dyn FnOnce() + Send>) -> Result<(), PoolBusy> {
        self.jobs.fetch_add(1, Ordering::SeqCst);
        let gate = self.gate.lock().unwrap().take();
        let done = Arc::clone(&self.done);
        std::thread::spawn(move || {
            if let Some(gate) = gate {
                let _ = gate.recv();
            }
            job();
            done.fetch_add(1, Ordering::SeqCst);
        });
        Ok(())
    }

    fn takes(&self, _: Uuid, cost: Cost) -> bool {
        cost == Cost::Pool
    }

    fn turn(&self, _: Uuid) -> BoxFuture<'_, Result<Turn, PoolBusy>> {
        Box::pin(async { Ok::<Turn, _>(Box::new(())) })
    }
}

struct Runtime;

impl Spawn for Runtime {
    fn spawn(&self, future: BoxFuture<'static, ()>) {
        drop(tokio::spawn(future));
    }
}

/// Values with the revisions that wrote them.
type Values = BTreeMap<Path, (Vec<u8>, u64)>;

/// A store in memory that can be told to refuse.
#[derive(Default)]
pub(crate) struct MemoryStore {
    inner: Mutex<(Values, u64)>,
    pub(crate) full: std::sync::atomic::AtomicBool,
    /// While held, commits wait.
    pub(crate) gate: tokio::sync::Mutex<()>,
    /// How many were done.
    done: AtomicU64,
    /// Refuses when so many were done; 0 for never.
    refuse_at: AtomicU64,
}

impl Store for MemoryStore {
    fn read_all(&self) -> BoxFuture<'_, Result<(Vec<Entry>, Revision), StoreError>> {
        let inner = self.inner.lock().unwrap();
        let entries = inner.0.iter().map(|(path, (value, revision))| Entry {
            path: path.clone(),
            value: value.clone(),
            revision: Revision(*revision),
        });
        let result = (entries.collect(), Revision(inner.1));
        Box::pin(async move { Ok(result) })
    }

    fn read<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        let inner = self.inner.lock().unwrap();
        let found = inner.0.get(path).map(|(value, revision)| Entry {
            path: path.clone(),
            value: value.clone(),
            revision: Revision(*revision),
        });
        Box::pin(async move { Ok(found) })
    }

    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Outcome, StoreError>> {
        Box::pin(async move {
            let _open = self.gate.lock().await;
            self.commit_now(transaction)
        })
    }

    fn watch(&self, _after: Revision) -> BoxFuture<'_, Result<Box<dyn Watch>, StoreError>> {
        Box::pin(async { Err(StoreError::Damaged("no watch in this fixture".to_owned())) })
    }
}

impl MemoryStore {
    fn commit_now(&self, transaction: Transaction) -> Result<Outcome, StoreError> {
        let refuse_at = self.refuse_at.load(Ordering::SeqCst);
        let is_enough = refuse_at > 0 && self.done.load(Ordering::SeqCst) >= refuse_at;
        if is_enough || self.full.load(Ordering::SeqCst) {
            return Err(StoreError::Full { place: "memory".to_owned() });
        }
        let mut inner = self.inner.lock().unwrap();
        let holds = |(path, expect): &(Path, Expect)| match (inner.0.get(path), expect) {
            (None, Expect::Absent) => true,
            (Some((_, revision)), Expect::At(at)) => *revision == at.0,
            _ => false,
        };
        if !transaction.expect.iter().all(holds) {
            return Ok(Outcome::Lost);
        }
        inner.1 += 1;
        self.done.fetch_add(1, Ordering::SeqCst);
        let revision = inner.1;
        for write in transaction.writes {
            match write {
                Write::Put(path, value) => drop(inner.0.insert(path, (value, revision))),
                Write::Delete(path) => drop(inner.0.remove(&path)),
            }
        }
        Ok(Outcome::Committed(Revision(revision)))
    }

    /// How many transactions were done.
    pub(crate) fn commits(&self) -> u64 {
        self.done.load(Ordering::SeqCst)
    }

    /// Does so many more, then refuses; `None`: refuses nothing any more.
    pub(crate) fn refuse_after(&self, more: Option<u64>) {
        let at = more.map_or(0, |more| self.commits() + more);
        self.refuse_at.store(at, Ordering::SeqCst);
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        let inner = self.inner.lock().unwrap();
        inner.0.keys().map(ToString::to_string).collect()
    }
}

struct Cipher(casemate_engine_soft::domain::RecordCipher);

impl RecordCipher for Cipher {
    fn seal(&self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CipherError> {
        self.0.seal(aad, plaintext).map_err(|_| CipherError)
    }
    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CipherError> {
        self.0.open(aad, sealed).map(|secret| secret.expose().to_vec()).map_err(|_| CipherError)
    }
    fn mark(&self, bytes: &[u8]) -> [u8; 32] {
        self.0.mark(bytes)
    }
}

/// The cipher of backups of a domain.
pub(crate) struct Backups(pub(crate) BackupKeys);

impl Backups {
    /// Of the domain whose secret is this byte, thirty-two times, in this epoch.
    pub(crate) fn of(domain: u8, epoch: u32) -> Self {
        let keys = DomainKeys::derive(&Secret::new(vec![domain; 32]));
        Self(BackupKeys::new(epoch, keys.into_parts().3))
    }
}

impl BackupCipher for Backups {
    fn epoch(&self) -> u32 {
        self.0.epoch()
    }
    fn sign(&self, epoch: u32) -> Option<[u8; DOMAIN_SIGN_BYTES]> {
        self.0.sign(epoch)
    }
    fn seal(&self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, BackupCipherError> {
        self.0.seal(aad, plaintext).map_err(|_| BackupCipherError)
    }
    fn digest(&self, bytes: &[u8]) -> [u8; DIGEST_BYTES] {
        casemate_engine_soft::sha256(bytes)
    }
    fn open(&self, epoch: u32, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, BackupCipherError> {
        let opened = self.0.open(epoch, aad, sealed);
        opened.map(|opened| opened.expose().to_vec()).map_err(|_| BackupCipherError)
    }
}

/// The domain of an HSM, unless a test wants another.
pub(crate) const DOMAIN: u8 = 9;

/// An HSM's id, unless a test wants another.
const ID: u8 = 3;

pub(crate) struct Bench {
    /// The domain secret is this byte, thirty-two times.
    domain: u8,
    /// The HSM's id is this byte, sixteen times.
    id: u8,
    pub(crate) hsm: Arc<Hsm>,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) pool: Arc<TestPool>,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) trail: Trail,
}

pub(crate) fn settings() -> Settings {
    Settings {
        tenant: Uuid::from_u128(7),
        authority: "https://localhost:{port}/adfs".to_owned(),
        issuers: Vec::new(),
        audiences: Vec::new(),
        outbound: Vec::new(),
        retention_days: RetentionDays::new(7).unwrap(),
        purge_protection: false,
        oct_key_ops: OctKeyOps::Omit,
        escalation: Escalation::Strict,
        arm_key_operations: false,
        audit_loss_accepted: false,
        separation: Separation::Warn,
        development: true,
    }
}

const FIRST_ROLES: [&str; 3] = ["Administrator", "Crypto Officer", "Crypto User"];

fn creation(settings: Settings, roles: &[&str]) -> Creation {
    Creation {
        settings,
        first_administrators: vec![ROOT],
        first_roles: roles.iter().map(|role| format!("Managed HSM {role}")).collect(),
    }
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(settings()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        Self::with_roles(settings, &FIRST_ROLES).await
    }

    /// An HSM whose first administrator holds these roles.
    pub(crate) async fn with_roles(settings: Settings, roles: &[&str]) -> Self {
        Self::try_with(settings, roles).await.unwrap()
    }

    pub(crate) async fn try_with(settings: Settings, roles: &[&str]) -> Result<Self, OpenFailure> {
        Self::try_in((DOMAIN, ID), settings, roles).await
    }

    /// An HSM of another security domain.
    pub(crate) async fn in_domain(domain: u8) -> Self {
        Self::try_in((domain, ID), settings(), &FIRST_ROLES).await.unwrap()
    }

    /// Another HSM of the same domain.
    pub(crate) async fn in_hsm(id: u8) -> Self {
        Self::try_in((DOMAIN, id), settings(), &FIRST_ROLES).await.unwrap()
    }

    async fn try_in(
        (domain, id): (u8, u8),
        settings: Settings,
        roles: &[&str],
    ) -> Result<Self, OpenFailure> {
        let store = Arc::new(MemoryStore::default());
        let clock = Arc::new(HandClock(AtomicI64::new(1_700_000_000), AtomicUsize::new(0)));
        let pool = Arc::new(TestPool::default());
        let (engine, cipher) = keys(domain);
        let sealed = SealedStore::create(store.clone(), cipher, identity(id)).await.unwrap();
        let ports = ports(domain, engine, sealed, &clock, &pool);
        let hsm = Hsm::create(ports, creation(settings, roles), HsmLimits::default()).await?;
        Ok(Self { domain, id, hsm, clock, pool, store, trail: Trail::in_memory().0 })
    }

    /// Opens the same store anew, as after a restart.
    pub(crate) async fn restart(self) -> Self {
        self.restart_within(HsmLimits::default()).await
    }

    /// The same, with other limits.
    pub(crate) async fn restart_within(self, limits: HsmLimits) -> Self {
        let Self { domain, id, clock, pool, store, trail, hsm } = self;
        drop(hsm);
        let (engine, cipher) = keys(domain);
        let (sealed, records) =
            SealedStore::open(store.clone(), cipher, identity(id), None).await.unwrap();
        let ports = ports(domain, engine, sealed, &clock, &pool);
        let hsm = Hsm::open(ports, records, limits).unwrap();
        Self { domain, id, hsm, clock, pool, store, trail }
    }

    /// Opens the same store anew under the secret of this epoch; with one before it, if records may
    /// be sealed under that.
    pub(crate) async fn restart_in(self, newest: (u32, u8), before: Option<(u32, u8)>) -> Self {
        self.restart_around(newest, before, |engine| engine).await
    }

    /// The same, with something around the engine.
    pub(crate) async fn restart_around(
        self,
        newest: (u32, u8),
        before: Option<(u32, u8)>,
        around: impl FnOnce(Arc<dyn Engine>) -> Arc<dyn Engine>,
    ) -> Self {
        let Self { id, clock, pool, store, trail, hsm, .. } = self;
        drop(hsm);
        let (epoch, domain) = newest;
        let of = |byte: u8| DomainKeys::derive(&Secret::new(vec![byte; 32])).into_parts();
        let (record, head, material, backup) = of(domain);
        let mut engine = SoftEngine::new(material).unwrap();
        let mut backups = BackupKeys::new(epoch, backup);
        let cipher = |record, head| -> Arc<dyn RecordCipher> {
            Arc::new(Cipher(casemate_engine_soft::domain::RecordCipher::new(record, head)))
        };
        let identity = StoreIdentity { epoch, ..identity(id) };
        let opened = match before {
            None => SealedStore::open(store.clone(), cipher(record, head), identity, None).await,
            Some((epoch, byte)) => {
                let (old_record, old_head, material, backup) = of(byte);
                engine = engine.and_earlier(material).unwrap();
                backups = backups.and_earlier(epoch, backup);
                let earlier = EarlierEpoch { epoch, cipher: cipher(old_record, old_head) };
                let present = cipher(record, head);
                SealedStore::open_after_turn(store.clone(), present, identity, earlier, None).await
            }
        };
        let (sealed, records) = opened.unwrap();
        let ports = Ports {
            backup: Arc::new(Backups(backups)),
            ..ports(domain, around(Arc::new(engine)), sealed, &clock, &pool)
        };
        let hsm = Hsm::open(ports, records, HsmLimits::default()).unwrap();
        Self { domain, id, hsm, clock, pool, store, trail }
    }

    /// The cipher of records under this secret, and whose they are.
    pub(crate) fn next_seal(epoch: u32, byte: u8) -> (Arc<dyn RecordCipher>, StoreIdentity) {
        (keys(byte).1, StoreIdentity { epoch, ..identity(ID) })
    }

    /// Opens another store in the place of its own, as after a full restore.
    pub(crate) async fn taken_over(mut self, store: Arc<MemoryStore>) -> Self {
        self.store = store;
        self.restart().await
    }

    pub(crate) fn permit<A: DataAction>(&self, who: Uuid, scope: &str) -> Permit<A> {
        self.try_permit(who, scope).unwrap()
    }

    pub(crate) fn try_permit<A: DataAction>(
        &self,
        who: Uuid,
        scope: &str,
    ) -> Result<Permit<A>, NotAuthorized> {
        let principal = Arc::new(Principal { id: who, groups: Vec::new() });
        self.hsm.authorize(&principal, Scope::parse(scope).unwrap())
    }

    pub(crate) async fn intent(&self) -> Recorded {
        let call = Call::default();
        let record = Record {
            phase: Phase::Intent,
            operation: "Test",
            call: &call,
            verdict: Verdict::Pending,
            permit: None,
            key: None,
            intent: None,
        };
        self.trail.append(&record).await.unwrap()
    }

    pub(crate) async fn make(&self, name: &str, spec: KeySpec) -> KeyView {
        let request = CreateKey {
            spec,
            key_ops: None,
            attributes: NewAttributes::default(),
            tags: Tags::default(),
        };
        let permit = self.permit(ROOT, &format!("/keys/{name}"));
        self.hsm.create_key(&permit, &self.intent().await, request).await.unwrap()
    }

    pub(crate) fn wait(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

pub(crate) fn oct() -> KeySpec {
    KeySpec::Oct(OctSize::B256)
}

pub(crate) fn name(text: &str) -> KeyName {
    KeyName::new(text).unwrap()
}

fn keys(domain: u8) -> (Arc<dyn Engine>, Arc<dyn RecordCipher>) {
    let domain = DomainKeys::derive(&Secret::new(vec![domain; 32]));
    let (record, head, material, _) = domain.into_parts();
    let engine = SoftEngine::new(material).unwrap();
    let cipher = casemate_engine_soft::domain::RecordCipher::new(record, head);
    (Arc::new(engine), Arc::new(Cipher(cipher)))
}

fn identity(id: u8) -> StoreIdentity {
    StoreIdentity { hsm: [id; 16], epoch: 1 }
}

fn ports(
    domain: u8,
    engine: Arc<dyn Engine>,
    store: SealedStore,
    clock: &Arc<HandClock>,
    pool: &Arc<TestPool>,
) -> Ports {
    Ports {
        engine,
        store,
        backup: Arc::new(Backups::of(domain, 1)),
        clock: Arc::<HandClock>::clone(clock),
        pool: Arc::<TestPool>::clone(pool),
        spawn: Arc::new(Runtime),
    }
}

#[tokio::test]
async fn an_hsm_without_administrator_is_not_made() {
    let store = Arc::new(MemoryStore::default());
    let (engine, cipher) = keys(DOMAIN);
    let sealed = SealedStore::create(store, cipher, identity(ID)).await.unwrap();
    let clock = Arc::new(HandClock(AtomicI64::new(0), AtomicUsize::new(0)));
    let ports = ports(DOMAIN, engine, sealed, &clock, &Arc::default());
    let refused = Hsm::create(ports, creation(settings(), &[]), HsmLimits::default()).await;
    assert!(matches!(refused.err(), Some(OpenFailure::NoAdministrator)));
}
