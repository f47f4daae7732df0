//! The suite with a token: SoftHSM2, in a process of its own, since its module knows one
//! configuration and one application per process.

use std::env;
use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use casemate_channel::Guard;
use casemate_test_kit::softhsm::{PIN, SoftHsm, module, write_pin};

use super::{Kind, Place, text};
use crate::slot::open_or_create;

/// Says that the process has a token.
const HAS_TOKEN: &str = "CASEMATE_SEAL_TESTS_TOKEN";

pub(super) fn kind() -> Option<Kind> {
    env::var_os(HAS_TOKEN).map(|_| Kind {
        name: "token",
        make: |folder| {
            static COUNT: AtomicUsize = AtomicUsize::new(0);
            let label = format!("seal-{}", COUNT.fetch_add(1, Ordering::Relaxed));
            let pin_file = folder.join(format!("pin of {label}"));
            write_pin(&pin_file, PIN);
            init(&label);
            Guard::Token { module: module(), token: label, pin_file, environment: Vec::new() }
        },
        mistake: |guard| {
            let label = label_of(guard);
            util(&["--delete-token", "--token", label]);
            init(label);
        },
        says: "does not open the seal",
        lose: |guard| util(&["--delete-token", "--token", label_of(guard)]),
        lost: "no slot of the module holds a token",
    })
}

fn label_of(guard: &Guard) -> &str {
    match guard {
        Guard::Token { token, .. } => token,
        _ => unreachable!("it is a token"),
    }
}

fn init(label: &str) {
    let pins = ["--pin", PIN, "--so-pin", "314159"];
    util(&[&["--init-token", "--free", "--label", label], pins.as_slice()].concat());
}

fn util(words: &[&str]) {
    let done = Command::new("softhsm2-util").args(words).stdin(Stdio::null()).output();
    let done = done.expect("softhsm2-util is installed");
    assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Runs tests of this program again, in a process with a token.
fn again(words: &[&str]) {
    let token = SoftHsm::new();
    let program = env::current_exe().expect("this program has a path");
    let run = Command::new(program)
        .arg("--test-threads=1")
        .args(words)
        .env("SOFTHSM2_CONF", token.conf())
        .env(HAS_TOKEN, "1")
        .output()
        .expect("this program starts again");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && !said.contains(" 0 passed"), "{said}");
}

#[test]
fn the_suite_passes_with_a_token() {
    again(&["tests::", "--skip", "tests::token", "--skip", "tests::tpm"]);
}

#[test]
fn a_wrong_pin_and_a_module_that_is_none_are_named() {
    let name = "tests::token::a_wrong_pin_and_a_module_that_is_none_are_named";
    match kind() {
        None => again(&["--exact", name]),
        Some(kind) => wrong_pins(&kind),
    }
}

fn wrong_pins(kind: &Kind) {
    let place = Place::of(kind);
    open_or_create(&place.slot).ok().unwrap();
    let Guard::Token { pin_file, .. } = place.slot.guard.clone() else { return };
    let sealed = fs::read(&place.slot.path).unwrap();
    for (pin, says) in [("000000", "refuses the PIN"), ("", "gives no PIN")] {
        write_pin(&pin_file, pin);
        let said = text(open_or_create(&place.slot));
        assert!(said.contains(says), "{said}");
    }
    fs::remove_file(&pin_file).unwrap();
    assert!(text(open_or_create(&place.slot)).contains("gives no PIN"));
    write_pin(&pin_file, PIN);
    let mut other = place.slot.clone();
    if let Guard::Token { module, .. } = &mut other.guard {
        *module = "/usr/lib/none.so".into();
    }
    assert!(text(open_or_create(&other)).contains("not loaded as a PKCS #11 module"));
    assert_eq!(fs::read(&place.slot.path).unwrap(), sealed, "nothing was changed");
    assert!(open_or_create(&place.slot).is_ok());
}
