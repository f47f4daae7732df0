//! Backup and restore of single keys.

use casemate_engine_port::{CipherAlgorithm, Curve, KeySpec, OctSize, Secret, SignAlgorithm};
use casemate_hsm::UnixSeconds;
use casemate_hsm::backup::{BackupError, KEY_BACKUP_BYTES_MAX, KeyBackup};
use casemate_hsm::keys::{
    BackUpRefusal, EncryptRequest, FindRefusal, KeyView, NewAttributes, RestoreRefusal, Selector,
    SignRequest, Tags, UpdateKey, UseRefusal, VerifyRequest,
};
use casemate_hsm::rbac::{Within, act};

use crate::bench::{Backups, Bench, DOMAIN, ROOT, name, oct};

const EC: KeySpec = KeySpec::Ec(Curve::P256);

pub(crate) async fn back_up(bench: &Bench, key: &str) -> Result<Vec<u8>, BackUpRefusal> {
    let permit = bench.permit::<act::KeysBackup>(ROOT, &format!("/keys/{key}"));
    bench.hsm.back_up_key(&permit).await.map(|backed_up| backed_up.backup)
}

fn open(bench: &Bench, blob: &[u8]) -> Result<KeyBackup, BackupError> {
    let permit = bench.permit::<Within<act::KeysRestore>>(ROOT, "/keys");
    bench.hsm.open_key_backup(&permit, blob)
}

pub(crate) async fn restore(bench: &Bench, blob: &[u8]) -> Result<KeyView, RestoreRefusal> {
    let backup = open(bench, blob)?;
    let permit = bench.permit::<act::KeysRestore>(ROOT, &format!("/keys/{}", backup.name()));
    bench.hsm.restore_key(&permit, &bench.intent().await, backup).await
}

async fn delete(bench: &Bench, key: &str) {
    let permit = bench.permit::<act::KeysDelete>(ROOT, &format!("/keys/{key}"));
    bench.hsm.delete_key(&permit, &bench.intent().await).await.unwrap();
}

async fn delete_and_purge(bench: &Bench, key: &str) {
    delete(bench, key).await;
    let permit = bench.permit::<act::DeletedKeysPurge>(ROOT, &format!("/keys/{key}"));
    bench.hsm.purge_key(&permit, &bench.intent().await).await.unwrap();
}

fn read(bench: &Bench, key: &str, version: Selector) -> Result<KeyView, FindRefusal> {
    bench.hsm.key(&bench.permit::<act::KeysRead>(ROOT, &format!("/keys/{key}")), version)
}

async fn sign(bench: &Bench, key: &str, version: Selector) -> Result<Vec<u8>, UseRefusal> {
    let permit = bench.permit::<act::KeysSign>(ROOT, &format!("/keys/{key}"));
    let request = SignRequest { version, algorithm: SignAlgorithm::Es256, input: vec![7; 32] };
    bench.hsm.sign(&permit, request, |_| {}).await.map(|signed| signed.signature)
}

async fn verifies(bench: &Bench, key: &str, version: Selector, signature: Vec<u8>) -> bool {
    let permit = bench.permit::<act::KeysVerify>(ROOT, &format!("/keys/{key}"));
    let algorithm = SignAlgorithm::Es256;
    let request = VerifyRequest { version, algorithm, input: vec![7; 32], signature };
    bench.hsm.verify(&permit, request, |_| {}).await.unwrap().valid
}

