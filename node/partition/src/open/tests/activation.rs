//! Activation and recovery, cut off after every step: the HSM is in the state before or after.

use std::path::Path as FilePath;

use casemate_audit::Recorded;
use casemate_engine_soft::ceremony::SoftPrimitives;
use casemate_hsm::rbac::{Permit, Principal, Scope, act};
use casemate_hsm::security_domain::{
    Domain, DownloadRequest, ExchangeKey, Keeper, KeeperError, NextSeal, NotActivated, Operation,
    OperationStatus, Primitives, Upload, UploadRefusal,
};
use casemate_quorum::{Blob, Hidden, Holder, PrivateKey, Quorum, wrap};
use parking_lot::Mutex;
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};

use super::*;
use crate::keeper::NodeKeeper;

pub(super) const ADMIN: &str = "22222222-2222-2222-2222-222222222222";

/// The steps of the one who activates, in their order.
const STEPS: [&str; 4] = ["begin", "prepared", "sealed", "completed"];

/// Keeps a copy of the HSM's folder after every step, as a crash would leave it.
pub(super) struct Snapping {
    pub(super) keeper: Arc<NodeKeeper>,
    folder: std::path::PathBuf,
    pub(super) copies: Mutex<Vec<(&'static str, tempfile::TempDir)>>,
}

impl Snapping {
    pub(super) fn new(keeper: Arc<NodeKeeper>, folder: &FilePath) -> Arc<Self> {
        Arc::new(Self { keeper, folder: folder.to_owned(), copies: Mutex::default() })
    }

    pub(super) fn copy(&self, step: &'static str) {
        let copy = tempfile::tempdir().unwrap();
        copy_all(&self.folder, copy.path());
        self.copies.lock().push((step, copy));
    }
}

pub(super) fn copy_all(from: &FilePath, to: &FilePath) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&to).unwrap();
            copy_all(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

impl Keeper for Snapping {
    fn primitives(&self) -> &dyn Primitives {
        self.keeper.primitives()
    }

    fn new_domain(&self) -> Domain {
        self.keeper.new_domain()
    }

    fn domain(&self) -> Option<Domain> {
        self.keeper.domain()
    }

    fn manifest_key(&self, secret: &Secret) -> Secret {
        self.keeper.manifest_key(secret)
    }

    fn identity(&self) -> Secret {
        self.keeper.identity()
    }

    fn is_identity(&self, record: &[u8]) -> bool {
        self.keeper.is_identity(record)
    }

    fn new_exchange_key(&self) -> Result<ExchangeKey, KeeperError> {
        self.keeper.new_exchange_key()
    }

    fn prepare(&self, next: &Domain) -> Result<NextSeal, KeeperError> {
        self.copy(STEPS[0]);
        let prepared = self.keeper.prepare(next);
        self.copy(STEPS[1]);
        prepared
    }

    fn complete(&self, sequence: u64) {
        self.copy(STEPS[2]);
        self.keeper.complete(sequence);
        self.copy(STEPS[3]);
    }

    fn next_epoch(&self, forget_before: Option<u32>) -> Option<Domain> {
        self.keeper.next_epoch(forget_before)
    }

    fn leaving(&self) -> Option<u32> {
        self.keeper.leaving()
    }

    fn prepare_epoch(
        &self,
        next: &Domain,
        forget_before: Option<u32>,
    ) -> Result<NextSeal, KeeperError> {
        self.copy("begin");
        let prepared = self.keeper.prepare_epoch(next, forget_before);
        self.copy("prepared");
        prepared
    }

    fn abandon_epoch(&self) {
        self.keeper.abandon_epoch();
    }

    fn leave_epoch(&self, sequence: u64) -> Result<(), KeeperError> {
        self.copy("brought forward");
        let left = self.keeper.leave_epoch(sequence);
        self.copy("left");
        left
    }

    fn given_again(&self) {
        self.keeper.given_again();
    }

    fn reopen(&self) {
        self.keeper.reopen();
    }
}

pub(super) struct Officers {
    pub(super) request: DownloadRequest,
    pub(super) keys: Vec<(String, Box<dyn PrivateKey>)>,
}

pub(super) fn officers() -> Officers {
    let mut holders = Vec::new();
    let mut keys = Vec::new();
    for _ in 0..3 {
        let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let params = CertificateParams::new(Vec::new()).unwrap();
        let der = params.self_signed(&pair).unwrap().der().to_vec();
        let holder = Holder::from_der(&der, &SoftPrimitives).unwrap();
        let key = SoftPrimitives.rsa_private_key(&Hidden::new(pair.serialize_der())).unwrap();
        keys.push((holder.thumbprint().to_owned(), key));
        holders.push(holder);
    }
    let quorum = Quorum::new(holders, Some(2)).unwrap();
    Officers { request: DownloadRequest { quorum, approvals: Vec::new(), rotation: None }, keys }
}

/// An HSM that is not activated, with its keeper and a trail to record intents in.
pub(super) struct Provisioned {
    pub(super) dir: tempfile::TempDir,
    hsm: Arc<NotActivated>,
    keeper: Arc<Snapping>,
    pub(super) trail: Trail,
}

impl Provisioned {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let message = start(&dir, Some(settings()));
        Self::of(dir, &message).await
    }

    pub(super) async fn of(dir: tempfile::TempDir, message: &Start) -> Self {
        let opened = open_with_identity(message, seal(message)).await.unwrap();
        let (hsm, seal, ledger, identity) = opened;
        let trail = trail(message, &Door::from(&hsm), ledger, &[]).await.unwrap();
        let keeper = NodeKeeper::new(seal, identity, "dev", false);
        let keeper = Snapping::new(keeper, dir.path());
        Self { dir, hsm: NotActivated::of(hsm), keeper, trail }
    }

    fn permit<A: casemate_hsm::rbac::DataAction>(&self) -> Permit<A> {
        let principal = Principal { id: ADMIN.parse().unwrap(), groups: Vec::new() };
        self.hsm.door().authorize(&Arc::new(principal), Scope::Root).unwrap()
    }

    async fn intent(&self) -> Recorded {
        intent(&self.trail, self.hsm.door().sequence()).await
    }

    pub(super) async fn download(&self, officers: &Officers) -> String {
        let (permit, intent) = (self.permit::<act::SecurityDomainDownload>(), self.intent().await);
        self.hsm.download(&permit, &intent, &officers.request, &*self.keeper).await.unwrap()
    }

    pub(super) async fn exchange_key(&self) -> Holder {
        let permit = self.permit::<act::SecurityDomainTransferKeyRead>();
        let keeper: Arc<dyn Keeper> = Arc::<Snapping>::clone(&self.keeper);
        let jwk = self.hsm.exchange_key(&permit, &self.intent().await, &keeper).await.unwrap();
        Holder::from_jwk(&jwk, &SoftPrimitives).unwrap()
    }

    pub(super) async fn upload(&self, text: &str) -> Result<(), UploadRefusal> {
        let (permit, intent) = (self.permit::<act::SecurityDomainUpload>(), self.intent().await);
        let upload = Upload::parse(text.as_bytes()).unwrap();
        self.hsm.upload(&permit, &intent, &upload, &*self.keeper).await
    }
}

