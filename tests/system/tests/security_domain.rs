//! Activation, the security domain and recovery, with the unmodified Azure CLI on two HSMs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use casemate_system_tests::az::Az;
use casemate_system_tests::python_of;
use casemate_test_kit::clients::{Client, Run};
use casemate_test_kit::process::{self, eventually};
use casemate_test_kit::{Dev, Options, audit, places};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// Not activated, and left so.
fn unactivated(name: &str) -> Dev {
    Dev::start(Options::default().with(&["--name", name, "--activate", "no"]))
}

/// The same HSM, started again.
fn again(data_dir: &Path) -> Dev {
    Dev::start(Options::in_dir(data_dir).with(&["--activate", "no"]))
}

fn status(dev: &Dev, path: &str) -> (u16, String) {
    let answer = dev.rest().ask("GET", path).expect("an answer");
    (answer.status, answer.text())
}

/// An officer's key and certificate, made by OpenSSL as the manual of `az` shows it.
fn officer(folder: &Path, name: &str, password: Option<&str>) {
    let path = |kind: &str| folder.join(format!("{name}.{kind}")).display().to_string();
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-days", "365"]);
    openssl.args(["-subj", &format!("/CN={name}"), "-keyout", &path("key"), "-out", &path("cer")]);
    match password {
        Some(password) => openssl.args(["-passout", &format!("pass:{password}")]),
        None => openssl.arg("-nodes"),
    };
    let made = openssl.output().expect("openssl is there");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Three officers, the last with a password.
fn officers() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    officer(folder.path(), "one", None);
    officer(folder.path(), "two", None);
    officer(folder.path(), "three", Some("secret"));
    folder
}