#[tokio::test]
async fn every_version_comes_back_in_another_hsm_of_the_domain_as_it_was() {
    let bench = Bench::new().await;
    let first = bench.make("Pay", EC).await;
    let second = bench.make("pay", EC).await;
    let permit = bench.permit::<act::KeysWrite>(ROOT, "/keys/pay");
    let tags = [("team".to_owned(), "a".to_owned())].into();
    let update = UpdateKey {
        version: Selector::Exactly(first.key.version),
        key_ops: None,
        attributes: NewAttributes {
            enabled: Some(false),
            not_before: Some(UnixSeconds(5)),
            expires: Some(UnixSeconds(6)),
        },
        tags: Some(Tags::new(tags).unwrap()),
    };
    let changed = bench.hsm.update_key(&permit, &bench.intent().await, update).await.unwrap();
    bench.wait(1_000);
    let blob = back_up(&bench, "pay").await.unwrap();
    let other = Bench::new().await;
    let restored = restore(&other, &blob).await.unwrap();
    assert_eq!(restored.key, second.key);
    for other in [other.restart().await, bench] {
        let back = read(&other, "PAY", Selector::Exactly(first.key.version)).unwrap();
        assert_eq!(back.public, first.public);
        assert_eq!(back.key.name.as_str(), "Pay", "shown as first created");
        let (back, was) = (back.item, &changed.item);
        assert!(!back.enabled, "a version that was disabled comes back disabled");
        assert_eq!((back.not_before, back.expires), (was.not_before, was.expires));
        assert_eq!((back.created, back.updated, &back.tags), (was.created, was.updated, &was.tags));
        let latest = read(&other, "pay", Selector::Latest).unwrap();
        assert_eq!((latest.key, latest.key_ops), (second.key.clone(), second.key_ops.clone()));
        let refused = sign(&other, "pay", Selector::Exactly(first.key.version)).await;
        assert!(matches!(refused, Err(UseRefusal::Disabled)));
    }
}

#[tokio::test]
async fn what_either_signs_the_other_verifies() {
    let bench = Bench::new().await;
    bench.make("a", EC).await;
    bench.make("a", EC).await;
    let versions: Vec<_> =
        open(&bench, &back_up(&bench, "a").await.unwrap()).unwrap().versions().into();
    let other = Bench::new().await;
    restore(&other, &back_up(&bench, "a").await.unwrap()).await.unwrap();
    for version in versions.into_iter().map(Selector::Exactly) {
        let signed = sign(&other, "a", version).await.unwrap();
        assert!(verifies(&bench, "a", version, signed).await);
        let signed = sign(&bench, "a", version).await.unwrap();
        assert!(verifies(&other, "a", version, signed.clone()).await);
        assert!(!verifies(&other, "a", version, signed.into_iter().rev().collect()).await);
    }
}

#[tokio::test]
async fn a_name_that_is_taken_deleted_or_full_is_not_restored_to() {
    let bench = Bench::new().await;
    let made = bench.make("a", EC).await;
    let blob = back_up(&bench, "a").await.unwrap();
    let taken = restore(&bench, &blob).await;
    assert!(matches!(taken, Err(RestoreRefusal::NameIsTaken(_))));
    assert_eq!(read(&bench, "a", Selector::Latest).unwrap().key, made.key);
    delete(&bench, "a").await;
    let deleted = restore(&bench, &blob).await;
    assert!(matches!(deleted, Err(RestoreRefusal::NameIsDeleted(_))));
    assert!(matches!(back_up(&bench, "a").await, Err(BackUpRefusal::Find(_))), "a deleted key");
    assert!(matches!(back_up(&bench, "b").await, Err(BackUpRefusal::Find(_))), "no key");
    let permit = bench.permit::<act::DeletedKeysPurge>(ROOT, "/keys/a");
    bench.hsm.purge_key(&permit, &bench.intent().await).await.unwrap();
    bench.make("A", oct()).await;
    assert!(matches!(restore(&bench, &blob).await, Err(RestoreRefusal::NameIsTaken(_))));
}

#[tokio::test]
async fn a_purged_key_comes_back_from_its_backup_and_only_once() {
    let bench = Bench::new().await;
    let made = bench.make("a", EC).await;
    let signed = sign(&bench, "a", Selector::Latest).await.unwrap();
    let blob = back_up(&bench, "a").await.unwrap();
    delete_and_purge(&bench, "a").await;
    assert!(read(&bench, "a", Selector::Latest).is_err());
    restore(&bench, &blob).await.unwrap();
    assert_eq!(read(&bench, "a", Selector::Latest).unwrap().public, made.public);
    assert!(verifies(&bench, "a", Selector::Latest, signed).await);
    assert!(restore(&bench, &blob).await.is_err());
}

