//! A new secret: cut off after every single transaction, every key is the same, and it goes on.

use std::sync::{Arc, Mutex};

use casemate_engine_port::{Curve, KeySpec, Secret, SignAlgorithm};
use casemate_engine_soft::ceremony::SoftPrimitives;
use casemate_engine_soft::domain::DomainKeys;
use casemate_hsm::Escalation;
use casemate_hsm::keys::{
    NewAttributes, Selector, SignRequest, Tags, UpdateKey, UseRefusal, VerifyRequest,
};
use casemate_hsm::rbac::act;
use casemate_hsm::security_domain::{
    Domain, DownloadRequest, Epoch, EpochKeys, ExchangeKey, Keeper, KeeperError, NextSeal,
    Primitives, RewrapFailure, RotateRefusal, Rotated, Rotation,
};
use casemate_quorum::{Holder, Quorum};
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};

use crate::bench::{Bench, DOMAIN, ROOT, settings};
use crate::revocation::{MALLORY, dismiss, employ};

const EC: KeySpec = KeySpec::Ec(Curve::P256);
/// The secret of the second epoch is this byte, thirty-two times.
pub(crate) const NEXT: u8 = 21;

/// A node that keeps one or two epochs.
#[derive(Default)]
pub(crate) struct Kept {
    /// How often it was asked for a new epoch.
    pub(crate) asked: Mutex<u32>,
    pub(crate) leaving: Mutex<Option<u32>>,
    pub(crate) reopened: Mutex<u32>,
    abandoned: Mutex<u32>,
}

fn whole(number: u32, byte: u8) -> Epoch {
    Epoch { number, keys: EpochKeys::Whole(Secret::new(vec![byte; 32])) }
}

impl Keeper for Kept {
    fn primitives(&self) -> &dyn Primitives {
        &SoftPrimitives
    }

    fn new_domain(&self) -> Domain {
        unreachable!("it is active")
    }

    fn domain(&self) -> Option<Domain> {
        Domain::new([1; 16], vec![whole(1, DOMAIN)]).ok()
    }

    fn next_epoch(&self, forget_before: Option<u32>) -> Option<Domain> {
        *self.asked.lock().unwrap() += 1;
        let secret = Secret::new(vec![DOMAIN; 32]);
        let keys = EpochKeys::BackupOnly(DomainKeys::derive(&secret).into_backup_keys());
        let first = Epoch { number: 1, keys };
        let earlier = Some(first).filter(|_| forget_before.is_none());
        Domain::new([1; 16], earlier.into_iter().chain([whole(2, NEXT)]).collect()).ok()
    }

    fn leaving(&self) -> Option<u32> {
        *self.leaving.lock().unwrap()
    }

    fn prepare_epoch(&self, next: &Domain, _: Option<u32>) -> Result<NextSeal, KeeperError> {
        *self.leaving.lock().unwrap() = Some(1);
        let (cipher, identity) = Bench::next_seal(next.epoch(), NEXT);
        Ok(NextSeal { cipher, identity })
    }

    fn abandon_epoch(&self) {
        *self.leaving.lock().unwrap() = None;
        *self.abandoned.lock().unwrap() += 1;
    }

    fn leave_epoch(&self, _: u64) -> Result<(), KeeperError> {
        Ok(())
    }

    fn manifest_key(&self, secret: &Secret) -> Secret {
        DomainKeys::derive(secret).into_manifest_key()
    }

    fn identity(&self) -> Secret {
        Secret::new(vec![0; 33])
    }

    fn is_identity(&self, _: &[u8]) -> bool {
        true
    }

    fn new_exchange_key(&self) -> Result<ExchangeKey, KeeperError> {
        Err(KeeperError::ExchangeKey)
    }

    fn prepare(&self, _: &Domain) -> Result<NextSeal, KeeperError> {
        Err(KeeperError::ExchangeKey)
    }

    fn complete(&self, _: u64) {}

    fn given_again(&self) {}

    fn reopen(&self) {
        *self.reopened.lock().unwrap() += 1;
    }
}

