//! A new secret of the security domain on a running HSM, through its own commands and calls, with
//! kills at every moment: the keys stay, old files open nothing newer, and what is forgotten is
//! refused by name.

use std::env;
use std::thread;
use std::time::Duration;

use casemate_system_tests::rotating::{
    DONE_TIMEOUT, PENDING, User, back_up, begun, body, file, make, officers, ok, purge, recovered,
    request, rotate, sign, status, verifies, wait_until_done,
};
use casemate_test_kit::process::{self, eventually};
use casemate_test_kit::random::Random;
use casemate_test_kit::{Dev, Options, Rest, audit};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

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
fn demand_no_second_time(dev: &Dev, approved: &std::path::Path, new: &str) {
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

fn drill(dev: &Dev, domain: &str) {
    let keys = [1, 3].map(|at| file(&officers(dev), &format!("officer-{at}.key")));
    let words = ["security-domain", "drill", domain, "--key", &keys[0], "--key", &keys[1]];
    ok(dev, &words);
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
