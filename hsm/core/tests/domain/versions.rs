//! Versions, lists, updates, and what survives a restart.

use casemate_engine_port::{Curve, KeySpec};
use casemate_hsm::keys::{
    AttributesRefusal, CreateKey, CreateRefusal, FindRefusal, KeyOp, NewAttributes, Page, Selector,
    Tags, UpdateKey, UpdateRefusal,
};
use casemate_hsm::rbac::{Within, act};
use casemate_hsm::{CommitRefusal, UnixSeconds, VersionId};
use std::sync::atomic::Ordering;

use crate::bench::{Bench, ROOT, oct};

const EC: KeySpec = KeySpec::Ec(Curve::P256);

fn plain(spec: KeySpec) -> CreateKey {
    let attributes = NewAttributes::default();
    CreateKey { spec, key_ops: None, attributes, tags: Tags::default() }
}

#[tokio::test]
async fn a_second_creation_is_a_new_version_and_names_ignore_case() {
    let bench = Bench::new().await;
    let first = bench.make("Pay", EC).await;
    let second = bench.make("PAY", oct()).await;
    assert_ne!(first.key.version, second.key.version);
    assert_eq!(second.key.name.as_str(), "Pay", "shown as first created");
    let read = bench.permit::<act::KeysRead>(ROOT, "/keys/pay");
    assert_eq!(bench.hsm.key(&read, Selector::Latest).unwrap().key, second.key);
    let old = bench.hsm.key(&read, Selector::Exactly(first.key.version)).unwrap();
    assert_eq!(old.spec, EC);
    let none = VersionId::from_bytes([0; 16]);
    let refused = bench.hsm.key(&read, Selector::Exactly(none));
    assert!(matches!(refused, Err(FindRefusal::NoSuchVersion(..))));
}

#[tokio::test]
async fn everything_is_as_before_after_a_restart() {
    let bench = Bench::new().await;
    let first = bench.make("a", EC).await;
    let second = bench.make("a", EC).await;
    bench.make("b", oct()).await;
    let bench = bench.restart().await;
    let read = bench.permit::<act::KeysRead>(ROOT, "/keys/a");
    assert_eq!(bench.hsm.key(&read, Selector::Latest).unwrap().public, second.public);
    let old = bench.hsm.key(&read, Selector::Exactly(first.key.version)).unwrap();
    assert_eq!(old.public, first.public);
    let all = bench.permit::<Within<act::KeysRead>>(ROOT, "/keys");
    assert_eq!(bench.hsm.keys(&all, &Page { after: None, items_max: 25 }).items.len(), 2);
}

#[tokio::test]
async fn a_key_has_at_most_a_hundred_versions() {
    let bench = Bench::new().await;
    for _ in 0..100 {
        bench.make("a", oct()).await;
    }
    let permit = bench.permit(ROOT, "/keys/a");
    let refused = bench.hsm.create_key(&permit, &bench.intent().await, plain(oct())).await;
    assert!(matches!(refused, Err(CreateRefusal::TooManyVersions(_, 100))));
}

#[tokio::test]
async fn lists_come_in_pages_without_gap_or_repeat() {
    let bench = Bench::new().await;
    for number in 0..7 {
        bench.make(&format!("key-{number}"), oct()).await;
        bench.make("many", oct()).await;
    }
    let all = bench.permit::<Within<act::KeysRead>>(ROOT, "/keys");
    let many = bench.permit::<act::KeysRead>(ROOT, "/keys/many");
    let (mut keys, mut versions) = (Vec::new(), Vec::new());
    let mut page = Page { after: None, items_max: 3 };
    loop {
        let got = bench.hsm.keys(&all, &page);
        assert!(got.items.len() <= 3);
        keys.extend(got.items.into_iter().map(|item| item.name.to_string()));
        let Some(next) = got.next else { break };
        page.after = Some(next);
    }
    page.after = None;
    loop {
        let got = bench.hsm.key_versions(&many, &page).unwrap();
        versions.extend(got.items.into_iter().map(|item| item.version.unwrap()));
        let Some(next) = got.next else { break };
        page.after = Some(next);
    }
    assert_eq!(keys.len(), 8);
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 8);
    versions.sort();
    versions.dedup();
    assert_eq!(versions.len(), 7);
}

#[tokio::test]
async fn an_update_changes_what_it_names_and_nothing_else() {
    let bench = Bench::new().await;
    let made = bench.make("a", EC).await;
    let permit = bench.permit::<act::KeysWrite>(ROOT, "/keys/a");
    let tags = Tags::new([("team".to_owned(), "blue".to_owned())].into()).unwrap();
    let nothing = UpdateKey {
        version: Selector::Latest,
        key_ops: None,
        attributes: NewAttributes::default(),
        tags: None,
    };
    let tagged = UpdateKey { tags: Some(tags), ..nothing.clone() };
    bench.wait(5);
    let view = bench.hsm.update_key(&permit, &bench.intent().await, tagged).await.unwrap();
    assert_eq!(view.item.tags["team"], "blue");
    assert_eq!(view.key_ops, made.key_ops);
    assert_eq!(view.item.updated.0, made.item.updated.0 + 5);
    assert_eq!(view.item.created, made.item.created);
    let exp = NewAttributes { expires: Some(UnixSeconds(9_000_000_000)), ..Default::default() };
    let later = UpdateKey { attributes: exp, ..nothing.clone() };
    let view = bench.hsm.update_key(&permit, &bench.intent().await, later).await.unwrap();
    assert_eq!(view.item.tags["team"], "blue");
    let nbf = NewAttributes { not_before: Some(UnixSeconds(9_000_000_000)), ..Default::default() };
    let empty = UpdateKey { attributes: nbf, ..nothing.clone() };
    let refused = bench.hsm.update_key(&permit, &bench.intent().await, empty).await;
    let window = AttributesRefusal::EmptyWindow;
    assert!(matches!(refused, Err(UpdateRefusal::Attributes(why)) if why == window));
    let wrong = UpdateKey { key_ops: Some(vec![KeyOp::Encrypt]), ..nothing };
    let refused = bench.hsm.update_key(&permit, &bench.intent().await, wrong).await;
    assert!(matches!(refused, Err(UpdateRefusal::Attributes(_))));
}

#[tokio::test]
async fn a_full_store_changes_nothing_and_is_told() {
    let bench = Bench::new().await;
    bench.make("a", EC).await;
    bench.store.full.store(true, Ordering::SeqCst);
    let permit = bench.permit(ROOT, "/keys/b");
    let refused = bench.hsm.create_key(&permit, &bench.intent().await, plain(oct())).await;
    assert!(matches!(refused, Err(CreateRefusal::Commit(CommitRefusal::Store(_)))), "{refused:?}");
    let read = bench.permit::<act::KeysRead>(ROOT, "/keys/b");
    assert!(bench.hsm.key(&read, Selector::Latest).is_err());
    bench.store.full.store(false, Ordering::SeqCst);
    bench.make("b", oct()).await;
}
