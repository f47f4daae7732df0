//! Full backup, full restore, and single keys from a full backup.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use casemate_engine_port::{CipherAlgorithm, Curve, KeySpec, OctSize, Secret, SignAlgorithm};
use casemate_hsm::backup::{
    Begun, Done, Job, JobFailure, JobState, Prepared, StartRefusal, Target, TransferError,
};
use casemate_hsm::keys::{
    CreateKey, CreateRefusal, EncryptRequest, KeyView, NewAttributes, Selector, SignRequest, Tags,
    VerifyRequest,
};
use casemate_hsm::rbac::{NewAssignment, act, built_in_role_named};
use casemate_hsm::{CommitRefusal, Settings};
use uuid::Uuid;

use crate::bench::{Bench, ROOT, oct, settings};
use crate::shelf::{Beside, Shelf};

pub(crate) const EC: KeySpec = KeySpec::Ec(Curve::P256);

pub(crate) fn target() -> Target {
    Target::new("https://a.example/c", "sig=1").unwrap()
}

async fn begin_backup(bench: &Bench) -> Result<Begun, StartRefusal> {
    let permit = bench.permit::<act::BackupStart>(ROOT, "/");
    bench.hsm.begin_backup(&permit, &bench.intent().await, "dev", target(), None).await
}

/// Makes a backup, and answers with its folder.
pub(crate) async fn back_up(bench: &Bench, shelf: &Shelf) -> String {
    let begun = begin_backup(bench).await.unwrap();
    let permit = bench.permit::<act::BackupStart>(ROOT, "/");
    let done = bench.hsm.back_up(&permit, &begun, shelf).await;
    let job = bench.hsm.end_job(begun, done).await;
    assert_eq!(job.state, JobState::Succeeded);
    job.folder.unwrap().rsplit('/').next().unwrap().to_owned()
}

pub(crate) async fn prepare(
    bench: &Bench,
    who: Uuid,
    shelf: &Shelf,
    beside: &Beside,
    folder: &str,
) -> (Begun, Result<Prepared, JobFailure>) {
    let permit = bench.permit::<act::RestoreStart>(who, "/");
    let intent = bench.intent().await;
    let begun = bench.hsm.begin_restore(&permit, &intent, &target(), folder).await.unwrap();
    let prepared = bench.hsm.prepare_restore(&permit, &begun, shelf, beside).await;
    (begun, prepared)
}

/// Restores, and opens the HSM anew.
pub(crate) async fn restore(
    bench: Bench,
    who: Uuid,
    shelf: &Shelf,
    folder: &str,
) -> (Bench, Job, Restored) {
    let beside = Beside::default();
    let (begun, prepared) = prepare(&bench, who, shelf, &beside, folder).await;
    let prepared = prepared.unwrap();
    let restored = Restored {
        revived: prepared.revived.iter().map(|one| one.principal).collect(),
        ended: prepared.ended.iter().map(|one| one.principal).collect(),
    };
    let before = bench.hsm.sequence();
    bench.hsm.switch(prepared, &bench.intent().await, &beside).await.unwrap();
    assert!(beside.taken.load(Ordering::SeqCst));
    assert!(bench.hsm.is_restoring(), "nothing is answered until it is opened anew");
    let store = beside.store.lock().unwrap().take().unwrap();
    let bench = bench.taken_over(store).await;
    assert!(bench.hsm.sequence() > before, "whoever remembers the sequence takes it for newer");
    assert!(!bench.hsm.is_restoring());
    let job = bench.hsm.job(&begun.job().id, false).unwrap();
    (bench, job, restored)
}

pub(crate) struct Restored {
    pub(crate) revived: Vec<Uuid>,
    pub(crate) ended: Vec<Uuid>,
}

impl Restored {
    pub(crate) fn was_revived(&self, principal: Uuid) -> bool {
        self.revived.contains(&principal)
    }
}

