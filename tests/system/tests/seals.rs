//! The seals of a node: each start needs what opens them, a change needs no downtime, and whoever
//! lacks the right passphrase or credential is told so and changes nothing.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use casemate_system_tests::nodes::{activate, client, create, let_use_keys};
use casemate_test_kit::process::{self, eventually};
use casemate_test_kit::softhsm::{LABEL, PIN, SoftHsm, module, write_pin};
use casemate_test_kit::{Dev, Node};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A start, or several refused ones, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        place.secret("one", b"the first passphrase\n");
        place.secret("two", b"the second passphrase\n");
        place.secret("credential", &[0x5a; 32]);
        place
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn secret(&self, name: &str, bytes: &[u8]) {
        let path = self.file(name);
        fs::write(&path, bytes).expect("the folder can be written");
        fs::set_permissions(path, Permissions::from_mode(0o600)).expect("it is ours");
    }

    /// `[seal]` with the passphrase of this file.
    fn passphrase(&self, name: &str) -> String {
        format!("[seal]\nkind = \"passphrase\"\nfile = {:?}\n", self.file(name))
    }

    /// What lies in the node's folder of seals, and which seal is in force.
    fn seals(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        let mut folders = vec![self.file("data/seals"), self.file("data/hsm/alpha")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                let name = entry.file_name().to_string_lossy().into_owned();
                if path.is_dir() && !name.contains("audit") {
                    folders.push(path);
                } else if name.contains("seal") {
                    found.push((path.clone(), fs::read(&path).expect("it can be read")));
                }
            }
        }
        found.push((self.file("data/seal.json"), Vec::new()));
        found.sort();
        found
    }
}