pub(crate) fn request() -> DownloadRequest {
    let holder = |_| {
        let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let params = CertificateParams::new(Vec::new()).unwrap();
        Holder::from_der(params.self_signed(&pair).unwrap().der(), &SoftPrimitives).unwrap()
    };
    let quorum = Quorum::new((0..3).map(holder).collect(), Some(2)).unwrap();
    let rotation = Some(Rotation { epoch: 2, forget_before: None });
    DownloadRequest { quorum, approvals: Vec::new(), rotation }
}

pub(crate) async fn rotate(
    bench: &Bench,
    keeper: &Kept,
    request: &DownloadRequest,
) -> Result<Rotated, RotateRefusal> {
    let permit = bench.permit::<act::SecurityDomainDownload>(ROOT, "/");
    bench.hsm.rotate_security_domain(&permit, &bench.intent().await, request, keeper).await
}

pub(crate) async fn sign(bench: &Bench, key: &str) -> Result<Vec<u8>, UseRefusal> {
    let permit = bench.permit::<act::KeysSign>(ROOT, &format!("/keys/{key}"));
    let (version, algorithm) = (Selector::Latest, SignAlgorithm::Es256);
    let request = SignRequest { version, algorithm, input: vec![7; 32] };
    bench.hsm.sign(&permit, request, |_| {}).await.map(|signed| signed.signature)
}

async fn verifies(bench: &Bench, key: &str, signature: &[u8]) -> bool {
    let permit = bench.permit::<act::KeysVerify>(ROOT, &format!("/keys/{key}"));
    let (version, algorithm) = (Selector::Latest, SignAlgorithm::Es256);
    let signature = signature.to_vec();
    let request = VerifyRequest { version, algorithm, input: vec![7; 32], signature };
    bench.hsm.verify(&permit, request, |_| {}).await.unwrap().valid
}

async fn tag(bench: &Bench, key: &str) {
    let permit = bench.permit::<act::KeysWrite>(ROOT, &format!("/keys/{key}"));
    let tags = [("when".to_owned(), "meanwhile".to_owned())].into_iter().collect();
    let (version, attributes) = (Selector::Latest, NewAttributes::default());
    let tags = Some(Tags::new(tags).unwrap());
    let update = UpdateKey { version, key_ops: None, attributes, tags };
    bench.hsm.update_key(&permit, &bench.intent().await, update).await.unwrap();
}

/// An HSM of some keys, one of them with many versions, and what each signed.
pub(crate) async fn filled() -> (Bench, Vec<(String, Vec<u8>)>) {
    let bench =
        Bench::with(casemate_hsm::Settings { escalation: Escalation::Azure, ..settings() }).await;
    for _ in 0..90 {
        bench.make("many", EC).await;
    }
    let mut signed = Vec::new();
    for at in 0..12 {
        let name = if at == 0 { "many".to_owned() } else { format!("key-{at}") };
        if at > 0 {
            bench.make(&name, EC).await;
        }
        let signature = sign(&bench, &name).await.unwrap();
        signed.push((name, signature));
    }
    (bench, signed)
}

pub(crate) async fn demand(bench: &Bench, signed: &[(String, Vec<u8>)]) {
    for (name, signature) in signed {
        assert!(verifies(bench, name, signature).await, "{name}");
        assert!(sign(bench, name).await.is_ok(), "{name}");
    }
}

