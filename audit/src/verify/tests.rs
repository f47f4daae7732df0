//! Whatever is done to a log or a copy of it, is found: all on a small one, much on a larger.
//!
//! `CASEMATE_TAMPER` says how many random changes are tried (default 400), `CASEMATE_SEED` which.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::testing::{TestSigner, anchored};
use crate::{Call, Ledger, Origin, Phase, Reader, Record, Signer, Trail, certify, recover};

mod copies;

const ORIGIN: &str = "casemate/audit/dev/00/11";
/// So small that a log of a few hundred records has several files.
const FILE_BYTES: u64 = 40_000;

fn log_key() -> VerifierKey {
    VerifierKey::new(ORIGIN, TestSigner::new(1).public_key()).unwrap()
}

fn identity_key() -> VerifierKey {
    VerifierKey::new("casemate/hsm/dev/00", TestSigner::new(2).public_key()).unwrap()
}

fn ledger() -> Ledger {
    let identity = identity_key();
    let certificate = certify(&log_key(), "dev 00", "1767225600", &identity, &TestSigner::new(2));
    Ledger::new(ORIGIN, Arc::new(TestSigner::new(1)), certificate, None).unwrap()
}

fn append(trail: &Trail, number: u64) {
    let uri = format!("/keys/k{number}");
    let append = trail.append(&Record {
        phase: Phase::Use,
        operation: "KeyGet",
        call: &Call { request_uri: &uri, ..Call::default() },
        verdict: crate::Verdict::Success,
        permit: None,
        key: None,
        intent: None,
    });
    drop(append);
}

/// A log that was closed.
fn written(records: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut recovered = recover::open(dir.path(), ledger()).unwrap();
    recovered.log.file.file_bytes_max = FILE_BYTES;
    let trail =
        Trail::continued(dir.path(), recovered, &Origin::default(), Arc::new(|| 0)).unwrap();
    for number in 0..records {
        append(&trail, number);
        if number % 50 == 49 {
            while trail.durable() <= number {
                std::thread::yield_now();
            }
        }
    }
    trail.close();
    dir
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if fs::metadata(&path).unwrap().len() > 0 {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn is_of_records(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "jsonl")
}

fn is_clean(dir: &Path) -> bool {
    folder(dir, Some(&log_key())).is_clean()
}

/// A sequence that repeats.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let seed = std::env::var("CASEMATE_SEED").ok().and_then(|text| text.parse().ok());
        Self(seed.unwrap_or(1))
    }

    fn below(&mut self, end: usize) -> usize {
        // splitmix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(end).unwrap()).unwrap()
    }
}

#[test]
fn a_log_that_nobody_touched_is_clean() {
    for records in [0, 1, 255, 256, 257, 700] {
        let dir = written(records);
        let report = folder(dir.path(), Some(&log_key()));
        assert!(report.is_clean(), "{records}: {:?}", report.findings);
        assert_eq!(report.records, records);
        assert_eq!(report.head.unwrap().size, records);
        assert!(!report.key_is_its_own && !report.in_use);
        let by_identity = folder(dir.path(), Some(&identity_key()));
        assert!(by_identity.is_clean() && by_identity.key == Some(log_key()));
        let untrusted = folder(dir.path(), Terms::default());
        assert!(untrusted.is_clean() && untrusted.key_is_its_own);
    }
}

#[test]
fn every_flipped_bit_and_every_cut_of_a_small_log_is_found() {
    let dir = written(4);
    for file in files(dir.path()) {
        let good = fs::read(&file).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            for bit in 0..8 {
                bad[at] = good[at] ^ (1 << bit);
                fs::write(&file, &bad).unwrap();
                assert!(!is_clean(dir.path()), "{} byte {at} bit {bit}", file.display());
            }
            fs::write(&file, &good[..at]).unwrap();
            assert!(!is_clean(dir.path()), "{} cut at {at}", file.display());
        }
        for extra in [0_u8, b'\n', b' ', b'x'] {
            let is_tail = extra == 0 && file.extension().is_some_and(|end| end == "jsonl");
            let longer: Vec<u8> = good.iter().copied().chain([extra]).collect();
            fs::write(&file, longer).unwrap();
            // Space set aside reads as zeros: that is no change of anything.
            assert_eq!(is_clean(dir.path()), is_tail, "{} and {extra}", file.display());
        }
        fs::remove_file(&file).unwrap();
        assert!(!is_clean(dir.path()), "{} removed", file.display());
        fs::write(&file, &good).unwrap();
        assert!(is_clean(dir.path()), "put back");
    }
}

