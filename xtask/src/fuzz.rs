//! `cargo xtask fuzz`: throws bytes at every parser that sees the network.
//!
//! The targets are a workspace of their own under `fuzz/`, because they need a nightly compiler.
//! A crash is kept by the fuzzer under `fuzz/artifacts`; it becomes a fixture of the parser's
//! tests.

use crate::failure::Failure;
use crate::run::{output, run, say, succeeds};
use crate::workspace::Workspace;
use std::process::Command;

/// How long one target runs when all are tried.
const SMOKE_SECONDS: u32 = 10;

/// How long one target runs when it is named.
const NAMED_SECONDS: u32 = 600;

/// Fuzzes the named target, or each for a moment.
pub(crate) fn fuzz(workspace: &Workspace, args: &[String]) -> Result<(), Failure> {
    install()?;
    let mut listing = cargo_fuzz(workspace);
    listing.arg("list");
    let listed = output(&mut listing)?;
    let targets: Vec<&str> = listed.split_whitespace().collect();
    let chosen: Vec<&str> = match args {
        [] => targets,
        [name] if targets.contains(&name.as_str()) => vec![name],
        [name, ..] => return Err(Failure::NoFuzzTarget { target: name.clone() }),
    };
    let seconds = if args.is_empty() { SMOKE_SECONDS } else { NAMED_SECONDS };
    for target in &chosen {
        let mut command = cargo_fuzz(workspace);
        command.args(["run", target, "--", &format!("-max_total_time={seconds}")]);
        run(&mut command)?;
    }
    say(&format!("fuzz: {} targets, {seconds} s each, no crash", chosen.len()));
    Ok(())
}

/// `cargo fuzz` by the nightly toolchain. Not through our own `cargo`: that one is pinned.
fn cargo_fuzz(workspace: &Workspace) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo", "fuzz"]).current_dir(workspace.root.join("fuzz"));
    for set_by_our_cargo in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(set_by_our_cargo);
    }
    command.env("CARGO_TARGET_DIR", workspace.target().join("fuzz"));
    command
}

fn install() -> Result<(), Failure> {
    let nightly = ["run", "nightly", "rustc", "--version"];
    if !succeeds(Command::new("rustup").args(nightly)) {
        run(Command::new("rustup").args(["toolchain", "install", "--profile=minimal", "nightly"]))?;
    }
    if !succeeds(crate::run::cargo().args(["fuzz", "--version"])) {
        run(crate::run::cargo().args(["install", "--locked", "cargo-fuzz"]))?;
    }
    Ok(())
}
