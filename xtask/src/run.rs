//! Runs other programs, and speaks to the terminal.
//!
//! Each step is shown before it starts, so that a long one is never silent.

use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::failure::Failure;

/// Writes one line to standard output.
///
/// A closed output is not an error: whoever closed it does not want the line.
pub(crate) fn say(line: &str) {
    let _closed = writeln!(std::io::stdout(), "{line}");
}

/// Writes one line to standard error.
pub(crate) fn complain(line: &str) {
    let _closed = writeln!(std::io::stderr(), "{line}");
}

/// The `cargo` that runs us, so that both use one toolchain.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Shows the command, runs it with our own output, and demands success.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    say(&format!("xtask: {}", shown(command)));
    let status = command
        .stdin(Stdio::null())
        .status()
        .map_err(|source| Failure::CannotStart { command: shown(command), source })?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::CommandFailed { command: shown(command), status })
}

/// Runs the command and returns what it wrote to standard output; errors go to the terminal.
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    capture(command, Stdio::inherit())
}

/// Runs the command and returns what it wrote to standard output; its complaints are dropped.
pub(crate) fn quiet_output(command: &mut Command) -> Result<String, Failure> {
    capture(command, Stdio::null())
}

fn capture(command: &mut Command, stderr: Stdio) -> Result<String, Failure> {
    let output = command
        .stdin(Stdio::null())
        .stderr(stderr)
        .output()
        .map_err(|source| Failure::CannotStart { command: shown(command), source })?;
    if !output.status.success() {
        return Err(Failure::CommandFailed { command: shown(command), status: output.status });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs the command with all output dropped: did it succeed?
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Where the program is, if it is on the path or in one of root's folders.
///
/// A user's path often lacks `/usr/sbin`, where `mkfs.ext4` and `losetup` live.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&search_path())
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

/// The path for programs that we start: the user's, then root's folders.
pub(crate) fn search_path() -> std::ffi::OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/local/sbin:/usr/sbin:/sbin");
    path
}

/// The command as a person would type it: for messages only, never for a shell.
pub(crate) fn shown(command: &Command) -> String {
    let program = command.get_program();
    let name = PathBuf::from(program);
    let name = name.file_name().unwrap_or(program).to_owned();
    std::iter::once(name.as_os_str())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_a_command_without_its_folder() {
        let mut command = Command::new("/usr/bin/cargo");
        command.args(["test", "--release"]);
        assert_eq!(shown(&command), "cargo test --release");
    }

    #[test]
    fn a_failing_command_is_a_failure() {
        let failure = run(&mut Command::new("false")).expect_err("`false` fails");
        assert!(matches!(failure, Failure::CommandFailed { .. }), "{failure}");
    }

    #[test]
    fn a_missing_command_is_named() {
        let failure = output(&mut Command::new("no-such-program-here")).expect_err("not there");
        assert_eq!(failure.to_string(), "cannot start `no-such-program-here`");
    }

    #[test]
    fn finds_programs_and_misses_what_is_not_there() {
        assert!(find_program("sh").is_some());
        assert!(find_program("no-such-program-here").is_none());
        assert!(!succeeds(&mut Command::new("no-such-program-here")));
    }
}
