//! The PKCS #11 engine against real tokens.
//!
//! A module knows one application in a process and finds its configuration in the environment. So
//! each test runs in a process of its own: it makes a token, starts this test program again with
//! itself alone, and there does its work.

use std::path::{Path, PathBuf};
use std::process::Command;

use casemate_test_kit::softhsm::SoftHsm;

const FOLDER: &str = "CASEMATE_TOKEN_FOLDER";

/// Runs the body with a fresh token, in a process of its own. `name` is the test's own name.
pub fn with_softhsm(name: &str, body: fn(&Path)) {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return body(&PathBuf::from(folder));
    }
    let token = SoftHsm::new();
    let done = again(&token, name).output().expect("this program can be started again");
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    // A name that fits no test would pass without having run.
    assert!(done.status.success() && out.contains("1 passed"), "{name}:\n{out}\n{err}");
}

/// This program, with this test alone and the token in its environment.
pub fn again(token: &SoftHsm, name: &str) -> Command {
    let program = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new(program);
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]);
    command.env(FOLDER, token.folder()).env("SOFTHSM2_CONF", token.conf());
    command
}

/// Whether this process is one that [`again`] started.
pub fn is_again() -> bool {
    std::env::var_os(FOLDER).is_some()
}