fn said(output: &Output) -> String {
    assert!(!output.status.success(), "it should have been refused");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn shown(node: &Node, member: &str) -> Value {
    node.hsm_json(&["show", "alpha"])[member].clone()
}

fn is_ready(node: &Node) -> bool {
    eventually(PATIENCE, || shown(node, "state") == "ready")
}

/// Why the HSM was given up.
fn given_up(node: &Node) -> String {
    assert!(eventually(PATIENCE, || shown(node, "state") == "given up"), "{}", node.log());
    shown(node, "lastEnd").as_str().expect("it says why").to_owned()
}

/// An HSM under a passphrase, with a key; what the key signed.
fn made(place: &Place, dev: &Dev) -> Node {
    let node = Node::start_with(place.path(), &place.passphrase("one"), &[]);
    create(&node, dev, "alpha");
    activate(&node, dev, "alpha");
    let_use_keys(&node, dev, "alpha");
    let body = json!({"kty": "EC-HSM", "crv": "P-256"});
    let made = client(&node, dev, "alpha").call("POST", "/keys/kept/create", &body);
    made.expect("an answer").expect_ok("create");
    node
}

fn has_key(node: &Node, dev: &Dev) -> bool {
    client(node, dev, "alpha").ask("GET", "/keys/kept").is_ok_and(|answer| answer.status == 200)
}

#[test]
fn a_start_needs_the_passphrase_and_a_mistake_changes_nothing() {
    let (place, dev) = (Place::new(), Dev::fresh());
    let node = made(&place, &dev);
    assert!(shown(&node, "seal").as_str().is_some_and(|seal| seal.starts_with("passphrase")));
    assert!(!place.file("data/hsm/alpha/seal.key").exists(), "no key lies beside the seal");
    node.stop();
    let before = place.seals();
    for (bytes, says) in [
        (b"the second passphrase\n".as_slice(), "does not open the seal"),
        (b"", "holds no passphrase"),
        (b"\n", "holds no passphrase"),
    ] {
        place.secret("one", bytes);
        let node = Node::start_with(place.path(), &place.passphrase("one"), &[]);
        let why = given_up(&node);
        assert!(why.contains(says) && why.contains("(seal)"), "{why}");
        node.stop();
    }
    place.secret("one", b"the first passphrase");
    fs::set_permissions(place.file("one"), Permissions::from_mode(0o640)).expect("it is ours");
    let node = Node::start_with(place.path(), &place.passphrase("one"), &[]);
    assert!(given_up(&node).contains("chmod 600"));
    node.stop();
    fs::remove_file(place.file("one")).expect("it is there");
    let node = Node::start_with(place.path(), &place.passphrase("one"), &[]);
    assert!(given_up(&node).contains("put it back"));
    node.stop();
    assert_eq!(place.seals(), before, "no refusal changed anything");
    place.secret("one", b"the first passphrase\n");
    let node = Node::start_with(place.path(), &place.passphrase("one"), &[]);
    assert!(is_ready(&node) && has_key(&node, &dev));
    node.stop();
    dev.stop();
}

#[test]
fn the_seal_is_changed_while_every_call_is_answered() {
    let (place, dev) = (Place::new(), Dev::fresh());
    let node = made(&place, &dev);
    let partition = shown(&node, "process");
    let (stop, calls) = (AtomicBool::new(false), AtomicBool::new(true));
    thread::scope(|scope| {
        let caller = scope.spawn(|| {
            let mut rest = client(&node, &dev, "alpha");
            let mut count = 0_usize;
            while !stop.load(Ordering::Relaxed) {
                let good = rest.ask("GET", "/keys/kept").is_ok_and(|answer| answer.status == 200);
                calls.fetch_and(good, Ordering::Relaxed);
                count += 1;
            }
            count
        });
        Node::write_file(place.path(), &place.passphrase("two"));
        let changed = node.command("seal", &["change"]);
        assert!(changed.status.success(), "{}", String::from_utf8_lossy(&changed.stderr));
        stop.store(true, Ordering::Relaxed);
        let count = caller.join().expect("the caller ends");
        assert!(count > 10, "it was asked meanwhile: {count}");
    });
    assert!(calls.load(Ordering::Relaxed), "each call was answered");
    assert_eq!(shown(&node, "process"), partition, "no partition was started");
    // The old passphrase is not needed any more, whether the partition or the node starts anew.
    fs::remove_file(place.file("one")).expect("it is there");
    let pid = partition.as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a process id");
    process::signal(pid, Signal::SIGKILL);
    assert!(eventually(PATIENCE, || shown(&node, "restarts") == 1), "{}", node.log());
    assert!(is_ready(&node) && has_key(&node, &dev));
    node.stop();
    let slots: Vec<_> = fs::read_dir(place.file("data/seals/alpha")).expect("slots").collect();
    assert_eq!(slots.len(), 1, "the old slot has gone");
    let node = Node::start_with(place.path(), &place.passphrase("two"), &[]);
    assert!(is_ready(&node) && has_key(&node, &dev));
    node.stop();
    dev.stop();
}

#[test]
fn a_node_of_key_files_gets_a_credential_and_then_no_key_is_left() {
    let (place, dev) = (Place::new(), Dev::fresh());
    let credential = "[seal]\nkind = \"credential\"\nname = \"credential\"\n";
    let given = [("CREDENTIALS_DIRECTORY", place.path())];
    let node = Node::start_with(place.path(), "", &given);
    create(&node, &dev, "alpha");
    let key = place.file("data/hsm/alpha/seal.key");
    assert!(key.exists());
    Node::write_file(place.path(), credential);
    let changed = node.command("seal", &["change"]);
    assert!(changed.status.success(), "{}", String::from_utf8_lossy(&changed.stderr));
    assert!(!key.exists(), "the key file has gone");
    node.stop();
    let node = Node::start_with(place.path(), credential, &given);
    assert!(is_ready(&node), "{}", node.log());
    create(&node, &dev, "beta");
    assert!(!place.file("data/hsm/beta/seal.key").exists());
    node.stop();
    let before = place.seals();
    let refused = Node::try_start(place.path(), credential, &[]);
    let why = refused.expect_err("no service manager, no credential");
    assert!(why.contains("LoadCredentialEncrypted"), "{why}");
    for (bytes, says) in [(vec![1; 32], "right credential"), (vec![1; 31], "systemd-creds")] {
        place.secret("credential", &bytes);
        let node = Node::start_with(place.path(), credential, &given);
        let why = given_up(&node);
        assert!(why.contains(says), "{why}");
        node.stop();
    }
    assert_eq!(place.seals(), before, "no refusal changed anything");
    dev.stop();
}

#[test]
fn a_change_that_cannot_be_is_refused_and_the_old_seal_stays() {
    let (place, dev) = (Place::new(), Dev::fresh());
    let node = Node::start_with(place.path(), &place.passphrase("one"), &[]);
    create(&node, &dev, "alpha");
    let before = place.seals();
    place.secret("empty", b"");
    for (seal, says) in [
        (place.passphrase("one"), "in force"),
        (String::new(), "key files"),
        ("[seal]\nkind = \"key-file\"\n".to_owned(), "key files"),
        (place.passphrase("none"), "put it back"),
        (place.passphrase("empty"), "holds no passphrase"),
        ("[seal]\nkind = \"credential\"\nname = \"x\"\n".to_owned(), "LoadCredentialEncrypted"),
        ("[seal]\nkind = \"passphrase\"\nfile = \"two\"\n".to_owned(), "whole path"),
        ("[seal]\nkind = \"clear\"\n".to_owned(), "not understood"),
    ] {
        Node::write_file(place.path(), &seal);
        let why = said(&node.command("seal", &["change"]));
        assert!(why.contains(says), "{seal}: {why}");
        assert_eq!(place.seals(), before, "{seal}");
    }
    // The passphrase in force is gone: the new one is not taken, and the HSM serves on.
    fs::rename(place.file("one"), place.file("away")).expect("it is there");
    Node::write_file(place.path(), &place.passphrase("two"));
    let why = said(&node.command("seal", &["change"]));
    assert!(why.contains("the seal of none was changed"), "{why}");
    fs::rename(place.file("away"), place.file("one")).expect("it is there");
    assert_eq!(place.seals(), before);
    assert_eq!(shown(&node, "state"), "ready");
    node.stop();
    // What a file that was edited and not changed to is told.
    let refused = Node::try_start(place.path(), &place.passphrase("two"), &[]);
    let why = refused.expect_err("another seal than the one in force");
    assert!(why.contains("casemate seal change") && why.contains("passphrase"), "{why}");
    let node = Node::start_with(place.path(), &place.passphrase("one"), &[]);
    assert!(is_ready(&node));
    node.stop();
    dev.stop();
}

#[test]
fn a_token_that_is_missing_is_waited_for_and_a_wrong_pin_is_not() {
    let (place, dev, token) = (Place::new(), Dev::fresh(), SoftHsm::new());
    let seal = format!(
        "[seal]\nkind = \"token\"\nmodule = {:?}\ntoken = {LABEL:?}\npin_file = {:?}\n\
         environment = [\"SOFTHSM2_CONF\"]\n",
        module(),
        token.pin_file(),
    );
    let conf = token.conf();
    let given = [("SOFTHSM2_CONF", conf.as_path())];
    let node = Node::start_with(place.path(), &place.passphrase("one"), &given);
    create(&node, &dev, "alpha");
    Node::write_file(place.path(), &seal);
    let changed = node.command("seal", &["change"]);
    assert!(changed.status.success(), "{}", String::from_utf8_lossy(&changed.stderr));
    node.stop();
    token.remove();
    let node = Node::start_with(place.path(), &seal, &given);
    let missing = || shown(&node, "lastEnd").as_str().is_some_and(|why| why.contains(LABEL));
    assert!(eventually(PATIENCE, missing), "{}", node.log());
    // Longer than it takes to give up what lasts.
    thread::sleep(Duration::from_secs(3));
    assert_ne!(shown(&node, "state"), "given up");
    token.put_back();
    assert!(is_ready(&node), "{}", node.log());
    node.stop();
    write_pin(&token.pin_file(), "000000");
    let node = Node::start_with(place.path(), &seal, &given);
    let why = given_up(&node);
    assert!(why.contains("refuses the PIN") && why.contains("(pin)"), "{why}");
    assert_eq!(shown(&node, "restarts"), 0, "it was tried once");
    node.stop();
    write_pin(&token.pin_file(), PIN);
    let node = Node::start_with(place.path(), &seal, &given);
    assert!(is_ready(&node), "{}", node.log());
    node.stop();
    dev.stop();
}
