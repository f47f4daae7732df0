//! The PKCS #11 engine against real tokens.
//!
//! A module knows one application in a process and finds its configuration in the environment. So
//! each test runs in a process of its own: it makes a token, starts this test program again with
//! itself alone, and there does its work.

use std::path::PathBuf;
use std::process::Command;

use casemate_test_kit::tokens::{Kind, TestToken};

const FOLDER: &str = "CASEMATE_TOKEN_FOLDER";
const KIND: &str = "CASEMATE_TOKEN_KIND";

/// The token of this process.
#[derive(Clone, Debug)]
pub struct Given {
    /// Whose it is.
    pub kind: Kind,
    /// The folder that holds all of it.
    pub folder: PathBuf,
}

/// Runs the body with a fresh token, in a process of its own. `name` is the test's own name, with
/// its modules.
pub fn with_token(kind: Kind, name: &str, body: fn(&Given)) {
    if let Some(given) = given() {
        return body(&given);
    }
    let token = TestToken::new(kind);
    let done = again(&token, name).output().expect("this program can be started again");
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    // A name that fits no test would pass without having run.
    assert!(done.status.success() && out.contains("1 passed"), "{name}:\n{out}\n{err}");
}

/// This program, with this test alone and the token in its environment.
pub fn again(token: &TestToken, name: &str) -> Command {
    let program = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new(program);
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]);
    let (variable, conf) = token.variable();
    command.env(FOLDER, token.folder()).env(KIND, token.kind().name()).env(variable, conf);
    command
}

/// The token, in a process that [`again`] started.
pub fn given() -> Option<Given> {
    let folder = PathBuf::from(std::env::var_os(FOLDER)?);
    let kind = Kind::of_name(&std::env::var(KIND).expect("its kind is given with its folder"));
    Some(Given { kind, folder })
}
