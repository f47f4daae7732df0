//! The audit log of a served HSM: checked while it grows and after, by our command and by another
//! implementation; removed and altered under the running HSM; after kills; free of secrets.
//!
//! `CASEMATE_AUDIT_OPERATIONS` says how many operations are recorded before the large check
//! (default 20,000).

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use casemate_test_kit::process::{self, eventually};
use casemate_test_kit::{Dev, Options, audit, places};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// So many connections at once.
const CONNECTIONS: usize = 16;

fn command(arguments: &[&str], data_dir: &Path) -> Output {
    let mut command = Command::new(places::casemate());
    command.arg("audit").args(arguments);
    command.arg("--data-dir").arg(data_dir).output().expect("the program runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn succeeds(arguments: &[&str], data_dir: &Path) -> String {
    let output = command(arguments, data_dir);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {} {complaint}", said(&output));
    said(&output)
}

/// The keys that are printed: of the log, of the identity.
fn keys(data_dir: &Path) -> (String, String) {
    let printed = succeeds(&["key"], data_dir);
    let find = |name: &str| {
        let line = printed.lines().find_map(|line| line.strip_prefix(name));
        line.expect("the key is printed").trim().to_owned()
    };
    (find("log"), find("identity"))
}

fn key(dev: &Dev, name: &str) {
    let new = json!({"kty": "EC-HSM", "crv": "P-256"});
    let answer = dev.rest().call("POST", &format!("/keys/{name}/create"), &new);
    answer.expect("an answer").expect_ok("create");
}

/// Reads a key this often, over several connections; every answer is a success.
fn read_often(dev: &Dev, times: usize) {
    thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            let mut rest = dev.rest();
            scope.spawn(move || {
                for _ in 0..times / CONNECTIONS {
                    let answer = rest.ask("GET", "/keys/kept").expect("an answer");
                    assert_eq!(answer.status, 200, "{}", answer.text());
                }
            });
        }
    });
}

fn log_folder(data_dir: &Path) -> PathBuf {
    let files = casemate_test_kit::scan::files(data_dir).expect("the folder can be read");
    let log = files.into_iter().find(|file| audit::is_log(file)).expect("there is a log");
    log.parent().expect("it lies in a folder").to_owned()
}

/// Builds the checker of proofs in Go.
fn checker(scratch: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../go");
    let built = scratch.join("proofs");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&built).arg(".").current_dir(source);
    let output = build.output().expect("go is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    built
}

fn holds(checker: &Path, key: &str, proof: &Value) -> bool {
    let mut child = Command::new(checker)
        .arg(key)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the checker runs");
    let mut stdin = child.stdin.take().expect("it has an input");
    stdin.write_all(proof.to_string().as_bytes()).expect("it reads");
    drop(stdin);
    child.wait().expect("it ends").success()
}

#[test]
fn proofs_hold_for_another_implementation_and_altered_ones_do_not() {
    let dev = Dev::fresh();
    key(&dev, "kept");
    read_often(&dev, 640);
    let (log, identity) = keys(dev.data_dir());
    for trust in [&log, &identity] {
        succeeds(&["verify", "--trust", trust], dev.data_dir());
    }
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let checker = checker(scratch.path());
    let prove = |arguments: &[&str]| -> Value {
        let all: Vec<&str> = ["prove"].iter().chain(arguments).copied().collect();
        serde_json::from_str(&succeeds(&all, dev.data_dir())).expect("a proof is JSON")
    };
    let mut proofs = Vec::new();
    for index in ["0", "1", "255", "256", "511", "600"] {
        proofs.push(prove(&["--index", index]));
    }
    for (old, new) in [("1", "2"), ("5", "256"), ("256", "512"), ("300", "601")] {
        proofs.push(prove(&["--old", old, "--new", new]));
    }
    proofs.push(prove(&["--old", "77"]));
    for proof in proofs {
        assert!(holds(&checker, &log, &proof), "{proof}");
        assert!(!holds(&checker, &identity, &proof), "another key signed it");
        for member in ["entry", "root", "from", "checkpoint"] {
            let mut altered = proof.clone();
            let Some(text) = altered[member].as_str() else { continue };
            let at = text.find(|letter: char| letter.is_ascii_digit()).unwrap_or_default();
            let (before, after) = text.split_at(at);
            let digit = if after.starts_with('7') { '8' } else { '7' };
            altered[member] = json!(format!("{before}{digit}{}", &after[1..]));
            assert!(!holds(&checker, &log, &altered), "{member} was altered: {altered}");
        }
        let mut shorter = proof.clone();
        shorter["proof"].as_array_mut().expect("hashes").pop();
        assert!(shorter == proof || !holds(&checker, &log, &shorter), "{shorter}");
    }
    let beyond = command(&["prove", "--index", "1000000"], dev.data_dir());
    assert!(!beyond.status.success());
    dev.stop();
}

