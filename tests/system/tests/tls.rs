//! The TLS certificate of an HSM is exchanged while it serves: by a request that openssl signs, and
//! with a key that openssl made. The keys lie nowhere in clear, and every change is in the log.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use casemate_system_tests::management::get;
use casemate_system_tests::nodes::{activate, create};
use casemate_test_kit::node::DOMAIN;
use casemate_test_kit::process::eventually;
use casemate_test_kit::{Dev, Node, Rest, audit, scan};
use serde_json::Value;
use std::time::Duration;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);
const HSM: &str = "alpha";

fn openssl(folder: &Path, words: &[&str]) -> String {
    let out = Command::new("openssl").args(words).current_dir(folder).output();
    let out = out.expect("openssl is installed");
    assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// An authority of its own, by openssl.
struct Authority(TempDir);

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let subject = ["-subj", "/CN=authority of the operator"];
        let made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"];
        let files = ["-keyout", "ca.key", "-out", "ca.pem"];
        openssl(folder.path(), &[&made[..], &files, &subject].concat());
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Signs a request for the names that it asks for; the file of the chain.
    fn sign(&self, request: &str, days: &str) -> PathBuf {
        fs::write(self.path("request.csr"), request).expect("the folder can be written");
        let sign = ["x509", "-req", "-in", "request.csr", "-CA", "ca.pem", "-CAkey", "ca.key"];
        let more = ["-CAcreateserial", "-days", days, "-copy_extensions", "copy", "-out", "leaf"];
        openssl(self.0.path(), &[&sign[..], &more].concat());
        let leaf = fs::read_to_string(self.path("leaf")).expect("there is a certificate");
        let ca = fs::read_to_string(self.path("ca.pem")).expect("there is the authority's");
        fs::write(self.path("chain.pem"), leaf + &ca).expect("the folder can be written");
        self.path("chain.pem")
    }

    /// A key and a request for these names.
    fn key(&self, names: &str) -> String {
        let key = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-nodes"];
        let names = format!("subjectAltName={names}");
        let more = ["-keyout", "own.key", "-subj", "/CN=alpha", "-addext", &names];
        let request = openssl(self.0.path(), &[&key[..], &more].concat());
        fs::set_permissions(self.path("own.key"), Permissions::from_mode(0o600)).expect("ours");
        request
    }
}

fn tls(node: &Node, words: &[&str]) -> Output {
    node.command("tls", words)
}

fn told(node: &Node, words: &[&str]) -> Value {
    let out = tls(node, words);
    assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("the answer is JSON")
}

fn request(node: &Node) -> String {
    let out = tls(node, &["request", HSM]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("PEM")
}

/// What is told to be wrong; nothing while the HSM starts.
fn problems(node: &Node) -> String {
    let out = tls(node, &["show", HSM]);
    let told: Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
    told["problems"].to_string()
}

/// What is refused, and with what.
fn refused(node: &Node, words: &[&str], says: &str) {
    let before = told(node, &["show", HSM])["certificateSha256"].clone();
    let out = tls(node, words);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success() && said.contains(says), "{words:?}: {said}");
    assert_eq!(told(node, &["show", HSM])["certificateSha256"], before, "{words:?}");
}

/// The certificate that openssl is shown, by its SHA-256.
fn shown(node: &Node) -> String {
    let (port, name) = (node.port(), format!("{HSM}.managedhsm.{DOMAIN}"));
    let script = format!(
        "openssl s_client -connect 127.0.0.1:{port} -servername {name} </dev/null 2>/dev/null \
         | openssl x509 -outform DER | sha256sum"
    );
    let out = Command::new("sh").args(["-c", &script]).output().expect("a shell");
    String::from_utf8_lossy(&out.stdout).split(' ').next().unwrap_or_default().to_owned()
}

/// A client that believes only this authority.
fn by(node: &Node, dev: &Dev, ca: &Path) -> Rest {
    Rest::new(&node.url(HSM), ca).with_token(&dev.token())
}