#[tokio::test]
async fn another_domain_or_epoch_does_not_open_it() {
    let bench = Bench::new().await;
    bench.make("a", EC).await;
    let blob = back_up(&bench, "a").await.unwrap();
    let other = Bench::in_domain(DOMAIN + 1).await;
    assert_eq!(open(&other, &blob).unwrap_err(), BackupError::OtherDomain);
    let later = Backups::of(DOMAIN, 2);
    let refused = KeyBackup::open(&later, &blob).unwrap_err();
    assert_eq!(refused, BackupError::OtherEpoch { epoch: 1 });
    // The same secret under another number: the number is authenticated.
    let mut renumbered = blob.clone();
    renumbered[12] = 2;
    assert_eq!(KeyBackup::open(&later, &renumbered).unwrap_err(), BackupError::Altered);
}

#[tokio::test]
async fn no_altered_cut_or_longer_backup_is_taken_in() {
    let bench = Bench::new().await;
    bench.make("a", EC).await;
    let blob = back_up(&bench, "a").await.unwrap();
    delete_and_purge(&bench, "a").await;
    for at in 0..blob.len() {
        for bit in [1, 0x80] {
            let mut altered = blob.clone();
            altered[at] ^= bit;
            assert!(open(&bench, &altered).is_err(), "byte {at}");
        }
        assert!(open(&bench, &blob[..at]).is_err(), "cut at {at}");
    }
    let mut longer = blob.clone();
    longer.push(0);
    assert_eq!(open(&bench, &longer).unwrap_err(), BackupError::Altered);
    let mut newer = blob.clone();
    newer[8] = 2;
    assert_eq!(open(&bench, &newer).unwrap_err(), BackupError::Format { version: 2 });
    assert_eq!(open(&bench, b"").unwrap_err(), BackupError::NotABackup);
    let long = vec![0; KEY_BACKUP_BYTES_MAX + 1];
    assert!(matches!(open(&bench, &long), Err(BackupError::TooLong { .. })));
    assert!(open(&bench, &blob).is_ok());
}

#[tokio::test]
async fn halves_of_two_backups_do_not_make_one() {
    let bench = Bench::new().await;
    bench.make("a", EC).await;
    bench.make("b", EC).await;
    let (a, b) = (back_up(&bench, "a").await.unwrap(), back_up(&bench, "b").await.unwrap());
    for at in [45, 61, a.len() - 16] {
        let swapped = [&a[..at], &b[at..]].concat();
        assert_eq!(open(&bench, &swapped).unwrap_err(), BackupError::Altered, "{at}");
    }
}

#[tokio::test]
async fn a_permit_for_one_key_restores_no_other() {
    let bench = Bench::new().await;
    bench.make("a", EC).await;
    let blob = back_up(&bench, "a").await.unwrap();
    delete_and_purge(&bench, "a").await;
    let permit = bench.permit::<act::KeysRestore>(ROOT, "/keys/b");
    let backup = open(&bench, &blob).unwrap();
    let refused = bench.hsm.restore_key(&permit, &bench.intent().await, backup).await;
    assert!(matches!(refused, Err(RestoreRefusal::Backup(BackupError::OtherKey))));
    assert!(read(&bench, "a", Selector::Latest).is_err());
    assert!(read(&bench, "b", Selector::Latest).is_err());
}

