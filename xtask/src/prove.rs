//! `cargo xtask prove`: the promises at full counts, and the mutants that must be caught.
//!
//! A promise is kept when its tests pass at the counts it names. A mutant is a small patch that
//! breaks a promise on purpose; it is caught when the named test passes without it and fails with
//! it. What was seen is written to `docs/proofs.md`.

mod mutant;
mod promise;
mod report;

use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::provide::{Provided, provide};
use crate::run::{output, run, say};
use crate::test::run_tests;
use crate::workspace::{Workspace, write};

/// What became of one promise or one mutant.
#[derive(Debug)]
struct Proof {
    promise: String,
    /// What was run, as a person would type it.
    command: String,
    /// Counts for a promise, the patch's name for a mutant.
    detail: String,
    good: bool,
    says: String,
    took: Duration,
}

/// Proves everything, writes the report, and fails if anything was not as it must be.
pub(crate) fn prove(workspace: &Workspace) -> Result<(), Failure> {
    let provided = provide(workspace)?;
    run(workspace.cargo().args(["build", "--release", "--locked", "--workspace", "--bins"]))?;
    let mut kept = Vec::new();
    for promise in promise::read_all(workspace)? {
        kept.push(keep(workspace, &provided, &promise)?);
    }
    let caught = mutant::catch_all(workspace, &provided)?;
    let seen = report::Seen { date: today()?, processor: processor(), kept, caught };
    let path = workspace.root.join("docs/proofs.md");
    write(&path, &report::render(&seen))?;
    let failed = seen.kept.iter().chain(&seen.caught).filter(|proof| !proof.good).count();
    say(&format!("prove: {} promises, {} mutants", seen.kept.len(), seen.caught.len()));
    if failed > 0 {
        return Err(Failure::NotProven { failed, report: path });
    }
    Ok(())
}

fn keep(
    workspace: &Workspace,
    provided: &Provided,
    promise: &promise::Promise,
) -> Result<Proof, Failure> {
    let mut tests = workspace.cargo();
    tests.args(["test", "--release", "--locked"]).args(&promise.test);
    provided.tell(&mut tests);
    tests.env("CASEMATE_BIN", workspace.target().join("release/casemate"));
    tests.envs(&promise.counts);
    let begin = Instant::now();
    let (summary, status) = run_tests(&mut tests)?;
    let counts = promise.counts.iter().map(|(name, value)| format!("{name}={value}"));
    Ok(Proof {
        promise: promise.promise.clone(),
        command: format!("cargo test --release {}", promise.test.join(" ")),
        detail: counts.collect::<Vec<_>>().join(" "),
        good: status.success() && summary.passed > 0 && summary.failed == 0,
        says: summary.to_string(),
        took: begin.elapsed(),
    })
}

fn today() -> Result<String, Failure> {
    let date = output(std::process::Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
    Ok(date.trim().to_owned())
}

fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cores = text.lines().filter(|line| line.starts_with("processor")).count();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    format!("{}, {cores} cores", name.map_or("unknown processor", |(_, name)| name))
}
