//! A full disk: every record is refused, none is lost or half-written, and once there is space the
//! trail goes on. The limit on file sizes stands in for the disk; it holds for the whole process,
//! so this file has one test.

#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

use std::path::Path;

use casemate_audit::{Append, Call, Phase, Record, Trail, TrailError, Verdict};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};

mod signed;

const LIMIT_BYTES: u64 = 64 << 10;

/// The signal's default action would end the test. The trail's thread inherits what is blocked.
fn block_file_size_signal() {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGXFSZ);
    signals.thread_block().unwrap();
}

fn append(trail: &Trail) -> Append {
    trail.append(&Record {
        phase: Phase::Use,
        operation: "KeySign",
        call: &Call { request_uri: "/keys/a/b/sign", ..Call::default() },
        verdict: Verdict::Success,
        permit: None,
        key: None,
        intent: None,
    })
}

#[tokio::test]
async fn a_full_disk_refuses_until_there_is_space() {
    block_file_size_signal();
    let dir = tempfile::tempdir().unwrap();
    let trail = signed::open(dir.path()).unwrap();
    let (soft, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    setrlimit(Resource::RLIMIT_FSIZE, LIMIT_BYTES, hard).unwrap();

    let mut answered = 0;
    let refused = loop {
        match append(&trail).await {
            Ok(recorded) => answered = recorded.sequence(),
            Err(refused) => break refused,
        }
        assert!(answered < 10_000, "the limit is not reached");
    };
    assert!(matches!(&refused, TrailError::Full { .. }), "{refused:?}");
    assert!(refused.to_string().contains(&dir.path().display().to_string()));
    let many: Vec<Append> = (0..20).map(|_| append(&trail)).collect();
    for one in many {
        assert!(matches!(one.await, Err(TrailError::Full { .. })));
    }
    assert_eq!(whole_lines(dir.path()), answered, "what was refused is not there");

    setrlimit(Resource::RLIMIT_FSIZE, soft, hard).unwrap();
    for _ in 0..20 {
        answered += 1;
        assert_eq!(append(&trail).await.unwrap().sequence(), answered);
    }
    trail.close();
    assert_eq!(whole_lines(dir.path()), answered);
}

fn whole_lines(dir: &Path) -> u64 {
    let text = std::fs::read_to_string(dir.join("audit-00000000000000000001.jsonl")).unwrap();
    let mut number = 0;
    for line in text.trim_end_matches('\0').lines() {
        number += 1;
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(value["seq"], number);
    }
    number
}
