//! `cargo xtask bench`: hands over to the package that measures.

use std::path::{Path, PathBuf};

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
    let build = ["build", "--release", "--locked", "--package", "casemate"];
    let (binary, null) = (workspace.target().join("release/casemate"), null_sink(workspace));
    // First what must not stay where the product lies.
    run(workspace.cargo().args(build).args(["--features", "null-sink"]))?;
    copy(&binary, &null)?;
    run(workspace.cargo().args(build))?;
    run(workspace
        .cargo()
        .args(["run", "--release", "--locked", "--package", PACKAGE, "--"])
        .args(args)
        .env("CASEMATE_NULL_SINK_BIN", null)
        .env("CASEMATE_BIN", binary))
}

/// The executable that drops the audit records of uses: what the audit log is compared with.
fn null_sink(workspace: &Workspace) -> PathBuf {
    workspace.target().join("release/casemate-null-sink")
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let failed = |source| Failure::File { path: to.to_owned(), source };
    std::fs::copy(from, to).map(drop).map_err(failed)
}
