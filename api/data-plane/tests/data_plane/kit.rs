//! A whole HSM in one process, a hand-set clock, a store and a pool that can be held up.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use casemate_audit::{MemoryTrail, Trail};
use casemate_data_plane::{
    Config, ConnectionFacts, Copies, CopyMissing, DataPlane, ExternalName, Limits, Serving,
    SinkStatus,
};
use casemate_engine_port::{Cost, Engine, Secret};
use casemate_engine_soft::SoftEngine;
use casemate_engine_soft::backup::BackupKeys;
use casemate_engine_soft::domain::{DomainKeys, RecordCipher};
use casemate_hsm::backup::{BackupCipher, BackupCipherError, DIGEST_BYTES, DOMAIN_SIGN_BYTES};
use casemate_hsm::security_domain::NotActivated;
use casemate_hsm::{
    Clock, Creation, Escalation, Hsm, HsmLimits, OctKeyOps, Pool, PoolBusy, Ports, RetentionDays,
    Separation, Settings, Spawn, Turn, UnixSeconds,
};
use casemate_store_embedded::EmbeddedStore;
use casemate_store_port::{
    BoxFuture, CipherError, Entry, Outcome, Path, Revision, SealedStore, Store, StoreError,
    StoreIdentity, Transaction, Watch,
};
use casemate_token::{
    FetchError, GroupFetch, GroupSource, Groups, KeyFetch, TrustSettings, TrustedIssuer, Validator,
};
use casemate_trace::Tracer;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::keeper::PlayedKeeper;
use crate::shelf::Shelf;
use crate::stuck::Stuck;

pub(crate) const URL: &str = "https://dev.managedhsm.localhost:8443";
pub(crate) const HOST: &str = "dev.managedhsm.localhost:8443";
pub(crate) const TENANT: Uuid = Uuid::from_u128(0x7e4a);
pub(crate) const ADMIN: Uuid = Uuid::from_u128(0xad);
const ISSUER: &str = "https://localhost:8443/adfs";
pub(crate) const START: i64 = 1_800_000_000;

/// How many pass a gate at once; who takes all of them shuts it.
const GATE: usize = 1_000;
pub(crate) const GATE_ALL: u32 = 1_000;

/// Settings of a test's HSM.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) purge_protection: bool,
    pub(crate) oct_key_ops: OctKeyOps,
    pub(crate) limits: Limits,
    /// Whether the issuer can be asked for groups.
    pub(crate) group_source: bool,
    /// Whether the HSM is active.
    pub(crate) activated: bool,
    pub(crate) escalation: Escalation,
    /// What was lost of a log before this one.
    pub(crate) audit_lost: Option<&'static str>,
    /// Why the engine cannot go on under another secret.
    pub(crate) stuck: Option<&'static str>,
}

impl Default for Setup {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            purge_protection: false,
            oct_key_ops: OctKeyOps::Omit,
            limits,
            group_source: false,
            activated: true,
            escalation: Escalation::Strict,
            audit_lost: None,
            stuck: None,
        }
    }
}

