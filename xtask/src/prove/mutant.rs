//! Applies each `tests/mutants/*.patch` to a copy of the tree and demands that its test fails.
//!
//! A patch begins with two header lines:
//!
//! ```text
//! # promise: 1 durable before acknowledged
//! # test: -p casemate-system --test power
//! ```
//!
//! The copy is a git worktree of the last commit, and it has a target folder of its own: an
//! executable with a fault in it must never lie where the good one is looked for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::{Claim, Proof};
use crate::failure::Failure;
use crate::provide::Provided;
use crate::run::{run, say, succeeds};
use crate::test::{Summary, run_tests};
use crate::workspace::{Workspace, read};

/// The package whose tests start the programs that are built.
const SYSTEM_TESTS: &str = "casemate-system-tests";

/// A patch that breaks a promise, and the tests that must notice.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mutant {
    patch: PathBuf,
    promise: String,
    test: Vec<String>,
}

/// The copy of the tree in which mutants live.
struct Copy<'a> {
    workspace: &'a Workspace,
    provided: &'a Provided,
    root: PathBuf,
    target: PathBuf,
}

/// Applies, builds and tests each mutant, and shows what came of it.
pub(super) fn catch_all(
    workspace: &Workspace,
    provided: &Provided,
    mutants: &[&Mutant],
    shown: &mut dyn FnMut(Proof) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if mutants.is_empty() {
        return Ok(());
    }
    let copy = Copy::new(workspace, provided)?;
    let mut healthy = BTreeMap::new();
    for mutant in mutants {
        say(&format!("prove: mutant {}", mutant.patch.display()));
        if !healthy.contains_key(&mutant.test) {
            healthy.insert(mutant.test.clone(), copy.passes(&mutant.test)?);
        }
        let begin = Instant::now();
        let outcome = match healthy.get(&mutant.test) {
            Some(true) => copy.try_mutant(mutant)?,
            _ => Outcome::TestFailsAnyway,
        };
        shown(Proof {
            claim: mutant.claim(),
            good: matches!(outcome, Outcome::Caught { .. }),
            says: outcome.to_string(),
            took: begin.elapsed(),
        })?;
    }
    copy.remove();
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Caught { failed: u64 },
    NotCaught,
    PatchDoesNotApply,
    DoesNotBuild,
    TestFailsAnyway,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Caught { failed } => write!(f, "caught: {failed} tests fail"),
            Self::NotCaught => write!(f, "NOT CAUGHT"),
            Self::PatchDoesNotApply => write!(f, "the patch no longer applies"),
            Self::DoesNotBuild => write!(f, "does not build with the patch"),
            Self::TestFailsAnyway => write!(f, "the test fails without the patch"),
        }
    }
}

impl<'a> Copy<'a> {
    fn new(workspace: &'a Workspace, provided: &'a Provided) -> Result<Self, Failure> {
        let root = workspace.cache()?.join("mutants");
        let copy = Self { workspace, provided, root, target: workspace.target().join("mutants") };
        copy.remove();
        run(copy
            .git_outside(&["worktree", "add", "--detach", "--force"])
            .arg(&copy.root)
            .arg("HEAD"))?;
        Ok(copy)
    }

    /// Takes the copy away; one that an interrupted run left behind as well.
    fn remove(&self) {
        succeeds(self.git_outside(&["worktree", "remove", "--force"]).arg(&self.root));
        succeeds(&mut self.git_outside(&["worktree", "prune"]));
    }

    fn try_mutant(&self, mutant: &Mutant) -> Result<Outcome, Failure> {
        if !succeeds(self.git(&["apply"]).arg(&mutant.patch)) {
            return Ok(Outcome::PatchDoesNotApply);
        }
        let outcome = if self.builds(&mutant.test) {
            let summary = self.tests(&mutant.test)?;
            match summary.failed {
                0 => Outcome::NotCaught,
                failed => Outcome::Caught { failed },
            }
        } else {
            Outcome::DoesNotBuild
        };
        run(&mut self.git(&["reset", "--hard", "--quiet"]))?;
        run(&mut self.git(&["clean", "-fdq"]))?;
        Ok(outcome)
    }

