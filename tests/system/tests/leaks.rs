//! Known key bytes are planted by import; nowhere outside the partition's memory may they show.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use casemate_system_tests::python;
use casemate_test_kit::process::{self, dies_of};
use casemate_test_kit::scan::Scanner;
use casemate_test_kit::{Answer, Dev, Options, Rest};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// The members of a JWK that must never be seen again.
const SECRET_MEMBERS: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "k"];

/// Keys of every type and size with their secrets, and every answer that came.
struct Planted {
    keys: Vec<(String, Value)>,
    secrets: Vec<(String, Vec<u8>)>,
    answers: Vec<(String, Answer)>,
}

impl Planted {
    /// Imports keys made by a second implementation.
    fn import(dev: &Dev) -> Self {
        let file = dev.scratch().join("keys.json").display().to_string();
        python(dev, "judge.py").words(["prepare", &file]).succeed("prepare");
        let prepared = fs::read(&file).expect("the keys were written");
        fs::remove_file(&file).expect("the keys were written");
        let prepared: Value = serde_json::from_slice(&prepared).expect("the keys are JSON");
        let mut planted = Self { keys: Vec::new(), secrets: Vec::new(), answers: Vec::new() };
        for key in prepared["keys"].as_array().into_iter().flatten() {
            let name = key["name"].as_str().expect("a key has a name").to_owned();
            for member in SECRET_MEMBERS {
                if let Some(text) = key["jwk"][member].as_str() {
                    let bytes = URL_SAFE_NO_PAD.decode(text).expect("members are base64url");
                    planted.secrets.push((format!("{name} {member}"), bytes));
                }
            }
            planted.keys.push((name, key["jwk"].clone()));
        }
        let mut rest = dev.rest();
        for (name, jwk) in planted.keys.clone() {
            let answer = planted.call(
                &mut rest,
                "PUT",
                &format!("/keys/{name}"),
                &json!({
                    "key": jwk
                }),
            );
            answer.expect_ok(&name);
        }
        planted
    }

    fn call(&mut self, rest: &mut Rest, method: &str, path: &str, body: &Value) -> Answer {
        let answer = rest.call(method, path, body).expect("an answer");
        self.answers.push((format!("{method} {path}"), answer.clone()));
        answer
    }

    /// Uses the keys rightly and wrongly, with their own secrets in the wrong places.
    fn provoke(&mut self, dev: &Dev) {
        let mut rest = dev.rest();
        for (name, jwk) in self.keys.clone() {
            self.use_rightly(&mut rest, &name);
            for broken in broken_imports(&jwk) {
                let answer = self.call(&mut rest, "PUT", &format!("/keys/{name}"), &broken);
                assert_eq!(answer.status, 400, "{name}: {}", answer.text());
            }
            for member in SECRET_MEMBERS {
                if let Some(secret) = jwk[member].as_str() {
                    self.misplace(&mut rest, &name, secret);
                }
            }
        }
    }

    fn use_rightly(&mut self, rest: &mut Rest, name: &str) {
        let digest = URL_SAFE_NO_PAD.encode([3; 32]);
        let null = Value::Null;
        for (method, path, body) in [
            ("GET", format!("/keys/{name}"), null.clone()),
            ("GET", format!("/keys/{name}/versions"), null),
            ("POST", format!("/keys/{name}/sign"), json!({ "alg": "RS256", "value": digest })),
            ("POST", format!("/keys/{name}/sign"), json!({ "alg": "ES256", "value": digest })),
            ("POST", format!("/keys/{name}/sign"), json!({ "alg": "HS256", "value": digest })),
            ("POST", format!("/keys/{name}/encrypt"), json!({ "alg": "A256GCM", "value": "" })),
            ("POST", format!("/keys/{name}/decrypt"), json!({ "alg": "RSA1_5", "value": digest })),
            ("PATCH", format!("/keys/{name}/"), json!({ "tags": { "a": "b" } })),
        ] {
            self.call(rest, method, &path, &body);
        }
    }

    /// Somebody pastes a secret where it does not belong; the error must not repeat it.
    fn misplace(&mut self, rest: &mut Rest, name: &str, secret: &str) {
        for body in [
            json!({ "kty": secret }),
            json!({ "kty": "RSA-HSM", "key_size": secret }),
            json!({ "kty": "EC-HSM", "crv": secret }),
            json!({ "kty": "oct-HSM", "key_ops": [secret] }),
            json!({ "kty": "oct-HSM", "attributes": { "enabled": secret } }),
            json!({ "alg": secret, "value": "AA" }),
            json!({ "alg": "RS256", "value": format!("{secret}!") }),
        ] {
            for operation in ["create", "sign", "decrypt"] {
                let path = format!("/keys/{name}-misplaced/{operation}");
                let answer = self.call(rest, "POST", &path, &body);
                assert!((400..500).contains(&answer.status), "{path}: {}", answer.text());
            }
        }
    }

