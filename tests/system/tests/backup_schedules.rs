//! Backups by schedule, set with the program's own commands: into a folder, with deaths, and into a
//! bucket with Object Lock, out of which nothing goes.

use std::fs;
use std::path::Path;
use std::time::Duration;

use casemate_system_tests::management;
use casemate_system_tests::s3::{S3, Version};
use casemate_test_kit::clients::{Client, Run};
use casemate_test_kit::process::{self, eventually};
use casemate_test_kit::{Dev, Options, audit, places};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// A run's end, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

const S3_TOKEN: &str = "accessKeyId=a&secretAccessKey=not-shown-anywhere";

fn schedule(dev: &Dev, words: &[&str]) -> Run {
    let token = dev.scratch().join("token");
    fs::write(&token, dev.token()).expect("the folder can be written");
    let (url, ca) = (dev.variable("CASEMATE_HSM_URL"), dev.ca().display().to_string());
    let token = token.display().to_string();
    let asked = ["--url", url, "--ca", &ca, "--token-file", &token];
    let words = [&["backup", "schedule"], words, &asked[..]].concat();
    Client::of(dev, &places::casemate(), dev.scratch()).words(words).run()
}

fn ok(dev: &Dev, words: &[&str]) -> Value {
    let run = schedule(dev, words);
    assert!(run.success, "{words:?}: {run:?}");
    serde_json::from_str(&run.out).expect("the answer is JSON")
}

fn set(dev: &Dev, uri: &str, more: &[&str]) -> Value {
    let words = ["set", "often", "--storage", uri, "--every-minutes", "44640"];
    ok(dev, &[&words[..], more].concat())
}

fn status(dev: &Dev) -> Value {
    ok(dev, &["show", "often"])["status"].clone()
}

/// The status once so many backups were made and nothing is under way.
fn backups(dev: &Dev, many: u64) -> Value {
    let mut last = Value::Null;
    let are = || {
        last = status(dev);
        last["backups"] == many && last["jobId"].is_null()
    };
    assert!(eventually(PATIENCE, are), "{last}");
    last
}

fn create(dev: &Dev, key: &str) {
    let made = dev.rest().call("POST", &format!("/keys/{key}/create"), &json!({"kty": "EC-HSM"}));
    made.expect("an answer").expect_ok("a key");
}

/// The end of a look whether the backup at this URL could be restored.
fn checked(dev: &Dev, uri: &str, token: &str, backup: &str) -> Value {
    let folder = backup.rsplit('/').next().expect("a URL has a last segment");
    let storage = json!({"storageResourceUri": uri, "token": token});
    let body = json!({"sasTokenParameters": storage, "folderToRestore": folder});
    let started = dev.rest().call("PUT", "/prerestore", &body).expect("an answer");
    let url = started.header("azure-asyncoperation").expect("it says where its status is");
    let path = format!("/{}", url.splitn(4, '/').nth(3).expect("a URL has a path"));
    let mut told = Value::Null;
    let ended = || {
        told = dev.rest().ask("GET", &path).expect("an answer").json();
        told["status"] != "InProgress"
    };
    assert!(eventually(PATIENCE, ended), "{told}");
    told
}

fn details(told: &Value) -> &str {
    told["statusDetails"].as_str().unwrap_or_default()
}

/// Two chains stay; the third full backup ends the first chain.
fn first_chain_goes(dev: &Dev) {
    for many in [3, 4, 3] {
        ok(dev, &["run", "often"]);
        backups(dev, many);
    }
    let place = dev.data_dir().join("courier/dev/backups/often");
    let lie_there = fs::read_dir(&place).expect("the folder is there").count();
    assert_eq!(lie_there, 3, "what was removed is gone");
}

fn all_is_recorded_and_measured(dev: &Dev) {
    let counts = || audit::counts(dev.data_dir());
    let count = |operation: &str| counts().get(operation).copied().unwrap_or_default();
    assert_eq!(count("ScheduledBackup"), 10, "an intent and an outcome each");
    let removed = || count("ScheduledBackupRemove") == 4;
    assert!(eventually(PATIENCE, removed), "its outcome is recorded when it is done");
    assert_eq!(count("BackupScheduleRun"), 4);
    let (_, metrics) = management::get(dev.variable("CASEMATE_MANAGEMENT_URL"), "/metrics");
    let failures = "casemate_backup_schedule_failures{hsm=\"dev\",schedule=\"often\"} 0";
    assert!(metrics.contains(failures), "{metrics}");
}

