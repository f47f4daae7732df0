//! `cargo xtask test`: everything that a user runs to trust this tree.
//!
//! Installs what is missing, builds the executable, runs all tests in one run of the test runner
//! and ends with the sum of the runner's own summary lines.

mod summary;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitStatus, Stdio};

use crate::failure::Failure;
use crate::provide::provide;
use crate::run::{run, say, shown};
use crate::workspace::Workspace;

pub(crate) use summary::Summary;

/// The crate with the feature `tpm`.
const SEALS: &str = "casemate-node-seal";

/// Provides, builds, tests, sums up.
pub(crate) fn test(workspace: &Workspace) -> Result<(), Failure> {
    let provided = provide(workspace)?;
    // All executables, not `casemate` alone: some tests drive programs of `tests/` as well.
    let mut build = workspace.cargo();
    run(build.args(["build", "--release", "--locked", "--workspace", "--bins"]))?;
    let mut tests = workspace.cargo();
    tests.args(["test", "--release", "--locked", "--workspace", "--no-fail-fast"]);
    tests.env("CASEMATE_BIN", workspace.target().join("release/casemate"));
    provided.tell(&mut tests);
    let (mut summary, mut status) = run_tests(&mut tests)?;
    // What needs libraries or programs of the system is a feature, off in the plain build.
    let mut with_devices = workspace.cargo();
    with_devices.args(["test", "--release", "--locked", "--no-fail-fast", "-p", SEALS]);
    with_devices.args(["--features", "tpm,token-tests"]);
    provided.tell(&mut with_devices);
    let (more, of_more) = run_tests(&mut with_devices)?;
    summary.passed += more.passed;
    summary.failed += more.failed;
    if status.success() {
        status = of_more;
    }
    conclude(&summary, status, &tests)
}

/// Runs a `cargo test`, shows its output as it comes, and reads its summary lines.
pub(crate) fn run_tests(command: &mut Command) -> Result<(Summary, ExitStatus), Failure> {
    say(&format!("xtask: {}", shown(command)));
    watch(command, &mut std::io::stdout())
}

fn watch(command: &mut Command, screen: &mut impl Write) -> Result<(Summary, ExitStatus), Failure> {
    let cannot_start = |source| Failure::CannotStart { command: shown(command), source };
    let mut child = Command::new(command.get_program())
        .args(command.get_args())
        .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(command.get_current_dir().unwrap_or(std::path::Path::new(".")))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(cannot_start)?;
    let mut summary = Summary::default();
    if let Some(stdout) = child.stdout.take() {
        let mut reader = BufReader::new(stdout);
        let mut line = Vec::new();
        // Bytes, not text: a test may print anything, and its line must not stop the reading.
        while reader.read_until(b'\n', &mut line).map_err(cannot_start)? > 0 {
            let _closed = screen.write_all(&line);
            summary.read(&String::from_utf8_lossy(&line));
            line.clear();
        }
    }
    let status = child.wait().map_err(cannot_start)?;
    Ok((summary, status))
}

/// Ends with the sum as the last line, and with the right exit code.
pub(crate) fn conclude(
    summary: &Summary,
    status: ExitStatus,
    command: &Command,
) -> Result<(), Failure> {
    // A program that ended without a summary line must not hide behind the sum of the others.
    let lost = if summary.failed == 0 && !status.success() { ", and the run FAILED" } else { "" };
    say(&format!("{summary}{lost}"));
    judge(summary, status, command)
}

/// A run that failed without a failed test (it did not compile, it was killed) is a failure too,
/// and so is one in which no test ran.
fn judge(summary: &Summary, status: ExitStatus, command: &Command) -> Result<(), Failure> {
    if summary.failed > 0 {
        return Err(Failure::TestsFailed { failed: summary.failed });
    }
    if !status.success() || summary.passed == 0 {
        return Err(Failure::CommandFailed { command: shown(command), status });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a script in the place of the test runner, its output kept off our own: whoever adds up
    /// our summary lines must not find these.
    fn judged(script: &str) -> Result<(), Failure> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let mut screen = Vec::new();
        let (summary, status) = watch(&mut command, &mut screen)?;
        judge(&summary, status, &command)
    }

    #[test]
    fn a_good_run_is_good() {
        assert!(judged("echo 'test result: ok. 2 passed; 0 failed; 0 ignored'").is_ok());
    }

    #[test]
    fn a_failed_test_is_a_failure_whatever_the_exit_code_says() {
        let failure = judged("echo 'test result: FAILED. 2 passed; 1 failed; 0 ignored'");
        assert!(matches!(failure, Err(Failure::TestsFailed { failed: 1 })), "{failure:?}");
    }

    #[test]
    fn a_run_that_did_not_compile_is_a_failure() {
        assert!(judged("echo 'test result: ok. 2 passed; 0 failed; 0 ignored'; exit 101").is_err());
    }

    #[test]
    fn the_output_is_shown_as_it_was() {
        let mut command = Command::new("printf");
        command.arg("a\\377\nb");
        let mut screen = Vec::new();
        watch(&mut command, &mut screen).expect("printf runs");
        assert_eq!(screen, b"a\xff\nb");
    }

    #[test]
    fn a_run_without_tests_is_a_failure() {
        assert!(judged("true").is_err());
    }
}