/// A restore that must fail; everything is as it was.
pub(crate) async fn refused(bench: &Bench, shelf: &Shelf, folder: &str) -> JobFailure {
    let beside = Beside::default();
    refused_by(bench, shelf, &beside, folder).await
}

async fn refused_by(bench: &Bench, shelf: &Shelf, beside: &Beside, folder: &str) -> JobFailure {
    let paths = bench.store.paths();
    let (begun, prepared) = prepare(bench, ROOT, shelf, beside, folder).await;
    let failure = prepared.err().unwrap();
    let text = failure.to_string();
    let job = bench.hsm.end_job(begun, Err(failure)).await;
    assert!(beside.store.lock().unwrap().is_none(), "nothing is left aside");
    assert!(!bench.hsm.is_restoring());
    let left: Vec<_> = bench.store.paths().into_iter().filter(|path| path != "jobs").collect();
    let paths: Vec<_> = paths.into_iter().filter(|path| path != "jobs").collect();
    assert_eq!(left, paths);
    assert!(matches!(&job.state, JobState::Failed { message, .. } if *message == text));
    JobFailureOf(bench, shelf, folder).again(beside).await
}

/// The failure itself, by a second try: the first was given to its job.
struct JobFailureOf<'a>(&'a Bench, &'a Shelf, &'a str);

impl JobFailureOf<'_> {
    async fn again(self, beside: &Beside) -> JobFailure {
        let (begun, prepared) = prepare(self.0, ROOT, self.1, beside, self.2).await;
        self.0.hsm.end_job(begun, Ok(Done::default())).await;
        prepared.err().unwrap()
    }
}

pub(crate) async fn purge(bench: &Bench, key: &str) {
    let scope = format!("/keys/{key}");
    let permit = bench.permit::<act::KeysDelete>(ROOT, &scope);
    bench.hsm.delete_key(&permit, &bench.intent().await).await.unwrap();
    let permit = bench.permit::<act::DeletedKeysPurge>(ROOT, &scope);
    bench.hsm.purge_key(&permit, &bench.intent().await).await.unwrap();
}

pub(crate) fn read(bench: &Bench, key: &str) -> Option<KeyView> {
    let permit = bench.permit::<act::KeysRead>(ROOT, &format!("/keys/{key}"));
    bench.hsm.key(&permit, Selector::Latest).ok()
}

pub(crate) async fn sign(bench: &Bench, key: &str) -> Vec<u8> {
    let permit = bench.permit::<act::KeysSign>(ROOT, &format!("/keys/{key}"));
    let algorithm = SignAlgorithm::Es256;
    let request = SignRequest { version: Selector::Latest, algorithm, input: vec![7; 32] };
    bench.hsm.sign(&permit, request, |_| {}).await.unwrap().signature
}

pub(crate) async fn verifies(bench: &Bench, key: &str, signature: Vec<u8>) -> bool {
    let permit = bench.permit::<act::KeysVerify>(ROOT, &format!("/keys/{key}"));
    let (version, algorithm) = (Selector::Latest, SignAlgorithm::Es256);
    let request = VerifyRequest { version, algorithm, input: vec![7; 32], signature };
    bench.hsm.verify(&permit, request, |_| {}).await.unwrap().valid
}

pub(crate) async fn grant(bench: &Bench, who: Uuid, role: &str) -> Uuid {
    grant_as(bench, Uuid::new_v4(), who, role).await
}

pub(crate) async fn grant_as(bench: &Bench, name: Uuid, who: Uuid, role: &str) -> Uuid {
    let permit = bench.permit::<act::RoleAssignmentsWrite>(ROOT, "/");
    let role = built_in_role_named(&format!("Managed HSM {role}")).unwrap().id;
    let request = NewAssignment { name, role, principal: who, groups_known: true };
    bench.hsm.assign_role(&permit, &bench.intent().await, request).await.unwrap();
    name
}

pub(crate) async fn take_away(bench: &Bench, name: Uuid) {
    let permit = bench.permit::<act::RoleAssignmentsDelete>(ROOT, "/");
    bench.hsm.delete_assignment(&permit, &bench.intent().await, name).await.unwrap();
}

