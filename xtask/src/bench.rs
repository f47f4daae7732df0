//! `cargo xtask bench`: hands over to the package that measures.

use std::path::Path;

use crate::failure::Failure;
use crate::provide::second_token;
use crate::run::run;
use crate::workspace::Workspace;

const PACKAGE: &str = "casemate-bench";
/// Features that drop audit records, in place of writing them or before they are made.
const DROPPING: [&str; 2] = ["null-sink", "no-records"];

/// Builds the executable and runs the benchmark with the arguments given.
pub(crate) fn bench(workspace: &Workspace, args: &[String]) -> Result<(), Failure> {
    let metadata = workspace.metadata()?;
    if !metadata.packages.iter().any(|package| package.name == PACKAGE) {
        return Err(Failure::NoPackage { package: PACKAGE });
    }
    let build = ["build", "--release", "--locked", "--package", "casemate"];
    let binary = workspace.target().join("release/casemate");
    let without = |feature: &str| workspace.target().join(format!("release/casemate-{feature}"));
    // First what must not stay where the product lies: the executables that the audit log is
    // compared with.
    for feature in DROPPING {
        run(workspace.cargo().args(build).args(["--features", feature]))?;
        copy(&binary, &without(feature))?;
    }
    run(workspace.cargo().args(build))?;
    run(workspace
        .cargo()
        .args(["run", "--release", "--locked", "--package", PACKAGE, "--"])
        .args(args)
        .env("CASEMATE_NULL_SINK_BIN", without(DROPPING[0]))
        .env("CASEMATE_NO_RECORDS_BIN", without(DROPPING[1]))
        .env("CASEMATE_KRYOPTIC", second_token(workspace)?)
        .env("CASEMATE_BIN", binary))
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let failed = |source| Failure::File { path: to.to_owned(), source };
    std::fs::copy(from, to).map(drop).map_err(failed)
}
