//! Power loss, which a killed process cannot show: the disk forgets what was not synced.
//!
//! Each proof is repeated with syncs that do nothing; then it must fail, or it proves nothing.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use casemate_system_tests::acknowledged::{Key, Progress, check, check_audit, work};
use casemate_system_tests::disk::{Disk, Swallow, without_syncs};
use casemate_system_tests::trace::{Durable, Window, windows};
use casemate_test_kit::process::{self, eventually};
use casemate_test_kit::random::Random;
use casemate_test_kit::{Dev, Options};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// The calls that change something, in an order in which each is possible.
fn changes() -> Vec<(&'static str, String, Option<Value>)> {
    let role = "Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/\
                21dbd100-6940-42c2-9190-5d6cb909625b";
    let assignment = "/keys/traced/providers/Microsoft.Authorization/roleAssignments/\
                      11111111-2222-3333-4444-555555555555";
    let grant = json!({ "properties": {
        "roleDefinitionId": role, "principalId": "99999999-2222-3333-4444-555555555555",
    } });
    let create = json!({ "kty": "EC-HSM", "crv": "P-256" });
    let import = json!({ "key": { "kty": "oct-HSM", "k": "AAECAwQFBgcICQoLDA0ODw" } });
    let update = json!({ "tags": { "a": "b" } });
    let path = |text: &str| text.to_owned();
    vec![
        ("POST", path("/keys/traced/create"), Some(create.clone())),
        ("POST", path("/keys/traced/create"), Some(create)),
        ("PUT", path("/keys/imported"), Some(import)),
        ("PATCH", path("/keys/traced/"), Some(update)),
        ("PUT", path(assignment), Some(grant)),
        ("DELETE", path(assignment), None),
        ("DELETE", path("/keys/traced"), None),
        ("POST", path("/deletedkeys/traced/recover"), None),
        ("DELETE", path("/keys/imported"), None),
        ("DELETE", path("/deletedkeys/imported"), None),
    ]
}

/// Makes all changes and one use over one connection while the partition is traced.
fn traced(dev: &Dev) -> Vec<Window> {
    let file = dev.scratch().join("trace");
    let mut rest = dev.rest();
    rest.ask("GET", "/keys").expect("an answer").expect_ok("the connection is made");
    let port = rest.local_port().expect("the connection is open");
    let strace = Strace::attach(dev.partition(), &file);
    for (method, path, body) in changes() {
        let answer = match body {
            Some(body) => rest.call(method, &path, &body),
            None => rest.ask(method, &path),
        };
        let answer = answer.expect("an answer");
        assert!(answer.status < 300, "{method} {path}: {} {}", answer.status, answer.text());
    }
    let digest = json!({ "alg": "ES256", "value": "A".repeat(43) });
    rest.call("POST", "/keys/traced/sign", &digest).expect("an answer").expect_ok("sign");
    assert_eq!(rest.local_port(), Some(port), "all went over one connection");
    strace.detach();
    windows(&fs::read_to_string(&file).expect("strace wrote its file"), port)
}

struct Strace {
    child: Child,
}

impl Strace {
    fn attach(partition: u32, file: &Path) -> Self {
        let calls = "trace=fsync,fdatasync,write,pwrite64,writev,pwritev,sendto,sendmsg,\
                     read,readv,recvfrom,recvmsg";
        let notes = file.with_extension("notes");
        let errors = fs::File::create(&notes).expect("the scratch folder can be written");
        let child = Command::new("strace")
            .args(["-f", "-yy", "-s", "0", "-e", calls, "-p", &partition.to_string(), "-o"])
            .arg(file)
            .stdin(Stdio::null())
            .stderr(errors)
            .spawn()
            .expect("strace is installed");
        let attached = || fs::read_to_string(&notes).is_ok_and(|text| text.contains("attached"));
        assert!(eventually(Duration::from_secs(20), attached), "strace attaches");
        Self { child }
    }

    fn detach(mut self) {
        process::signal(self.child.id(), Signal::SIGINT);
        self.child.wait().expect("strace ends");
    }
}

