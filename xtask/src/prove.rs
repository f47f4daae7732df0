//! `cargo xtask prove`: the promises at full counts, and the mutants that must be caught.
//!
//! A promise is kept when its tests pass at the counts it names. A mutant is a small patch that
//! breaks a promise on purpose; it is caught when the named test passes without it and fails with
//! it. What was seen is written to `docs/proofs.md` after each of them; with words after the
//! command, only what they name is run, and the other rows stay as they were.

mod mutant;
mod promise;
mod report;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use self::mutant::Mutant;
use self::promise::Promise;
use crate::failure::Failure;
use crate::provide::{Provided, provide};
use crate::run::{output, run, say};
use crate::test::run_tests;
use crate::workspace::{Workspace, write};

/// What is to be proved: one promise at its counts, or one mutant.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Claim {
    promise: String,
    /// What is run, as a person would type it.
    command: String,
    /// Counts for a promise, the patch's name for a mutant.
    detail: String,
}

/// What became of it.
#[derive(Debug)]
struct Proof {
    claim: Claim,
    good: bool,
    says: String,
    took: Duration,
}

/// Proves everything that one of the words names, or everything; writes the report, and fails if
/// anything was not as it must be.
pub(crate) fn prove(workspace: &Workspace, words: &[String]) -> Result<(), Failure> {
    let promises = promise::read_all(workspace)?;
    let mutants = mutant::read_all(&workspace.root.join("tests/mutants"))?;
    let claims = report::Claims {
        promises: promises.iter().map(Promise::claim).collect(),
        mutants: mutants.iter().map(Mutant::claim).collect(),
    };
    let provided = provide(workspace)?;
    run(workspace.cargo().args(["build", "--release", "--locked", "--workspace", "--bins"]))?;
    let path = workspace.root.join("docs/proofs.md");
    let run = report::Run { date: today()?, processor: processor(), proofs: Vec::new() };
    let mut page = Page { path, claims, run };
    for promise in promises.iter().filter(|promise| promise.claim().is_named(words)) {
        page.add(keep(workspace, &provided, promise)?)?;
    }
    let named: Vec<_> = mutants.iter().filter(|mutant| mutant.claim().is_named(words)).collect();
    mutant::catch_all(workspace, &provided, &named, &mut |proof| page.add(proof))?;
    let Page { path, claims, run } = page;
    let failed = run.proofs.iter().filter(|proof| !proof.good).count();
    say(&format!("prove: {} of {} proofs run", run.proofs.len(), claims.count()));
    if failed > 0 {
        return Err(Failure::NotProven { failed, report: path });
    }
    Ok(())
}

/// The report while it grows: written after each proof, so that a run of hours that is cut off
/// leaves what it has shown.
struct Page {
    path: PathBuf,
    claims: report::Claims,
    run: report::Run,
}

impl Page {
    fn add(&mut self, proof: Proof) -> Result<(), Failure> {
        let Proof { claim, good, says, .. } = &proof;
        let verdict = if *good { "good" } else { "FAILED" };
        say(&format!("prove: {verdict}: {}, {}: {says}", claim.promise, claim.detail));
        self.run.proofs.push(proof);
        let before = std::fs::read_to_string(&self.path).unwrap_or_default();
        write(&self.path, &report::render(&self.claims, &self.run, &before))
    }
}

impl Claim {
    fn new(promise: &str, test: &[String], detail: String) -> Self {
        let command = format!("cargo test --release {}", test.join(" "));
        Self { promise: promise.to_owned(), command, detail }
    }

    fn is_named(&self, words: &[String]) -> bool {
        let named = |word: &String| {
            [&self.promise, &self.command, &self.detail].into_iter().any(|text| text.contains(word))
        };
        words.is_empty() || words.iter().any(named)
    }
}

fn keep(workspace: &Workspace, provided: &Provided, promise: &Promise) -> Result<Proof, Failure> {
    let mut tests = workspace.cargo();
    tests.args(["test", "--release", "--locked"]).args(&promise.test);
    provided.tell(&mut tests);
    tests.env("CASEMATE_BIN", workspace.target().join("release/casemate"));
    tests.envs(&promise.counts);
    let begin = Instant::now();
    let (summary, status) = run_tests(&mut tests)?;
    Ok(Proof {
        claim: promise.claim(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_a_claim_by_any_part_of_it() {
        let test = ["-p".to_owned(), "a".to_owned()];
        let claim = Claim::new("2 revocation", &test, "stale-permit".to_owned());
        assert_eq!(claim.command, "cargo test --release -p a");
        for words in [&[][..], &["revocation"], &["-p a"], &["x", "stale"]] {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            assert!(claim.is_named(&words), "{words:?}");
        }
        assert!(!claim.is_named(&["durable".to_owned()]));
    }
}
