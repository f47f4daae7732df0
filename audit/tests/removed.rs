//! A log that is removed, replaced, cut or put back is noticed: while it is written, and at start.

#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

mod signed;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use casemate_audit::{Anchor, Append, Call, Phase, Record, Trail, TrailError, Verdict, verify};
use signed::{anchored, identity_key, log_key, open};

fn append(trail: &Trail) -> Append {
    trail.append(&Record {
        phase: Phase::Use,
        operation: "KeySign",
        call: &Call::default(),
        verdict: Verdict::Success,
        permit: None,
        key: None,
        intent: None,
    })
}

fn file(dir: &Path) -> PathBuf {
    dir.join("audit-00000000000000000001.jsonl")
}

/// A closed log of this many records, and what is remembered of it.
async fn written(dir: &Path, records: u64) -> Anchor {
    let trail = open(dir).unwrap();
    for _ in 0..records {
        append(&trail).await.unwrap();
    }
    trail.close();
    let anchor = trail.published().unwrap();
    assert_eq!((anchor.head.size, anchor.open_from), (records, records + 1));
    anchor
}

fn copied(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

type Harm = fn(&Path);

#[tokio::test]
async fn nothing_is_answered_that_lies_in_a_file_nobody_can_find() {
    let harms: [(&str, Harm); 3] = [
        ("unlinked", |dir| fs::remove_file(file(dir)).unwrap()),
        ("replaced", |dir| {
            fs::copy(file(dir), dir.join("other")).unwrap();
            fs::rename(dir.join("other"), file(dir)).unwrap();
        }),
        ("cut", |dir| {
            fs::OpenOptions::new().write(true).open(file(dir)).unwrap().set_len(10).unwrap();
        }),
    ];
    for (name, harm) in harms {
        let dir = tempfile::tempdir().unwrap();
        let trail = open(dir.path()).unwrap();
        append(&trail).await.unwrap();
        harm(dir.path());
        let refused = append(&trail).await.unwrap_err();
        assert!(matches!(refused, TrailError::Removed { .. }), "{name}: {refused}");
        assert!(matches!(trail.failure(), Some(TrailError::Removed { .. })));
        assert!(append(&trail).await.is_err());
    }
}

#[tokio::test]
async fn an_idle_trail_notices_too() {
    let dir = tempfile::tempdir().unwrap();
    let trail = open(dir.path()).unwrap();
    append(&trail).await.unwrap();
    fs::rename(file(dir.path()), dir.path().join("moved")).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while trail.failure().is_none() {
        assert!(Instant::now() < until, "not noticed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(matches!(trail.failure(), Some(TrailError::Removed { .. })));
}

#[tokio::test]
async fn a_log_with_fewer_records_than_are_remembered_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let anchor = written(dir.path(), 300).await;
    let older = tempfile::tempdir().unwrap();
    written(older.path(), 10).await;
    let text = fs::read_to_string(file(dir.path())).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let cut = tempfile::tempdir().unwrap();
    fs::write(file(cut.path()), lines[..299].concat()).unwrap();
    let empty = tempfile::tempdir().unwrap();
    for (folder, found) in [(&older, 10), (&cut, 299), (&empty, 0)] {
        match anchored(folder.path(), Some(anchor)) {
            Err(TrailError::Lost { expected: 300, found: there, .. }) => assert_eq!(there, found),
            other => panic!("{:?}", other.err()),
        }
    }
    assert!(!file(empty.path()).exists(), "nothing is begun in its place");
    // The checkpoint in the folder remembers as well, without any anchor.
    fs::write(file(dir.path()), lines[..200].concat()).unwrap();
    assert!(matches!(open(dir.path()), Err(TrailError::Lost { expected: 300, found: 200, .. })));
}

#[tokio::test]
async fn other_records_than_the_remembered_ones_do_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let anchor = written(dir.path(), 300).await;
    let text = fs::read_to_string(file(dir.path())).unwrap();
    // Behind the last full tile; what lies before it is found by a verification.
    let altered = {
        let at = text.rfind("KeySign").unwrap();
        let (before, after) = text.split_at(at);
        format!("{before}KeyHide{}", &after[7..])
    };
    fs::write(file(dir.path()), &altered).unwrap();
    assert!(matches!(
        anchored(dir.path(), Some(anchor)),
        Err(TrailError::Altered { size: 300, .. })
    ));
    fs::remove_dir_all(dir.path().join("tile")).unwrap();
    let early = text.replacen("KeySign", "KeyHide", 1);
    fs::write(file(dir.path()), early).unwrap();
    assert!(matches!(anchored(dir.path(), Some(anchor)), Err(TrailError::Altered { .. })));
    fs::write(file(dir.path()), &text).unwrap();
    assert!(anchored(dir.path(), Some(anchor)).is_ok(), "the untouched one opens again");
}

#[tokio::test]
async fn tiles_that_a_crash_took_are_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let anchor = written(dir.path(), 700).await;
    for harm in [None, Some(&b""[..]), Some(&[7; 8192][..])] {
        let tile = dir.path().join("tile/0/001");
        match harm {
            None => fs::remove_file(&tile).unwrap(),
            Some(bytes) => fs::write(&tile, bytes).unwrap(),
        }
        assert!(!verify::folder(dir.path(), Some(&log_key())).is_clean());
        anchored(dir.path(), Some(anchor)).unwrap().close();
        let report = verify::folder(dir.path(), Some(&identity_key()));
        assert!(report.is_clean(), "{:?}", report.findings);
    }
}