    /// The keys leave sealed: one by one, and all of them as a full backup that lies in the folder.
    fn back_up(&mut self, dev: &Dev, folder: &Path) {
        let mut rest = dev.rest();
        for (name, _) in self.keys.clone() {
            let path = format!("/keys/{name}/backup");
            let backup = self.call(&mut rest, "POST", &path, &Value::Null).expect_ok(&name);
            let text = backup["value"].as_str().expect("a backup has a value");
            let bytes = URL_SAFE_NO_PAD.decode(text).expect("it is base64url");
            fs::write(folder.join(format!("{name}.backup")), bytes).expect("it can be written");
        }
        let storage = json!({ "storageResourceUri": "file:///leaks", "token": "" });
        let started = self.call(&mut rest, "POST", "/backup", &storage);
        assert_eq!(started.status, 202, "{}", started.text());
        let set = dev.data_dir().join("courier/dev/backups/leaks");
        let whole = || {
            let files = casemate_test_kit::scan::files(&set).unwrap_or_default();
            files.iter().any(|file| file.ends_with("manifest"))
        };
        assert!(process::eventually(Duration::from_secs(60), whole), "no backup lies there");
    }

    fn scanner(&self) -> Scanner {
        Scanner::new(self.secrets.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())))
    }
}

/// Imports that must fail late: after their secret parts have been read.
fn broken_imports(jwk: &Value) -> Vec<Value> {
    let mut broken = Vec::new();
    for (member, wrong) in [
        ("n", json!("AQAB")),
        ("e", json!("Ag")),
        ("crv", json!("P-257")),
        ("x", json!("AAAA")),
        ("kty", json!("OKP")),
        ("k", json!(format!("{}AA", jwk["k"].as_str().unwrap_or("AA")))),
        ("key_ops", json!(["everything"])),
    ] {
        if jwk.get(member).is_some() || member == "key_ops" {
            let mut changed = jwk.clone();
            changed[member] = wrong;
            broken.push(json!({ "key": changed }));
        }
    }
    broken.push(json!({ "key": jwk, "tags": "none" }));
    broken.push(json!([{ "key": jwk }]));
    broken
}

/// Starts in a folder where a core may be written and is allowed to be of any size.
fn with_cores(folder: &Path) -> Options {
    let shell = ["sh", "-c", "ulimit -c unlimited && exec \"$@\"", "sh"];
    let through = shell.iter().map(|word| (*word).to_owned()).collect();
    Options { through, folder: Some(folder.to_owned()), ..Options::default() }
}

fn cores(below: &Path) -> Vec<String> {
    let files = casemate_test_kit::scan::files(below).expect("the folder can be read");
    let names = files.iter().filter(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name == "core" || name.starts_with("core.")
    });
    names.map(|file| file.display().to_string()).collect()
}

#[test]
fn planted_keys_show_nowhere() {
    let cwd = tempfile::tempdir().expect("a temporary folder");
    let dev = Dev::start(with_cores(cwd.path()));
    let mut planted = Planted::import(&dev);
    let scanner = planted.scanner();
    the_scanner_finds_a_planted_control(&planted, &scanner, cwd.path());
    planted.provoke(&dev);
    planted.back_up(&dev, cwd.path());
    for (what, answer) in &planted.answers {
        let mut text = answer.body.clone();
        for (name, value) in &answer.headers {
            text.extend_from_slice(format!("{name}: {value}\n").as_bytes());
        }
        assert_eq!(scanner.bytes(what, &text), []);
    }
    let data_dir = dev.data_dir().to_owned();
    assert_eq!(scanner.files(&data_dir).expect("files can be read"), [], "while it runs");
    deaths_leave_no_core(&dev, &scanner, cwd.path());
    let stopped = dev.stop();
    assert_eq!(scanner.files(&data_dir).expect("files can be read"), [], "after the stop");
    assert_eq!(scanner.files(cwd.path()).expect("files can be read"), [], "in its folder");
    assert_eq!(scanner.bytes("terminal", stopped.log.as_bytes()), []);
}

