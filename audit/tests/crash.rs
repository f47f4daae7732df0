//! A writer killed at random moments loses nothing that it was told is durable.
//!
//! The test starts itself again as the writer: the child appends until it is killed, and prints
//! each number after its answer.

#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use casemate_audit::{Call, Phase, Record, Trail, Verdict};

mod signed;

const CHILD: &str = "CASEMATE_AUDIT_TEST_DIR";
const ROUNDS: u64 = 12;
const TASKS: u64 = 8;

#[test]
fn every_answered_record_survives_kill_9_in_order_and_without_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let mut answered = 0;
    for round in 0..ROUNDS {
        let last = run_and_kill(dir.path(), Duration::from_millis(15 + 37 * round % 90));
        answered = answered.max(last);
        let present = lines(dir.path());
        assert!(present >= answered, "answered {answered}, present {present}");
    }
    assert!(answered > 100, "the writer was killed before it did anything: {answered}");
}

/// Not a test of its own: the child's part, entered only with the variable set.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let trail = signed::open(Path::new(&dir)).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..TASKS).map(|_| tokio::spawn(forever(trail.clone()))).collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

async fn forever(trail: Trail) {
    loop {
        let recorded = trail
            .append(&Record {
                phase: Phase::Use,
                operation: "KeySign",
                call: &Call::default(),
                verdict: Verdict::Success,
                permit: None,
                key: None,
                intent: None,
            })
            .await
            .unwrap();
        let line = format!("\nanswered {}\n", recorded.sequence());
        std::io::stdout().write_all(line.as_bytes()).unwrap();
    }
}

/// Returns the highest number that was answered.
fn run_and_kill(dir: &Path, after: Duration) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        let numbers = out.lines().map_while(Result::ok);
        let numbers = numbers.filter_map(|line| line.strip_prefix("answered ")?.parse().ok());
        numbers.max().unwrap_or(0)
    });
    std::thread::sleep(Duration::from_millis(60) + after);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

/// Opens the trail as a restart does, checks every line and returns the highest number.
fn lines(dir: &Path) -> u64 {
    let trail = signed::open(dir).unwrap();
    let next = trail.next_sequence();
    trail.close();
    let text = std::fs::read_to_string(dir.join("audit-00000000000000000001.jsonl")).unwrap();
    let mut expected = 1;
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(value["seq"], expected);
        expected += 1;
    }
    assert_eq!(expected, next);
    next - 1
}
