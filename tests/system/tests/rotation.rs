//! A new secret of the security domain on a running HSM, through its own commands and calls, with
//! kills at every moment: the keys stay, old files open nothing newer, and what is forgotten is
//! refused by name.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use casemate_system_tests::az::Az;
use casemate_test_kit::clients::{Client, Run};
use casemate_test_kit::process::{self, eventually};
use casemate_test_kit::random::Random;
use casemate_test_kit::{Dev, Options, Rest, audit, places};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// Time for a rotation of a few hundred keys, on a busy machine.
const DONE_TIMEOUT: Duration = Duration::from_secs(120);
const PENDING: &str = "/securitydomain/rotate/pending";

fn file(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

fn casemate(dev: &Dev, words: &[&str]) -> Run {
    Client::of(dev, &places::casemate(), dev.scratch()).words(words.iter().copied()).run()
}

fn ok(dev: &Dev, words: &[&str]) -> String {
    let run = casemate(dev, words);
    assert!(run.success, "{words:?}: {run:?}");
    run.out
}

/// The development officers' folder.
fn officers(dev: &Dev) -> PathBuf {
    dev.data_dir().join("officers")
}

/// A request for the epoch after that of the file, to the same officers, approved by so many.
fn request(dev: &Dev, domain: &str, approvals: usize, further: &[&str]) -> PathBuf {
    let held = officers(dev);
    let certificates = [1, 2, 3].map(|at| file(&held, &format!("officer-{at}.cer")));
    let mut words = vec!["security-domain", "request", "--quorum", "2", "--rotate", domain];
    words.extend(certificates.iter().flat_map(|cer| ["--cert", cer.as_str()]));
    words.extend(further);
    let path = dev.scratch().join("request.json");
    fs::write(&path, ok(dev, &words)).expect("the folder can be written");
    for at in 1..=approvals {
        let (key, request) =
            (file(&held, &format!("officer-{at}.key")), path.display().to_string());
        let words = ["security-domain", "approve", "--domain", domain, "--request", &request];
        let approved = ok(dev, &[&words[..], &["--key", &key]].concat());
        fs::write(&path, approved).expect("the folder can be written");
    }
    path
}

fn body(path: &Path) -> Value {
    let text = fs::read_to_string(path).expect("the request can be read");
    serde_json::from_str(&text).expect("a request is JSON")
}

/// Rotates with the program's own command.
fn rotate(dev: &Dev, request: &Path, out: &str) -> Run {
    let token = dev.scratch().join("token");
    fs::write(&token, dev.token()).expect("the folder can be written");
    let (url, ca) = (dev.variable("CASEMATE_HSM_URL"), dev.ca().display().to_string());
    let (token, request) = (token.display().to_string(), request.display().to_string());
    let asked = ["security-domain", "rotate", "--url", url, "--ca", &ca];
    let files = ["--token-file", &token, "--request", &request, "--out", out];
    casemate(dev, &[&asked[..], &files].concat())
}

fn make(rest: &mut Rest, name: &str) -> String {
    let made = rest.call("POST", &format!("/keys/{name}/create"), &json!({"kty": "EC-HSM"}));
    let key = made.expect("an answer").expect_ok("a key");
    key["key"]["kid"].as_str().expect("a key has an id").to_owned()
}

fn digest() -> Value {
    json!({"alg": "ES256", "value": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc"})
}

fn sign(rest: &mut Rest, name: &str) -> Value {
    let signed = rest.call("POST", &format!("/keys/{name}/sign"), &digest());
    signed.expect("an answer").expect_ok("a signature")["value"].clone()
}

fn verifies(rest: &mut Rest, name: &str, signature: &Value) -> bool {
    let mut asked = digest();
    asked["digest"] = asked["value"].take();
    asked["value"] = signature.clone();
    let answer = rest.call("POST", &format!("/keys/{name}/verify"), &asked);
    answer.expect("an answer").expect_ok("a verification")["value"] == true
}

fn status(dev: &Dev) -> Option<Value> {
    let answer = dev.rest().ask("GET", PENDING).ok()?;
    (answer.status == 200).then(|| answer.json())
}

/// The status once it is told; none if no epoch began. The HSM may be opened anew just now.
fn begun(dev: &Dev) -> Option<Value> {
    let mut told = None;
    let tells = || {
        told = dev.rest().ask("GET", PENDING).ok().filter(|one| matches!(one.status, 200 | 404));
        told.is_some()
    };
    assert!(eventually(DONE_TIMEOUT, tells), "the HSM answers");
    told.filter(|answer| answer.status == 200).map(|answer| answer.json())
}

fn wait_until_done(dev: &Dev, epoch: u64) {
    let done = || {
        status(dev).is_some_and(|status| status["status"] == "Success" && status["epoch"] == epoch)
    };
    assert!(eventually(DONE_TIMEOUT, done), "{:?}", status(dev));
}

fn back_up(rest: &mut Rest, name: &str) -> Value {
    let backup = rest.call("POST", &format!("/keys/{name}/backup"), &json!({}));
    backup.expect("an answer").expect_ok("a backup")
}

/// An Administrator alone does not get it, whatever is missing.
fn demand_refused_alone(dev: &Dev, rest: &mut Rest, old: &str) {
    assert_eq!(rest.ask("GET", PENDING).expect("an answer").status, 404, "none began yet");
    for approvals in [0, 1] {
        let alone = body(&request(dev, old, approvals, &[]));
        let answer = rest.call("POST", "/securitydomain/rotate", &alone).expect("an answer");
        assert_eq!(answer.status, 403, "{}", answer.text());
        assert!(answer.text().contains("casemate security-domain approve"), "{}", answer.text());
    }
}

/// No file is written over, and no request serves twice.
fn demand_no_second_time(dev: &Dev, approved: &Path, new: &str) {
    let again = rotate(dev, approved, new);
    assert!(!again.success && again.err.contains("does not exist yet"), "{again:?}");
    let stale = rotate(dev, approved, &file(dev.scratch(), "domain-3.json"));
    assert!(!stale.success && stale.err.contains("epoch"), "{stale:?}");
    assert!(!dev.scratch().join("domain-3.json").exists());
}

#[test]
fn the_secret_changes_under_use_and_old_files_open_nothing_newer() {
    let dev = Dev::fresh();
    let old = file(&officers(&dev), "security-domain.json");
    let mut rest = dev.rest();
    let signatures: Vec<_> = (0..60)
        .map(|at| {
            let name = format!("k{at}");
            make(&mut rest, &name);
            let signature = sign(&mut rest, &name);
            (name, signature)
        })
        .collect();
    let of_one = back_up(&mut rest, "k0");
    demand_refused_alone(&dev, &mut rest, &old);
    let approved = request(&dev, &old, 2, &[]);
    let as_download = rest.call("POST", "/securitydomain/download", &body(&approved));
    assert_eq!(as_download.expect("an answer").status, 400);
    let user = User::begin(&dev);
    let new = file(dev.scratch(), "domain-2.json");
    let done = rotate(&dev, &approved, &new);
    assert!(done.success, "{done:?}");
    assert!(done.out.contains("\"Success\""), "{done:?}");
    assert!(user.end() > 0, "it was answered meanwhile");
    demand_no_second_time(&dev, &approved, &new);
    let mut rest = dev.rest();
    for (name, signature) in &signatures {
        assert!(verifies(&mut rest, name, signature), "{name}");
    }
    let shown = ok(&dev, &["security-domain", "inspect", &new]);
    assert!(shown.contains("epoch     2") && shown.contains("of epochs 1 open too"), "{shown}");
    let of_two = back_up(&mut rest, "k0");
    drill(&dev, &new);
    demand_both_files(&dev, (&old, &new), (&of_one, &of_two), &signatures[0].1);
    let stopped = dev.stop();
    let counts = audit::counts(&stopped.data_dir);
    let of = |name: &str| counts.get(name).copied().unwrap_or_default();
    assert!(of("SecurityDomainRotate") >= 4, "refused, done and refused again: {counts:?}");
    assert_eq!(of("SecurityDomainEpochLeft"), 1, "{counts:?}");
}

/// A second HSM with the new file opens both backups; one with the old file, the old one alone.
fn demand_both_files(
    dev: &Dev,
    (old, new): (&str, &str),
    (of_one, of_two): (&Value, &Value),
    signature: &Value,
) {
    for (domain, opens_two) in [(new, true), (old, false)] {
        let second = recovered(dev, domain);
        let mut rest = second.rest();
        let later = rest.call("POST", "/keys/restore", of_two).expect("an answer");
        assert_eq!(later.status == 200, opens_two, "{}", later.text());
        if opens_two {
            assert!(verifies(&mut rest, "k0", signature));
            purge(&mut rest, "k0");
        } else {
            assert!(later.text().contains("epoch 2"), "{}", later.text());
        }
        rest.call("POST", "/keys/restore", of_one).expect("an answer").expect_ok("the old one");
        assert!(verifies(&mut rest, "k0", signature));
        second.stop();
    }
}

/// Somebody who signs all the time. Connections end when the HSM is opened anew; an answer that
/// comes is a right one.
struct User {
    busy: Arc<AtomicBool>,
    thread: thread::JoinHandle<u64>,
}

impl User {
    fn begin(dev: &Dev) -> Self {
        let (busy, mut rest) = (Arc::new(AtomicBool::new(true)), dev.rest());
        let goes_on = Arc::clone(&busy);
        let thread = thread::spawn(move || {
            let mut served = 0;
            while goes_on.load(Ordering::SeqCst) {
                match rest.call("POST", "/keys/k1/sign", &digest()) {
                    Ok(answer) if answer.status == 200 => served += 1,
                    Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.text()),
                    Err(_) => thread::sleep(Duration::from_millis(20)),
                }
            }
            served
        });
        Self { busy, thread }
    }

    /// How often it was answered.
    fn end(self) -> u64 {
        self.busy.store(false, Ordering::SeqCst);
        self.thread.join().expect("it was answered rightly")
    }
}

fn drill(dev: &Dev, domain: &str) {
    let keys = [1, 3].map(|at| file(&officers(dev), &format!("officer-{at}.key")));
    let words = ["security-domain", "drill", domain, "--key", &keys[0], "--key", &keys[1]];
    ok(dev, &words);
}

/// Another HSM that takes the domain of this file, from the officers of the first.
fn recovered(first: &Dev, domain: &str) -> Dev {
    let dev = Dev::start(Options::default().with(&["--name", "beta", "--activate", "no"]));
    let az = Az::logged_in(&dev, "adfs");
    let exchange = file(dev.scratch(), "exchange.cer");
    let of = ["keyvault", "security-domain"];
    let begin = ["init-recovery", "--hsm-name", "beta", "--sd-exchange-key", &exchange];
    az.ok(&[&of[..], &begin[..]].concat());
    let [one, two] = [1, 2].map(|at| file(&officers(first), &format!("officer-{at}.key")));
    let upload = ["upload", "--hsm-name", "beta", "--sd-file", domain];
    let with = ["--sd-exchange-key", &exchange, "--sd-wrapping-keys", &one, &two];
    az.ok(&[&of[..], &upload[..], &with[..]].concat());
    dev
}

fn purge(rest: &mut Rest, name: &str) {
    let deleted = rest.ask("DELETE", &format!("/keys/{name}")).expect("an answer");
    deleted.expect_ok("a deletion");
    let purged = rest.ask("DELETE", &format!("/deletedkeys/{name}")).expect("an answer");
    assert_eq!(purged.status, 204, "{}", purged.text());
}

#[test]
fn forgotten_backups_are_named_when_it_begins_and_refused_by_epoch() {
    let dev = Dev::fresh();
    let old = file(&officers(&dev), "security-domain.json");
    let mut rest = dev.rest();
    make(&mut rest, "pay");
    let signature = sign(&mut rest, "pay");
    let of_one = back_up(&mut rest, "pay");
    for (before, says) in [("1", "oldest epoch is 1"), ("3", "Epoch 3 is after")] {
        let asked = body(&request(&dev, &old, 2, &["--forget-before", before]));
        let refused = rest.call("POST", "/securitydomain/rotate", &asked).expect("an answer");
        assert_eq!(refused.status, 400, "{}", refused.text());
        assert!(refused.text().contains(says), "{}", refused.text());
    }
    // What officers signed is what counts: nobody adds the forgetting afterwards.
    let mut asked = body(&request(&dev, &old, 2, &[]));
    asked["rotation"]["forgetBefore"] = json!(2);
    let added = rest.call("POST", "/securitydomain/rotate", &asked).expect("an answer");
    assert_eq!(added.status, 403, "{}", added.text());
    let asked = request(&dev, &old, 2, &["--forget-before", "2"]);
    let new = file(dev.scratch(), "domain-2.json");
    let done = rotate(&dev, &asked, &new);
    assert!(done.success, "{done:?}");
    let named = "backups before epoch 2 cannot be opened any more";
    assert!(done.err.contains(named) && done.err.contains("all of epoch 1"), "{done:?}");
    let shown = status(&dev).expect("a status");
    assert_eq!(shown["forgotten"]["epochs"][0]["epoch"], 1, "{shown}");
    let mut rest = dev.rest();
    assert!(verifies(&mut rest, "pay", &signature));
    purge(&mut rest, "pay");
    let refused = rest.call("POST", "/keys/restore", &of_one).expect("an answer");
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert!(refused.text().contains("epoch 1"), "{}", refused.text());
    let shown = ok(&dev, &["security-domain", "inspect", &new]);
    assert!(shown.contains("epoch     2") && !shown.contains("open too"), "{shown}");
    drill(&dev, &new);
    dev.stop();
}

fn rounds() -> u64 {
    let rounds = env::var("CASEMATE_ROTATION_ROUNDS").ok();
    rounds.and_then(|text| text.parse().ok()).unwrap_or(6)
}

/// Kills the whole agent while a new epoch begins, and the partition while records are brought
/// forward; the secret is the old one or the new one, every key works, and it comes to its end.
#[test]
fn a_kill_at_any_moment_leaves_one_secret_or_the_other_and_it_goes_on() {
    let (mut before, mut after) = (0, 0);
    let mut random = Random::seeded(11);
    for round in 0..rounds() {
        let dev = Dev::fresh();
        let mut rest = dev.rest();
        let signatures: Vec<_> = (0..150)
            .map(|at| {
                make(&mut rest, &format!("k{at}"));
                (format!("k{at}"), sign(&mut rest, &format!("k{at}")))
            })
            .collect();
        let domain = file(&officers(&dev), "security-domain.json");
        let asked = body(&request(&dev, &domain, 2, &[]));
        let asking = {
            let (mut rest, asked) = (dev.rest(), asked.clone());
            thread::spawn(move || {
                let answer = rest.call("POST", "/securitydomain/rotate", &asked);
                answer.map(|answer| answer.status)
            })
        };
        // From before anything began until records are brought forward: closer at the beginning.
        let step = round % 8;
        thread::sleep(Duration::from_millis(step * step * 5 + random.next() % 10));
        let data_dir = dev.data_dir().to_owned();
        let stopped = dev.kill9();
        let answered = asking.join().expect("the thread ends");
        let dev = Dev::start(Options::in_dir(&data_dir));
        let found = begun(&dev);
        match &found {
            Some(status) => {
                assert_eq!(status["epoch"], 2, "{status}");
                after += 1;
            }
            None => {
                assert!(!matches!(answered, Ok(202)), "what was answered is done");
                let answer = dev.rest().call("POST", "/securitydomain/rotate", &asked);
                assert_eq!(answer.expect("an answer").status, 202, "it is done anew");
                before += 1;
            }
        }
        process::signal(dev.partition(), Signal::SIGKILL);
        let answers = || status(&dev).is_some_and(|status| status["epoch"] == 2);
        assert!(eventually(DONE_TIMEOUT, answers), "what was answered is done: {found:?}");
        wait_until_done(&dev, 2);
        let works = || dev.rest().ask("GET", "/keys").is_ok_and(|answer| answer.status == 200);
        assert!(eventually(DONE_TIMEOUT, works), "it was opened anew");
        let mut rest = dev.rest();
        for (name, signature) in &signatures {
            assert!(verifies(&mut rest, name, signature), "{name} in round {round}");
        }
        make(&mut rest, "later");
        casemate_system_tests::casemate(&dev, &["audit", "verify"]);
        dev.stop();
        drop(stopped);
    }
    assert!(before + after == rounds() && after > 0, "{before} before, {after} after");
}