pub(crate) fn may_sign(bench: &Bench, who: Uuid) -> bool {
    bench.try_permit::<act::KeysSign>(who, "/keys/a").is_ok()
}

async fn create(bench: &Bench, key: &str) -> Result<KeyView, CreateRefusal> {
    let permit = bench.permit(ROOT, &format!("/keys/{key}"));
    let attributes = NewAttributes::default();
    let request = CreateKey { spec: EC, key_ops: None, attributes, tags: Tags::default() };
    bench.hsm.create_key(&permit, &bench.intent().await, request).await
}

#[tokio::test]
async fn the_hsm_is_again_as_it_was() {
    let bench = Bench::new().await;
    let shelf = Shelf::default();
    bench.make("a", EC).await;
    let newest = bench.make("A", EC).await;
    bench.make("b", oct()).await;
    let (stays, goes, comes) = (Uuid::from_u128(71), Uuid::from_u128(72), Uuid::from_u128(73));
    grant(&bench, stays, "Crypto User").await;
    let removed = grant(&bench, goes, "Crypto User").await;
    let signed = sign(&bench, "a").await;
    let folder = back_up(&bench, &shelf).await;
    purge(&bench, "a").await;
    bench.make("b", oct()).await;
    bench.make("later", EC).await;
    take_away(&bench, removed).await;
    grant(&bench, comes, "Crypto User").await;
    assert!(!may_sign(&bench, goes) && may_sign(&bench, comes));

    let (bench, job, restored) = restore(bench, ROOT, &shelf, &folder).await;
    assert_eq!(job.state, JobState::Succeeded, "the job outlives the restart");
    assert_eq!(read(&bench, "a").unwrap().key, newest.key);
    assert!(verifies(&bench, "a", signed).await);
    assert!(verifies(&bench, "a", sign(&bench, "a").await).await);
    assert!(read(&bench, "later").is_none());
    assert!(may_sign(&bench, stays) && may_sign(&bench, goes) && !may_sign(&bench, comes));
    assert_eq!((restored.revived, restored.ended), (vec![goes], vec![comes]), "and it is told");
    assert!(job.details.contains("1 had not been there; 1 ended"), "{}", job.details);
    create(&bench, "new").await.unwrap();
    let bench = bench.restart().await;
    assert!(read(&bench, "new").is_some());
}

#[tokio::test]
async fn backups_of_one_second_lie_beside_each_other() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    let mut folders = std::collections::BTreeSet::new();
    // By chance alone thirty of a hundred names would be different once in 128 times.
    for _ in 0..30 {
        assert!(folders.insert(back_up(&bench, &shelf).await), "{folders:?}");
    }
    let bench = bench.restart().await;
    assert!(folders.insert(back_up(&bench, &shelf).await), "jobs outlive a restart");
}

#[tokio::test]
async fn nothing_altered_cut_missing_or_swapped_is_restored() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    bench.make("a", EC).await;
    let folder = back_up(&bench, &shelf).await;
    let elsewhere = back_up(&bench, &shelf).await;
    let (part, manifest) = (format!("{folder}/part-000000"), format!("{folder}/manifest"));
    assert_eq!(shelf.names().len(), 4, "{:?}", shelf.names());
    for name in [&part, &manifest] {
        let whole = shelf.get(name);
        let step = (whole.len() / 40).max(1);
        for position in (0..whole.len()).step_by(step).chain([whole.len() - 1]) {
            let mut altered = whole.clone();
            altered[position] ^= 1;
            shelf.set(name, Some(altered));
            refused(&bench, &shelf, &folder).await;
            shelf.set(name, Some(whole[..position].to_vec()));
            refused(&bench, &shelf, &folder).await;
        }
        shelf.set(name, None);
        let gone = refused(&bench, &shelf, &folder).await;
        assert!(matches!(gone, JobFailure::Transfer(TransferError::NotFound(_))), "{gone}");
        // From another backup of the same HSM: genuine, and not of this set.
        let object = name.rsplit('/').next().unwrap();
        shelf.set(name, Some(shelf.get(&format!("{elsewhere}/{object}"))));
        refused(&bench, &shelf, &folder).await;
        shelf.set(name, Some(whole));
    }
    let moved = "mhsm-dev-2026";
    for object in ["part-000000", "manifest"] {
        shelf.set(&format!("{moved}/{object}"), Some(shelf.get(&format!("{folder}/{object}"))));
    }
    let failure = refused(&bench, &shelf, moved).await;
    assert!(failure.to_string().contains("another folder"), "{failure}");
    let (_, job, _) = restore(bench, ROOT, &shelf, &folder).await;
    assert_eq!(job.state, JobState::Succeeded, "the control");
}

