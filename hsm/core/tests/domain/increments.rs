//! Increments: what is restored is the HSM of the last one's moment, and no other chain than the
//! one that was made is taken.

use std::collections::BTreeMap;

use casemate_engine_port::{CipherAlgorithm, Curve, KeySpec, OctSize};
use casemate_hsm::backup::{Begun, Job, JobFailure, JobState, StartRefusal};
use casemate_hsm::keys::{EncryptRequest, NewAttributes, Selector, Tags, UpdateKey};
use casemate_hsm::rbac::act;
use uuid::Uuid;

use crate::backup_compare::Soft;
use crate::bench::{Bench, ROOT, oct, settings};
use crate::full_backup::{
    back_up, grant, may_sign, purge, read, refused, restore, sign, take_away, target, verifies,
};
use crate::shelf::Shelf;

const EC: KeySpec = KeySpec::Ec(Curve::P256);

async fn begin(bench: &Bench, base: &str) -> Result<Begun, StartRefusal> {
    let permit = bench.permit::<act::BackupStart>(ROOT, "/");
    let intent = bench.intent().await;
    bench.hsm.begin_backup(&permit, &intent, "dev", target(), Some(base)).await
}

async fn try_increment(bench: &Bench, shelf: &Shelf, base: &str) -> Job {
    bench.wait(1);
    let begun = begin(bench, base).await.unwrap();
    let permit = bench.permit::<act::BackupStart>(ROOT, "/");
    let done = bench.hsm.back_up(&permit, &begun, shelf).await;
    bench.hsm.end_job(begun, done).await
}

/// Makes an increment, and answers with its folder.
async fn increment(bench: &Bench, shelf: &Shelf, base: &str) -> String {
    let job = try_increment(bench, shelf, base).await;
    assert_eq!(job.state, JobState::Succeeded);
    job.folder.unwrap().rsplit('/').next().unwrap().to_owned()
}

async fn not_made(bench: &Bench, shelf: &Shelf, base: &str, why: &str) {
    let before = shelf.names();
    let job = try_increment(bench, shelf, base).await;
    let message = match job.state {
        JobState::Failed { message, .. } => message,
        JobState::InProgress | JobState::Succeeded => "it was made".to_owned(),
    };
    assert!(message.contains(why), "{why}: {message}");
    assert_eq!(shelf.names(), before, "nothing was sent");
}

async fn tag(bench: &Bench, key: &str, value: &str) {
    let permit = bench.permit::<act::KeysWrite>(ROOT, &format!("/keys/{key}"));
    let tags = Tags::new(BTreeMap::from([("t".to_owned(), value.to_owned())])).unwrap();
    let (version, attributes) = (Selector::Latest, NewAttributes::default());
    let update = UpdateKey { version, key_ops: None, attributes, tags: Some(tags) };
    bench.hsm.update_key(&permit, &bench.intent().await, update).await.unwrap();
}

async fn delete(bench: &Bench, key: &str) {
    let permit = bench.permit::<act::KeysDelete>(ROOT, &format!("/keys/{key}"));
    bench.hsm.delete_key(&permit, &bench.intent().await).await.unwrap();
}

fn bytes(shelf: &Shelf, folder: &str) -> usize {
    let of = |name: &String| name.starts_with(&format!("{folder}/"));
    shelf.names().iter().filter(|name| of(name)).map(|name| shelf.get(name).len()).sum()
}

/// Nothing differs between the restored HSM and the backup.
async fn is_as_its_backup(bench: &Bench, shelf: &Shelf, folder: &str) {
    let folder = target().existing(folder).unwrap();
    let compared = bench.hsm.compare(&folder, shelf, &Soft, (ROOT, false)).await.unwrap();
    assert_eq!(compared.differences, []);
    assert_eq!(compared.worked, compared.counts.versions);
}