#[test]
fn a_schedule_makes_and_removes_backups_through_a_death_and_a_restart() {
    let dev = Dev::fresh();
    create(&dev, "first");
    let made = set(&dev, "file:///often", &["--full-every", "2", "--keep-days", "0"]);
    assert_eq!((&made["name"], &made["keepLast"]), (&json!("often"), &json!(2)));
    let first = backups(&dev, 1);
    let backup = first["lastBackup"].as_str().expect("it says where").to_owned();
    let told = checked(&dev, "file:///often", "", &backup);
    assert!(details(&told).starts_with("1 keys"), "{told}");
    create(&dev, "second");
    ok(&dev, &["run", "often"]);
    let second = backups(&dev, 2);
    assert_eq!(second["chains"], 1, "the second one is an increment");
    let backup = second["lastBackup"].as_str().expect("it says where").to_owned();

    assert!(process::signal(dev.partition(), Signal::SIGKILL));
    assert!(eventually(PATIENCE, || schedule(&dev, &["show", "often"]).success), "it heals");
    assert_eq!(backups(&dev, 2)["failures"], 0);
    let told = checked(&dev, "file:///often", "", &backup);
    assert!(details(&told).starts_with("2 keys"), "{told}");
    first_chain_goes(&dev);
    all_is_recorded_and_measured(&dev);
    let stopped = dev.stop();
    let dev = Dev::start(Options::in_dir(&stopped.data_dir));
    assert_eq!(status(&dev)["backups"], 3, "a restart forgets nothing");
    ok(&dev, &["remove", "often"]);
    let gone = schedule(&dev, &["show", "often"]);
    assert!(!gone.success && gone.err.contains("ScheduleNotFound"), "{gone:?}");
    assert_eq!(ok(&dev, &["list"]), json!({"value": []}));
    dev.stop();
}

#[test]
fn what_a_bucket_with_object_lock_was_given_survives_its_removal() {
    let (s3, dev) = (S3::start(), Dev::fresh());
    s3.make_locked("locked");
    create(&dev, "first");
    let token = dev.scratch().join("s3.txt");
    fs::write(&token, S3_TOKEN).expect("the folder can be written");
    let token = token.display().to_string();
    let uri = s3.uri("locked");
    let keeps = ["--full-every", "1", "--keep-days", "0", "--keep-last", "1"];
    let made = set(&dev, &uri, &[&keeps[..], &["--storage-token-file", &token]].concat());
    let first = backups(&dev, 1);
    let first = first["lastBackup"].as_str().expect("it says where").to_owned();
    create(&dev, "second");
    ok(&dev, &["run", "often"]);
    let replaced = || {
        let now = status(&dev);
        now["backups"] == 1 && now["lastBackup"] != first.as_str()
    };
    assert!(eventually(PATIENCE, replaced), "{}", status(&dev));
    assert_eq!(status(&dev)["removalFailure"], Value::Null, "such a bucket hides, and says yes");
    let gone = checked(&dev, &uri, S3_TOKEN, &first);
    assert_eq!(gone["status"], "Failed", "it is hidden: {gone}");

    let folder = first.rsplit('/').next().expect("a URL has a last segment");
    let of_first = |is_marker: bool| {
        let all = s3.versions("locked");
        let of = |one: &&Version| one.key.starts_with(folder) && one.is_marker == is_marker;
        all.iter().filter(of).cloned().collect::<Vec<_>>()
    };
    let (locked, markers) = (of_first(false), of_first(true));
    assert_eq!((locked.len(), markers.len()), (2, 2), "{locked:?} {markers:?}");
    for version in &locked {
        assert!(!s3.removes("locked", version), "the bucket keeps {version:?}");
    }
    for marker in &markers {
        assert!(s3.removes("locked", marker), "{marker:?}");
    }
    let back = checked(&dev, &uri, S3_TOKEN, &first);
    assert!(details(&back).starts_with("1 keys"), "it is whole: {back}");

    // The check of such a target succeeds, too.
    let storage = json!({"storageResourceUri": uri, "token": S3_TOKEN});
    let started = dev.rest().call("POST", "/prebackup", &storage).expect("an answer");
    assert_eq!(started.status, 202, "{}", started.text());
    assert!(!made.to_string().contains("not-shown-anywhere"));
    assert!(!dev.terminal().contains("not-shown-anywhere"), "the token is in no log");
    assert!(!log(dev.data_dir()).contains("not-shown-anywhere"), "and in no record");
    dev.stop();
}

fn log(data_dir: &Path) -> String {
    audit::records(data_dir).iter().map(Value::to_string).collect()
}

#[test]
fn a_target_that_fails_is_told_until_it_is_mended() {
    let (s3, dev) = (S3::start(), Dev::fresh());
    let token = dev.scratch().join("s3.txt");
    fs::write(&token, S3_TOKEN).expect("the folder can be written");
    let token = token.display().to_string();
    set(&dev, &s3.uri("no-such-bucket"), &["--storage-token-file", &token]);
    let mut last = Value::Null;
    let failed = || {
        last = status(&dev);
        last["failures"] == 1
    };
    assert!(eventually(PATIENCE, failed), "{last}");
    assert_eq!(last["lastFailure"]["code"], "StorageAccountError", "{last}");
    assert!(last["nextRunTime"].as_i64() > last["lastRunTime"].as_i64(), "{last}");
    let elsewhere = schedule(
        &dev,
        &["set", "often", "--storage", &s3.uri("backups"), "--every-minutes", "44640"],
    );
    assert!(!elsewhere.success && elsewhere.err.contains("'token' is needed"), "{elsewhere:?}");
    set(&dev, &s3.uri("backups"), &["--storage-token-file", &token]);
    assert_eq!(backups(&dev, 1)["failures"], 0);
    dev.stop();
}