#[tokio::test]
async fn a_restore_that_fails_at_any_step_leaves_everything_as_it_was() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    for key in 0..100 {
        bench.make(&format!("k{key}"), EC).await;
    }
    let folder = back_up(&bench, &shelf).await;
    let beside = Beside::default();
    // Its first commit is the new head.
    let mut steps = 1;
    // The store aside refuses each of its commits in turn.
    loop {
        *beside.commits.lock().unwrap() = Some(steps);
        let (begun, prepared) = prepare(&bench, ROOT, &shelf, &beside, &folder).await;
        match prepared {
            Ok(prepared) => {
                drop(prepared);
                bench.hsm.end_job(begun, Ok(Done::default())).await;
                break;
            }
            Err(failure) => {
                assert!(matches!(failure, JobFailure::Store(_)), "{failure}");
                assert!(beside.store.lock().unwrap().is_none());
                bench.hsm.end_job(begun, Err(failure)).await;
            }
        }
        assert!(!bench.hsm.is_restoring());
        create(&bench, "alive").await.unwrap();
        steps += 1;
    }
    assert!(steps >= 4, "{steps} steps were tried");
    // The target fails.
    for asked in 1..3 {
        shelf.asked.store(0, Ordering::SeqCst);
        shelf.refuse_at.store(asked, Ordering::SeqCst);
        let (begun, prepared) = prepare(&bench, ROOT, &shelf, &beside, &folder).await;
        assert!(matches!(prepared, Err(JobFailure::Transfer(TransferError::Refused(_)))));
        drop(prepared);
        bench.hsm.end_job(begun, Ok(Done::default())).await;
    }
    shelf.refuse_at.store(0, Ordering::SeqCst);
    // The decision itself cannot be made durable.
    *beside.commits.lock().unwrap() = None;
    let (begun, prepared) = prepare(&bench, ROOT, &shelf, &beside, &folder).await;
    beside.refuse_to_take.store(true, Ordering::SeqCst);
    let failed = bench.hsm.switch(prepared.unwrap(), &bench.intent().await, &beside).await;
    assert!(matches!(failed, Err(JobFailure::Store(_))));
    bench.hsm.end_job(begun, failed.map(|()| Done::default())).await;
    assert!(!bench.hsm.is_restoring());
    create(&bench, "alive").await.unwrap();
    let bench = bench.restart().await;
    assert!(read(&bench, "k7").is_some() && read(&bench, "alive").is_some());
}

