//! Durable changes per second, alone and with 64 at once, for the plain and the sealed store.
//! `cargo run --release -p casemate-store-embedded --example figures [FOLDER]`

#[path = "../tests/cipher/mod.rs"]
mod cipher;

use std::io::Write as _;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::{Duration, Instant};

use casemate_store_embedded::EmbeddedStore;
use casemate_store_port::{
    BoxFuture, Change, Committed, Outcome, Path, SealedStore, Store, Transaction, Write,
};
use cipher::{IDENTITY, cipher};

const RECORDS: u32 = 20_000;
const VALUE_BYTES: usize = 1_500;
const RUN: Duration = Duration::from_secs(3);
const ROUNDS: usize = 3;

/// One durable write of one record.
type Act = Arc<dyn Fn(u32) -> BoxFuture<'static, ()> + Send + Sync>;

#[tokio::main(worker_threads = 2)]
async fn main() {
    let parent = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let dir = tempfile::tempdir_in(parent).expect("a folder");
    let mut out = std::io::stdout();
    writeln!(out, "{RECORDS} records of {VALUE_BYTES} bytes, changes per second and p50/p99 in ms")
        .expect("standard output");
    for (name, act) in [("plain", plain(dir.path())), ("sealed", sealed(dir.path()).await)] {
        for writers in [1, 64] {
            for _ in 0..ROUNDS {
                let (rate, p50, p99) = measure(&act, writers).await;
                writeln!(out, "{name:6} {writers:2} writers {rate:6}/s {p50:.2}/{p99:.2}")
                    .expect("standard output");
            }
        }
    }
    let begun = Instant::now();
    let sealed = dir.path().join("sealed");
    // The stores above are closed: each went with its act.
    let store = embedded(&sealed);
    let opened = begun.elapsed();
    let (_, records) = SealedStore::open(store, cipher(), IDENTITY, None).await.expect("it opens");
    let text = format!(
        "{} records opened in {opened:?}, verified in {:?}\n",
        records.len(),
        begun.elapsed()
    );
    out.write_all(text.as_bytes()).expect("standard output");
}

fn embedded(dir: &FilePath) -> Arc<dyn Store> {
    std::fs::create_dir_all(dir).expect("a folder");
    Arc::new(EmbeddedStore::open(dir).expect("the store opens"))
}

fn write(record: u32) -> Write {
    let path = Path::new(format!("keys/k{:05}", record % RECORDS)).expect("a path");
    let mut value = vec![0; VALUE_BYTES];
    value
        .iter_mut()
        .zip(record.to_be_bytes().into_iter().cycle())
        .for_each(|(to, from)| *to = from);
    Write::Put(path, value)
}

fn plain(dir: &FilePath) -> Act {
    let store = embedded(&dir.join("plain"));
    Arc::new(move |record| {
        let store = Arc::clone(&store);
        Box::pin(async move {
            let transaction = Transaction { expect: Vec::new(), writes: vec![write(record)] };
            let outcome = store.commit(transaction).await;
            assert!(matches!(outcome, Ok(Outcome::Committed(_))), "{outcome:?}");
        })
    })
}

async fn sealed(dir: &FilePath) -> Act {
    let store = embedded(&dir.join("sealed"));
    let store = SealedStore::create(store, cipher(), IDENTITY).await.expect("a head");
    let store = Arc::new(store);
    for first in (0..RECORDS).step_by(60) {
        let writes = (first..RECORDS.min(first + 60)).map(write).collect();
        store.commit(Change { expect: Vec::new(), writes }).await.expect("it is written");
    }
    Arc::new(move |record| {
        let store = Arc::clone(&store);
        Box::pin(async move {
            let change = Change { expect: Vec::new(), writes: vec![write(record)] };
            let outcome = store.commit(change).await;
            assert!(matches!(outcome, Ok(Committed::Done(_))), "{outcome:?}");
        })
    })
}

async fn measure(act: &Act, writers: u32) -> (u128, f64, f64) {
    let begun = Instant::now();
    let tasks = (0..writers).map(|writer| {
        let act = Arc::clone(act);
        tokio::spawn(async move {
            let mut times = Vec::new();
            let mut record = writer.wrapping_mul(7_919);
            while begun.elapsed() < RUN {
                let start = Instant::now();
                act(record).await;
                times.push(start.elapsed());
                record = record.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            }
            times
        })
    });
    let mut times = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        times.extend(task.await.expect("a writer goes on"));
    }
    let elapsed = begun.elapsed();
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    let count = u128::try_from(times.len()).expect("a count");
    let rate = count * 1_000 / elapsed.as_millis().max(1);
    (rate, at(50).as_secs_f64() * 1e3, at(99).as_secs_f64() * 1e3)
}