pub(super) async fn intent(trail: &Trail, consistency: u64) -> Recorded {
    let appended = trail.append(&AuditRecord {
        phase: Phase::Intent,
        operation: "SecurityDomainBackup",
        call: &Call { consistency, ..Call::default() },
        verdict: Verdict::Pending,
        permit: None,
        key: None,
        intent: None,
    });
    appended.await.unwrap()
}

/// Opens a copy of the folder: whether the HSM is active, and under which domain.
async fn state(copy: &tempfile::TempDir) -> (Option<[u8; 16]>, Arc<Hsm>) {
    let message = start(copy, None);
    let (hsm, seal, _) = open_all(&message).await.unwrap();
    assert_eq!(hsm.settings().retention_days.days(), 7, "its settings are there");
    assert!(!seal.is_undecided(), "it is known what holds");
    let id = seal.domain().map(Domain::id);
    // And the same again from what that start left.
    drop((seal, hsm));
    let (hsm, again, _) = open_all(&message).await.unwrap();
    assert_eq!(again.domain().map(Domain::id), id);
    (id, hsm)
}

async fn demand_before_or_after(provisioned: &Provisioned, id: [u8; 16], operation: Operation) {
    let copies = std::mem::take(&mut *provisioned.keeper.copies.lock());
    let steps: Vec<_> = copies.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, STEPS, "every step was cut off");
    for (step, copy) in &copies {
        let (found, hsm) = state(copy).await;
        let is_after = matches!(*step, "sealed" | "completed");
        assert_eq!(found, is_after.then_some(id), "cut off at {step}");
        let status = hsm.security_domain_status(operation);
        assert_eq!(status, is_after.then_some(OperationStatus::InProgress), "{step}");
        if is_after {
            hsm.confirm_security_domain().await.unwrap();
            let status = hsm.security_domain_status(operation);
            assert_eq!(status, Some(OperationStatus::Success));
        }
    }
}

fn domain_of(blob: &str) -> [u8; 16] {
    let blob = Blob::parse(blob.as_bytes()).unwrap();
    let text = &blob.facts().unwrap().domain;
    let byte = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap();
    std::array::from_fn(byte)
}