#[tokio::test]
async fn a_chain_restores_what_there_was_at_its_end() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    for at in 0..30 {
        bench.make(&format!("same{at}"), EC).await;
    }
    for key in ["changed", "longer", "deleted", "gone", "again", "twice"] {
        bench.make(key, EC).await;
    }
    let (goes, comes) = (Uuid::from_u128(71), Uuid::from_u128(72));
    let removed = grant(&bench, goes, "Crypto User").await;
    let signed = sign(&bench, "same7").await;
    let full = back_up(&bench, &shelf).await;

    tag(&bench, "changed", "1").await;
    let longer = bench.make("longer", EC).await;
    purge(&bench, "gone").await;
    purge(&bench, "again").await;
    tag(&bench, "twice", "1").await;
    take_away(&bench, removed).await;
    grant(&bench, comes, "Crypto User").await;
    let first = increment(&bench, &shelf, &full).await;

    delete(&bench, "deleted").await;
    let again = bench.make("again", oct()).await;
    tag(&bench, "twice", "2").await;
    bench.make("new", EC).await;
    let second = increment(&bench, &shelf, &first).await;
    assert!(bytes(&shelf, &second) * 2 < bytes(&shelf, &full), "it holds less");

    let other = Bench::with_roles(settings(), &["Administrator"]).await;
    let (other, job, restored) = restore(other, ROOT, &shelf, &second).await;
    assert!(job.details.starts_with("36 keys"), "{}", job.details);
    let tag_of = |key: &str| read(&other, key).unwrap().item.tags.get("t").cloned();
    assert_eq!(tag_of("changed"), Some("1".to_owned()));
    assert_eq!(tag_of("twice"), Some("2".to_owned()));
    assert_eq!(read(&other, "longer").unwrap().key, longer.key);
    assert_eq!(read(&other, "again").unwrap().key, again.key, "the one made after the purge");
    assert!(read(&other, "gone").is_none(), "a purged key does not come back");
    assert!(read(&other, "deleted").is_none() && read(&other, "new").is_some());
    assert!(verifies(&other, "same7", signed).await);
    assert!(may_sign(&other, comes) && !may_sign(&other, goes), "rights are the last set's");
    assert!(restored.was_revived(comes) && !restored.was_revived(goes));
    is_as_its_backup(&other, &shelf, &second).await;

    // Each set of the chain is a backup of its own moment.
    let (other, ..) = restore(other, ROOT, &shelf, &first).await;
    assert!(read(&other, "again").is_none() && read(&other, "new").is_none());
    assert!(read(&other, "deleted").is_some());
    is_as_its_backup(&other, &shelf, &first).await;
    let (other, ..) = restore(other, ROOT, &shelf, &full).await;
    assert!(read(&other, "gone").is_some() && read(&other, "longer").unwrap().key != longer.key);
    is_as_its_backup(&other, &shelf, &full).await;
}

/// A chain of three, a full backup beside it, another increment on the second; and every object.
struct Sets {
    shelf: Shelf,
    full: String,
    first: String,
    second: String,
    other_full: String,
    sibling: String,
    genuine: Vec<(String, Vec<u8>)>,
}

impl Sets {
    async fn new(bench: &Bench) -> Self {
        let shelf = Shelf::default();
        bench.make("a", EC).await;
        let full = back_up(bench, &shelf).await;
        bench.wait(1);
        let other_full = back_up(bench, &shelf).await;
        bench.make("b", EC).await;
        let first = increment(bench, &shelf, &full).await;
        bench.make("c", EC).await;
        let second = increment(bench, &shelf, &first).await;
        let sibling = increment(bench, &shelf, &first).await;
        let genuine = shelf.names().into_iter().map(|name| (name.clone(), shelf.get(&name)));
        let genuine = genuine.collect();
        Self { shelf, full, first, second, other_full, sibling, genuine }
    }

    /// Everything is as it was made.
    fn put_back(&self) {
        for name in self.shelf.names() {
            self.shelf.set(&name, None);
        }
        for (name, bytes) in &self.genuine {
            self.shelf.set(name, Some(bytes.clone()));
        }
    }

    /// One set lies in another one's place.
    fn put_in_place_of(&self, to: &str, from: &str) {
        let of = |set: &str, name: &str| name.starts_with(&format!("{set}/"));
        for (name, _) in self.genuine.iter().filter(|(name, _)| of(to, name)) {
            self.shelf.set(name, None);
        }
        for (name, bytes) in self.genuine.iter().filter(|(name, _)| of(from, name)) {
            self.shelf.set(&name.replace(from, to), Some(bytes.clone()));
        }
    }