#[tokio::test]
async fn a_change_that_was_left_open_is_handed_out_once_it_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let kept = tempfile::tempdir().unwrap();
    let call = Call { request_uri: "/keys/a/create", consistency: 7, ..Call::default() };
    let intent = |phase, verdict| Record {
        phase,
        operation: "KeyCreate",
        call: &call,
        verdict,
        permit: None,
        key: None,
        intent: None,
    };
    let trail = open(dir.path()).unwrap();
    assert!(trail.take_left_open().is_empty());
    let closed = trail.append(&intent(Phase::Intent, Verdict::Pending)).await.unwrap();
    let outcome = Record { intent: Some(&closed), ..intent(Phase::Outcome, Verdict::Success) };
    trail.append(&outcome).await.unwrap();
    let left = trail.append(&intent(Phase::Intent, Verdict::Pending)).await.unwrap();
    trail.close();
    let anchor = trail.published().unwrap();
    assert_eq!(anchor.open_from, left.sequence());
    drop(trail);
    copied(dir.path(), kept.path());
    // Both by the anchor, and by reading everything.
    for (folder, anchor) in [(dir.path(), Some(anchor)), (kept.path(), None)] {
        let trail = anchored(folder, anchor).unwrap();
        let open = trail.take_left_open();
        let [found] = open.as_slice() else { panic!("{open:?}") };
        assert_eq!(found.recorded, left);
        assert_eq!((found.operation.as_str(), found.consistency), ("KeyCreate", 7));
        assert!(!found.contested && trail.take_left_open().is_empty());
        let done = Verdict::Resolved { done: Some(false), description: "was not done" };
        let outcome = Record { intent: Some(&found.recorded), ..intent(Phase::Outcome, done) };
        trail.append(&outcome).await.unwrap();
        trail.close();
        let anchor = trail.published();
        assert_eq!(anchor.unwrap().open_from, 5);
        drop(trail);
        assert!(anchored(folder, anchor).unwrap().take_left_open().is_empty());
    }
}

#[tokio::test]
async fn a_start_that_refuses_leaves_the_records_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let anchor = written(dir.path(), 20).await;
    let whole = fs::read(file(dir.path())).unwrap();
    for cut in [0, 10, whole.len() / 2, whole.len() - 1] {
        let left = [&whole[..cut], &b"torn\0\0"[..]].concat();
        fs::write(file(dir.path()), &left).unwrap();
        let refused = anchored(dir.path(), Some(anchor)).err();
        assert!(matches!(refused, Some(TrailError::Lost { .. })), "{refused:?}");
        assert_eq!(fs::read(file(dir.path())).unwrap(), left, "cut at {cut}");
    }
    let altered = whole.iter().map(|byte| if *byte == b'K' { b'L' } else { *byte });
    let altered: Vec<u8> = altered.chain(*b"torn").collect();
    fs::write(file(dir.path()), &altered).unwrap();
    let refused = anchored(dir.path(), Some(anchor)).err();
    assert!(matches!(refused, Some(TrailError::Altered { .. })), "{refused:?}");
    assert_eq!(fs::read(file(dir.path())).unwrap(), altered);
}