fn file(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

fn download(az: &Az<'_>, hsm: &str, officers: &Path, to: &str) {
    let certificates = ["one.cer", "two.cer", "three.cer"].map(|name| file(officers, name));
    let mut words = vec!["keyvault", "security-domain", "download", "--hsm-name", hsm];
    words.extend(["--sd-quorum", "2", "--security-domain-file", to, "--sd-wrapping-keys"]);
    words.extend(certificates.iter().map(String::as_str));
    az.ok(&words);
}

/// A command of the program's own.
fn casemate(dev: &Dev, words: &[&str]) -> Run {
    Client::of(dev, &places::casemate(), dev.scratch()).words(words.iter().copied()).run()
}

/// The bytes of the HSM's identity key; its name differs between HSMs.
fn identity_key(dev: &Dev) -> String {
    let shown = casemate_system_tests::casemate(dev, &["audit", "key"]);
    let keys = shown.as_str().expect("the command prints lines");
    let identity = keys.split_whitespace().find(|word| word.starts_with("casemate/hsm/"));
    let identity = identity.expect("the keys hold the identity key");
    identity.rsplit('+').next().expect("a key ends with its bytes").to_owned()
}

#[test]
fn before_activation_nothing_else_is_answered() {
    let dev = unactivated("alpha");
    for path in ["/keys", "/settings", "/deletedkeys"] {
        let (status, text) = status(&dev, path);
        assert_eq!(status, 503, "{path}: {text}");
        assert!(text.contains("az keyvault security-domain download"), "{text}");
    }
    let (status_of_none, text) = status(&dev, "/securitydomain/download/pending");
    assert_eq!(status_of_none, 404, "{text}");
    let az = Az::logged_in(&dev, "adfs");
    let shown = az.ok(&["keyvault", "show", "--hsm-name", "alpha"]);
    let told = &shown["properties"]["securityDomainProperties"]["activationStatus"];
    assert_eq!(told, "NotActivated", "{shown}");
    let doctor = casemate_system_tests::casemate(&dev, &["doctor"]).to_string();
    assert!(doctor.contains("is not activated"), "{doctor}");
    dev.stop();
}

#[test]
fn dev_activates_with_officers_of_its_own() {
    let dev = Dev::fresh();
    let folder = dev.data_dir().join("officers");
    for at in 1..=3 {
        let key = fs::metadata(folder.join(format!("officer-{at}.key"))).expect("a key");
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
    }
    let domain = file(&folder, "security-domain.json");
    let key = |at: usize| file(&folder, &format!("officer-{at}.key"));
    let drill = |keys: &[String]| {
        let mut words = vec!["security-domain", "drill", domain.as_str()];
        words.extend(keys.iter().flat_map(|key| ["--key", key.as_str()]));
        casemate(&dev, &words)
    };
    let opened = drill(&[key(1), key(3)]);
    assert!(opened.success && opened.out.contains("It opens: 2 keys"), "{opened:?}");
    let few = drill(&[key(2)]);
    assert!(!few.success && few.err.contains("1 keys are too few"), "{few:?}");
    let shown = casemate(&dev, &["security-domain", "inspect", &domain]);
    assert!(shown.out.contains("quorum    2 of 3"), "{shown:?}");
    let seen = audit::counts(dev.data_dir());
    assert_eq!(seen.get("SecurityDomainBackup"), Some(&1), "{seen:?}");
    let data_dir = dev.data_dir().to_owned();
    let created = dev.rest().call("POST", "/keys/k/create", &json!({"kty": "oct-HSM"}));
    created.expect("an answer").expect_ok("a key");
    let stopped = dev.stop();
    let dev = again(&data_dir);
    assert_eq!(status(&dev, "/keys/k").0, 200, "active for good");
    dev.stop();
    drop(stopped);
}

#[test]
fn az_activates_one_hsm_and_recovers_its_domain_on_another() {
    let officers = officers();
    let first = unactivated("alpha");
    let domain = file(officers.path(), "domain.json");
    let az = Az::logged_in(&first, "adfs");
    download(&az, "alpha", officers.path(), &domain);
    az.ok(&[
        "keyvault",
        "security-domain",
        "wait",
        "--hsm-name",
        "alpha",
        "--target-operation",
        "download",
    ]);
    az.ok(&["keyvault", "key", "create", "--hsm-name", "alpha", "-n", "k", "--kty", "EC-HSM"]);
    let shown = az.ok(&["keyvault", "show", "--hsm-name", "alpha"]);
    let told = &shown["properties"]["securityDomainProperties"]["activationStatus"];
    assert_eq!(told, "Active", "{shown}");
    // A second time az gets it not: nobody who holds it agreed.
    let mut words = vec!["keyvault", "security-domain", "download", "--hsm-name", "alpha"];
    let other = file(officers.path(), "other.json");
    words.extend(["--sd-quorum", "2", "--security-domain-file", &other, "--sd-wrapping-keys"]);
    let certificates = ["one.cer", "two.cer", "three.cer"].map(|name| file(officers.path(), name));
    words.extend(certificates.iter().map(String::as_str));
    let refused = az.fails(&words);
    assert!(refused.contains("casemate security-domain approve"), "{refused}");

    let second = unactivated("beta");
    let exchange = file(officers.path(), "exchange.cer");
    let az = Az::logged_in(&second, "adfs");
    az.ok(&[
        "keyvault",
        "security-domain",
        "init-recovery",
        "--hsm-name",
        "beta",
        "--sd-exchange-key",
        &exchange,
    ]);
    let data_dir = second.data_dir().to_owned();
    let killed = second.kill9();
    let second = again(&data_dir);
    let az = Az::logged_in(&second, "adfs");
    let (waiting, text) = status(&second, "/keys");
    assert!(waiting == 503 && text.contains("waits for a security domain"), "{text}");
    let [one, three] = ["one.key", "three.key"].map(|name| file(officers.path(), name));
    let upload =
        ["keyvault", "security-domain", "upload", "--hsm-name", "beta", "--sd-file", &domain];
    let with = ["--sd-exchange-key", &exchange, "--sd-wrapping-keys", &three, &one];
    let passwords = ["--passwords", "secret"];
    az.ok(&[&upload[..], &with[..], &passwords[..]].concat());
    az.ok(&["keyvault", "key", "create", "--hsm-name", "beta", "-n", "k", "--kty", "EC-HSM"]);
    assert_eq!(identity_key(&first), identity_key(&second), "one domain, one identity");
    let again = az.fails(&[&upload[..], &with[..], &passwords[..]].concat());
    assert!(again.contains("cannot replace"), "{again}");
    first.stop();
    second.stop();
    drop(killed);
}

/// What `az` itself does with too few and with foreign shares: nothing reaches the server.
#[test]
fn too_few_and_foreign_shares_end_inside_az() {
    let officers = officers();
    officer(officers.path(), "stranger", None);
    let dev = unactivated("alpha");
    let az = Az::logged_in(&dev, "adfs");
    let domain = file(officers.path(), "domain.json");
    download(&az, "alpha", officers.path(), &domain);
    let other = unactivated("beta");
    let az = Az::logged_in(&other, "adfs");
    let exchange = file(officers.path(), "exchange.cer");
    az.ok(&[
        "keyvault",
        "security-domain",
        "init-recovery",
        "--hsm-name",
        "beta",
        "--sd-exchange-key",
        &exchange,
    ]);
    let upload =
        ["keyvault", "security-domain", "upload", "--hsm-name", "beta", "--sd-file", &domain];
    let [one, stranger] = ["one.key", "stranger.key"].map(|name| file(officers.path(), name));
    let with = |keys: &[&str]| {
        let exchange = ["--sd-exchange-key", &exchange, "--sd-wrapping-keys"];
        az.fails(&[&upload[..], &exchange[..], keys].concat())
    };
    let few = with(&[&one]);
    assert!(few.contains("should not less than 2"), "{few}");
    let foreign = with(&[&one, &stranger]);
    assert!(foreign.contains("Insufficient shares available"), "{foreign}");
    let seen = audit::counts(other.data_dir());
    assert_eq!(seen.get("SecurityDomainRestore"), None, "nothing was sent: {seen:?}");
    assert_eq!(status(&other, "/keys").0, 503);
    dev.stop();
    other.stop();
}

/// The vendor's Python client, the newest and that of the Azure CLI, and an implementation of the
/// formats that is not ours.
#[test]
fn a_second_implementation_takes_the_blob_apart_and_brings_it_back() {
    for python in [places::python_domain(), places::az().with_file_name("python")] {
        brought_back_by(&python);
    }
}

fn brought_back_by(python: &Path) {
    let (first, second) = (unactivated("alpha"), unactivated("beta"));
    let mut client = python_of(&first, python, "security_domain.py");
    for (which, dev) in [("FIRST", &first), ("SECOND", &second)] {
        let of = |name: &str| format!("TEST_{which}_{name}");
        client = client.variable(&of("URL"), dev.variable("CASEMATE_HSM_URL"));
        client = client.variable(&of("TOKEN"), &dev.token());
        client = client.variable(&of("CA"), dev.variable("CASEMATE_CA_FILE"));
    }
    let out = client.succeed("the vendor's client and a second implementation");
    assert!(out.contains("checks"), "{out}");
    for dev in [&first, &second] {
        assert_eq!(status(dev, "/keys").0, 200);
    }
    first.stop();
    second.stop();
}

/// The request of `dev`'s own three officers, as the program writes it.
fn request(dev: &Dev, officers: &Path) -> Value {
    let certificates = ["one.cer", "two.cer", "three.cer"].map(|name| file(officers, name));
    let mut words = vec!["security-domain", "request", "--quorum", "2"];
    words.extend(certificates.iter().flat_map(|cer| ["--cert", cer.as_str()]));
    let run = casemate(dev, &words);
    assert!(run.success, "{run:?}");
    serde_json::from_str(&run.out).expect("a request is JSON")
}

#[test]
fn those_who_hold_the_domain_approve_others_offline() {
    let officers = officers();
    let dev = Dev::fresh();
    let held = dev.data_dir().join("officers");
    let path = officers.path().join("request.json");
    let body = request(&dev, officers.path());
    fs::write(&path, body.to_string()).expect("the folder can be written");
    let ask = |body: &Value| {
        let answer = dev.rest().call("POST", "/securitydomain/download", body);
        let answer = answer.expect("an answer");
        (answer.status, answer.text())
    };
    assert_eq!(ask(&body).0, 403, "an Administrator alone");
    let domain = file(&held, "security-domain.json");
    for at in 1..=2 {
        let key = file(&held, &format!("officer-{at}.key"));
        let request = path.display().to_string();
        let words = ["security-domain", "approve", "--domain", &domain, "--request", &request];
        let run = casemate(&dev, &[&words[..], &["--key", &key]].concat());
        assert!(run.success, "{run:?}");
        fs::write(&path, &run.out).expect("the folder can be written");
        let body: Value = serde_json::from_str(&run.out).expect("a request is JSON");
        assert_eq!(ask(&body).0, if at == 1 { 403 } else { 202 }, "{at} of 2");
    }
    let done = || {
        let (_, text) = status(&dev, "/securitydomain/download/pending");
        text.contains("\"Success\"")
    };
    assert!(eventually(Duration::from_secs(10), done), "it is confirmed in a moment");
    dev.stop();
}

/// Kills the partition while the domain is given out; it is active or it is not, and answers.
#[test]
fn a_kill_at_any_moment_of_activation_leaves_one_state_or_the_other() {
    let officers = officers();
    let (mut before, mut after) = (0, 0);
    for round in 0..12_u64 {
        let dev = unactivated("alpha");
        let body = request(&dev, officers.path());
        let (partition, rest) = (dev.partition(), dev.rest());
        let asking = thread::spawn(move || {
            let mut rest = rest;
            rest.call("POST", "/securitydomain/download", &body).map(|answer| answer.status)
        });
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(round * 4) {
            thread::sleep(Duration::from_micros(200));
        }
        process::signal(partition, Signal::SIGKILL);
        let answered = asking.join().expect("the thread ends");
        let data_dir: PathBuf = dev.data_dir().to_owned();
        let stopped = dev.kill9();
        let dev = again(&data_dir);
        let (found, text) = status(&dev, "/keys");
        match found {
            200 => after += 1,
            503 => {
                assert!(text.contains("not activated"), "{text}");
                assert!(!matches!(answered, Ok(202)), "what was answered is done");
                let body = request(&dev, officers.path());
                let answer = dev.rest().call("POST", "/securitydomain/download", &body);
                assert_eq!(answer.expect("an answer").status, 202, "it is done anew");
                before += 1;
            }
            other => panic!("{other}: {text}"),
        }
        dev.stop();
        drop(stopped);
    }
    assert_eq!(before + after, 12);
}