fn answers(node: &Node, dev: &Dev, ca: &Path) -> bool {
    by(node, dev, ca).ask("GET", "/keys").is_ok_and(|answer| answer.status == 403)
}

fn records(node: &Node, operation: &str) -> Vec<Value> {
    let all = scan::files(&node.data_dir()).expect("the folder can be read");
    let logs = all.into_iter().filter(|path| audit::is_log(path));
    let text: String = logs.map(|log| fs::read_to_string(log).unwrap_or_default()).collect();
    let records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    records.filter(|record| record["operationName"] == operation).collect()
}

/// Installs the chain while somebody calls all the time and is served under the one or the other.
fn installed_under_load(node: &Node, dev: &Dev, chain: &Path, cas: [&Path; 2]) -> Value {
    let (stop, served) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                assert!(cas.iter().any(|ca| answers(node, dev, ca)), "a call was not served");
                served.fetch_add(1, Ordering::SeqCst);
            }
        });
        let own = told(node, &["install", HSM, "--chain", &chain.display().to_string()]);
        let until = served.load(Ordering::SeqCst) + 5;
        let go_on = eventually(PATIENCE, || served.load(Ordering::SeqCst) >= until);
        stop.store(true, Ordering::SeqCst);
        assert!(go_on, "nobody is served any more");
        own
    })
}

/// The change is seen in the metrics and in the log, and nothing was started anew for it.
fn demand_traces(node: &Node, own: &Value) {
    assert_eq!(node.hsm_json(&["show", HSM])["restarts"], 0);
    let (_, metrics) = get(&node.management(), "/metrics");
    let end = format!("{{hsm=\"{HSM}\",source=\"own\"}} {}", own["notAfter"]);
    assert!(
        metrics.contains(&format!("casemate_tls_certificate_not_after_seconds{end}")),
        "{metrics}"
    );
    let set = records(node, "TlsCertificateSet");
    assert_eq!(set.len(), 1, "{set:?}");
    assert_eq!(set[0]["details"]["certificateSha256"], own["certificateSha256"]);
    assert_eq!(records(node, "TlsKeyRequested").len(), 1);
}

#[test]
fn a_certificate_is_exchanged_while_the_hsm_serves() {
    let (dev, folder, authority) =
        (Dev::fresh(), tempfile::tempdir().expect("a temporary folder"), Authority::new());
    let node = Node::start(folder.path());
    create(&node, &dev, HSM);
    activate(&node, &dev, HSM);
    let (nodes_ca, own_ca) = (node.ca(), authority.path("ca.pem"));
    let first = told(&node, &["show", HSM]);
    assert_eq!((&first["source"], &first["requested"]), (&"node".into(), &false.into()));
    assert_eq!(first["certificateSha256"], shown(&node));
    refused(
        &node,
        &["install", HSM, "--chain", &own_ca.display().to_string()],
        "casemate tls request",
    );

    let request = request(&node);
    fs::write(authority.path("asked.csr"), &request).expect("the folder can be written");
    let text =
        openssl(authority.0.path(), &["req", "-in", "asked.csr", "-noout", "-verify", "-text"]);
    assert!(text.contains(&format!("DNS:{HSM}.managedhsm.{DOMAIN}")), "{text}");
    assert!(told(&node, &["show", HSM])["requested"] == true && answers(&node, &dev, &nodes_ca));
    let chain = authority.sign(&request, "20");
    let own = installed_under_load(&node, &dev, &chain, [&nodes_ca, &own_ca]);
    assert_eq!((&own["source"], &own["requested"]), (&"own".into(), &false.into()));
    assert!(own["issuer"].as_str().is_some_and(|name| name.contains("authority of the operator")));
    assert_eq!(own["certificateSha256"], shown(&node));
    assert!(answers(&node, &dev, &own_ca) && !answers(&node, &dev, &nodes_ca));
    demand_traces(&node, &own);
    node.stop();
    let node = Node::start(folder.path());
    assert!(eventually(PATIENCE, || answers(&node, &dev, &own_ca)), "it outlives a restart");

    let file = node.data_dir().join("hsm").join(HSM).join("tls-own.sealed");
    node.stop();
    fs::write(file, "damaged").expect("it is there");
    let node = Node::start(folder.path());
    assert!(eventually(PATIENCE, || problems(&node).contains("tls-own.sealed")), "it is told");
    let any = [&nodes_ca, &own_ca].into_iter().any(|ca| answers(&node, &dev, ca));
    assert!(!any, "no other certificate is shown in its place");
    let back = told(&node, &["reset", HSM]);
    assert_eq!(
        (&back["source"], &back["certificateSha256"]),
        (&"node".into(), &shown(&node).into())
    );
    assert!(answers(&node, &dev, &nodes_ca) && !answers(&node, &dev, &own_ca));
    assert_eq!(records(&node, "TlsCertificateReset").len(), 1);
    node.stop();
    dev.stop();
}

