//! `cargo xtask quick`: unit, decision and conformance tests, without network or installation.

use crate::failure::Failure;
use crate::test::{conclude, run_tests};
use crate::workspace::Workspace;

/// Runs the tests of every package except those under `tests/` that prove the whole system.
pub(crate) fn quick(workspace: &Workspace) -> Result<(), Failure> {
    let metadata = workspace.metadata()?;
    let mut tests = workspace.cargo();
    tests.args(["test", "--release", "--locked", "--workspace", "--no-fail-fast"]);
    for package in metadata.packages.iter().filter(|package| is_whole_system(&package.folder)) {
        tests.args(["--exclude", &package.name]);
    }
    let (summary, status) = run_tests(&mut tests)?;
    conclude(&summary, status, &tests)
}

fn is_whole_system(folder: &str) -> bool {
    folder.starts_with("tests/") && folder != "tests/kit"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tests_of_the_whole_system_are_left_out() {
        assert!(is_whole_system("tests/system"));
        assert!(is_whole_system("tests/bench"));
        for folder in ["tests/kit", "hsm/core", "xtask", "audit"] {
            assert!(!is_whole_system(folder), "{folder}");
        }
    }
}