#[test]
fn a_large_log_verifies_while_it_grows_and_after_and_shows_every_harm() {
    let operations = std::env::var("CASEMATE_AUDIT_OPERATIONS").ok();
    let operations = operations.and_then(|text| text.parse().ok()).unwrap_or(20_000);
    let dev = Dev::fresh();
    key(&dev, "kept");
    let (log, _) = keys(dev.data_dir());
    assert!(dev.terminal().contains(&log), "the key is said at start");
    thread::scope(|scope| {
        let reading = scope.spawn(|| read_often(&dev, operations));
        let mut verified = 0;
        while !reading.is_finished() {
            succeeds(&["verify", "--trust", &log], dev.data_dir());
            verified += 1;
        }
        assert!(verified > 0);
    });
    let printed = succeeds(&["verify"], dev.data_dir());
    assert!(printed.contains("warning"), "without --trust it says so: {printed}");
    let kept = succeeds(&["usage", "--key", "kept"], dev.data_dir());
    let kept: Value = serde_json::from_str(kept.trim()).expect("one line for one caller");
    assert_eq!(kept["kind"], "read", "nobody used the key");
    assert_eq!(kept["count"].as_u64(), u64::try_from(operations / CONNECTIONS * CONNECTIONS).ok());
    let stopped = dev.stop();
    let data_dir = &stopped.data_dir;
    succeeds(&["verify", "--trust", &log], data_dir);
    let folder = log_folder(data_dir);
    let file = folder.join("audit-00000000000000000001.jsonl");
    let good = fs::read(&file).expect("the log can be read");
    for at in [good.len() / 3, good.len() - 2] {
        let mut bad = good.clone();
        bad[at] ^= 4;
        fs::write(&file, bad).expect("the log can be written");
        let output = command(&["verify", "--trust", &log], data_dir);
        assert!(!output.status.success(), "byte {at}: {}", said(&output));
        assert!(said(&output).contains("FINDING"));
    }
    fs::write(&file, &good[..good.len() / 2]).expect("the log can be written");
    let failed = Dev::try_start(Options::in_dir(data_dir)).expect_err("a cut log is not continued");
    assert!(failed.log.contains("put the missing files"), "{}", failed.log);
    fs::write(&file, &good).expect("the log can be written");
    let dev = Dev::start(Options::in_dir(data_dir));
    succeeds(&["verify", "--trust", &log], dev.data_dir());
    dev.stop();
}

#[test]
fn after_kills_every_intent_has_an_outcome_and_the_log_verifies() {
    let dev = Dev::fresh();
    let (log, _) = keys(dev.data_dir());
    for round in 0..3 {
        thread::scope(|scope| {
            for worker in 0..CONNECTIONS {
                let mut rest = dev.rest();
                scope.spawn(move || {
                    let new = json!({"kty": "EC-HSM", "crv": "P-256"});
                    let path = |key| format!("/keys/k-{round}-{worker}-{key}/create");
                    let mut calls = (0..400).map(|key| rest.call("POST", &path(key), &new));
                    while calls.next().is_some_and(|answer| answer.is_ok()) {}
                });
            }
            thread::sleep(Duration::from_millis(300));
            assert!(process::signal(dev.partition(), Signal::SIGKILL), "the partition runs");
        });
        let healed = eventually(Duration::from_secs(30), || {
            dev.rest().ask("GET", "/keys").is_ok_and(|answer| answer.status == 200)
        });
        assert!(healed, "it is started anew");
    }
    succeeds(&["verify", "--trust", &log], dev.data_dir());
    let stopped = dev.stop();
    let records = audit::records(&stopped.data_dir);
    let pending = records.iter().filter(|one| one["resultType"] == "Pending");
    let mut resolved = 0;
    for intent in pending {
        let mut outcomes = records.iter().filter(|one| one["intent"] == intent["seq"]);
        let outcome = outcomes.next().unwrap_or_else(|| panic!("no outcome for {intent}"));
        assert!(outcomes.next().is_none(), "one outcome for {intent}");
        if outcome["errorCode"] == "Interrupted" {
            resolved += 1;
            assert_ne!(outcome["resultType"], "Unknown", "each key was made once: {outcome}");
        }
    }
    assert!(resolved > 0, "the kills met no change under way");
    let dev = Dev::start(Options::in_dir(&stopped.data_dir));
    let mut rest = dev.rest();
    for outcome in records.iter().filter(|one| one["errorCode"] == "Interrupted") {
        let name = outcome["key"]["name"].as_str().expect("a key was made");
        let there = rest.ask("GET", &format!("/keys/{name}")).expect("an answer").status == 200;
        assert_eq!(there, outcome["resultType"] == "Success", "{outcome}");
    }
    dev.stop();
}