/// What two officers make of a blob for this exchange key.
pub(super) fn wrapped(blob: &str, officers: &Officers, exchange: &Holder) -> String {
    let blob = Blob::parse(blob.as_bytes()).unwrap();
    let keys: Vec<(&str, &dyn PrivateKey)> =
        officers.keys[1..].iter().map(|(name, key)| (name.as_str(), &**key)).collect();
    let opened = blob.open(&keys, &SoftPrimitives).unwrap();
    wrap(&opened.items, exchange, &SoftPrimitives).unwrap()
}

#[tokio::test]
async fn a_download_that_is_cut_off_at_any_step_is_not_done_or_done() {
    let provisioned = Provisioned::new().await;
    let blob = provisioned.download(&officers()).await;
    demand_before_or_after(&provisioned, domain_of(&blob), Operation::Download).await;
}

#[tokio::test]
async fn an_upload_that_is_cut_off_at_any_step_is_not_done_or_done() {
    let officers = officers();
    let first = Provisioned::new().await;
    let blob = first.download(&officers).await;
    let second = Provisioned::new().await;
    let exchange = second.exchange_key().await;
    assert!(second.hsm.is_recovering());
    assert_eq!(second.exchange_key().await, exchange, "asked again, the same");
    let text = wrapped(&blob, &officers, &exchange);
    second.upload(&text).await.unwrap();
    demand_before_or_after(&second, domain_of(&blob), Operation::Upload).await;
    // Both HSMs have the same domain, and so the same backup key and identity.
    let keeper = |one: &Provisioned| one.keeper.domain().unwrap();
    assert_eq!(keeper(&first).secret(), keeper(&second).secret());
    let again = second.upload(&text).await.unwrap_err();
    assert!(matches!(again, UploadRefusal::Spent), "{again}");
}

#[tokio::test]
async fn an_exchange_key_outlives_the_process() {
    let provisioned = Provisioned::new().await;
    let exchange = provisioned.exchange_key().await;
    let Provisioned { dir, hsm, keeper, trail } = provisioned;
    trail.close();
    drop((hsm, keeper, trail));
    let message = start(&dir, None);
    let again = Provisioned::of(dir, &message).await;
    assert!(again.hsm.is_recovering());
    assert_eq!(again.exchange_key().await, exchange);
}

#[tokio::test]
async fn what_is_no_domain_of_ours_or_for_another_key_changes_nothing() {
    let officers = officers();
    let first = Provisioned::new().await;
    let blob = first.download(&officers).await;
    let second = Provisioned::new().await;
    let foreign = officers.request.quorum.holders()[0].clone();
    let early = second.upload(&wrapped(&blob, &officers, &foreign)).await.unwrap_err();
    assert!(matches!(early, UploadRefusal::NoExchangeKey), "{early}");
    let exchange = second.exchange_key().await;
    let other = second.upload(&wrapped(&blob, &officers, &foreign)).await.unwrap_err();
    assert!(matches!(other, UploadRefusal::Upload(_)), "{other}");
    let item =
        |tag: &str| casemate_quorum::Item { tag: tag.to_owned(), bytes: Hidden::copied(&[7; 100]) };
    for items in [vec![item("x")], vec![item("casemate-manifest")]] {
        let text = wrap(&items, &exchange, &SoftPrimitives).unwrap();
        let refused = second.upload(&text).await.unwrap_err();
        assert!(matches!(refused, UploadRefusal::Domain(_)), "{refused}");
    }
    // Two domains' items do not go together.
    let third = Provisioned::new().await;
    let parsed = Blob::parse(third.download(&officers).await.as_bytes()).map_err(drop).unwrap();
    let keys: Vec<(&str, &dyn PrivateKey)> =
        officers.keys[1..].iter().map(|(name, key)| (name.as_str(), &**key)).collect();
    let theirs = parsed.open(&keys, &SoftPrimitives).unwrap().items;
    let ours = Blob::parse(blob.as_bytes()).map_err(drop).unwrap();
    for tag in ["casemate-identity", "casemate-epoch-1"] {
        let mut items = ours.open(&keys, &SoftPrimitives).unwrap().items;
        let place = items.iter().position(|item| item.tag == tag).unwrap();
        let lent = theirs.iter().find(|item| item.tag == tag).unwrap();
        items[place].bytes = Hidden::copied(lent.bytes.expose());
        let text = wrap(&items, &exchange, &SoftPrimitives).unwrap();
        let refused = second.upload(&text).await.unwrap_err();
        assert!(matches!(refused, UploadRefusal::Domain(_)), "{tag}: {refused}");
        items.remove(place);
        let text = wrap(&items, &exchange, &SoftPrimitives).unwrap();
        let refused = second.upload(&text).await.unwrap_err();
        assert!(matches!(refused, UploadRefusal::Domain(_)), "{tag}: {refused}");
    }
    assert!(second.keeper.copies.lock().is_empty(), "nothing was begun");
    assert!(second.hsm.is_recovering());
    second.upload(&wrapped(&blob, &officers, &exchange)).await.unwrap();
}