/// Does something to a file's bytes; `None` if it left them as they were.
fn tampered(good: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let mut bad = good.to_vec();
    let (one, other) = (random.below(good.len()), random.below(good.len()));
    let mut lines: Vec<&[u8]> = good.split_inclusive(|&byte| byte == b'\n').collect();
    let (first, second) = (random.below(lines.len()), random.below(lines.len()));
    match random.below(7) {
        0 => bad[one] ^= 1 << random.below(8),
        1 => bad.truncate(one),
        2 => bad.swap(one, other),
        3 => drop(bad.remove(one)),
        4 => bad.insert(one, b'7'),
        5 => {
            lines.swap(first, second);
            bad = lines.concat();
        }
        _ => {
            lines.remove(first);
            bad = lines.concat();
        }
    }
    (bad != good).then_some(bad)
}

#[test]
fn whatever_is_done_to_a_larger_log_is_found() {
    let tries = std::env::var("CASEMATE_TAMPER").ok().and_then(|text| text.parse().ok());
    let dir = written(700);
    let files = files(dir.path());
    assert!(files.len() > 6, "several files of records, tiles, the notes: {files:?}");
    let mut random = Random::new();
    let mut done = 0;
    for _ in 0..tries.unwrap_or(400_u32) {
        let file = &files[random.below(files.len())];
        let good = fs::read(file).unwrap();
        let Some(bad) = tampered(&good, &mut random) else { continue };
        fs::write(file, &bad).unwrap();
        assert!(!is_clean(dir.path()), "{}: {} bytes", file.display(), bad.len());
        fs::write(file, &good).unwrap();
        done += 1;
    }
    assert!(is_clean(dir.path()), "put back");
    assert!(done > 100, "{done} changes were tried");
}

#[test]
fn files_that_trade_places_are_found() {
    let dir = written(700);
    let files = files(dir.path());
    for one in &files {
        for other in files.iter().filter(|other| *other > one) {
            let (first, second) = (fs::read(one).unwrap(), fs::read(other).unwrap());
            fs::write(one, &second).unwrap();
            fs::write(other, &first).unwrap();
            assert!(!is_clean(dir.path()), "{} and {}", one.display(), other.display());
            fs::write(one, &first).unwrap();
            fs::write(other, &second).unwrap();
        }
    }
    assert!(is_clean(dir.path()));
}

#[test]
fn what_does_not_belong_there_is_found() {
    let dir = written(300);
    let extra = "audit-00000000000000000301.jsonl";
    for name in [
        "x",
        "checkpoint.new",
        "tile/0/001",
        "tile/0/000.new",
        "tile/7/000",
        "tile/0/x000/000",
        extra,
    ] {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "x").unwrap();
        assert!(!is_clean(dir.path()), "{name}");
        fs::remove_file(&path).unwrap();
        for folder in ["tile/7", "tile/0/x000"] {
            let _not_there = fs::remove_dir(dir.path().join(folder));
        }
        assert!(is_clean(dir.path()), "without {name}");
    }
    fs::write(dir.path().join("audit.lock"), "x").unwrap();
    assert!(!is_clean(dir.path()));
}

#[test]
fn space_set_aside_must_be_zeros_to_its_end() {
    let dir = written(3);
    let file = dir.path().join("audit-00000000000000000001.jsonl");
    let mut bytes = fs::read(&file).unwrap();
    bytes.resize(bytes.len() + 200_000, 0);
    fs::write(&file, &bytes).unwrap();
    assert!(is_clean(dir.path()));
    for back in [1, 100_000, 200_000] {
        let mut bad = bytes.clone();
        let at = bad.len() - back;
        bad[at] = 1;
        fs::write(&file, bad).unwrap();
        assert!(!is_clean(dir.path()), "{back} bytes before the end");
    }
}

