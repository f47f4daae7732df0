//! `cargo xtask fips`: the program with the validated branch of AWS-LC, built and tested.
//!
//! It is a build of its own, in a target folder of its own: the feature reaches every crate that
//! signs, seals or speaks TLS, and an executable with another module must never lie where the
//! ordinary one is looked for.

use std::path::PathBuf;
use std::process::Command;

use crate::failure::Failure;
use crate::provide::{install_clang, install_programs, provide};
use crate::run::run;
use crate::test::{conclude, run_tests};
use crate::workspace::Workspace;

/// What AWS-LC's validated branch is built with, and the packages that have it.
const PROGRAMS: &[(&str, &str)] = &[("cmake", "cmake"), ("go", "golang-go"), ("perl", "perl")];

/// The crates whose own tests run on the validated module.
const ON_THE_MODULE: &[&str] = &["casemate-engine-soft", "casemate-partition"];

/// Installs what is missing, builds, and runs the module's own tests and the whole system's.
pub(crate) fn fips(workspace: &Workspace) -> Result<(), Failure> {
    install_programs(PROGRAMS)?;
    install_clang()?;
    let provided = provide(workspace)?;
    let target = workspace.target().join("fips");
    run(&mut cargo(workspace, &target, &["build", "--bins", "-p", "casemate"], &["casemate"]))?;
    let mut own = cargo(workspace, &target, &["test", "--no-fail-fast"], ON_THE_MODULE);
    for package in ON_THE_MODULE {
        own.args(["-p", package]);
    }
    provided.tell(&mut own);
    let (mut summary, mut status) = run_tests(&mut own)?;
    // The tests are the ordinary build's, with another executable under test.
    let mut system = workspace.cargo();
    system.args(["test", "--release", "--locked", "--no-fail-fast", "-p", "casemate-system-tests"]);
    provided.tell(&mut system);
    system.env("CASEMATE_BIN", target.join("release/casemate")).env("CASEMATE_FIPS", "1");
    let (more, of_more) = run_tests(&mut system)?;
    summary.passed += more.passed;
    summary.failed += more.failed;
    if status.success() {
        status = of_more;
    }
    conclude(&summary, status, &system)
}

fn cargo(workspace: &Workspace, target: &PathBuf, args: &[&str], packages: &[&str]) -> Command {
    let features: Vec<String> = packages.iter().map(|package| format!("{package}/fips")).collect();
    let mut command = workspace.cargo();
    command.args(args).args(["--release", "--locked", "--features", &features.join(",")]);
    command.env("CARGO_TARGET_DIR", target);
    command
}
