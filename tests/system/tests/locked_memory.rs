//! Memory that holds key bytes does not reach a disk: each mapping of the partition in which a
//! planted key is found is locked, or `casemate doctor` says that not all is. Needs root: nobody
//! else may look.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use casemate_system_tests::casemate;
use casemate_test_kit::Dev;
use casemate_test_kit::scan::{Found, Scanner};
use serde_json::json;

/// What `doctor` says of a partition whose memory is locked as a whole.
const ALL: &str = "all memory locked";

/// A mapping of a process.
struct Mapping {
    from: u64,
    to: u64,
    /// Whether its pages stay in memory.
    locked: bool,
}

fn range(line: &str) -> Option<(u64, u64)> {
    let (from, to) = line.split(' ').next()?.split_once('-')?;
    Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?))
}

fn mappings(process: u32) -> Vec<Mapping> {
    let smaps = fs::read_to_string(format!("/proc/{process}/smaps"));
    let smaps = smaps.expect("root may look at the memory of a partition");
    let mut all: Vec<Mapping> = Vec::new();
    for line in smaps.lines() {
        if let Some((from, to)) = range(line) {
            all.push(Mapping { from, to, locked: false });
        }
        if let (Some(flags), Some(last)) = (line.strip_prefix("VmFlags:"), all.last_mut()) {
            last.locked = flags.split_whitespace().any(|flag| flag == "lo");
        }
    }
    all
}

/// Whether what was found lies in a locked mapping.
fn is_locked(found: &Found, mappings: &[Mapping]) -> bool {
    let (from, _) = range(&found.place).expect("the place is a line of the map");
    let at = from + u64::try_from(found.offset).expect("an offset is small");
    let mut holding = mappings.iter().filter(|mapping| (mapping.from..mapping.to).contains(&at));
    holding.next().expect("what was found lies in a mapping").locked
}

#[test]
fn memory_that_holds_key_bytes_is_locked_or_named() {
    let dev = Dev::fresh();
    let mut planted = [0; 32];
    aws_lc_rs::rand::fill(&mut planted).expect("random bytes");
    let key = json!({"kty": "oct-HSM", "k": URL_SAFE_NO_PAD.encode(planted),
                     "key_ops": ["encrypt", "decrypt"]});
    let mut rest = dev.rest();
    let made = rest.call("PUT", "/keys/planted", &json!({"key": key}));
    made.expect("it answers").expect_ok("an import");
    let text = URL_SAFE_NO_PAD.encode([7; 16]);
    let encrypt = json!({"alg": "A256GCM", "value": text});
    let used = rest.call("POST", "/keys/planted/encrypt", &encrypt);
    used.expect("it answers").expect_ok("an encryption");

    let partition = dev.partition();
    let scanner = Scanner::new([("the planted key", &planted[..])]);
    let (found, bytes) = scanner.memory(partition).expect("root may read it");
    assert!(!found.is_empty(), "a key in use is in the memory of its engine: {bytes} bytes seen");
    let mappings = mappings(partition);
    assert!(mappings.len() > 20, "a program has more mappings than {}", mappings.len());
    let open: Vec<_> = found.iter().filter(|found| !is_locked(found, &mappings)).collect();
    let doctor = casemate(&dev, &["doctor"]);
    let doctor = doctor.as_str().expect("doctor prints text");
    let line = doctor.lines().find(|line| line.contains(ALL)).expect("doctor judges it");
    let says_all = !line.contains("NOT ACTIVE");
    assert!(open.is_empty() || !says_all, "doctor says '{line}', and these are not: {open:?}");
    // The control: what is known not to be locked is told apart.
    let own = self::mappings(std::process::id());
    assert!(own.iter().any(|mapping| !mapping.locked), "this very test locks nothing");
    dev.stop();
}