#[test]
fn every_answer_waits_for_the_syncs_of_store_and_audit() {
    let dev = Dev::fresh();
    let windows = traced(&dev);
    assert_eq!(windows.len(), changes().len() + 1, "{windows:?}");
    for (window, (method, path, _)) in windows.iter().zip(changes()) {
        let synced = |file| window.synced.get(&file).copied().unwrap_or_default();
        assert!(synced(Durable::Store) >= 1, "{method} {path}: {window:?}");
        // Intent and outcome, each of its own.
        assert!(synced(Durable::Audit) >= 2, "{method} {path}: {window:?}");
        assert_eq!(window.unsynced, [], "{method} {path}");
    }
    let sign = windows.last().expect("the use of a key comes last");
    assert!(sign.synced.get(&Durable::Audit).is_some_and(|syncs| *syncs >= 1), "{sign:?}");
    assert_eq!(sign.unsynced, []);
    dev.stop();
}

/// The windows of a program whose syncs of some files do nothing.
fn traced_without(which: Swallow) -> Vec<Window> {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let through = without_syncs(parent.path(), which);
    let dev = Dev::start(Options { through, ..Options::default() });
    let windows = traced(&dev);
    assert_eq!(windows.len(), changes().len() + 1, "{windows:?}");
    dev.stop();
    windows
}

#[test]
fn the_trace_shows_when_the_stores_syncs_do_nothing() {
    for window in &traced_without(Swallow::Store)[..changes().len()] {
        assert!(!window.synced.contains_key(&Durable::Store), "one got through: {window:?}");
        assert_eq!(window.unsynced, [Durable::Store]);
    }
}

#[test]
fn the_trace_shows_when_the_audits_syncs_do_nothing() {
    for window in &traced_without(Swallow::Audit) {
        assert!(!window.synced.contains_key(&Durable::Audit), "one got through: {window:?}");
        assert_eq!(window.unsynced, [Durable::Audit]);
    }
}

/// Changes keys until the power is cut, boots, and gives back what was acknowledged.
fn cut(disk: &mut Disk, through: Vec<String>) -> Vec<Key> {
    let data_dir = disk.place().join("data");
    // It is made with all syncs, so that only what was acknowledged later can be lost.
    Dev::start(Options::in_dir(&data_dir)).stop();
    let options = Options { through, ..Options::in_dir(&data_dir) };
    let dev = Dev::start(options);
    let rest = dev.rest();
    let progress = Progress::default();
    let mut random = Random::seeded(3);
    let keys = thread::scope(|scope| {
        let working = scope.spawn(|| work(&rest, 48, 0, &progress));
        let enough = || progress.acknowledged.load(Ordering::Relaxed) >= 400;
        assert!(eventually(Duration::from_secs(60), enough), "{progress:?}");
        let while_ms = u64::try_from(random.below(700)).expect("a small number");
        thread::sleep(Duration::from_millis(while_ms));
        progress.cut.store(true, Ordering::SeqCst);
        disk.cut_power();
        progress.stop.store(true, Ordering::Relaxed);
        let stopped = dev.kill9();
        let keys = working.join().expect("the workers met only allowed answers");
        drop(stopped);
        keys
    });
    disk.boot();
    keys
}

/// Boots and demands all that was acknowledged, in the store and in the audit log.
fn demand(disk: &Disk, keys: &mut [Key]) {
    let dev = Dev::start(Options::in_dir(&disk.place().join("data")));
    check_audit(dev.data_dir(), keys);
    assert!(check(&dev.rest(), keys) >= 48, "every worker had a key");
    dev.stop();
}

/// Whether a power cut shows that syncs were swallowed: the check fails, or nothing starts at all.
fn cut_without(which: Swallow) -> bool {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let mut disk = Disk::new(parent.path());
    let mut keys = cut(&mut disk, without_syncs(parent.path(), which));
    catch_unwind(AssertUnwindSafe(|| demand(&disk, &mut keys))).is_err()
}

#[test]
fn a_power_cut_loses_nothing_acknowledged() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let mut disk = Disk::new(parent.path());
    let mut keys = cut(&mut disk, Vec::new());
    demand(&disk, &mut keys);
}

#[test]
fn a_power_cut_shows_that_the_store_was_not_synced() {
    assert!(cut_without(Swallow::Store), "a power cut must lose what was not synced");
}

#[test]
fn a_power_cut_shows_that_the_audit_was_not_synced() {
    assert!(cut_without(Swallow::Audit), "a power cut must lose what was not synced");
}