pub(crate) struct World {
    pub(crate) plane: Arc<DataPlane>,
    pub(crate) audit: MemoryTrail,
    pub(crate) copies: Arc<PlayedCopies>,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) tracer: Arc<Tracer>,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) store_gate: Arc<Semaphore>,
    pub(crate) pool_gate: Arc<Semaphore>,
    pub(crate) validator: Arc<Validator>,
    pub(crate) told: Arc<ToldGroups>,
    pub(crate) keeper: Arc<PlayedKeeper>,
    signer: EcdsaKeyPair,
    _dir: tempfile::TempDir,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {:?}", self.text))
    }

    pub(crate) fn code(&self) -> (u16, String) {
        let code = self.json()["error"]["code"].as_str().unwrap_or_default().to_owned();
        (self.status.as_u16(), code)
    }

    pub(crate) fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap_or_default().to_owned()
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Setup::default()).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store_gate = Arc::new(Semaphore::new(GATE));
        let pool_gate = Arc::new(Semaphore::new(GATE));
        let clock = Arc::new(HandClock(AtomicI64::new(START)));
        let keys = DomainKeys::derive(&Secret::new(vec![7; 32]));
        let (record, head, material, backup) = keys.into_parts();
        let inner = EmbeddedStore::open(dir.path()).unwrap();
        let store = Arc::new(GatedStore { inner, gate: Arc::clone(&store_gate) });
        let cipher = Arc::new(Cipher(RecordCipher::new(record, head)));
        let identity = StoreIdentity { hsm: [1; 16], epoch: 1 };
        let store = SealedStore::create(store, cipher, identity).await.unwrap();
        let engine: Arc<dyn Engine> = Arc::new(SoftEngine::new(material).unwrap());
        let ports = Ports {
            engine: match setup.stuck {
                Some(why) => Arc::new(Stuck { engine, why }),
                None => engine,
            },
            store,
            backup: Arc::new(Backups(BackupKeys::new(1, backup))),
            clock: Arc::<HandClock>::clone(&clock),
            pool: Arc::new(GatedPool(Arc::clone(&pool_gate))),
            spawn: Arc::new(Tasks),
        };
        let hsm = Hsm::create(ports, creation(setup), HsmLimits::default()).await.unwrap();
        let keeper = PlayedKeeper::new(setup.activated);
        let hsm = serving(hsm, setup.activated);
        let (signer, fetch) = issuer();
        let validator = Arc::new(Validator::new(trust(), Arc::new(fetch)));
        let told = Arc::new(ToldGroups::default());
        let sources = if setup.group_source { vec![group_source()] } else { Vec::new() };
        let groups = Groups::new(sources, Arc::<ToldGroups>::clone(&told));
        let (trail, audit) = Trail::in_memory();
        let copies = Arc::new(PlayedCopies::default());
        let shelf = Arc::new(Shelf::default());
        let tracer = Tracer::new(|| 1_800_000_000_000_000_000);
        let config = Config {
            hsm,
            keeper: Arc::<PlayedKeeper>::clone(&keeper),
            validator: Arc::clone(&validator),
            groups,
            trail,
            audit_lost: setup.audit_lost.map(str::to_owned),
            copies: Arc::<PlayedCopies>::clone(&copies),
            backups: shelf.backups(),
            tracer: Arc::clone(&tracer),
            names: names(),
            named_port: 8443,
            region: "local".to_owned(),
            build: "1.2.3".to_owned(),
            limits: setup.limits,
        };
        let plane = Arc::new(DataPlane::new(config).unwrap());
        Self {
            plane,
            audit,
            copies,
            shelf,
            tracer,
            clock,
            store_gate,
            pool_gate,
            validator,
            told,
            keeper,
            signer,
            _dir: dir,
        }
    }

    /// A token that the validator believes, for this principal.
    pub(crate) fn token(&self, principal: Uuid) -> String {
        self.token_with(principal, |_| {})
    }

    pub(crate) fn token_with(&self, principal: Uuid, change: impl FnOnce(&mut Value)) -> String {
        let now = self.clock.0.load(Ordering::SeqCst);
        let mut claims = json!({
            "iss": ISSUER, "aud": "https://managedhsm.localhost:8443", "tid": TENANT,
            "oid": principal, "appid": "app-1", "iat": now, "nbf": now, "exp": now + 86_400,
        });
        change(&mut claims);
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": "k1"});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = self.signer.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    /// A request by the first administrator, who is a Crypto Officer and a Crypto User too.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Value) -> Reply {
        self.call_as(ADMIN, method, path, body).await
    }

    pub(crate) async fn call_as(
        &self,
        principal: Uuid,
        method: &str,
        path: &str,
        body: Value,
    ) -> Reply {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        self.raw(self.request(principal, method, path, text)).await
    }

    /// A request with token, host and api-version.
    pub(crate) fn request(
        &self,
        principal: Uuid,
        method: &str,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Request<Full<Bytes>> {
        let mark = if path.contains('?') { '&' } else { '?' };
        Request::builder()
            .method(method)
            .uri(format!("{path}{mark}api-version=2025-07-01"))
            .header("host", HOST)
            .header("authorization", format!("Bearer {}", self.token(principal)))
            .body(Full::new(body.into()))
            .unwrap()
    }

    pub(crate) async fn raw(&self, request: Request<Full<Bytes>>) -> Reply {
        raw(&self.plane, request).await
    }

    /// Gives a role at a scope (`""`, `/keys`, `/keys/NAME`) to a new principal.
    pub(crate) async fn somebody(&self, role: &str, scope: &str) -> Uuid {
        let principal = Uuid::new_v4();
        self.grant(principal, role, scope).await;
        principal
    }

    /// Gives a role, and returns the path of the assignment.
    pub(crate) async fn grant(&self, principal: Uuid, role: &str, scope: &str) -> String {
        let id = casemate_hsm::rbac::built_in_role_named(role).unwrap().id;
        let name = Uuid::new_v4();
        let path = format!("{scope}/providers/Microsoft.Authorization/roleAssignments/{name}");
        let body = json!({"properties": {"roleDefinitionId": id, "principalId": principal}});
        let reply = self.call("PUT", &path, body).await;
        assert_eq!(reply.status, 201, "{}", reply.text);
        path
    }

    pub(crate) async fn create(&self, name: &str, body: Value) -> Value {
        let reply = self.call("POST", &format!("/keys/{name}/create"), body).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.json()
    }

    /// The last audit record.
    pub(crate) fn last_record(&self) -> Value {
        serde_json::from_str(self.audit.lines().last().unwrap()).unwrap()
    }
}