    fn passes(&self, test: &[String]) -> Result<bool, Failure> {
        if !self.builds(test) {
            return Ok(false);
        }
        let summary = self.tests(test)?;
        Ok(summary.passed > 0 && summary.failed == 0)
    }

    fn builds(&self, test: &[String]) -> bool {
        let has_programs = !starts_programs(test)
            || run(self.cargo("build").args(["--workspace", "--bins"])).is_ok();
        has_programs && run(self.cargo("test").arg("--no-run").args(test)).is_ok()
    }

    fn tests(&self, test: &[String]) -> Result<Summary, Failure> {
        let (summary, _) = run_tests(self.cargo("test").arg("--no-fail-fast").args(test))?;
        Ok(summary)
    }

    fn cargo(&self, subcommand: &str) -> Command {
        let mut command = crate::run::cargo();
        command.args([subcommand, "--release", "--locked"]).current_dir(&self.root);
        self.provided.tell(&mut command);
        command.env("CARGO_TARGET_DIR", &self.target);
        command.env("CASEMATE_BIN", self.target.join("release/casemate"));
        command
    }

    fn git(&self, args: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.current_dir(&self.root).args(args);
        command
    }

    fn git_outside(&self, args: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.current_dir(&self.workspace.root).args(args);
        command
    }
}

/// Whether these tests start the programs that are built, and not only themselves.
fn starts_programs(test: &[String]) -> bool {
    test.iter().any(|argument| argument == SYSTEM_TESTS)
}

impl Mutant {
    pub(super) fn claim(&self) -> Claim {
        Claim::new(&self.promise, &self.test, name(&self.patch))
    }
}

pub(super) fn read_all(folder: &Path) -> Result<Vec<Mutant>, Failure> {
    let unreadable = |source| Failure::File { path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|ending| ending == "patch") {
            paths.push(path);
        }
    }
    paths.sort();
    paths.into_iter().map(|path| parse(&String::from_utf8_lossy(&read(&path)?), path)).collect()
}

fn parse(text: &str, patch: PathBuf) -> Result<Mutant, Failure> {
    let field = |field: &'static str| {
        let prefix = format!("# {field}: ");
        let line = text.lines().find_map(|line| line.strip_prefix(&prefix));
        line.ok_or_else(|| Failure::MutantHeader { path: patch.clone(), field })
    };
    let promise = field("promise")?.to_owned();
    let test = field("test")?.split_whitespace().map(str::to_owned).collect();
    Ok(Mutant { patch, promise, test })
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = "# promise: 1 durable\n# test: -p a --test b\n\ndiff --git a/x b/x\n";

    #[test]
    fn reads_the_header() {
        let mutant = parse(PATCH, PathBuf::from("m/no-sync.patch")).expect("good");
        assert_eq!(mutant.promise, "1 durable");
        assert_eq!(mutant.test, ["-p", "a", "--test", "b"]);
        assert_eq!(name(&mutant.patch), "no-sync");
    }

    #[test]
    fn a_patch_without_its_header_is_refused() {
        for line in ["# promise: 1 durable\n", "# test: -p a --test b\n"] {
            let text = PATCH.replace(line, "");
            assert!(parse(&text, PathBuf::from("m.patch")).is_err(), "{line}");
        }
    }

    #[test]
    fn only_patches_are_read_and_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["b.patch", "a.patch", "README.md"] {
            std::fs::write(folder.path().join(name), PATCH).expect("written");
        }
        let mutants = read_all(folder.path()).expect("good");
        let names: Vec<String> = mutants.iter().map(|mutant| name(&mutant.patch)).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn the_programs_are_built_for_the_tests_that_start_them() {
        let args = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(starts_programs(&args("-p casemate-system-tests --test power")));
        assert!(!starts_programs(&args("-p casemate-audit --lib")));
        let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/system/Cargo.toml");
        let manifest = String::from_utf8(read(&package).expect("a manifest")).expect("text");
        assert!(manifest.contains(&format!("name = \"{SYSTEM_TESTS}\"")), "{manifest}");
    }

    #[test]
    fn only_a_failing_test_is_a_catch() {
        let caught = Outcome::Caught { failed: 2 };
        assert_eq!(caught.to_string(), "caught: 2 tests fail");
        assert_eq!(Outcome::NotCaught.to_string(), "NOT CAUGHT");
    }
}