    /// What the restore of the whole chain is refused with; then all is put back.
    async fn refused(&self, bench: &Bench) -> String {
        let failure = refused(bench, &self.shelf, &self.second).await;
        self.put_back();
        failure.to_string()
    }
}

#[tokio::test]
async fn every_object_of_a_chain_is_the_one_that_was_made() {
    let bench = Bench::new().await;
    let sets = Sets::new(&bench).await;
    for set in [&sets.full, &sets.first, &sets.second] {
        for object in ["manifest", "part-000000"] {
            let name = format!("{set}/{object}");
            let bytes = sets.shelf.get(&name);
            let mut altered = bytes.clone();
            altered[bytes.len() / 2] ^= 1;
            let genuine = |from: &String| Some(sets.shelf.get(&format!("{from}/{object}")));
            let cases = [
                None,
                Some(altered),
                Some(bytes[..bytes.len() - 1].to_vec()),
                genuine(&sets.other_full),
                genuine(&sets.sibling),
            ];
            for case in cases {
                sets.shelf.set(&name, case);
                sets.refused(&bench).await;
            }
        }
    }
    let (_, job, _) = restore(bench, ROOT, &sets.shelf, &sets.second).await;
    assert_eq!(job.state, JobState::Succeeded, "the control");
}

#[tokio::test]
async fn no_other_chain_than_the_one_that_was_made_is_taken() {
    let bench = Bench::new().await;
    let sets = Sets::new(&bench).await;
    let Sets { full, first, second, other_full, sibling, .. } = &sets;
    // In another order, one twice, the base of another chain.
    for (to, from) in [
        (full, first),
        (full, second),
        (full, other_full),
        (first, full),
        (first, second),
        (first, sibling),
        (second, first),
        (second, sibling),
    ] {
        sets.put_in_place_of(to, from);
        sets.refused(&bench).await;
    }
    for set in [full, first] {
        sets.shelf.set(&format!("{set}/manifest"), None);
        let text = sets.refused(&bench).await;
        assert!(text.contains("made on is not there") && text.starts_with(set.as_str()), "{text}");
    }
    sets.put_in_place_of(first, sibling);
    let text = sets.refused(&bench).await;
    assert!(text.contains("not the set that the increment was made on"), "{text}");
    let (_, job, _) = restore(bench, ROOT, &sets.shelf, second).await;
    assert_eq!(job.state, JobState::Succeeded, "the control");
}

#[tokio::test]
async fn an_increment_is_not_made_on_what_does_not_fit() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    bench.make("a", EC).await;
    let full = back_up(&bench, &shelf).await;
    let first = increment(&bench, &shelf, &full).await;
    for bad in ["", "..", "a b"] {
        assert!(matches!(begin(&bench, bad).await, Err(StartRefusal::Target(_))), "{bad:?}");
    }
    let elsewhere = begin(&bench, "below/mhsm-dev-1").await;
    assert!(matches!(elsewhere, Err(StartRefusal::Base(_))), "another container");
    not_made(&bench, &shelf, "mhsm-dev-1", "no object 'manifest'").await;

    let sister = Bench::in_hsm(9).await;
    sister.make("a", EC).await;
    not_made(&sister, &shelf, &full, "made by another HSM").await;
    let foreign = Bench::in_domain(crate::bench::DOMAIN + 1).await;
    not_made(&foreign, &shelf, &full, "another security domain").await;

    // On a chain that is broken nothing is made.
    let manifest = format!("{full}/manifest");
    let kept = shelf.get(&manifest);
    shelf.set(&manifest, None);
    not_made(&bench, &shelf, &first, "made on is not there").await;
    let mut altered = kept.clone();
    *altered.last_mut().unwrap() ^= 1;
    shelf.set(&manifest, Some(altered));
    not_made(&bench, &shelf, &first, "not the set that the increment was made on").await;
    not_made(&bench, &shelf, &full, "altered or cut off").await;
    shelf.set(&manifest, Some(kept));
    increment(&bench, &shelf, &first).await;
}

