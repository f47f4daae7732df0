//! The suite with a TPM: Debian's swtpm, one for each guard.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use casemate_channel::{Guard, Slot};
use casemate_test_kit::process::eventually;

use super::{Kind, Place, opened, text};
use crate::slot::{open, open_or_create};

/// The TPMs that run, by port.
static RUNNING: LazyLock<Mutex<BTreeMap<u16, Child>>> = LazyLock::new(Mutex::default);
/// The ports that were given to any.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
/// How often another port is tried.
const TRIES: usize = 5;

pub(super) fn kind() -> Kind {
    Kind {
        name: "tpm",
        make: |folder| {
            // Another program may take a port before the TPM does.
            let started = (0..TRIES).find_map(|_| {
                let port = free_port();
                start(port, &folder.join(format!("tpm-{port}"))).then_some(port)
            });
            let port = started.expect("swtpm listens");
            Guard::Tpm { device: format!("swtpm:host=127.0.0.1,port={port}"), pcrs: Vec::new() }
        },
        mistake: |guard| {
            let port = port_of(guard);
            stop(port);
            let other = tempfile::tempdir().unwrap().keep();
            assert!(start(port, &other), "swtpm listens");
        },
        says: "did not make the seal",
        lose: |guard| stop(port_of(guard)),
        lost: "no TPM answers",
    }
}

fn port_of(guard: &Guard) -> u16 {
    match guard {
        Guard::Tpm { device, .. } => device.rsplit('=').next().unwrap().parse().unwrap(),
        _ => unreachable!("it is a TPM"),
    }
}

/// A port that is free together with the next one, which swtpm is controlled at, and that no other
/// test of this program was given.
fn free_port() -> u16 {
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let Some(next) = port.checked_add(1) else { continue };
        let mut given = GIVEN.lock().unwrap();
        let is_new = [port, next].iter().all(|port| !given.contains(port));
        if is_new && TcpListener::bind(("127.0.0.1", next)).is_ok() {
            given.extend([port, next]);
            return port;
        }
    }
}

/// Starts a TPM; `false` if it does not get its ports.
fn start(port: u16, state: &Path) -> bool {
    fs::create_dir_all(state).unwrap();
    // It ends with the thread of its test.
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "swtpm", "socket", "--tpm2"])
        .args(["--flags", "not-need-init,startup-clear"])
        .args(["--tpmstate", &format!("dir={}", state.display())])
        .args(["--server", &format!("type=tcp,port={port}")])
        .args(["--ctrl", &format!("type=tcp,port={}", port + 1)])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("swtpm is installed");
    let answers = || TcpStream::connect(("127.0.0.1", port + 1)).is_ok();
    let mut has_ended = false;
    let listens = eventually(Duration::from_secs(20), || {
        has_ended = child.try_wait().unwrap().is_some();
        has_ended || answers()
    });
    if listens && !has_ended {
        RUNNING.lock().unwrap().insert(port, child);
        return true;
    }
    let _ended_already = child.kill();
    child.wait().unwrap();
    false
}

fn stop(port: u16) {
    let mut child = RUNNING.lock().unwrap().remove(&port).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Runs a program of the TPM's own tools.
fn tool(guard: &Guard, words: &[&str]) {
    let Guard::Tpm { device, .. } = guard else { unreachable!("it is a TPM") };
    let done = Command::new(words[0]).args(&words[1..]).args(["-T", device]).output();
    let done = done.expect("tpm2-tools are installed");
    assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// A TPM whose seals depend on its debug register, which can be set back.
fn with_register() -> (Place, Slot) {
    let place = Place::of(&kind());
    let mut slot = place.slot.clone();
    if let Guard::Tpm { pcrs, .. } = &mut slot.guard {
        *pcrs = vec![0, 16];
    }
    (place, slot)
}

fn extend(slot: &Slot) {
    let value = format!("16:sha256={}", "5a".repeat(32));
    tool(&slot.guard, &["tpm2_pcrextend", &value]);
}

#[test]
fn a_changed_register_keeps_the_seal_shut_and_changes_nothing() {
    let (_place, slot) = with_register();
    let made = opened(open_or_create(&slot));
    let sealed = fs::read(&slot.path).unwrap();
    assert!(opened(open(&slot)) == made);
    extend(&slot);
    let said = text(open_or_create(&slot));
    assert!(said.contains("PCR 0, 16") && said.contains("another value"), "{said}");
    assert_eq!(fs::read(&slot.path).unwrap(), sealed);
    tool(&slot.guard, &["tpm2_pcrreset", "16"]);
    assert!(opened(open(&slot)) == made);
}

#[test]
fn a_seal_without_registers_opens_whatever_they_are() {
    let place = Place::of(&kind());
    let made = opened(open_or_create(&place.slot));
    extend(&place.slot);
    assert!(opened(open(&place.slot)) == made);
}

#[test]
fn whoever_edits_the_registers_out_of_the_file_opens_nothing() {
    let (_place, slot) = with_register();
    opened(open_or_create(&slot));
    for others in [vec![], vec![16], vec![0, 7, 16]] {
        let mut edited = slot.clone();
        if let Guard::Tpm { pcrs, .. } = &mut edited.guard {
            *pcrs = others;
        }
        assert!(open(&edited).is_err());
    }
    assert!(open(&slot).is_ok());
}

#[test]
fn nothing_is_left_in_the_tpm() {
    let place = Place::of(&kind());
    opened(open_or_create(&place.slot));
    // A TPM holds three objects and as many sessions: more would fail before long.
    for _ in 0..8 {
        assert!(open(&place.slot).is_ok());
    }
}

#[test]
fn the_same_tpm_opens_the_seal_when_it_was_started_again() {
    let place = Place::of(&kind());
    let made = opened(open_or_create(&place.slot));
    let port = port_of(&place.slot.guard);
    stop(port);
    let state: PathBuf = place.folder.path().join(format!("tpm-{port}"));
    start(port, &state);
    assert!(opened(open(&place.slot)) == made, "the same TPM, started again");
}