/// The names that the HSM answers for.
fn names() -> Vec<ExternalName> {
    let name = |host: &str, port, url: &str| ExternalName {
        host: host.to_owned(),
        port,
        url: url.to_owned(),
    };
    vec![
        name("dev.managedhsm.localhost", 8443, URL),
        name("127.0.0.1", 8444, "https://127.0.0.1:8444/"),
    ]
}

fn serving(hsm: Arc<Hsm>, activated: bool) -> Serving {
    match activated {
        true => Serving::Active(hsm),
        false => Serving::NotActivated(NotActivated::of(hsm)),
    }
}

pub(crate) async fn raw(plane: &Arc<DataPlane>, request: Request<Full<Bytes>>) -> Reply {
    let facts = ConnectionFacts::new(SocketAddr::from(([127, 0, 0, 1], 50_000)));
    let (parts, body) = plane.handle(request, &facts).await.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    Reply { status: parts.status, headers: parts.headers, text }
}

pub(crate) fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn creation(setup: Setup) -> Creation {
    Creation {
        settings: Settings {
            tenant: TENANT,
            authority: "https://localhost:{port}/adfs".to_owned(),
            issuers: Vec::new(),
            audiences: vec!["https://managedhsm.localhost:{port}".to_owned()],
            outbound: Vec::new(),
            retention_days: RetentionDays::new(7).unwrap(),
            purge_protection: setup.purge_protection,
            oct_key_ops: setup.oct_key_ops,
            escalation: setup.escalation,
            arm_key_operations: false,
            audit_loss_accepted: false,
            separation: Separation::Warn,
            development: true,
        },
        first_administrators: vec![ADMIN],
        first_roles: ["Administrator", "Crypto Officer", "Crypto User"]
            .map(|role| format!("Managed HSM {role}"))
            .to_vec(),
    }
}

fn trust() -> TrustSettings {
    TrustSettings {
        tenant: TENANT,
        issuers: vec![trusted()],
        audiences: vec!["https://managedhsm.localhost:8443".to_owned()],
    }
}

fn trusted() -> TrustedIssuer {
    TrustedIssuer {
        issuer: ISSUER.to_owned(),
        metadata_url: format!("{ISSUER}/.well-known/openid-configuration"),
        trust_anchors_pem: String::new(),
        directory: true,
    }
}

fn group_source() -> GroupSource {
    GroupSource { issuer: trusted(), url: format!("{ISSUER}/userinfo") }
}

/// What the issuer says of groups; nothing: it cannot be reached.
#[derive(Default)]
pub(crate) struct ToldGroups(pub(crate) std::sync::Mutex<Option<Value>>);

