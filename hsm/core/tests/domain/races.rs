//! Many writers at once, and callers who go away.

use std::sync::Arc;

use casemate_engine_port::{Curve, KeySpec};
use casemate_hsm::keys::{CreateKey, NewAttributes, Page, Selector, Tags, UpdateKey};
use casemate_hsm::rbac::{Within, act};

use crate::bench::{Bench, ROOT, oct};

fn plain(spec: KeySpec) -> CreateKey {
    let attributes = NewAttributes::default();
    CreateKey { spec, key_ops: None, attributes, tags: Tags::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_creations_of_one_name_each_make_a_version() {
    let bench = Arc::new(Bench::new().await);
    let tasks: Vec<_> = (0..60)
        .map(|_| {
            let bench = Arc::clone(&bench);
            tokio::spawn(async move { bench.make("hot", oct()).await.key.version })
        })
        .collect();
    let mut made = Vec::new();
    for task in tasks {
        made.push(task.await.unwrap());
    }
    made.sort();
    let permit = bench.permit::<act::KeysRead>(ROOT, "/keys/hot");
    let page = bench.hsm.key_versions(&permit, &Page { after: None, items_max: 100 }).unwrap();
    let mut listed: Vec<_> = page.items.iter().map(|item| item.version.unwrap()).collect();
    listed.sort();
    assert_eq!(listed, made);
    let newest = bench.hsm.key(&permit, Selector::Latest).unwrap().key.version;
    assert_eq!(Some(newest), page.items.last().unwrap().version);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_updates_and_a_deletion_leave_one_truth() {
    let bench = Arc::new(Bench::new().await);
    bench.make("a", KeySpec::Ec(Curve::P256)).await;
    let tasks: Vec<_> = (0..40)
        .map(|number| {
            let bench = Arc::clone(&bench);
            tokio::spawn(async move {
                let permit = bench.permit::<act::KeysWrite>(ROOT, "/keys/a");
                let tags = [("n".to_owned(), number.to_string())].into();
                let request = UpdateKey {
                    version: Selector::Latest,
                    key_ops: None,
                    attributes: NewAttributes::default(),
                    tags: Some(Tags::new(tags).unwrap()),
                };
                bench.hsm.update_key(&permit, &bench.intent().await, request).await.is_ok()
            })
        })
        .collect();
    let permit = bench.permit::<act::KeysDelete>(ROOT, "/keys/a");
    bench.hsm.delete_key(&permit, &bench.intent().await).await.unwrap();
    for task in tasks {
        task.await.unwrap();
    }
    let Ok(bench) = Arc::try_unwrap(bench) else { unreachable!("all tasks have ended") };
    let read = bench.permit::<act::DeletedKeysRead>(ROOT, "/keys/a");
    let before = bench.hsm.deleted_key(&read).unwrap().item.tags;
    let bench = bench.restart().await;
    let read = bench.permit::<act::DeletedKeysRead>(ROOT, "/keys/a");
    assert_eq!(bench.hsm.deleted_key(&read).unwrap().item.tags, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_whose_caller_went_away_is_in_memory_as_in_the_store() {
    let bench = Bench::new().await;
    for number in 0..50_u64 {
        let permit = bench.permit(ROOT, &format!("/keys/k{number}"));
        let intent = bench.intent().await;
        let making = bench.hsm.create_key(&permit, &intent, plain(oct()));
        let _ = tokio::time::timeout(std::time::Duration::from_micros(number * 8), making).await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let names = |bench: &Bench| {
        let all = bench.permit::<Within<act::KeysRead>>(ROOT, "/keys");
        let page = bench.hsm.keys(&all, &Page { after: None, items_max: 100 });
        page.items.into_iter().map(|item| item.name.to_string()).collect::<Vec<_>>()
    };
    let seen = names(&bench);
    let bench = bench.restart().await;
    assert_eq!(names(&bench), seen);
    bench.make("after", oct()).await;
}
