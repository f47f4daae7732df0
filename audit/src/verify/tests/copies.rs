//! Copies: whole, from some record on, of several files, and whatever is done to them.

use std::time::{Duration, Instant};

use super::*;
use crate::{Frontier, consistency, frontier};

fn note(name: &str, text: String) -> String {
    serde_json::json!({ name: text }).to_string()
}

/// A sink's copy of a log, with notes where a courier would put them.
fn shipped(dir: &Path) -> Vec<String> {
    let reader = Reader::new(dir);
    let checkpoint = reader.checkpoint().unwrap().unwrap();
    let mut lines = vec![note("certificate", reader.certificate().unwrap().unwrap())];
    let mut cursor = reader.from(0);
    while let Some(entry) = cursor.next(checkpoint.head.size).unwrap() {
        lines.push(String::from_utf8(entry.bytes.to_vec()).unwrap());
    }
    lines.push(note("checkpoint", checkpoint.note));
    lines
}

fn frontier_line(dir: &Path, size: u64) -> String {
    note("frontier", frontier(dir, size).unwrap().text())
}

fn text_of(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Two files whose names are not in order.
fn in_files(lines: &[String]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let half = lines.len() / 2;
    for (name, part) in [("b.jsonl", &lines[..half]), ("a.jsonl", &lines[half..])] {
        fs::write(dir.path().join(name), text_of(part)).unwrap();
    }
    dir
}

fn copy_of(lines: &[String], trust: &VerifierKey) -> Report {
    copy(in_files(lines).path(), Some(trust))
}

fn lenient_copy_of(lines: &[String], terms: Terms<'_>) -> Report {
    copy(in_files(lines).path(), Terms { trust: Some(&log_key()), ..terms })
}

#[test]
fn a_copy_is_clean_also_when_records_came_twice() {
    let dir = written(300);
    let mut lines = shipped(dir.path());
    let report = copy_of(&lines, &log_key());
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!((report.records, report.head.unwrap().size), (300, 300));
    assert!(copy_of(&lines, &identity_key()).is_clean());
    let again: Vec<String> = lines[200..210].to_vec();
    lines.splice(210..210, again);
    let report = copy_of(&lines, &log_key());
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn a_copy_from_some_record_on_needs_the_frontier_before_it() {
    let dir = written(300);
    let lines = shipped(dir.path());
    for first in [2, 100, 255, 256, 257, 299, 300] {
        let later: Vec<String> = lines[..1].iter().chain(&lines[first..]).cloned().collect();
        let count = 301 - u64::try_from(first).unwrap();
        let report = copy_of(&later, &log_key());
        let [Finding::Untied { records, .. }] = report.findings[..] else {
            panic!("from {first} on: {:?}", report.findings)
        };
        assert_eq!((records, report.untied, report.head), (count, count, None));
        let untied = Terms { untied: true, ..Terms::default() };
        let report = lenient_copy_of(&later, untied);
        assert!(report.is_clean() && report.untied == count, "{:?}", report.findings);
        let mut tied = later.clone();
        tied.insert(1, frontier_line(dir.path(), u64::try_from(first).unwrap() - 1));
        let report = copy_of(&tied, &log_key());
        assert!(report.is_clean(), "from {first} on: {:?}", report.findings);
        assert_eq!((report.head.unwrap().size, report.untied, report.unsigned), (300, 0, 0));
        // With it, every alteration shows, whatever the asker puts up with.
        for at in 1..tied.len() {
            let mut altered = tied.clone();
            altered[at] = altered[at].replacen('1', "2", 1);
            let is_the_same = altered == tied;
            assert!(is_the_same || !lenient_copy_of(&altered, untied).is_clean(), "line {at}");
        }
    }
}

#[test]
fn a_forged_frontier_ties_nothing() {
    let dir = written(300);
    let lines = shipped(dir.path());
    let real = frontier(dir.path(), 99).unwrap().text();
    let parts: Vec<&str> = real.lines().collect();
    let swapped = format!("{}\n{}\n{}\n", parts[0], parts[2..].join("\n"), parts[1]);
    let (shorter, longer) = (frontier_line(dir.path(), 98), frontier_line(dir.path(), 100));
    for (forged, is_true_of_another_place) in [
        (shorter, true),
        (longer, true),
        (frontier_line(dir.path(), 97).replace("97", "99"), false),
        (note("frontier", swapped), false),
        (note("frontier", String::new()), false),
        (note("frontier", real.replacen("99", "099", 1)), false),
        ("{\"frontier\":99}".to_owned(), false),
        (note("frontier", real.clone()).replace('}', ",\"x\":1}"), false),
    ] {
        let mut copy: Vec<String> = lines[..1].iter().chain(&lines[100..]).cloned().collect();
        copy.insert(1, forged.clone());
        assert!(!copy_of(&copy, &log_key()).is_clean(), "{forged}");
        let mut whole = lines.clone();
        whole.insert(100, forged.clone());
        assert_eq!(copy_of(&whole, &log_key()).is_clean(), is_true_of_another_place, "{forged}");
    }
    assert!(Frontier::read(&real).is_some_and(|frontier| frontier.size() == 99));
}

#[test]
fn pieces_with_a_frontier_each_are_clean_alone_and_together() {
    let dir = written(300);
    let lines = shipped(dir.path());
    let (certificate, checkpoint) = (&lines[0], &lines[301]);
    let folder = tempfile::tempdir().unwrap();
    for (name, from, end) in [("c", 0, 120_usize), ("a", 120, 256), ("b", 256, 300)] {
        let mut piece = vec![frontier_line(dir.path(), from)];
        let from = usize::try_from(from).unwrap();
        piece.extend_from_slice(&lines[from + 1..=end]);
        piece.extend([certificate.clone(), checkpoint.clone()]);
        fs::write(folder.path().join(name), text_of(&piece)).unwrap();
    }
    let whole = copy(folder.path(), Some(&log_key()));
    assert!(whole.is_clean() && whole.records == 300, "{:?}", whole.findings);
    let last = copy(&folder.path().join("b"), Some(&log_key()));
    assert!(last.is_clean() && last.first == 256, "{:?}", last.findings);
    fs::remove_file(folder.path().join("a")).unwrap();
    let gap = copy(folder.path(), Some(&log_key()));
    assert!(matches!(gap.findings[..], [Finding::Gap { expected: 121, found: 257 }]));
    fs::remove_file(folder.path().join("c")).unwrap();
    assert!(copy(folder.path(), Some(&log_key())).is_clean(), "old files go");
}

fn proof_line(dir: &Path, old: u64, new: u64) -> String {
    note("consistency", consistency(dir, old, new).unwrap().text())
}

#[test]
fn a_piece_that_ends_before_a_checkpoint_is_joined_to_it_by_a_proof() {
    let dir = written(300);
    let lines = shipped(dir.path());
    let (certificate, checkpoint) = (lines[0].clone(), lines[301].clone());
    for (from, end) in [(0, 1), (0, 128), (7, 200), (255, 256), (256, 257), (100, 299), (7, 300)] {
        let at = |index: u64| usize::try_from(index).unwrap();
        let mut piece = vec![frontier_line(dir.path(), from)];
        piece.extend_from_slice(&lines[at(from) + 1..=at(end)]);
        piece.extend([certificate.clone(), checkpoint.clone()]);
        let without = copy_of(&piece, &log_key());
        let is_short = |one: &Finding| matches!(one, Finding::Short { expected: 300, .. });
        assert_eq!(without.findings.iter().any(is_short), end < 300, "{:?}", without.findings);
        piece.push(proof_line(dir.path(), end, 300));
        let report = copy_of(&piece, &log_key());
        assert!(report.is_clean(), "{from} to {end}: {:?}", report.findings);
        assert_eq!((report.head.unwrap().size, report.unsigned), (end, 0));
        assert!(copy_of(&piece, &identity_key()).is_clean());
        // With it, every alteration shows; and it is of this end and this root alone.
        for line in 0..piece.len() {
            let mut altered = piece.clone();
            altered[line] = altered[line].replacen('1', "2", 1);
            let is_the_same = altered == piece;
            assert!(is_the_same || !copy_of(&altered, &log_key()).is_clean(), "line {line}");
            altered = piece.clone();
            altered.remove(line);
            // With the very end signed, the proof says nothing more.
            let is_needless = (end == 300 && line == piece.len() - 1) || (from == 0 && line == 0);
            assert_eq!(copy_of(&altered, &log_key()).is_clean(), is_needless, "without {line}");
        }
    }
}

#[test]
fn a_proof_of_something_else_is_a_finding() {
    let (dir, other) = (written(300), written(200));
    let lines = shipped(dir.path());
    let whole = |proof: String| {
        let mut copy = lines.clone();
        copy.push(proof);
        copy_of(&copy, &log_key()).findings
    };
    assert!(whole(proof_line(dir.path(), 77, 300)).is_empty(), "true, and of no use here");
    let good = consistency(dir.path(), 77, 300).unwrap().text();
    for wrong in [
        proof_line(dir.path(), 77, 299),
        proof_line(other.path(), 77, 200),
        note("consistency", good.replacen("77", "78", 1)),
        note("consistency", good.replacen("300", "301", 1)),
        note("consistency", good.replace('\n', "\n\n")),
        note("consistency", String::new()),
        "{\"consistency\":77}".to_owned(),
        note("consistency", good.clone()).replace('}', ",\"x\":1}"),
    ] {
        let findings = whole(wrong.clone());
        assert!(matches!(findings[..], [Finding::Consistency]), "{wrong}: {findings:?}");
    }
    // A copy without the records that it ends at.
    let mut later = vec![lines[0].clone(), frontier_line(dir.path(), 100)];
    later.extend_from_slice(&lines[101..]);
    assert!(copy_of(&later, &log_key()).is_clean());
    for old in [77, 100] {
        let mut with = later.clone();
        with.push(proof_line(dir.path(), old, 300));
        assert!(matches!(copy_of(&with, &log_key()).findings[..], [Finding::Consistency]), "{old}");
    }
    for (old, new) in [(0, 1), (2, 1), (1, 301), (0, 0)] {
        assert!(consistency(dir.path(), old, new).is_err(), "{old} to {new}");
    }
}

#[test]
fn records_behind_the_last_checkpoint_are_vouched_for_by_nothing() {
    let (dir, older) = (written(300), written(200));
    let lines = shipped(dir.path());
    let early = shipped(older.path()).pop().unwrap();
    // The records are the same, so the older log's checkpoint holds for the newer one too.
    let mut forged = lines.clone();
    forged[301] = early;
    for line in &mut forged[201..301] {
        *line = line.replace("/keys/k", "/keys/x");
    }
    let report = copy_of(&forged, &log_key());
    assert!(matches!(report.findings[..], [Finding::Behind { records: 100 }]));
    assert_eq!((report.head.unwrap().size, report.unsigned), (200, 100));
    for (unsigned_max, clean) in [(0, false), (99, false), (100, true)] {
        let report = lenient_copy_of(&forged, Terms { unsigned_max, ..Terms::default() });
        assert_eq!(report.is_clean(), clean, "{unsigned_max}: {:?}", report.findings);
    }
    forged[200] = forged[200].replace("/keys/k", "/keys/x");
    let all = Terms { unsigned_max: u64::MAX, untied: true, ..Terms::default() };
    assert!(!lenient_copy_of(&forged, all).is_clean(), "what is signed is never forgiven");
}

#[test]
fn a_copy_that_was_cut_is_less_than_was_seen() {
    let (dir, older) = (written(300), written(200));
    let (lines, old) = (shipped(dir.path()), shipped(older.path()));
    let note = Reader::new(dir.path()).checkpoint().unwrap().unwrap().note;
    for seen in [Seen::Size(201), Seen::Note(note.clone())] {
        let terms = Terms { seen: Some(&seen), ..Terms::default() };
        assert!(lenient_copy_of(&lines, terms).is_clean());
        let report = lenient_copy_of(&old, terms);
        assert!(matches!(report.findings[..], [Finding::PutBack { found: 200, .. }]));
    }
    let text = format!("{ORIGIN}\n250\n{}\n", crate::hash_text(&[7; 32]));
    let another = Seen::Note(crate::sign(&text, &log_key(), &TestSigner::new(1)));
    let report = lenient_copy_of(&lines, Terms { seen: Some(&another), ..Terms::default() });
    assert!(matches!(report.findings[..], [Finding::NotSeen { size: 250 }]));
}

#[test]
fn whatever_is_done_to_a_copy_is_found() {
    let dir = written(40);
    let good = shipped(dir.path());
    for at in 0..good.len() {
        let mut dropped = good.clone();
        let line = dropped.remove(at);
        assert!(!copy_of(&dropped, &log_key()).is_clean(), "dropped {line}");
        let mut altered = good.clone();
        altered[at] = line.replacen('0', "1", 1);
        assert!(altered == good || !copy_of(&altered, &log_key()).is_clean(), "altered {line}");
        let mut cut = good.clone();
        cut[at].pop();
        assert!(!copy_of(&cut, &log_key()).is_clean(), "cut {line}");
        if (1..good.len() - 2).contains(&at) {
            let mut swapped = good.clone();
            swapped.swap(at, at + 1);
            assert!(!copy_of(&swapped, &log_key()).is_clean(), "swapped {line}");
        }
    }
    let report = copy_of(&good, &identity_key());
    assert!(report.is_clean());
    let stranger = VerifierKey::new(ORIGIN, TestSigner::new(7).public_key()).unwrap();
    assert!(!copy_of(&good, &stranger).is_clean());
}

#[test]
fn what_is_no_file_is_said_and_not_waited_for() {
    let dir = written(3);
    let copies = in_files(&shipped(dir.path()));
    let pipe = copies.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let begun = Instant::now();
    let no_file = |one: &Finding| {
        let Finding::Unreadable { source, .. } = one else { return false };
        source.to_string().contains("regular file")
    };
    for path in [&pipe, copies.path(), Path::new("/dev/zero")] {
        let report = copy(path, Some(&log_key()));
        assert!(report.findings.iter().any(no_file), "{}: {:?}", path.display(), report.findings);
    }
    fs::remove_file(&pipe).unwrap();
    assert!(copy(copies.path(), Some(&log_key())).is_clean());
    for (target, name) in [("/dev/zero", "endless"), ("a.jsonl", "link"), (".", "loop")] {
        let link = copies.path().join(name);
        std::os::unix::fs::symlink(target, &link).unwrap();
        let report = copy(copies.path(), Some(&log_key()));
        assert!(report.findings.iter().any(no_file), "{name}: {:?}", report.findings);
        fs::remove_file(&link).unwrap();
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "nothing was waited for");
    assert!(copy(&copies.path().join("none"), Some(&log_key())).findings.len() > 1);
}
