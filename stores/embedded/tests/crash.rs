//! `kill -9` in the midst of writes, again and again: every acknowledged change is there, none is
//! there in half, and the sequence that was acknowledged is the floor of the next opening.
//!
//! `CASEMATE_KILLS` sets how often. The child is this program itself, called with `child FOLDER`.

mod cipher;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path as FilePath;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use casemate_store_embedded::EmbeddedStore;
use casemate_store_port::{Change, Committed, Path, Record, SealedStore, Store, Write};
use casemate_test_kit::own_main;
use cipher::{IDENTITY, cipher};

const KILLS: u32 = 15;
const WRITERS: u64 = 8;
/// A round that acknowledges nothing for this long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    match arguments.as_slice() {
        [_, child, dir] if child == "child" => {
            runtime.block_on(write_for_ever(dir.as_ref()));
            ExitCode::SUCCESS
        }
        _ => own_main::run(&mut [("killed_again_and_again", &mut || {
            runtime.block_on(kill_again_and_again());
        })]),
    }
}

async fn open(dir: &FilePath, floor: Option<u64>) -> (SealedStore, Vec<Record>) {
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(dir).expect("the store opens"));
    SealedStore::open(store, cipher(), IDENTITY, floor).await.expect("everything fits the head")
}

/// Eight writers, each counting up two records together and telling each success.
async fn write_for_ever(dir: &FilePath) {
    let (store, records) = open(dir, None).await;
    let store = Arc::new(store);
    let counts = counts(&records);
    let writers = (0..WRITERS).map(|writer| {
        let store = Arc::clone(&store);
        let mut count = counts.get(&writer).copied().unwrap_or_default();
        tokio::spawn(async move {
            loop {
                count += 1;
                let outcome = store.commit(step(writer, count)).await.expect("it is written");
                let Committed::Done(generation) = outcome else { return };
                let line = format!("{writer} {count} {}\n", generation.0);
                std::io::stdout().lock().write_all(line.as_bytes()).expect("the parent listens");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("a writer goes on until it is killed");
    }
}

/// Both values in one change, and a record of the step's own; the step before it is removed.
fn step(writer: u64, count: u64) -> Change {
    let path = |name: &str| Path::new(format!("w/{writer}/{name}")).expect("a path");
    let value = || count.to_be_bytes().repeat(100);
    let writes = vec![
        Write::Put(path("one"), value()),
        Write::Put(path("two"), value()),
        Write::Put(path(&format!("step-{count}")), value()),
        Write::Delete(path(&format!("step-{}", count - 1))),
    ];
    Change { expect: Vec::new(), writes }
}

/// What each writer has written last. Fails if anything is there in half.
fn counts(records: &[Record]) -> HashMap<u64, u64> {
    let mut found: HashMap<u64, Vec<(&str, &Record)>> = HashMap::new();
    for record in records {
        let rest = record.path.as_str().strip_prefix("w/").expect("a writer's record");
        let (writer, name) = rest.split_once('/').expect("a writer's record");
        found.entry(writer.parse().expect("a number")).or_default().push((name, record));
    }
    found.into_iter().map(|(writer, records)| (writer, whole(writer, &records))).collect()
}

fn whole(writer: u64, records: &[(&str, &Record)]) -> u64 {
    let (_, first) = records.first().expect("a writer has records");
    let count = first.value.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes));
    let count = count.expect("a value is a count");
    let mut names: Vec<_> = records.iter().map(|(name, _)| (*name).to_owned()).collect();
    names.sort();
    assert_eq!(names, ["one".to_owned(), format!("step-{count}"), "two".to_owned()], "{writer}");
    for (name, record) in records {
        assert_eq!(record.value, count.to_be_bytes().repeat(100), "{writer} {name}");
        assert_eq!(record.generation, first.generation, "{writer} {name}");
    }
    count
}

async fn kill_again_and_again() {
    let kills = std::env::var("CASEMATE_KILLS").ok().and_then(|text| text.parse().ok());
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(dir.path()).expect("the store opens"));
    drop(SealedStore::create(store, cipher(), IDENTITY).await.expect("the head is created"));
    let mut acknowledged = Acknowledged::default();
    for round in 0..kills.unwrap_or(KILLS) {
        let before = acknowledged.total;
        kill_once(dir.path(), round, &mut acknowledged);
        assert!(acknowledged.total > before, "the round wrote nothing");
        let (_store, records) = open(dir.path(), Some(acknowledged.sequence)).await;
        let found = counts(&records);
        for (writer, told) in &acknowledged.counts {
            let there = found.get(writer).copied().unwrap_or_default();
            // One more may have been written without its answer being told.
            assert!(there == *told || there == told + 1, "{writer}: {there}, told {told}");
        }
        acknowledged.counts = found;
    }
    let text = format!("{} changes acknowledged, none lost\n", acknowledged.total);
    std::io::stdout().write_all(text.as_bytes()).expect("standard output");
}

#[derive(Default)]
struct Acknowledged {
    counts: HashMap<u64, u64>,
    sequence: u64,
    total: u64,
}

/// Starts the child, lets it write for a while, kills it, and notes what it had told.
fn kill_once(dir: &FilePath, round: u32, acknowledged: &mut Acknowledged) {
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new(program)
        .arg("child")
        .arg(dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let lines = listen(&mut child);
    let first = lines.recv_timeout(PATIENCE).expect("the child writes");
    // Moments spread over the first 200 ms after the first success, also in its very midst.
    let moment = Duration::from_micros(u64::from(round.wrapping_mul(2_654_435_761) % 200_000));
    let begun = Instant::now();
    let mut told = vec![first];
    while let Some(left) = moment.checked_sub(begun.elapsed()) {
        told.extend(lines.recv_timeout(left));
    }
    child.kill().expect("the child is killed");
    child.wait().expect("the child is gone");
    told.extend(lines.iter());
    for [writer, count, generation] in told {
        acknowledged.counts.insert(writer, count);
        acknowledged.sequence = acknowledged.sequence.max(generation);
        acknowledged.total += 1;
    }
}

/// The child's lines; one cut by its end is no answer.
fn listen(child: &mut Child) -> Receiver<[u64; 3]> {
    let output = child.stdout.take().expect("the child's output is piped");
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = String::new();
        while output.read_line(&mut line).is_ok_and(|bytes| bytes > 0) && line.ends_with('\n') {
            let numbers = line.split_whitespace().map(|text| text.parse().expect("a number"));
            let numbers: Vec<u64> = numbers.collect();
            let told = numbers.try_into().expect("three numbers");
            if sender.send(told).is_err() {
                return;
            }
            line.clear();
        }
    });
    receiver
}
