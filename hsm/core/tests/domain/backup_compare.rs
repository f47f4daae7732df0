//! A restored HSM compared with a backup: what differs is named, and keys that do not work are.

use std::collections::BTreeMap;

use casemate_engine_port::{Curve, KeySpec, OctSize, PublicPart, RsaSize, SignAlgorithm};
use casemate_engine_soft::PublicKey;
use casemate_hsm::backup::{
    BackupCipher, Compared, Difference, JobFailure, MaterialFault, PublicVerifier, Target,
};
use casemate_hsm::keys::{NewAttributes, Selector, Tags, UpdateKey};
use casemate_hsm::rbac::act;
use ciborium::Value;
use uuid::Uuid;

use crate::bench::{Backups, Bench, DOMAIN, ROOT, settings};
use crate::full_backup::{back_up, grant, purge, restore, take_away};
use crate::shelf::Shelf;

const EC: KeySpec = KeySpec::Ec(Curve::P256);

/// Length of what stands before everything sealed, in bytes.
const ENVELOPE_BYTES: usize = 29;

/// Who administers the HSM that a backup is restored into.
const OWN: Uuid = ROOT;

pub(crate) struct Soft;

impl PublicVerifier for Soft {
    fn is_right(
        &self,
        spec: KeySpec,
        public: &PublicPart,
        algorithm: SignAlgorithm,
        digest: &[u8],
        signature: &[u8],
    ) -> bool {
        let key = PublicKey::from_part(spec, public).unwrap();
        key.verify(algorithm, digest, signature).unwrap()
    }
}

pub(crate) async fn compare(bench: &Bench, shelf: &Shelf, folder: &str, its: bool) -> Compared {
    let folder = Target::new("https://a.example/c", "sig=1").unwrap().existing(folder).unwrap();
    bench.hsm.compare(&folder, shelf, &Soft, (OWN, its)).await.unwrap()
}

/// A set with one of everything, and how many versions are in it.
async fn set(bench: &Bench, shelf: &Shelf) -> (String, u64) {
    let all: Vec<KeySpec> = [
        EC,
        KeySpec::Ec(Curve::P256K),
        KeySpec::Ec(Curve::P384),
        KeySpec::Ec(Curve::P521),
        KeySpec::Rsa(RsaSize::B2048),
        KeySpec::Oct(OctSize::B128),
        KeySpec::Oct(OctSize::B192),
        KeySpec::Oct(OctSize::B256),
    ]
    .to_vec();
    for (at, spec) in all.iter().enumerate() {
        bench.make(&format!("key{at}"), *spec).await;
    }
    bench.make("KEY0", EC).await;
    grant(bench, Uuid::from_u128(71), "Crypto User").await;
    (back_up(bench, shelf).await, u64::try_from(all.len()).unwrap() + 1)
}

#[tokio::test]
async fn a_restored_hsm_is_as_its_backup_says_and_every_version_works() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    let (folder, versions) = set(&bench, &shelf).await;
    let other = Bench::with_roles(settings(), &["Administrator"]).await;
    let (other, ..) = restore(other, ROOT, &shelf, &folder).await;
    let compared = compare(&other, &shelf, &folder, true).await;
    assert_eq!(compared.differences, []);
    assert_eq!((compared.worked, compared.counts.versions), (versions, versions));
    // The end of the job was stored after it.
    assert_eq!(compared.sequence + 1, bench.hsm.sequence());
}

#[tokio::test]
async fn whatever_differs_is_named() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    let (first, goes) = (Uuid::from_u128(71), Uuid::from_u128(72));
    for key in ["changed", "deleted", "gone", "longer"] {
        bench.make(key, EC).await;
    }
    grant(&bench, first, "Crypto User").await;
    let removed = grant(&bench, goes, "Crypto User").await;
    let before = back_up(&bench, &shelf).await;

    let permit = bench.permit::<act::KeysWrite>(ROOT, "/keys/changed");
    let tags = Tags::new(BTreeMap::from([("a".to_owned(), "b".to_owned())])).unwrap();
    let (version, attributes) = (Selector::Latest, NewAttributes::default());
    let update = UpdateKey { version, key_ops: None, attributes, tags: Some(tags) };
    bench.wait(1);
    bench.hsm.update_key(&permit, &bench.intent().await, update).await.unwrap();
    let permit = bench.permit::<act::KeysDelete>(ROOT, "/keys/deleted");
    bench.hsm.delete_key(&permit, &bench.intent().await).await.unwrap();
    purge(&bench, "gone").await;
    bench.make("longer", EC).await;
    bench.make("new", EC).await;
    take_away(&bench, removed).await;
    let added = grant(&bench, Uuid::from_u128(73), "Crypto User").await;
    let after = back_up(&bench, &shelf).await;

    let other = Bench::with_roles(settings(), &["Administrator"]).await;
    let (other, ..) = restore(other, ROOT, &shelf, &after).await;
    assert_eq!(compare(&other, &shelf, &after, true).await.differences, [], "the control");
    let found = compare(&other, &shelf, &before, false).await.differences;
    let says: Vec<String> = found.iter().map(ToString::to_string).collect();
    for expected in [
        "key 'changed', version ",
        "key 'deleted': whether it is deleted",
        "key 'gone': is not here",
        "key 'longer': which versions it has",
        "key 'longer', version ",
        "key 'new': is here, and the backup does not hold it",
        &format!("role assignment {removed}: is not here"),
        &format!("role assignment {added}: is here, and the backup does not hold it"),
    ] {
        assert!(says.iter().any(|text| text.starts_with(expected)), "{expected}: {says:#?}");
    }
    assert_eq!(found.len(), 8, "{says:#?}");
}