#[test]
fn another_log_of_the_same_size_is_not_ours() {
    let dir = written(20);
    let other = tempfile::tempdir().unwrap();
    let trail = Trail::open(other.path(), &Origin::default(), anchored(None), Arc::new(|| 0));
    let trail = trail.unwrap();
    (0..20).for_each(|number| append(&trail, number));
    trail.close();
    assert!(!is_clean(other.path()), "signed by another key");
    let forger = VerifierKey::new(ORIGIN, TestSigner::new(9).public_key()).unwrap();
    let report = folder(dir.path(), Some(&forger));
    assert!(report.findings.iter().any(|one| matches!(one, Finding::OtherKey { .. })));
}

#[test]
fn a_log_in_use_is_clean_and_a_forged_tail_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let trail = Trail::open(dir.path(), &Origin::default(), ledger(), Arc::new(|| 0)).unwrap();
    (0..300).for_each(|number| append(&trail, number));
    while trail.durable() < 300 {
        std::thread::yield_now();
    }
    let report = folder(dir.path(), Some(&log_key()));
    assert!(report.in_use && report.is_clean(), "{:?}", report.findings);
    assert_eq!(report.head.unwrap().size, 300, "it waited until all were signed");
    trail.close();
    drop(trail);
    let file = dir.path().join("audit-00000000000000000001.jsonl");
    let mut bytes = fs::read(&file).unwrap();
    bytes.extend_from_slice(b"{\"seq\":301,\"time\":\"forged\"}\n");
    fs::write(&file, bytes).unwrap();
    let report = folder(dir.path(), Some(&log_key()));
    assert!(matches!(report.findings.as_slice(), [Finding::Unsigned { records: 1 }]));
}

#[test]
fn a_file_named_like_one_of_the_log_is_none_of_it() {
    let dir = written(300);
    assert!(files(dir.path()).iter().filter(|path| is_of_records(path)).count() > 2);
    let lines: Vec<String> = {
        let mut cursor = Reader::new(dir.path()).from(0);
        let mut lines = Vec::new();
        while let Some(entry) = cursor.next(300).unwrap() {
            lines.push(format!("{}\n", String::from_utf8(entry.bytes.to_vec()).unwrap()));
        }
        lines
    };
    for first in [0, 2, 50, 299, 300, 301, 302, u64::MAX] {
        let at = usize::try_from(first.max(1) - 1).unwrap();
        // Nothing, rubbish, and the very records that it is named for.
        for text in [String::new(), "x\n".to_owned(), lines.iter().skip(at).cloned().collect()] {
            // As after a rotation: the writer begins a file before it writes to it.
            if first == 301 && text.is_empty() {
                continue;
            }
            let name = dir.path().join(format!("audit-{first:020}.jsonl"));
            assert!(!name.exists());
            fs::write(&name, &text).unwrap();
            let found = folder(dir.path(), Some(&log_key())).findings;
            assert!(!found.is_empty(), "{first} with {text:?}");
            if first <= 300 {
                let stray = |one: &Finding| matches!(one, Finding::Stray { path } if *path == name);
                assert!(found.iter().all(stray), "{first}: {found:?}");
            }
            fs::remove_file(&name).unwrap();
        }
    }
    assert!(is_clean(dir.path()));
}

#[test]
fn records_moved_to_a_file_that_does_not_begin_with_them_are_found() {
    let dir = written(300);
    let newest = files(dir.path()).into_iter().rfind(|path| is_of_records(path)).unwrap();
    let text = fs::read_to_string(&newest).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    // All but the last two stay, and the last three lie in a file as well.
    fs::write(&newest, lines[..lines.len() - 2].concat()).unwrap();
    let moved = dir.path().join(format!("audit-{:020}.jsonl", 298));
    fs::write(moved, lines[lines.len() - 3..].concat()).unwrap();
    assert!(!is_clean(dir.path()));
}