fn the_scanner_finds_a_planted_control(planted: &Planted, scanner: &Scanner, folder: &Path) {
    assert!(planted.secrets.len() > 20, "RSA keys have six secret members each");
    let file = folder.join("control");
    for (name, secret) in &planted.secrets {
        let hay = format!("noise {} noise", URL_SAFE_NO_PAD.encode([b"x", &secret[..]].concat()));
        fs::write(&file, hay).expect("the folder can be written");
        let found = scanner.files(&file).expect("the file can be read");
        assert!(found.iter().any(|one| one.secret == *name), "{name} is not found");
    }
    fs::remove_file(&file).expect("it was written");
}

fn deaths_leave_no_core(dev: &Dev, scanner: &Scanner, cwd: &Path) {
    for signal in [Signal::SIGABRT, Signal::SIGSEGV] {
        let victim = dev.partition();
        // It has read the keys: it signs with one.
        let digest = json!({ "alg": "ES256", "value": URL_SAFE_NO_PAD.encode([1; 32]) });
        let answer = dev.rest().call("POST", "/keys/judged-ec-P-256/sign", &digest);
        answer.expect("an answer").expect_ok("sign");
        assert!(dies_of(victim, signal, Duration::from_secs(20)), "it dies of {signal}");
        for folder in [cwd, dev.data_dir()] {
            assert_eq!(cores(folder), Vec::<String>::new(), "{signal}");
        }
        assert_eq!(scanner.files(cwd).expect("files can be read"), []);
        let healed = process::eventually(Duration::from_secs(30), || {
            dev.rest().ask("GET", "/keys").is_ok_and(|answer| answer.status == 200)
        });
        assert!(healed, "another partition serves after {signal}");
    }
    assert!(!dev.terminal().contains("core dumped"), "{}", dev.terminal());
}

#[test]
fn an_unhardened_process_does_leave_its_secret_in_a_core() {
    let cwd = tempfile::tempdir().expect("a temporary folder");
    let secret: Vec<u8> = (0..64_u8).map(|number| number.wrapping_mul(91) ^ 0xA7).collect();
    // The shell keeps the text in its memory and dies of the signal that the partition gets.
    let script = "ulimit -c unlimited; planted=$(cat); kill -ABRT $$";
    let mut child = Command::new("sh")
        .args(["-c", script])
        .current_dir(cwd.path())
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("a shell can be started");
    let text = URL_SAFE_NO_PAD.encode(&secret);
    let mut input = child.stdin.take().expect("its input is a pipe");
    std::io::Write::write_all(&mut input, text.as_bytes()).expect("it reads");
    drop(input);
    let status = child.wait().expect("it ends");
    assert!(status.core_dumped(), "cores can be written on this machine: {status}");
    assert_eq!(cores(cwd.path()).len(), 1, "core_pattern names a plain file");
    let scanner = Scanner::new([("planted", secret.as_slice())]);
    let found = scanner.files(cwd.path()).expect("the core can be read");
    assert!(!found.is_empty(), "the scanner finds the secret in the core");
}

#[test]
fn secrets_of_the_identity_stay_out_of_the_logs() {
    let dev = Dev::fresh();
    let token = dev.token();
    let secret = dev.variable("AZURE_CLIENT_SECRET").to_owned();
    let wrong = dev.anonymous().with_token(&token[..token.len() - 3]).ask("GET", "/keys");
    assert_eq!(wrong.expect("an answer").status, 401);
    dev.rest().ask("GET", "/keys").expect("an answer").expect_ok("list");
    let signature = token.rsplit('.').next().expect("a token has a signature").to_owned();
    let planted = [("token", signature.as_bytes()), ("secret", secret.as_bytes())];
    let scanner = Scanner::new(planted);
    let data_dir = dev.data_dir().to_owned();
    let env_file = data_dir.join("dev.env");
    let elsewhere = |found: Vec<casemate_test_kit::scan::Found>| {
        let strange = found.into_iter().filter(|one| one.place != env_file.display().to_string());
        strange.collect::<Vec<_>>()
    };
    let found = elsewhere(scanner.files(&data_dir).expect("files can be read"));
    assert!(found.iter().all(|one| one.secret != "token"), "{found:?}");
    let stopped = dev.stop();
    assert_eq!(
        scanner
            .bytes("token in terminal", stopped.log.as_bytes())
            .iter()
            .filter(|one| one.secret == "token")
            .count(),
        0
    );
    assert!(!env_file.exists());
}
