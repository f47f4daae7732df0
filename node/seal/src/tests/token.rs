//! The suite with a token: SoftHSM2 and kryoptic, each in a process of its own, since a module
//! knows one configuration and one application per process.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use casemate_channel::Guard;
use casemate_test_kit::kryoptic::{self, Kryoptic};
use casemate_test_kit::softhsm::{PIN, SoftHsm, module, write_pin};
use casemate_test_kit::tokens::{self, TestToken};

use super::{Kind, Place, opened, text};
use crate::slot::open_or_create;

/// Says that the process has tokens, and whose.
const HAS_TOKEN: &str = "CASEMATE_SEAL_TESTS_TOKEN";

pub(super) fn kind() -> Option<Kind> {
    let whose = env::var(HAS_TOKEN).ok()?;
    Some(match tokens::Kind::of_name(&whose) {
        tokens::Kind::SoftHsm => Kind {
            name: "token",
            make: |folder| guard(folder, module(), init),
            mistake: |guard| {
                let label = label_of(guard);
                util(&["--delete-token", "--token", label]);
                init(label);
            },
            says: "does not open the seal",
            lose: |guard| util(&["--delete-token", "--token", label_of(guard)]),
            lost: "no slot of the module holds a token",
        },
        tokens::Kind::Kryoptic => Kind {
            name: "token",
            make: |folder| {
                guard(folder, kryoptic::module(), |label| kryoptic::init(&of_kryoptic(), label))
            },
            mistake: |guard| {
                kryoptic::delete(&of_kryoptic(), label_of(guard));
                kryoptic::init(&of_kryoptic(), label_of(guard));
            },
            says: "does not open the seal",
            lose: |guard| kryoptic::delete(&of_kryoptic(), label_of(guard)),
            lost: "no slot of the module holds a token",
        },
    })
}

/// A guard with a new token.
fn guard(folder: &std::path::Path, module: PathBuf, init: impl Fn(&str)) -> Guard {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let label = format!("seal-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let pin_file = folder.join(format!("pin of {label}"));
    write_pin(&pin_file, PIN);
    init(&label);
    Guard::Token { module, token: label, pin_file, environment: Vec::new() }
}

/// The folder of kryoptic's tokens.
fn of_kryoptic() -> PathBuf {
    let conf = PathBuf::from(env::var_os("KRYOPTIC_CONF").expect("a configuration"));
    conf.parent().expect("it lies in a folder").to_owned()
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

/// Runs tests of this program again, in a process with tokens of this kind.
fn again(kind: tokens::Kind, words: &[&str]) {
    let token = match kind {
        tokens::Kind::SoftHsm => TestToken::SoftHsm(SoftHsm::new()),
        tokens::Kind::Kryoptic => TestToken::Kryoptic(Kryoptic::empty()),
    };
    let (variable, conf) = token.variable();
    let program = env::current_exe().expect("this program has a path");
    let run = Command::new(program)
        .arg("--test-threads=1")
        .args(words)
        .env(variable, conf)
        .env(HAS_TOKEN, kind.name())
        .output()
        .expect("this program starts again");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && !said.contains(" 0 passed"), "{said}");
}

const SUITE: [&str; 5] = ["tests::", "--skip", "tests::token", "--skip", "tests::tpm"];

#[test]
fn the_suite_passes_with_a_token() {
    again(tokens::Kind::SoftHsm, &SUITE);
}

#[test]
fn the_suite_passes_with_a_token_of_kryoptic() {
    again(tokens::Kind::Kryoptic, &SUITE);
}

#[test]
fn a_wrong_pin_and_a_module_that_is_none_are_named() {
    let name = "tests::token::a_wrong_pin_and_a_module_that_is_none_are_named";
    match kind() {
        None => tokens::Kind::ALL.into_iter().for_each(|kind| again(kind, &["--exact", name])),
        Some(kind) => wrong_pins(&kind),
    }
}

fn wrong_pins(kind: &Kind) {
    let place = Place::of(kind);
    opened(open_or_create(&place.slot));
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