#[tokio::test]
async fn a_hundred_versions_come_back_in_order_or_none_is_seen() {
    let bench = Bench::new().await;
    for _ in 0..100 {
        bench.make("a", oct()).await;
    }
    let blob = back_up(&bench, "a").await.unwrap();
    let versions: Vec<_> = open(&bench, &blob).unwrap().versions().into();
    delete_and_purge(&bench, "a").await;
    let before = bench.store.paths();
    // Five transactions of two writes for each of 24 versions: it is cut off before each.
    for done in 0..5 {
        bench.store.refuse_after(Some(done));
        let refused = restore(&bench, &blob).await;
        assert!(matches!(refused, Err(RestoreRefusal::Commit(_))), "{done}");
        assert!(read(&bench, "a", Selector::Latest).is_err(), "{done}");
        bench.store.refuse_after(None);
        for name in bench.hsm.due_for_purge() {
            bench.hsm.purge_due_key(&bench.intent().await, &name).await.unwrap();
        }
        assert_eq!(bench.store.paths(), before, "nothing is left of it, {done}");
    }
    restore(&bench, &blob).await.unwrap();
    let bench = bench.restart().await;
    assert!(bench.hsm.due_for_purge().is_empty());
    let again = open(&bench, &back_up(&bench, "a").await.unwrap()).unwrap();
    assert_eq!(again.versions(), versions);
}

#[tokio::test]
async fn a_restore_that_died_is_taken_back_by_the_next_start() {
    let bench = Bench::new().await;
    for _ in 0..60 {
        bench.make("a", oct()).await;
    }
    let blob = back_up(&bench, "a").await.unwrap();
    delete_and_purge(&bench, "a").await;
    let before = bench.store.paths();
    bench.store.refuse_after(Some(2));
    assert!(restore(&bench, &blob).await.is_err());
    bench.store.refuse_after(None);
    // As after `kill -9`: nobody took it back.
    let bench = bench.restart().await;
    assert!(bench.store.paths().len() > before.len());
    assert!(read(&bench, "a", Selector::Latest).is_err(), "it is not seen");
    assert!(matches!(restore(&bench, &blob).await, Err(RestoreRefusal::NameIsBusy(_))));
    assert_eq!(bench.hsm.restored_key_written(&name("a")), None);
    assert_eq!(bench.hsm.due_for_purge(), [name("a")]);
    bench.hsm.purge_due_key(&bench.intent().await, &name("a")).await.unwrap();
    assert_eq!(bench.store.paths(), before);
    restore(&bench, &blob).await.unwrap();
    assert!(bench.hsm.restored_key_written(&name("a")).is_some());
}

async fn encrypt(bench: &Bench) -> Result<(), UseRefusal> {
    let permit = bench.permit::<act::KeysEncrypt>(ROOT, "/keys/o");
    let request = EncryptRequest {
        version: Selector::Latest,
        algorithm: CipherAlgorithm::AesGcm(OctSize::B256),
        plaintext: Secret::new(vec![1]),
        iv: None,
        aad: None,
        tag_given: false,
    };
    bench.hsm.encrypt(&permit, request, |_| {}).await.map(drop)
}

#[tokio::test]
async fn a_copy_may_do_half_of_the_gcm_encryptions_that_were_left() {
    let mut bench = Bench::new().await;
    bench.make("o", oct()).await;
    encrypt(&bench).await.unwrap();
    // 4,096 blocks make the limit, one is reserved: 2,047 of the 4,095 left are the copy's.
    copy_of(&bench).await;
    for block in 0..2_047 {
        assert!(encrypt(&bench).await.is_ok(), "{block}");
        // Each restart gives up what is left of a block.
        bench = bench.restart().await;
    }
    assert!(matches!(encrypt(&bench).await, Err(UseRefusal::GcmExhausted)));
    copy_of(&bench).await;
    assert!(matches!(encrypt(&bench).await, Err(UseRefusal::GcmExhausted)), "a copy of a worn one");
}

/// The key is replaced by a copy of itself.
async fn copy_of(bench: &Bench) {
    let blob = back_up(bench, "o").await.unwrap();
    delete_and_purge(bench, "o").await;
    restore(bench, &blob).await.unwrap();
}
