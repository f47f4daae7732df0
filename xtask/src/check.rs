//! `cargo xtask check`: everything that can be judged without running the product.

use std::process::Command;

use crate::failure::Failure;
use crate::run::{cargo, run, say, succeeds};
use crate::tidy::tidy;
use crate::workspace::Workspace;

/// Runs each judge; the first that is not content ends the command.
pub(crate) fn check(workspace: &Workspace) -> Result<(), Failure> {
    run(workspace.cargo().args(["fmt", "--all", "--check"]))?;
    tidy(workspace)?;
    run(workspace
        .cargo()
        .args(["clippy", "--release", "--locked", "--workspace", "--all-targets"])
        .args(["--", "-D", "warnings"]))?;
    run(workspace
        .cargo()
        .args(["doc", "--release", "--locked", "--workspace", "--no-deps"])
        .env("RUSTDOCFLAGS", "-D warnings"))?;
    check_dependencies(workspace)?;
    say("check: all is well");
    Ok(())
}

/// Licences, bans and sources, by `deny.toml`. Advisories need the network and a moving list, so
/// they are for a person to ask: `cargo deny check advisories`.
fn check_dependencies(workspace: &Workspace) -> Result<(), Failure> {
    if !succeeds(cargo().args(["deny", "--version"])) {
        say("xtask: installing cargo-deny (once; takes some minutes)");
        run(cargo().args(["install", "--locked", "cargo-deny"]))?;
    }
    let mut deny: Command = workspace.cargo();
    run(deny.args(["deny", "--workspace", "--locked", "check", "licenses", "bans", "sources"]))
}
