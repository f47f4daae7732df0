//! The commands for people who build Casemate: `cargo xtask <command>`.
//!
//! Everything that is longer than a line and belongs to building, testing or judging the tree is
//! here, in Rust, and is the same on a laptop and in CI. Nothing here is shipped.

mod bench;
mod check;
mod failure;
mod fips;
mod fuzz;
mod golden;
mod prove;
mod provide;
mod quick;
mod run;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use failure::Failure;
use run::say;
use workspace::Workspace;

const USAGE: &str = "\
usage: cargo xtask <command>

  check          format, lints, tidy, docs, dependencies
  tidy           arrows, sizes, words, links: the house rules alone
  test           installs what the tests need, runs all of them
  quick          unit, decision and conformance tests: no network, no installation
  prove [WORDS]  the promises at full counts, and the mutants that must be caught; with words,
                 those whose promise, test or patch contains one
  bench [ARGS]   cost per operation next to the raw library and a bare server
  fips           the build with the validated module, and all tests that it must pass
  fuzz [TARGET]  one target for ten minutes; without a name, each for ten seconds
  golden         rewrites the golden files; review the diff";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report();
            ExitCode::FAILURE
        }
    }
}

fn dispatch(args: &[String]) -> Result<(), Failure> {
    let Some((command, rest)) = args.split_first() else {
        return Err(Failure::Usage { text: USAGE });
    };
    let takes_arguments = matches!(command.as_str(), "bench" | "fuzz" | "prove");
    if !rest.is_empty() && !takes_arguments {
        return Err(Failure::Usage { text: USAGE });
    }
    let workspace = Workspace::here()?;
    match command.as_str() {
        "check" => check::check(&workspace),
        "tidy" => tidy::tidy(&workspace),
        "test" => test::test(&workspace),
        "quick" => quick::quick(&workspace),
        "prove" => prove::prove(&workspace, rest),
        "bench" => bench::bench(&workspace, rest),
        "fips" => fips::fips(&workspace),
        "fuzz" => fuzz::fuzz(&workspace, rest),
        "golden" => golden::golden(&workspace),
        "help" | "--help" | "-h" => {
            say(USAGE);
            Ok(())
        }
        _ => Err(Failure::Usage { text: USAGE }),
    }
}
