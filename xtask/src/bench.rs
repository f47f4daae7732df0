//! `cargo xtask bench`: hands over to the package that measures.

use crate::failure::Failure;
use crate::run::run;
use crate::workspace::Workspace;

const PACKAGE: &str = "casemate-bench";

/// Builds the executable and runs the benchmark with the arguments given.
pub(crate) fn bench(workspace: &Workspace, args: &[String]) -> Result<(), Failure> {
    let metadata = workspace.metadata()?;
    if !metadata.packages.iter().any(|package| package.name == PACKAGE) {
        return Err(Failure::NoPackage { package: PACKAGE });
    }
    run(workspace.cargo().args(["build", "--release", "--locked", "--package", "casemate"]))?;
    run(workspace
        .cargo()
        .args(["run", "--release", "--locked", "--package", PACKAGE, "--"])
        .args(args)
        .env("CASEMATE_BIN", workspace.target().join("release/casemate")))
}