impl GroupFetch for ToldGroups {
    fn fetch_groups<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Vec<u8>, FetchError>> {
        let told = self.0.lock().unwrap().clone();
        let told = told.map(|told| told.to_string().into_bytes());
        Box::pin(async move { told.ok_or(FetchError::Unreachable) })
    }
}

fn issuer() -> (EcdsaKeyPair, Issuer) {
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap();
    let signer = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref()).unwrap();
    let point = signer.public_key().as_ref();
    let key = json!({
        "kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig",
        "x": b64(&point[1..33]), "y": b64(&point[33..]),
    });
    let keys = json!({"keys": [key]}).to_string();
    let metadata = json!({"issuer": ISSUER, "jwks_uri": format!("{ISSUER}/keys")}).to_string();
    (signer, Issuer { metadata, keys })
}

struct Issuer {
    metadata: String,
    keys: String,
}

impl KeyFetch for Issuer {
    fn fetch<'a>(&'a self, url: &'a str, _: &'a str) -> BoxFuture<'a, Result<Vec<u8>, FetchError>> {
        let text = if url.ends_with("/keys") { &self.keys } else { &self.metadata };
        Box::pin(async move { Ok(text.clone().into_bytes()) })
    }
}

/// A synchronous sink that can be made to answer nothing.
#[derive(Default)]
pub(crate) struct PlayedCopies {
    pub(crate) missing: AtomicBool,
    /// The highest record that was waited for.
    pub(crate) waited_for: AtomicU64,
}

impl Copies for PlayedCopies {
    fn acknowledged(
        &self,
        sequence: u64,
    ) -> Pin<Box<dyn Future<Output = Result<(), CopyMissing>> + Send + '_>> {
        self.waited_for.fetch_max(sequence, Ordering::SeqCst);
        let missing = CopyMissing { sink: "siem".to_owned(), waited_ms: 5 };
        let is_missing = self.missing.load(Ordering::SeqCst);
        Box::pin(async move { if is_missing { Err(missing) } else { Ok(()) } })
    }

    fn status(&self) -> Vec<SinkStatus> {
        let name = "siem".to_owned();
        vec![SinkStatus { name, delivered: Some(1), lag: Some(2), error: None, failures: 0 }]
    }
}

pub(crate) struct HandClock(AtomicI64);

impl HandClock {
    pub(crate) fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> UnixSeconds {
        UnixSeconds(self.0.load(Ordering::SeqCst))
    }
}

/// Runs each job on a thread of its own, as soon as the gate has room.
struct GatedPool(Arc<Semaphore>);

impl Pool for GatedPool {
    fn run(&self, _: Uuid, job: Box<dyn FnOnce() + Send>) -> Result<(), PoolBusy> {
        let gate = Arc::clone(&self.0);
        tokio::spawn(async move {
            let _turn = gate.acquire().await;
            std::thread::spawn(job);
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

struct Tasks;

impl Spawn for Tasks {
    fn spawn(&self, future: BoxFuture<'static, ()>) {
        tokio::spawn(future);
    }
}

struct Backups(BackupKeys);

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

pub(crate) struct Cipher(pub(crate) RecordCipher);

impl casemate_store_port::RecordCipher for Cipher {
    fn seal(&self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CipherError> {
        self.0.seal(aad, plaintext).map_err(|_| CipherError)
    }

    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CipherError> {
        self.0.open(aad, sealed).map(|text| text.expose().to_vec()).map_err(|_| CipherError)
    }

    fn mark(&self, bytes: &[u8]) -> [u8; 32] {
        self.0.mark(bytes)
    }
}

/// A store whose commits wait while the gate is shut.
struct GatedStore {
    inner: EmbeddedStore,
    gate: Arc<Semaphore>,
}

impl Store for GatedStore {
    fn read_all(&self) -> BoxFuture<'_, Result<(Vec<Entry>, Revision), StoreError>> {
        self.inner.read_all()
    }

    fn read<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        self.inner.read(path)
    }

    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Outcome, StoreError>> {
        Box::pin(async move {
            let _turn = self.gate.acquire().await;
            self.inner.commit(transaction).await
        })
    }

    fn watch(&self, after: Revision) -> BoxFuture<'_, Result<Box<dyn Watch>, StoreError>> {
        self.inner.watch(after)
    }
}
