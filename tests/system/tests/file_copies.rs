//! The files of a file sink, each by itself and all together, by the command that operators use;
//! and files in the log's own folder that are none of it.
//!
//! `CASEMATE_COPY_ROUNDS` says how often files are filled and left (default 8).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use casemate_test_kit::process::eventually;
use casemate_test_kit::{Dev, Options, audit, places, scan};
use serde_json::{Value, json};

/// Files are as short as they may be: some ninety records each.
const ROTATE_BYTES: u64 = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(30);
/// Long enough for the checkpoint of what was recorded last to be signed and to arrive.
const SIGNED: Duration = Duration::from_millis(2_500);

fn rounds() -> usize {
    std::env::var("CASEMATE_COPY_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(8)
}

/// What `audit verify` says of a copy or a data folder.
fn verified(of: &str, path: &Path, trust: &str) -> Result<String, String> {
    let mut command = Command::new(places::casemate());
    command.args(["audit", "verify", of]).arg(path).args(["--trust", trust]);
    let output = command.output().expect("the program runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(said) } else { Err(said) }
}

fn log_key(dev: &Dev) -> String {
    let mut command = Command::new(places::casemate());
    command.args(["audit", "key", "--data-dir"]).arg(dev.data_dir());
    let output = command.output().expect("the program runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = said.lines().find_map(|line| line.strip_prefix("log"));
    line.expect("the key is printed").trim().to_owned()
}

/// Calls that leave a record each.
fn work(dev: &Dev, calls: usize) {
    let mut rest = dev.rest();
    for _ in 0..calls {
        let answer = rest.ask("GET", "/keys").expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

fn sink(name: &str, keep: u64) -> Value {
    json!({"name": name, "kind": "file", "rotateBytes": ROTATE_BYTES, "keepFiles": keep})
}

fn set(dev: &Dev, sinks: &Value) {
    let answer = dev.rest().call("PUT", "/audit/sinks", sinks).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// The files of a sink, the oldest first.
fn files(dev: &Dev, sink: &str) -> Vec<PathBuf> {
    let all = scan::files(dev.data_dir()).expect("the data folder can be read");
    let folder = format!("/files/{sink}/");
    let is_one =
        |path: &PathBuf| audit::is_log(path) && path.display().to_string().contains(&folder);
    let mut found: Vec<_> = all.into_iter().filter(is_one).collect();
    found.sort();
    found
}

fn log_folder(dev: &Dev) -> PathBuf {
    let all = scan::files(dev.data_dir()).expect("the data folder can be read");
    let is_log =
        |path: &PathBuf| audit::is_log(path) && !path.display().to_string().contains("/files/");
    let log = all.into_iter().find(is_log).expect("there is a log");
    log.parent().expect("it lies in a folder").to_owned()
}

/// Every file alone and all together are found good, as soon as the last is signed.
fn all_verify(dev: &Dev, sink: &str, trust: &str) {
    sleep(SIGNED);
    let files = files(dev, sink);
    let folder = files[0].parent().expect("it lies in a folder");
    let is_signed = || verified("--from", folder, trust).is_ok();
    assert!(eventually(PATIENCE, is_signed), "all: {:?}", verified("--from", folder, trust));
    for file in &files {
        let alone = verified("--from", file, trust);
        assert!(alone.is_ok(), "{}: {alone:?}", file.display());
    }
}

#[test]
fn every_file_of_a_file_sink_verifies_alone_and_with_the_others() {
    let dev = Dev::fresh();
    let trust = log_key(&dev);
    // So that the sink has something to catch up with: no checkpoint of that time comes any more.
    work(&dev, 1_000);
    set(&dev, &json!({"sinks": [sink("all", 10_000), sink("few", 3)]}));
    for round in 0..rounds() {
        // Now there is a rest with a file that is full, now there is none.
        work(&dev, 40 + 37 * (round % 5));
        if round % 2 == 0 {
            sleep(SIGNED);
        }
    }
    all_verify(&dev, "all", &trust);
    all_verify(&dev, "few", &trust);
    assert!(files(&dev, "all").len() > 4, "{:?}", files(&dev, "all"));
    assert_eq!(files(&dev, "few").len(), 3);
    // They are tied to what was signed, not waved through.
    let file = files(&dev, "few").remove(0);
    let text = fs::read_to_string(&file).expect("the copy can be read");
    for (what, with) in [("KeyList", "KeyHide"), ("\"frontier\"", "\"frontiers\"")] {
        let altered = dev.scratch().join("altered.jsonl");
        fs::write(&altered, text.replacen(what, with, 1)).expect("the scratch can be written");
        assert!(verified("--from", &altered, &trust).is_err(), "{what}");
    }
    let proof = text.lines().last().expect("it has lines");
    assert!(proof.starts_with("{\"consistency\":"), "{proof}");
}

#[test]
fn a_file_that_is_none_of_the_log_is_found_and_named_at_the_start() {
    let dev = Dev::fresh();
    let trust = log_key(&dev);
    work(&dev, 50);
    let log = log_folder(&dev);
    let stopped = dev.stop();
    for first in [0_u64, 7, 1_000_000] {
        let stray = log.join(format!("audit-{first:020}.jsonl"));
        fs::write(&stray, "{}\n").expect("the log's folder can be written");
        assert!(verified("--data-dir", &stopped.data_dir, &trust).is_err(), "{first}");
        let start = Dev::try_start(Options::in_dir(&stopped.data_dir));
        let said = start.expect_err("a stranger's file is not passed over").log;
        assert!(said.contains(&stray.display().to_string()), "{first}: {said}");
        assert!(!said.contains("accept-loss"), "nothing is lost: {said}");
        fs::remove_file(&stray).expect("the stray file can be removed");
    }
    let dev = Dev::start(Options::in_dir(&stopped.data_dir));
    work(&dev, 5);
    let again = dev.stop();
    verified("--data-dir", &again.data_dir, &trust).expect("nothing is left of it");
}
