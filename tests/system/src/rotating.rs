//! A rotation of the security domain on a running HSM, as officers and operators do it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use casemate_test_kit::clients::{Client, Run};
use casemate_test_kit::process::eventually;
use casemate_test_kit::{Dev, Options, Rest, places};
use serde_json::{Value, json};

use crate::az::Az;

/// Time for a rotation of a few hundred keys, on a busy machine.
pub const DONE_TIMEOUT: Duration = Duration::from_secs(120);
/// Where the status is.
pub const PENDING: &str = "/securitydomain/rotate/pending";

/// A file of a folder, as a word of a command.
pub fn file(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

/// The program, with the environment of a client.
pub fn casemate(dev: &Dev, words: &[&str]) -> Run {
    Client::of(dev, &places::casemate(), dev.scratch()).words(words.iter().copied()).run()
}

/// What the program wrote; it must succeed.
pub fn ok(dev: &Dev, words: &[&str]) -> String {
    let run = casemate(dev, words);
    assert!(run.success, "{words:?}: {run:?}");
    run.out
}

/// The development officers' folder.
pub fn officers(dev: &Dev) -> PathBuf {
    dev.data_dir().join("officers")
}

/// A request for the epoch after that of the file, to the same officers, approved by so many.
pub fn request(dev: &Dev, domain: &str, approvals: usize, further: &[&str]) -> PathBuf {
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

/// A request as it is sent.
pub fn body(path: &Path) -> Value {
    let text = fs::read_to_string(path).expect("the request can be read");
    serde_json::from_str(&text).expect("a request is JSON")
}

/// Rotates with the program's own command.
pub fn rotate(dev: &Dev, request: &Path, out: &str) -> Run {
    let token = dev.scratch().join("token");
    fs::write(&token, dev.token()).expect("the folder can be written");
    let (url, ca) = (dev.variable("CASEMATE_HSM_URL"), dev.ca().display().to_string());
    let (token, request) = (token.display().to_string(), request.display().to_string());
    let asked = ["security-domain", "rotate", "--url", url, "--ca", &ca];
    let files = ["--token-file", &token, "--request", &request, "--out", out];
    casemate(dev, &[&asked[..], &files].concat())
}

/// A new EC key, and its id.
pub fn make(rest: &mut Rest, name: &str) -> String {
    let made = rest.call("POST", &format!("/keys/{name}/create"), &json!({"kty": "EC-HSM"}));
    let key = made.expect("an answer").expect_ok("a key");
    key["key"]["kid"].as_str().expect("a key has an id").to_owned()
}

/// What is signed.
pub fn digest() -> Value {
    json!({"alg": "ES256", "value": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc"})
}

/// A signature.
pub fn sign(rest: &mut Rest, name: &str) -> Value {
    let signed = rest.call("POST", &format!("/keys/{name}/sign"), &digest());
    signed.expect("an answer").expect_ok("a signature")["value"].clone()
}

/// Whether a key takes the signature.
pub fn verifies(rest: &mut Rest, name: &str, signature: &Value) -> bool {
    let mut asked = digest();
    asked["digest"] = asked["value"].take();
    asked["value"] = signature.clone();
    let answer = rest.call("POST", &format!("/keys/{name}/verify"), &asked);
    answer.expect("an answer").expect_ok("a verification")["value"] == true
}

/// How far a rotation is.
pub fn status(dev: &Dev) -> Option<Value> {
    let answer = dev.rest().ask("GET", PENDING).ok()?;
    (answer.status == 200).then(|| answer.json())
}

/// The status once it is told; none if no epoch began. The HSM may be opened anew just now.
pub fn begun(dev: &Dev) -> Option<Value> {
    let mut told = None;
    let tells = || {
        told = dev.rest().ask("GET", PENDING).ok().filter(|one| matches!(one.status, 200 | 404));
        told.is_some()
    };
    assert!(eventually(DONE_TIMEOUT, tells), "the HSM answers");
    told.filter(|answer| answer.status == 200).map(|answer| answer.json())
}

/// Waits until nothing is left under the epoch before.
pub fn wait_until_done(dev: &Dev, epoch: u64) {
    let done = || {
        status(dev).is_some_and(|status| status["status"] == "Success" && status["epoch"] == epoch)
    };
    assert!(eventually(DONE_TIMEOUT, done), "{:?}", status(dev));
}

/// A backup of the key.
pub fn back_up(rest: &mut Rest, name: &str) -> Value {
    let backup = rest.call("POST", &format!("/keys/{name}/backup"), &json!({}));
    backup.expect("an answer").expect_ok("a backup")
}

/// Another HSM that takes the domain of this file, from the officers of the first.
pub fn recovered(first: &Dev, domain: &str) -> Dev {
    recovered_in(Options::default(), first, domain)
}

/// The same, with further options.
pub fn recovered_in(options: Options, first: &Dev, domain: &str) -> Dev {
    let dev = Dev::start(options.with(&["--name", "beta", "--activate", "no"]));
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

/// Deletes the key for good.
pub fn purge(rest: &mut Rest, name: &str) {
    let deleted = rest.ask("DELETE", &format!("/keys/{name}")).expect("an answer");
    deleted.expect_ok("a deletion");
    let purged = rest.ask("DELETE", &format!("/deletedkeys/{name}")).expect("an answer");
    assert_eq!(purged.status, 204, "{}", purged.text());
}

/// Somebody who signs all the time. Connections end when the HSM is opened anew; an answer that
/// comes is a right one.
pub struct User {
    busy: Arc<AtomicBool>,
    thread: thread::JoinHandle<u64>,
}

impl User {
    /// Begins to sign.
    pub fn begin(dev: &Dev) -> Self {
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
    pub fn end(self) -> u64 {
        self.busy.store(false, Ordering::SeqCst);
        self.thread.join().expect("it was answered rightly")
    }
}