#[test]
fn a_log_that_is_removed_under_the_running_hsm_ends_it() {
    let dev = Dev::fresh();
    key(&dev, "kept");
    let folder = log_folder(dev.data_dir());
    // What is remembered of it is in the store.
    thread::sleep(Duration::from_secs(12));
    fs::remove_dir_all(&folder).expect("the log can be removed");
    let refused = dev.rest().ask("GET", "/keys/kept");
    assert!(refused.is_err() || refused.is_ok_and(|answer| answer.status == 503));
    let agent = dev.agent();
    assert!(process::ends_within(agent, Duration::from_secs(60)), "it does not begin another log");
    assert!(dev.terminal().contains("put the missing files"), "{}", dev.terminal());
}

#[test]
fn records_can_be_searched_and_followed() {
    let dev = Dev::fresh();
    key(&dev, "kept");
    let missing = dev.rest().ask("GET", "/keys/missing").expect("an answer");
    assert_eq!(missing.status, 404);
    let lines = |arguments: &[&str]| -> Vec<Value> {
        let printed = succeeds(arguments, dev.data_dir());
        printed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    assert_eq!(lines(&["search", "--key", "missing", "--result", "404"]).len(), 1);
    assert_eq!(lines(&["search", "--operation", "KeyCreate"]).len(), 2, "intent and outcome");
    let caller = lines(&["search", "--operation", "KeyCreate", "--limit", "1"]);
    let outcome = &lines(&["search", "--operation", "KeyCreate", "--result", "Success"])[0];
    for member in
        ["permit", "key", "tokenId", "consistencyRevision", "resourceProvider", "subnetId"]
    {
        assert!(!outcome[member].is_null(), "{member} is missing: {outcome}");
    }
    assert_eq!(caller[0]["phase"], "intent");
    assert_eq!(lines(&["search", "--until", "2020"]), Vec::<Value>::new());
    assert_eq!(lines(&["tail", "-n", "1"])[0]["key"]["name"], "missing");
    dev.stop();
}

#[test]
fn records_hold_no_token_and_nothing_that_was_passed_to_a_key() {
    const PLAINTEXT: &[u8] = b"a plaintext that nobody may keep";
    let dev = Dev::fresh();
    let token = dev.token();
    let mut rest = dev.rest();
    let new = json!({"kty": "RSA-HSM", "key_size": 2048});
    rest.call("POST", "/keys/rsa/create", &new).expect("an answer").expect_ok("create");
    let text = URL_SAFE_NO_PAD.encode(PLAINTEXT);
    let mut call = |operation: &str, alg: &str, value: &str| {
        let body = json!({"alg": alg, "value": value});
        let answer = rest.call("POST", &format!("/keys/rsa/{operation}"), &body);
        let answer = answer.expect("an answer").expect_ok(operation);
        answer["value"].as_str().expect("a value").to_owned()
    };
    let encrypted = call("encrypt", "RSA-OAEP-256", &text);
    assert_eq!(call("decrypt", "RSA-OAEP-256", &encrypted), text);
    let wrapped = call("wrapkey", "RSA-OAEP-256", &text);
    assert_eq!(call("unwrapkey", "RSA-OAEP-256", &wrapped), text);
    let signed = call("sign", "RS256", &text);
    let mut held = vec![text.clone(), encrypted, wrapped, signed, token.clone()];
    held.extend(token.split('.').map(str::to_owned));
    held.push(String::from_utf8_lossy(PLAINTEXT).into_owned());
    let stopped = dev.stop();
    let records: String =
        audit::records(&stopped.data_dir).iter().map(ToString::to_string).collect();
    assert!(records.contains("KeyUnwrap") && records.contains("tokenId"));
    for secret in held {
        assert!(!records.contains(&secret), "{secret} stands in a record");
    }
}