/// What one key's content is, to be forged.
type Forge = fn(&mut [Value]);

/// Opens a set with the domain's own key, changes its versions, and seals it again: what only a
/// fault of the HSM that made it could do.
fn forge(shelf: &Shelf, folder: &str, forge: Forge) {
    let cipher = Backups::of(DOMAIN, 1);
    let manifest = shelf.get(&format!("{folder}/manifest"));
    let (envelope, body) = manifest.split_at(ENVELOPE_BYTES);
    let manifest: Value =
        ciborium::from_reader(cipher.open(1, envelope, body).unwrap().as_slice()).unwrap();
    let set = member(&manifest, "set").as_bytes().unwrap().clone();
    let name = format!("{folder}/part-000000");
    let part = shelf.get(&name);
    let (envelope, body) = part.split_at(ENVELOPE_BYTES);
    let aad = [envelope, set.as_slice(), &0_u64.to_be_bytes()].concat();
    let opened = cipher.open(1, &aad, body).unwrap();
    let mut items: Vec<Value> = Vec::new();
    let mut rest = opened.as_slice();
    while let Some((length, more)) = rest.split_first_chunk::<4>() {
        let (item, after) = more.split_at(usize::try_from(u32::from_be_bytes(*length)).unwrap());
        items.push(ciborium::from_reader(item).unwrap());
        rest = after;
    }
    forge(&mut items);
    let mut forged = Vec::new();
    for item in items {
        let mut bytes = Vec::new();
        ciborium::into_writer(&item, &mut bytes).unwrap();
        forged.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
        forged.extend(bytes);
    }
    let sealed = cipher.seal(&aad, &forged).unwrap();
    shelf.set(&name, Some([envelope, sealed.as_slice()].concat()));
}

fn member<'a>(value: &'a Value, name: &str) -> &'a Value {
    let found = value.as_map().unwrap().iter().find(|(key, _)| key.as_text() == Some(name));
    &found.unwrap().1
}

fn member_mut<'a>(value: &'a mut Value, name: &str) -> &'a mut Value {
    let mut all = value.as_map_mut().unwrap().iter_mut();
    &mut all.find(|(key, _)| key.as_text() == Some(name)).unwrap().1
}

/// The only version of each key, in order.
fn versions(items: &mut [Value]) -> Vec<&mut Value> {
    let is_key = |item: &Value| item.as_map().unwrap()[0].0.as_text() == Some("Key");
    items
        .iter_mut()
        .filter(|item| is_key(item))
        .map(|item| &mut member_mut(member_mut(item, "Key"), "versions").as_array_mut().unwrap()[0])
        .collect()
}

fn swap(items: &mut [Value], what: &str) {
    let mut versions = versions(items);
    let first = member(versions[0], what).clone();
    let second = std::mem::replace(member_mut(versions[1], what), first);
    *member_mut(versions[0], what) = second;
}

#[tokio::test]
async fn a_key_that_does_not_work_is_named_though_its_set_is_genuine() {
    let faults: [(Forge, MaterialFault); 2] = [
        (|items| swap(items, "wrapped"), MaterialFault::Closed),
        (|items| swap(items, "public"), MaterialFault::OtherPublicPart),
    ];
    for (forgery, fault) in faults {
        let (bench, shelf) = (Bench::new().await, Shelf::default());
        for key in ["a", "b", "c"] {
            bench.make(key, EC).await;
        }
        let folder = back_up(&bench, &shelf).await;
        forge(&shelf, &folder, |_| {});
        let other = Bench::with_roles(settings(), &["Administrator"]).await;
        let (other, ..) = restore(other, ROOT, &shelf, &folder).await;
        assert_eq!(compare(&other, &shelf, &folder, true).await.differences, [], "the control");
        forge(&shelf, &folder, forgery);
        let (other, ..) = restore(other, ROOT, &shelf, &folder).await;
        let compared = compare(&other, &shelf, &folder, true).await;
        let faulty = |difference: &Difference| match difference {
            Difference::Material { name, fault: found, .. } => {
                assert_eq!(*found, fault);
                name.to_string()
            }
            other => panic!("{other}"),
        };
        let named: Vec<String> = compared.differences.iter().map(faulty).collect();
        assert_eq!((named, compared.worked), (vec!["a".to_owned(), "b".to_owned()], 1));
    }
}

#[tokio::test]
async fn what_does_not_open_is_not_compared() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    bench.make("a", EC).await;
    let folder = back_up(&bench, &shelf).await;
    let part = format!("{folder}/part-000000");
    let mut altered = shelf.get(&part);
    *altered.last_mut().unwrap() ^= 1;
    shelf.set(&part, Some(altered));
    let target = Target::new("https://a.example/c", "sig=1").unwrap().existing(&folder).unwrap();
    let refused = bench.hsm.compare(&target, &shelf, &Soft, (OWN, false)).await;
    assert!(matches!(refused, Err(JobFailure::Object { .. })));
}