#[test]
fn a_key_that_is_brought_is_sealed_and_what_does_not_fit_is_refused() {
    let (dev, folder, authority) =
        (Dev::fresh(), tempfile::tempdir().expect("a temporary folder"), Authority::new());
    let node = Node::start(folder.path());
    create(&node, &dev, HSM);
    let name = format!("DNS:{HSM}.managedhsm.{DOMAIN},DNS:*.vault.{DOMAIN}");
    let chain = authority.sign(&authority.key(&name), "20").display().to_string();
    let key = authority.path("own.key").display().to_string();
    let import = ["import", HSM, "--chain", &chain, "--key", &key];
    fs::set_permissions(&key, Permissions::from_mode(0o644)).expect("ours");
    refused(&node, &import, "chmod 600");
    fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("ours");
    refused(&node, &["import", HSM, "--chain", &key, "--key", &key], "must be PEM");
    let no_key = authority.path("no.key").display().to_string();
    fs::copy(&chain, &no_key).expect("the folder can be written");
    fs::set_permissions(&no_key, Permissions::from_mode(0o600)).expect("ours");
    refused(&node, &["import", HSM, "--chain", &chain, "--key", &no_key], "one PEM key");
    refused(&node, &["import", HSM, "--chain", &chain, "--key", "/nowhere/key"], "whole path");
    refused(&node, &["import", "beta", "--chain", &chain, "--key", &key], "no HSM beta");
    let own = told(&node, &import);
    assert_eq!((&own["source"], &own["certificateSha256"]), (&"own".into(), &shown(&node).into()));
    for file in scan::files(&node.data_dir()).expect("the folder can be read") {
        let bytes = fs::read(&file).unwrap_or_default();
        let text = fs::read_to_string(&key).expect("the key is there");
        let line = text.lines().nth(1).expect("a line of the key").as_bytes();
        let found = bytes.windows(line.len()).any(|part| part == line);
        assert!(!found, "the key stands in {}", file.display());
    }
    let other = authority.sign(&authority.key(&name), "20").display().to_string();
    let fitting = authority.path("own.key").display().to_string();
    fs::rename(&fitting, authority.path("second.key")).expect("one folder");
    let elsewhere = authority.sign(&authority.key("DNS:beta.example"), "20").display().to_string();
    refused(&node, &["import", HSM, "--chain", &elsewhere, "--key", &fitting], "does not name");
    refused(&node, &["import", HSM, "--chain", &other, "--key", &fitting], "does not name");
    let again = authority.sign(&authority.key(&name), "20").display().to_string();
    let second = authority.path("second.key").display().to_string();
    refused(&node, &["import", HSM, "--chain", &again, "--key", &second], "another key");
    assert_eq!(told(&node, &["show", HSM])["certificateSha256"], own["certificateSha256"]);
    assert_eq!(records(&node, "TlsCertificateSet").len(), 1, "what was refused is not there");
    node.stop();
    dev.stop();
}
