//! Why a command stopped, with the facts as fields.

use std::error::Error;
use std::path::PathBuf;

use crate::run::complain;

/// Why a command of ours did not end well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{text}")]
    Usage { text: &'static str },
    #[error("cannot start `{command}`")]
    CannotStart { command: String, source: std::io::Error },
    #[error("`{command}` failed ({status})")]
    CommandFailed { command: String, status: std::process::ExitStatus },
    #[error("cannot read or write {}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{} is missing", path.display())]
    FileMissing { path: PathBuf },
    #[error("{} is not what it should be", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("{} lacks the field `{field}`", path.display())]
    FieldMissing { path: PathBuf, field: &'static str },
    #[error("the answer of `cargo metadata` cannot be read")]
    Metadata { source: serde_json::Error },
    #[error("the answer of `cargo metadata` lacks `{field}`")]
    MetadataLacks { field: &'static str },
    #[error("{path}:{line}: cannot be parsed")]
    Rust { path: String, line: usize, source: syn::Error },
    #[error("the tree breaks {count} house rules")]
    Untidy { count: usize },
    #[error("these are missing and there is no apt-get to install them: {}", packages.join(" "))]
    NoApt { packages: Vec<&'static str> },
    #[error("the package `{package}` is not part of this workspace")]
    NoPackage { package: &'static str },
    #[error("{failed} tests failed")]
    TestsFailed { failed: u64 },
    #[error("no fuzz target is called `{target}`")]
    NoFuzzTarget { target: String },
    #[error("{} of the proofs failed; see {}", failed, report.display())]
    NotProven { failed: usize, report: PathBuf },
    #[error("the mutant {} lacks the header line `# {field}: …`", path.display())]
    MutantHeader { path: PathBuf, field: &'static str },
    #[error("neither HOME nor XDG_CACHE_HOME is set: no place for the cache")]
    NoHome,
}

impl Failure {
    /// Prints the failure and its causes, one a line.
    pub(crate) fn report(&self) {
        complain(&format!("xtask: {self}"));
        let mut cause = self.source();
        while let Some(error) = cause {
            complain(&format!("  because: {error}"));
            cause = error.source();
        }
    }
}
