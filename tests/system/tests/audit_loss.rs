//! A lost audit log: the HSM refuses, an operator gives the log up, an Administrator accepts that,
//! and the loss stays named for ever.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use casemate_test_kit::process::eventually;
use casemate_test_kit::rest::Answer;
use casemate_test_kit::{Dev, Options, audit, places, scan};
use serde_json::{Value, json};

/// For a file sink on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn command(words: &[&str], data_dir: &Path) -> Output {
    let mut command = Command::new(places::casemate());
    command.arg("audit").args(words).arg("--data-dir").arg(data_dir);
    command.output().expect("the program runs")
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

fn give_up(data_dir: &Path, records: &str) -> Output {
    let who = ["--by", "ada of operations", "--reason", "the disk died"];
    command(&[&["accept-loss", "--records", records], &who[..]].concat(), data_dir)
}

fn ask(dev: &Dev, method: &str, path: &str, body: &Value) -> Answer {
    dev.rest().call(method, path, body).expect("it answers")
}

fn log_files(data_dir: &Path) -> Vec<PathBuf> {
    let files = scan::files(data_dir).expect("the folder can be read").into_iter();
    files.filter(|file| audit::is_log(file)).collect()
}

/// The verifier key of this name.
fn key(data_dir: &Path, name: &str) -> String {
    let printed = text(&command(&["key"], data_dir));
    let line = printed.lines().find_map(|line| line.strip_prefix(name));
    line.expect("the key is printed").trim().to_owned()
}

/// An HSM with a key, a file sink that has all, and a log that is then lost.
fn lost() -> (Dev, PathBuf, String, String) {
    let dev = Dev::fresh();
    ask(&dev, "POST", "/keys/kept/create", &json!({"kty": "EC-HSM"})).expect_ok("a key");
    let sinks = json!({"sinks": [{"name": "archive", "kind": "file"}]});
    ask(&dev, "PUT", "/audit/sinks", &sinks).expect_ok("a sink");
    let data_dir = dev.data_dir().to_owned();
    let copied = || log_files(&data_dir.join("courier")).len() == 1;
    assert!(eventually(PATIENCE, copied), "the sink has a copy");
    let refused = give_up(&data_dir, "5");
    assert!(!refused.status.success(), "{}", text(&refused));
    assert!(text(&refused).contains("is being written"), "{}", text(&refused));
    let (log, identity) = (key(&data_dir, "log"), key(&data_dir, "identity"));
    (dev, data_dir, log, identity)
}

#[test]
fn a_lost_log_is_given_up_accepted_and_named_for_ever() {
    let (dev, data_dir, log, identity) = lost();
    // The scratch folder of the first lives as long as this.
    let _scratch = dev.stop();
    let files: Vec<_> = log_files(&data_dir);
    let lost = files.iter().find(|file| !file.starts_with(data_dir.join("courier")));
    let lost = lost.expect("there is a log").clone();
    let left = fs::read(&lost).expect("it can be read")[..100].to_vec();
    fs::write(&lost, &left).expect("it can be written");

    let failed =
        Dev::try_start(Options::in_dir(&data_dir)).expect_err("a cut log is not continued");
    let records = failed.log.split("accept-loss --records ").nth(1);
    let records = records.and_then(|rest| rest.split(' ').next()).expect("it says what to do");
    let more = (records.parse::<u64>().expect("a number") + 1).to_string();
    assert!(give_up(&data_dir, &more).status.success());
    let failed = Dev::try_start(Options::in_dir(&data_dir)).expect_err("that is not what is lost");
    assert!(failed.log.contains("not as many"), "{}", failed.log);
    assert_eq!(fs::read(&lost).expect("it is there"), left, "nothing was touched");
    let asked = give_up(&data_dir, records);
    assert!(text(&asked).contains("CasemateAuditLossAccepted"), "{}", text(&asked));

    let dev = Dev::start(Options::in_dir(&data_dir));
    let refused = ask(&dev, "GET", "/keys", &Value::Null);
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.text().contains("ada of operations"), "{}", refused.text());
    let signing = ask(&dev, "POST", "/keys/kept/sign", &json!({"alg": "ES256", "value": ""}));
    assert_eq!(signing.status, 503, "{}", signing.text());
    let accept = json!({"value": "true"});
    ask(&dev, "PATCH", "/settings/CasemateAuditLossAccepted", &accept).expect_ok("accepted");
    ask(&dev, "GET", "/keys/kept", &Value::Null).expect_ok("it serves again");

    // The sink gets the new log from its first record on, beside the old one's copy.
    let told = |file: &PathBuf| fs::read_to_string(file).unwrap_or_default();
    let copied = || {
        let files = log_files(&data_dir.join("courier"));
        let mut new = files.iter().filter(|file| told(file).contains("AuditLogBegunAnew"));
        files.len() == 2 && new.any(|file| told(file).contains("\"seq\":1,"))
    };
    assert!(eventually(PATIENCE, copied), "the new log has a copy");
    let _scratch = dev.stop();
    let dev = Dev::start(Options::in_dir(&data_dir));
    ask(&dev, "GET", "/keys/kept", &Value::Null).expect_ok("accepted once and for all");
    let _scratch = dev.stop();
    named_for_ever(&data_dir, &log, &identity, &left);
}

fn named_for_ever(data_dir: &Path, log: &str, identity: &str, left: &[u8]) {
    for words in [&["verify"][..], &["verify", "--trust", identity]] {
        let found = command(words, data_dir);
        assert!(!found.status.success(), "{}", text(&found));
        assert!(text(&found).contains("begun anew"), "{}", text(&found));
        assert!(text(&found).contains("the disk died"), "{}", text(&found));
    }
    let known = command(&["verify", "--trust", identity, "--losses-max", "1"], data_dir);
    assert!(known.status.success(), "{}", text(&known));
    assert!(text(&known).contains("lost     "), "{}", text(&known));
    let other = command(&["verify", "--trust", log, "--losses-max", "1"], data_dir);
    assert!(!other.status.success(), "it is another log: {}", text(&other));
    let kept = log_files(data_dir)
        .into_iter()
        .find(|file| file.parent().is_some_and(|folder| folder.ends_with("audit.lost-1")));
    let kept = fs::read(kept.expect("what was left is kept")).expect("it can be read");
    assert_eq!(kept, left, "as it was found");
}