#[test]
fn a_log_in_use_has_no_room_for_anything_else_either() {
    let dir = tempfile::tempdir().unwrap();
    let trail = Trail::open(dir.path(), &Origin::default(), ledger(), Arc::new(|| 0)).unwrap();
    (0..300).for_each(|number| append(&trail, number));
    while trail.published().is_none_or(|published| published.head.size < 300) {
        std::thread::yield_now();
    }
    assert!(is_clean(dir.path()));
    let at = |name: &str| dir.path().join(name);
    for name in ["x.new", "checkpoint.new", "tile/0/001", "tile/0/001.new", "tile/0/777.new"] {
        fs::write(at(name), "x").unwrap();
        let report = folder(dir.path(), Some(&log_key()));
        assert!(report.in_use);
        let stray = |one: &Finding| matches!(one, Finding::Stray { path } if *path == at(name));
        assert!(report.findings.iter().any(stray), "{name}: {:?}", report.findings);
        fs::remove_file(at(name)).unwrap();
    }
    for name in ["x.new", "checkpoint.new", "tile/0/001.new", "tile/1"] {
        fs::create_dir(at(name)).unwrap();
        assert!(!is_clean(dir.path()), "the folder {name}");
        fs::write(at(name).join("hidden"), "x").unwrap();
        assert!(!is_clean(dir.path()), "the folder {name} with a file");
        fs::remove_dir_all(at(name)).unwrap();
        std::os::unix::fs::symlink("/dev/null", at(name)).unwrap();
        assert!(!is_clean(dir.path()), "the link {name}");
        fs::remove_file(at(name)).unwrap();
    }
    fs::rename(at("tile"), dir.path().with_extension("moved")).unwrap();
    std::os::unix::fs::symlink(dir.path().with_extension("moved"), at("tile")).unwrap();
    assert!(!is_clean(dir.path()), "the tiles lie elsewhere");
    fs::remove_file(at("tile")).unwrap();
    fs::rename(dir.path().with_extension("moved"), at("tile")).unwrap();
    assert!(is_clean(dir.path()));
}

#[test]
fn a_name_that_passes_is_no_finding() {
    let dir = tempfile::tempdir().unwrap();
    let trail = Trail::open(dir.path(), &Origin::default(), ledger(), Arc::new(|| 0)).unwrap();
    append(&trail, 0);
    while trail.published().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let path = dir.path().join("certificate.new");
    let ends = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (end, comes) = (Arc::clone(&ends), path.clone());
    // Beside it, so that each time it is another file.
    let beside = tempfile::NamedTempFile::new_in(dir.path().parent().unwrap()).unwrap();
    let beside = beside.path().with_extension("beside");
    let comes_and_goes = std::thread::spawn(move || {
        while !end.load(std::sync::atomic::Ordering::SeqCst) {
            fs::write(&beside, "x").unwrap();
            fs::rename(&beside, &comes).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(30));
            fs::remove_file(&comes).unwrap();
        }
    });
    let report = folder(dir.path(), Some(&log_key()));
    ends.store(true, std::sync::atomic::Ordering::SeqCst);
    comes_and_goes.join().unwrap();
    assert!(report.in_use && report.is_clean(), "{:?}", report.findings);
}

#[test]
fn a_log_that_was_put_back_is_not_what_was_seen() {
    let dir = written(300);
    let reader = Reader::new(dir.path());
    let note = reader.checkpoint().unwrap().unwrap().note;
    let key = log_key();
    let with = |seen: &Seen| {
        let terms = Terms { trust: Some(&key), seen: Some(seen), ..Terms::default() };
        folder(dir.path(), terms)
    };
    for seen in [Seen::Size(0), Seen::Size(299), Seen::Size(300), Seen::Note(note.clone())] {
        let report = with(&seen);
        assert!(report.is_clean(), "{seen:?}: {:?}", report.findings);
    }
    let [Finding::PutBack { seen: 301, found: 300 }] = with(&Seen::Size(301)).findings[..] else {
        panic!("more was seen than there is")
    };
    // An older log of the same HSM is whole, signed, and less than was seen.
    let older = written(200);
    assert!(is_clean(older.path()));
    let seen = Seen::Note(note.clone());
    let terms = Terms { trust: Some(&key), seen: Some(&seen), ..Terms::default() };
    let report = folder(older.path(), terms);
    assert!(matches!(report.findings[..], [Finding::PutBack { seen: 300, found: 200 }]));
    for other in ["", "x", &note.replace("300", "299"), &note[..note.len() - 3]] {
        let report = with(&Seen::Note(other.to_owned()));
        assert!(matches!(report.findings[..], [Finding::Seen { .. }]), "{other:?}");
    }
    // Another log with more records, signed by the same key.
    let text = format!("{ORIGIN}\n250\n{}\n", crate::hash_text(&[7; 32]));
    let another = Seen::Note(crate::sign(&text, &key, &TestSigner::new(1)));
    assert!(matches!(with(&another).findings[..], [Finding::NotSeen { size: 250 }]));
}