#[tokio::test]
async fn nothing_is_changed_while_a_restore_is_under_way() {
    let (bench, shelf) = (Bench::new().await, Arc::new(Shelf::default()));
    bench.make("a", EC).await;
    let folder = back_up(&bench, &shelf).await;
    let gate = shelf.gate.lock().await;
    let permit = bench.permit::<act::RestoreStart>(ROOT, "/");
    let intent = bench.intent().await;
    let begun = bench.hsm.begin_restore(&permit, &intent, &target(), &folder).await.unwrap();
    let busy = begin_backup(&bench).await;
    assert!(matches!(busy, Err(StartRefusal::Busy(id)) if id == begun.job().id));
    let beside = Beside::default();
    let preparing = bench.hsm.prepare_restore(&permit, &begun, &*shelf, &beside);
    let meanwhile = async {
        while !bench.hsm.is_restoring() {
            tokio::task::yield_now().await;
        }
        let refused = create(&bench, "b").await;
        assert!(matches!(refused, Err(CreateRefusal::Commit(CommitRefusal::Restoring))));
        assert_eq!(bench.hsm.job(&begun.job().id, false).unwrap().state, JobState::InProgress);
        drop(gate);
    };
    let (prepared, ()) = tokio::join!(preparing, meanwhile);
    drop(prepared.unwrap());
    assert!(read(&bench, "b").is_none());
    create(&bench, "b").await.unwrap();
}

#[tokio::test]
async fn a_job_that_died_is_seen_as_interrupted_and_blocks_nothing() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    let begun = begin_backup(&bench).await.unwrap();
    let id = begun.job().id.clone();
    let bench = bench.restart().await;
    let job = bench.hsm.job(&id, true).unwrap();
    assert!(matches!(job.state, JobState::Failed { code, .. } if code == "Interrupted"));
    assert!(bench.hsm.job(&id, false).is_none(), "it is no restore");
    back_up(&bench, &shelf).await;
}

#[tokio::test]
async fn a_set_without_its_manifest_is_no_backup() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    bench.make("a", EC).await;
    shelf.refuse_at.store(2, Ordering::SeqCst);
    let begun = begin_backup(&bench).await.unwrap();
    let permit = bench.permit::<act::BackupStart>(ROOT, "/");
    let done = bench.hsm.back_up(&permit, &begun, &shelf).await;
    assert!(matches!(done, Err(JobFailure::Transfer(_))));
    let job = bench.hsm.end_job(begun, done).await;
    assert_eq!((job.folder, shelf.names().len()), (None, 1));
    shelf.refuse_at.store(0, Ordering::SeqCst);
    let name = shelf.names().pop().unwrap();
    let failure = refused(&bench, &shelf, name.split('/').next().unwrap()).await;
    assert!(matches!(failure, JobFailure::Transfer(TransferError::NotFound(_))));
}

#[tokio::test]
async fn purge_protection_is_stronger_than_a_restore() {
    let bench = Bench::with(Settings { purge_protection: true, ..settings() }).await;
    let shelf = Shelf::default();
    bench.make("a", EC).await;
    let folder = back_up(&bench, &shelf).await;
    bench.make("a", EC).await;
    let failure = refused(&bench, &shelf, &folder).await;
    assert!(matches!(failure, JobFailure::WouldPurge(1)), "{failure}");
    bench.make("b", EC).await;
    let permit = bench.permit::<act::KeysDelete>(ROOT, "/keys/b");
    bench.hsm.delete_key(&permit, &bench.intent().await).await.unwrap();
    assert!(matches!(refused(&bench, &shelf, &folder).await, JobFailure::WouldPurge(2)));
    let folder = back_up(&bench, &shelf).await;
    let (bench, ..) = restore(bench, ROOT, &shelf, &folder).await;
    let permit = bench.permit::<act::DeletedKeysRead>(ROOT, "/keys/b");
    assert!(bench.hsm.deleted_key(&permit).is_ok(), "deleted keys are part of it");
}