#[tokio::test]
async fn a_chain_has_an_end() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    bench.make("a", EC).await;
    let mut last = back_up(&bench, &shelf).await;
    for _ in 0..100 {
        last = increment(&bench, &shelf, &last).await;
    }
    not_made(&bench, &shelf, &last, "at most 100 increments").await;
    let (bench, ..) = restore(bench, ROOT, &shelf, &last).await;
    assert!(read(&bench, "a").is_some());
}

#[tokio::test]
async fn a_restore_in_between_is_part_of_the_next_increment() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    bench.make("a", EC).await;
    let full = back_up(&bench, &shelf).await;
    bench.make("later", EC).await;
    let (bench, ..) = restore(bench, ROOT, &shelf, &full).await;
    bench.make("after", EC).await;
    let next = increment(&bench, &shelf, &full).await;
    let (bench, ..) = restore(bench, ROOT, &shelf, &next).await;
    let there = |key: &str| read(&bench, key).is_some();
    assert!(there("a") && there("after") && !there("later"));
}

#[tokio::test]
async fn one_key_of_a_chain_comes_back_as_it_was_in_the_end() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    for key in ["a", "same", "gone"] {
        bench.make(key, EC).await;
    }
    let full = back_up(&bench, &shelf).await;
    tag(&bench, "a", "1").await;
    purge(&bench, "gone").await;
    let last = increment(&bench, &shelf, &full).await;
    let restored = async |key: &str| {
        let permit = bench.permit::<act::RestoreStart>(ROOT, &format!("/keys/{key}"));
        let intent = bench.intent().await;
        let begun = bench.hsm.begin_key_restore(&permit, &intent, &target(), &last).await.unwrap();
        let done = bench.hsm.restore_key_from(&permit, &begun, &shelf).await;
        let failure = done.as_ref().err().map(ToString::to_string);
        bench.hsm.end_job(begun, done).await;
        failure
    };
    for key in ["a", "same"] {
        purge(&bench, key).await;
        assert_eq!(restored(key).await, None);
    }
    assert_eq!(read(&bench, "a").unwrap().item.tags.get("t"), Some(&"1".to_owned()));
    assert!(read(&bench, "same").is_some());
    assert!(restored("gone").await.unwrap().contains("no key 'gone'"));
    assert!(read(&bench, "gone").is_none());
}

#[tokio::test]
async fn a_count_that_grew_is_a_change() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    bench.make("k", KeySpec::Oct(OctSize::B256)).await;
    let full = back_up(&bench, &shelf).await;
    let permit = bench.permit::<act::KeysEncrypt>(ROOT, "/keys/k");
    let algorithm = CipherAlgorithm::AesGcm(OctSize::B256);
    let request = EncryptRequest {
        version: Selector::Latest,
        algorithm,
        plaintext: casemate_engine_port::Secret::new(vec![0; 16]),
        iv: None,
        aad: None,
        tag_given: false,
    };
    bench.hsm.encrypt(&permit, request, |_| {}).await.unwrap();
    let job = try_increment(&bench, &shelf, &full).await;
    assert!(job.details.starts_with("1 keys with 1 versions were changed"), "{}", job.details);
    let none = job.folder.unwrap().rsplit('/').next().unwrap().to_owned();
    let job = try_increment(&bench, &shelf, &none).await;
    assert!(job.details.starts_with("0 keys with 0 versions were changed"), "{}", job.details);
}

#[tokio::test]
async fn a_release_that_knows_no_increments_refuses_them_by_their_format() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    bench.make("a", EC).await;
    let full = back_up(&bench, &shelf).await;
    let next = increment(&bench, &shelf, &full).await;
    let version = |folder: &str| shelf.get(&format!("{folder}/manifest"))[8];
    assert_eq!((version(&full), version(&next)), (1, 2));
    // Neither passes for the other: the version is authenticated.
    for (folder, other) in [(&full, 2), (&next, 1), (&next, 3)] {
        let name = format!("{folder}/manifest");
        let kept = shelf.get(&name);
        let mut altered = kept.clone();
        altered[8] = other;
        shelf.set(&name, Some(altered));
        let failure = refused(&bench, &shelf, folder).await;
        assert!(matches!(failure, JobFailure::Object { .. }), "{failure}");
        shelf.set(&name, Some(kept));
    }
}