#[tokio::test]
async fn cut_off_after_every_transaction_it_goes_on_and_every_key_is_the_same() {
    let (bench, signed) = filled().await;
    let keeper = Kept::default();
    rotate(&bench, &keeper, &request()).await.unwrap();
    assert_eq!(*keeper.reopened.lock().unwrap(), 1);
    let both = ((2, NEXT), Some((1, DOMAIN)));
    let mut bench = bench.restart_in(both.0, both.1).await;
    // Written from memory, with material that is under the old key, by a change of something else.
    tag(&bench, "key-3").await;
    let mut transactions = 0;
    let mut left = bench.hsm.left_behind().records;
    loop {
        // The claim that goes before the first change of a process, and one transaction.
        bench.store.refuse_after(Some(2));
        let done = bench.hsm.bring_forward().await;
        bench.store.refuse_after(None);
        bench = bench.restart_in(both.0, both.1).await;
        demand(&bench, &signed).await;
        let now = bench.hsm.left_behind().records;
        assert!(now <= left, "what is brought forward stays so: {now} of {left}");
        left = now;
        transactions += 1;
        match done {
            Ok(()) => break,
            Err(RewrapFailure::Commit(_) | RewrapFailure::Forward(_)) => {}
            Err(failure) => panic!("{failure}"),
        }
    }
    assert!(transactions > 4, "{transactions}");
    assert_eq!(left, 0);
    // Nothing needs the old secret any more: neither a record nor a key's material.
    let bench = bench.restart_in(both.0, None).await;
    demand(&bench, &signed).await;
    assert_eq!(bench.hsm.last_turn().unwrap().epoch, 2);
}

#[tokio::test]
async fn a_store_that_takes_nothing_leaves_the_old_epoch_in_force() {
    let (bench, signed) = filled().await;
    let (keeper, request) = (Kept::default(), request());
    let before = bench.store.commits();
    bench.store.refuse_after(Some(1));
    let refused = rotate(&bench, &keeper, &request).await.unwrap_err();
    assert!(matches!(refused, RotateRefusal::Reseal(_)), "{refused}");
    assert_eq!((*keeper.abandoned.lock().unwrap(), *keeper.reopened.lock().unwrap()), (1, 0));
    assert_eq!(bench.store.commits(), before + 1, "the claim of the numbers alone");
    bench.store.refuse_after(None);
    demand(&bench, &signed).await;
    assert!(bench.hsm.last_turn().is_none());
    let bench = bench.restart().await;
    demand(&bench, &signed).await;
    rotate(&bench, &keeper, &request).await.unwrap();
    // The process that took the turn takes no change any more.
    assert!(bench.hsm.bring_forward().await.is_ok(), "there is nothing behind in its own eyes");
    let bench = bench.restart_in((2, NEXT), Some((1, DOMAIN))).await;
    demand(&bench, &signed).await;
}

/// A token may take long, or be away: nobody else waits for it, and what they change stays.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_waits_for_an_engine_that_takes_its_time() {
    let (bench, signed) = filled().await;
    rotate(&bench, &Kept::default(), &request()).await.unwrap();
    let bench = bench.restart_in((2, NEXT), Some((1, DOMAIN))).await;
    let (open, gate) = std::sync::mpsc::channel();
    *bench.pool.gate.lock().unwrap() = Some(gate);
    let hsm = Arc::clone(&bench.hsm);
    let forward = tokio::spawn(async move { hsm.bring_forward().await });
    while bench.pool.gate.lock().unwrap().is_some() {
        tokio::task::yield_now().await;
    }
    tag(&bench, "key-3").await;
    demand(&bench, &signed).await;
    assert!(!forward.is_finished(), "it waits for the engine");
    open.send(()).unwrap();
    forward.await.unwrap().unwrap();
    let bench = bench.restart_in((2, NEXT), None).await;
    demand(&bench, &signed).await;
    let permit = bench.permit::<act::KeysRead>(ROOT, "/keys/key-3");
    let view = bench.hsm.key(&permit, Selector::Latest).unwrap();
    assert!(!view.item.tags.is_empty(), "what was changed meanwhile stays");
}

#[tokio::test]
async fn a_permit_that_falls_meanwhile_begins_nothing() {
    let (bench, _) = filled().await;
    let keeper = Kept::default();
    let role = employ(&bench, "Managed HSM Administrator").await;
    let permit = bench.permit::<act::SecurityDomainDownload>(MALLORY, "/");
    dismiss(&bench, role).await;
    let intent = bench.intent().await;
    let refused = bench.hsm.rotate_security_domain(&permit, &intent, &request(), &keeper).await;
    assert!(matches!(refused, Err(RotateRefusal::NotAuthorized(_))));
    assert_eq!(*keeper.leaving.lock().unwrap(), None);
}