#[tokio::test]
async fn one_key_comes_back_from_a_full_backup_and_overwrites_none() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    bench.make("a", EC).await;
    let made = bench.make("a", EC).await;
    bench.make("b", EC).await;
    let folder = back_up(&bench, &shelf).await;
    let one = async |bench: &Bench, key: &str| {
        let permit = bench.permit::<act::RestoreStart>(ROOT, &format!("/keys/{key}"));
        let intent = bench.intent().await;
        let begun = bench.hsm.begin_key_restore(&permit, &intent, &target(), &folder).await;
        let begun = begun.unwrap();
        let done = bench.hsm.restore_key_from(&permit, &begun, &shelf).await;
        bench.hsm.end_job(begun, done).await
    };
    let nothing = "Number of successful key versions restored: 0, Number of key versions could \
                   not overwrite: 2";
    let job = one(&bench, "a").await;
    assert_eq!((job.state, job.details.as_str()), (JobState::Succeeded, nothing));
    let permit = bench.permit::<act::KeysDelete>(ROOT, "/keys/a");
    bench.hsm.delete_key(&permit, &bench.intent().await).await.unwrap();
    assert_eq!(one(&bench, "a").await.details, nothing, "deleted is not purged");
    let permit = bench.permit::<act::DeletedKeysPurge>(ROOT, "/keys/a");
    bench.hsm.purge_key(&permit, &bench.intent().await).await.unwrap();
    let job = one(&bench, "A").await;
    assert_eq!(
        job.details,
        "Number of successful key versions restored: 2, Number of key versions could not \
         overwrite: 0"
    );
    assert_eq!(read(&bench, "a").unwrap().key, made.key);
    for none in ["c", "aa", "0"] {
        let job = one(&bench, none).await;
        assert!(matches!(job.state, JobState::Failed { code, .. } if code == "KeyNotFound"));
    }
}

#[tokio::test]
async fn checks_change_nothing_and_find_what_is_wrong() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    bench.make("a", EC).await;
    let folder = back_up(&bench, &shelf).await;
    let before = shelf.names();
    let permit = bench.permit::<act::BackupStart>(ROOT, "/");
    let intent = bench.intent().await;
    let begun = bench.hsm.begin_backup_check(&permit, &intent, "dev", target()).await.unwrap();
    let done = bench.hsm.check_backup(&begun, &shelf).await;
    assert_eq!(bench.hsm.end_job(begun, done).await.state, JobState::Succeeded);
    assert_eq!(shelf.names(), before);
    let made = bench.hsm.begin_backup_check(&permit, &intent, "dev", target()).await.unwrap();
    shelf.is_immutable.store(true, Ordering::SeqCst);
    let done = bench.hsm.check_backup(&made, &shelf).await;
    let job = bench.hsm.end_job(made, done).await;
    assert_eq!(job.state, JobState::Succeeded, "an immutable target takes backups");
    assert!(job.details.contains("/probe stays there: no, it is kept"), "{}", job.details);
    shelf.is_immutable.store(false, Ordering::SeqCst);
    for (asked, what) in [(1, "puts nothing"), (2, "dies under way")] {
        shelf.asked.store(0, Ordering::SeqCst);
        shelf.refuse_at.store(asked, Ordering::SeqCst);
        let made = bench.hsm.begin_backup_check(&permit, &intent, "dev", target()).await.unwrap();
        let done = bench.hsm.check_backup(&made, &shelf).await;
        let job = bench.hsm.end_job(made, done).await;
        let failed = matches!(&job.state, JobState::Failed { message, .. } if message == "no");
        assert!(failed, "a target that {what}: {:?}", job.state);
    }
    shelf.refuse_at.store(0, Ordering::SeqCst);
    let check = async || {
        let permit = bench.permit::<act::RestoreStart>(ROOT, "/");
        let intent = bench.intent().await;
        let begun = bench.hsm.begin_restore_check(&permit, &intent, &target(), &folder).await;
        let begun = begun.unwrap();
        let done = bench.hsm.check_restore(&begun, &shelf).await;
        bench.hsm.end_job(begun, done).await
    };
    let job = check().await;
    assert_eq!(job.state, JobState::Succeeded);
    assert!(job.details.contains("1 keys with 1 versions"), "{}", job.details);
    let part = format!("{folder}/part-000000");
    let mut altered = shelf.get(&part);
    *altered.last_mut().unwrap() ^= 1;
    shelf.set(&part, Some(altered));
    let job = check().await;
    assert!(matches!(job.state, JobState::Failed { code, .. } if code == "BadBackup"));
}

