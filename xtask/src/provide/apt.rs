//! Installs Debian packages for programs that are missing; asks nothing when none is.

use std::process::Command;

use crate::failure::Failure;
use crate::run::{find_program, run, say, succeeds};

/// A program the tests start, and the package that has it on Debian and Ubuntu.
const PROGRAMS: &[(&str, &str)] = &[
    ("cc", "build-essential"),
    ("c++", "build-essential"),
    ("make", "build-essential"),
    ("curl", "curl"),
    ("git", "git"),
    ("go", "golang-go"),
    ("losetup", "mount"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mount", "mount"),
    ("openssl", "openssl"),
    ("pkcs11-tool", "opensc"),
    ("pkg-config", "pkg-config"),
    ("prometheus", "prometheus"),
    ("promtool", "prometheus"),
    ("ps", "procps"),
    ("python3", "python3"),
    ("softhsm2-util", "softhsm2"),
    ("setpriv", "util-linux"),
    ("strace", "strace"),
    ("swtpm", "swtpm"),
    ("tpm2_pcrextend", "tpm2-tools"),
    ("unshare", "util-linux"),
];

/// Installs what the tests need and is missing, as root or by sudo.
pub(super) fn install_missing() -> Result<(), Failure> {
    let mut packages = missing(PROGRAMS);
    if !python_makes_venvs() {
        packages.push("python3-venv");
    }
    if !has_tss() {
        packages.push("libtss2-dev");
    }
    install(&packages)
}

/// Installs the packages of those of these programs that are missing.
pub(crate) fn install_programs(programs: &[(&str, &'static str)]) -> Result<(), Failure> {
    install(&missing(programs))
}

/// Installs the library that reads C headers for a build, if it is missing.
pub(crate) fn install_clang() -> Result<(), Failure> {
    if has_clang() { Ok(()) } else { install(&["libclang-dev"]) }
}

fn missing(programs: &[(&str, &'static str)]) -> Vec<&'static str> {
    let absent = programs.iter().filter(|(program, _)| find_program(program).is_none());
    let mut packages: Vec<_> = absent.map(|(_, package)| *package).collect();
    packages.dedup();
    packages
}

/// Installs packages, as root or by sudo; asks nothing when there are none.
pub(super) fn install(packages: &[&'static str]) -> Result<(), Failure> {
    if packages.is_empty() {
        return Ok(());
    }
    if find_program("apt-get").is_none() {
        return Err(Failure::NoApt { packages: packages.to_vec() });
    }
    say(&format!("xtask: installing {}", packages.join(" ")));
    run(apt().arg("update").arg("-qq"))?;
    run(apt().args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages))
}

/// Debian ships Python without `ensurepip`; the module is there only with `python3-venv`.
fn python_makes_venvs() -> bool {
    succeeds(Command::new("python3").args(["-c", "import ensurepip, venv"]))
}

/// The library that reads C headers for a build.
pub(super) fn has_clang() -> bool {
    let named = std::env::var_os("LIBCLANG_PATH").is_some();
    named || succeeds(Command::new("sh").args(["-c", "ls /usr/lib/llvm-*/lib/libclang.so*"]))
}

/// The headers and libraries of the TPM's software stack, for the feature `tpm`.
fn has_tss() -> bool {
    succeeds(Command::new("pkg-config").args(["--exists", "tss2-esys", "tss2-tctildr"]))
}

fn apt() -> Command {
    let root = std::env::var_os("USER").is_some_and(|user| user == "root");
    let root = root || succeeds(Command::new("sh").args(["-c", "[ \"$(id -u)\" -eq 0 ]"]));
    let mut command = Command::new(if root { "env" } else { "sudo" });
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    command
}
