//! The trail across restarts, torn tails, damage, a full disk and many callers.

#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use casemate_audit::{Append, Call, Phase, Record, Trail, TrailError, Verdict};
use serde_json::Value;

mod signed;

use signed::open;

fn append(trail: &Trail, operation: &str) -> Append {
    trail.append(&Record {
        phase: Phase::Use,
        operation,
        call: &Call::default(),
        verdict: Verdict::Success,
        permit: None,
        key: None,
        intent: None,
    })
}

fn first_file(dir: &Path) -> PathBuf {
    dir.join("audit-00000000000000000001.jsonl")
}

fn lines(dir: &Path) -> Vec<Value> {
    let text = fs::read_to_string(first_file(dir)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_restart_continues_the_numbers() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let trail = open(dir.path()).unwrap();
        assert_eq!(append(&trail, "KeySign").await.unwrap().sequence(), 2 * round + 1);
        assert_eq!(append(&trail, "KeyGet").await.unwrap().sequence(), 2 * round + 2);
    }
    let numbers: Vec<u64> =
        lines(dir.path()).iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    let mode = fs::metadata(first_file(dir.path())).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_said() {
    let dir = tempfile::tempdir().unwrap();
    let torn: [&[u8]; 4] = [
        b"{\"seq\":2,\"time\":\"20",
        b"{\"seq\":2,\"ti\0\0\0\0\0\0\0\0e\":\"x\"}\n{\"seq\":3,}\n\0\0\0\0",
        b"\0\0\0\0\0garbage after a page that was never written}\n\0\0",
        b"{\"seq\":9,\"time\":\"not the next number\"}\n",
    ];
    for (round, tail) in torn.into_iter().enumerate() {
        let dir = dir.path().join(round.to_string());
        fs::create_dir(&dir).unwrap();
        append(&open(&dir).unwrap(), "KeySign").await.unwrap();
        let mut file = OpenOptions::new().append(true).open(first_file(&dir)).unwrap();
        file.write_all(tail).unwrap();
        let trail = open(&dir).unwrap();
        let next = append(&trail, "KeyGet").await.unwrap();
        assert_eq!(next.sequence(), 3, "the cut has the number of the torn record");
        trail.close();
        let lines = lines(&dir);
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[1]["operationName"], "AuditTailCut");
        assert_eq!(lines[1]["phase"], "service");
    }
}

#[tokio::test]
async fn zeros_set_aside_before_a_crash_are_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    append(&open(dir.path()).unwrap(), "KeySign").await.unwrap();
    let file = OpenOptions::new().append(true).open(first_file(dir.path())).unwrap();
    file.set_len(8 << 20).unwrap();
    let trail = open(dir.path()).unwrap();
    assert_eq!(append(&trail, "KeyGet").await.unwrap().sequence(), 2);
    trail.close();
    assert_eq!(lines(dir.path()).len(), 2);
}

#[tokio::test]
async fn damage_before_many_answered_lines_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    append(&open(dir.path()).unwrap(), "KeySign").await.unwrap();
    let mut file = OpenOptions::new().append(true).open(first_file(dir.path())).unwrap();
    file.write_all(b"{\"seq\":2,broken\n").unwrap();
    file.write_all(&vec![b'x'; 40 << 20]).unwrap();
    let Err(TrailError::Damaged { offset, .. }) = open(dir.path()) else {
        panic!("opened a damaged trail");
    };
    assert!(offset > 100);
}

#[tokio::test]
async fn a_second_writer_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let trail = open(dir.path()).unwrap();
    assert!(matches!(open(dir.path()), Err(TrailError::InUse { .. })));
    drop(trail);
    assert!(open(dir.path()).is_ok());
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(open(&dir.path().join("no")), Err(TrailError::Open { .. })));
}

#[tokio::test]
async fn a_closed_trail_takes_nothing_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let trail = open(dir.path()).unwrap();
    let waiting = append(&trail, "KeySign");
    trail.close();
    assert_eq!(waiting.await.unwrap().sequence(), 1);
    assert!(matches!(append(&trail, "KeyGet").await, Err(TrailError::Closed)));
    assert_eq!(lines(dir.path()).len(), 1);
}

#[tokio::test]
async fn a_record_is_written_though_nobody_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let trail = open(dir.path()).unwrap();
    drop(append(&trail, "KeySign"));
    drop(trail);
    assert_eq!(lines(dir.path()).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_records_stand_in_the_order_of_their_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let trail = open(dir.path()).unwrap();
    let tasks: Vec<_> = (0..64)
        .map(|task| {
            let trail = trail.clone();
            tokio::spawn(async move {
                let mut numbers = Vec::new();
                for _ in 0..50 {
                    let operation = format!("Task{task}");
                    let recorded = append(&trail, &operation).await.unwrap();
                    numbers.push((recorded.sequence(), operation));
                }
                numbers
            })
        })
        .collect();
    let mut answered = Vec::new();
    for task in tasks {
        answered.extend(task.await.unwrap());
    }
    trail.close();
    answered.sort();
    let lines = lines(dir.path());
    assert_eq!(lines.len(), answered.len());
    for (line, (number, operation)) in lines.iter().zip(answered) {
        assert_eq!(line["seq"], number);
        assert_eq!(line["operationName"], operation);
    }
}

#[tokio::test]
async fn the_memory_trail_keeps_lines_and_can_be_full() {
    let (trail, memory) = Trail::in_memory();
    assert_eq!(append(&trail, "KeySign").await.unwrap().sequence(), 1);
    memory.set_full(true);
    assert!(matches!(append(&trail, "KeySign").await, Err(TrailError::Full { .. })));
    memory.set_full(false);
    assert_eq!(append(&trail, "KeyGet").await.unwrap().sequence(), 2);
    assert_eq!(memory.count(), 2);
    let value: Value = serde_json::from_str(&memory.lines()[1]).unwrap();
    assert_eq!(value["operationName"], "KeyGet");
}