#[tokio::test]
async fn a_version_that_is_still_here_goes_on_counting_where_it_is() {
    let (mut bench, shelf) = (Bench::new().await, Shelf::default());
    bench.make("o", oct()).await;
    let encrypt = async |bench: &Bench| {
        let permit = bench.permit::<act::KeysEncrypt>(ROOT, "/keys/o");
        let request = EncryptRequest {
            version: Selector::Latest,
            algorithm: CipherAlgorithm::AesGcm(OctSize::B256),
            plaintext: Secret::new(vec![1]),
            iv: None,
            aad: None,
            tag_given: false,
        };
        bench.hsm.encrypt(&permit, request, |_| {}).await.is_ok()
    };
    let folder = back_up(&bench, &shelf).await;
    for _ in 0..4_094 {
        assert!(encrypt(&bench).await);
        bench = bench.restart().await;
    }
    let (restored, ..) = restore(bench, ROOT, &shelf, &folder).await;
    bench = restored;
    // Two blocks are left of 4,096, whatever the backup says.
    for _ in 0..2 {
        assert!(encrypt(&bench).await);
        bench = bench.restart().await;
    }
    assert!(!encrypt(&bench).await);
}

#[tokio::test]
async fn a_permit_that_fell_sends_nothing_more() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    bench.make("a", EC).await;
    let keeper = Uuid::from_u128(91);
    let role = grant(&bench, keeper, "Backup User").await;
    let permit = bench.permit::<act::BackupStart>(keeper, "/");
    let intent = bench.intent().await;
    let begun = bench.hsm.begin_backup(&permit, &intent, "dev", target(), None).await.unwrap();
    take_away(&bench, role).await;
    let done = bench.hsm.back_up(&permit, &begun, &shelf).await;
    assert!(matches!(done, Err(JobFailure::NotAuthorized(_))));
    assert!(shelf.names().is_empty(), "{:?}", shelf.names());
    let job = bench.hsm.end_job(begun, done).await;
    assert!(job.folder.is_none());
}

#[tokio::test]
async fn a_permit_that_fell_restores_nothing() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    bench.make("a", EC).await;
    let restorer = Uuid::from_u128(90);
    let role = grant(&bench, restorer, "Restore User").await;
    let folder = back_up(&bench, &shelf).await;
    let permit = bench.permit::<act::RestoreStart>(restorer, "/");
    let intent = bench.intent().await;
    let begun = bench.hsm.begin_restore(&permit, &intent, &target(), &folder).await.unwrap();
    take_away(&bench, role).await;
    let prepared = bench.hsm.prepare_restore(&permit, &begun, &shelf, &Beside::default()).await;
    assert!(matches!(prepared, Err(JobFailure::NotAuthorized(_))));
}

#[tokio::test]
async fn keys_of_many_parts_are_all_there() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    let tags: BTreeMap<String, String> =
        (0..15).map(|tag| (format!("t{tag}"), "x".repeat(256))).collect();
    for key in 0..400 {
        let permit = bench.permit(ROOT, &format!("/keys/k{key}"));
        let tags = Tags::new(tags.clone()).unwrap();
        let attributes = NewAttributes::default();
        let request = CreateKey { spec: oct(), key_ops: None, attributes, tags };
        bench.hsm.create_key(&permit, &bench.intent().await, request).await.unwrap();
    }
    let folder = back_up(&bench, &shelf).await;
    assert!(shelf.names().len() >= 3, "{:?}", shelf.names());
    let (bench, ..) = restore(bench, ROOT, &shelf, &folder).await;
    for key in (0..400).step_by(37) {
        assert!(read(&bench, &format!("k{key}")).is_some());
    }
    // Parts in another order: each is genuine, and none is in its place.
    let (one, two) = (format!("{folder}/part-000000"), format!("{folder}/part-000001"));
    let (first, second) = (shelf.get(&one), shelf.get(&two));
    shelf.set(&one, Some(second));
    shelf.set(&two, Some(first));
    refused(&bench, &shelf, &folder).await;
}
