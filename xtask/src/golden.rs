//! `cargo xtask golden`: rewrites the golden files; the diff is for a person to review.

use std::collections::BTreeSet;

use crate::failure::Failure;
use crate::run::{run, say};
use crate::workspace::{File, Metadata, Workspace};

/// A test that owns a golden file rewrites it when this variable says `write`.
const VARIABLE: &str = "CASEMATE_GOLDEN";

/// Runs the tests of every package that reads the variable, and shows what changed.
pub(crate) fn golden(workspace: &Workspace) -> Result<(), Failure> {
    let owners = owners(&workspace.metadata()?, &workspace.files()?);
    if owners.is_empty() {
        say("golden: no package owns a golden file");
        return Ok(());
    }
    let mut tests = workspace.cargo();
    tests.args(["test", "--release", "--locked"]).env(VARIABLE, "write");
    for owner in &owners {
        tests.args(["--package", owner]);
    }
    run(&mut tests)?;
    run(std::process::Command::new("git").current_dir(&workspace.root).args([
        "--no-pager",
        "diff",
        "--stat",
    ]))
}

fn owners(metadata: &Metadata, files: &[File]) -> BTreeSet<String> {
    let readers = files.iter().filter(|file| {
        file.ending() == "rs" && file.text.contains(VARIABLE) && !file.path.starts_with("xtask/")
    });
    readers
        .filter_map(|file| {
            let owner = metadata.packages.iter().find(|package| {
                file.path.strip_prefix(&package.folder).is_some_and(|rest| rest.starts_with('/'))
            })?;
            // Tests of the whole system need clients and a running server: they own no golden file.
            (!owner.folder.starts_with("tests/")).then(|| owner.name.clone())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Package;

    fn owners_of(path: &str, text: &str) -> usize {
        let package = |name: &str, folder: &str| Package {
            name: name.to_owned(),
            folder: folder.to_owned(),
            arrows: BTreeSet::new(),
        };
        let packages = vec![package("casemate-hsm", "hsm/core"), package("s", "tests/system")];
        let metadata = Metadata { packages, ..Metadata::default() };
        owners(&metadata, &[File { path: path.to_owned(), text: text.to_owned() }]).len()
    }

    #[test]
    fn a_package_that_reads_the_variable_owns_a_golden_file() {
        assert_eq!(owners_of("hsm/core/tests/roles.rs", VARIABLE), 1);
    }

    #[test]
    fn others_do_not() {
        assert_eq!(owners_of("hsm/core/tests/roles.rs", "nothing"), 0);
        assert_eq!(owners_of("hsm/core/notes.md", VARIABLE), 0);
        assert_eq!(owners_of("tests/system/tests/a.rs", VARIABLE), 0);
        assert_eq!(owners_of("xtask/src/golden.rs", VARIABLE), 0);
    }
}
