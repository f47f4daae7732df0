//! Every crate takes the workspace's lints, and every source file says what it is for.

use super::Breach;
use crate::workspace::{File, Metadata};

pub(super) fn check(metadata: &Metadata, files: &[File]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for package in &metadata.packages {
        let manifest = format!("{}/Cargo.toml", package.folder);
        let text = files.iter().find(|file| file.path == manifest);
        if !text.is_some_and(|file| takes_lints(&file.text)) {
            breaches.push(Breach::of(&manifest, "lacks `[lints]` with `workspace = true`"));
        }
        let sources = format!("{}/src/", package.folder);
        let sources = files.iter().filter(|file| file.path.starts_with(&sources));
        for file in sources.filter(|file| file.ending() == "rs" && !is_tests(&file.path)) {
            if !file.text.starts_with("//!") {
                breaches.push(Breach::at(
                    file,
                    1,
                    "lacks a first comment (`//!`): what is it for?",
                ));
            }
        }
    }
    breaches
}

/// Tests in a file of their own speak for the module they belong to.
fn is_tests(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

fn takes_lints(manifest: &str) -> bool {
    let mut lines = manifest.lines().map(str::trim).filter(|line| !line.is_empty());
    while let Some(line) = lines.next() {
        if line == "lints.workspace = true" {
            return true;
        }
        if line == "[lints]" {
            return lines.next() == Some("workspace = true");
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::samples::file;
    use super::*;
    use crate::workspace::Package;
    use std::collections::BTreeSet;

    fn judge(manifest: &str, source: &str) -> Vec<String> {
        let package = Package {
            name: "casemate-audit".to_owned(),
            folder: "audit".to_owned(),
            arrows: BTreeSet::new(),
        };
        let metadata = Metadata { packages: vec![package], ..Metadata::default() };
        let files = [file("audit/Cargo.toml", manifest), file("audit/src/chain.rs", source)];
        check(&metadata, &files).into_iter().map(|breach| breach.to_string()).collect()
    }

    const LINTS: &str = "[package]\n\n[lints]\nworkspace = true\n";

    #[test]
    fn lints_and_a_comment_are_enough() {
        assert!(judge(LINTS, "//! The chain.\n").is_empty());
        assert!(judge("[package]\nlints.workspace = true\n", "//! The chain.\n").is_empty());
    }

    #[test]
    fn own_lints_are_not() {
        assert_eq!(judge("[package]\n", "//! The chain.\n").len(), 1);
        assert_eq!(judge("[lints.rust]\nmissing_docs = \"allow\"\n", "//! x\n").len(), 1);
        assert_eq!(judge("[lints]\nworkspace = false\n", "//! x\n").len(), 1);
    }

    #[test]
    fn tests_need_no_comment_of_their_own() {
        assert!(is_tests("audit/src/chain/tests.rs"));
        assert!(is_tests("audit/src/chain/tests/tamper.rs"));
        assert!(!is_tests("audit/src/attests.rs"));
    }

    #[test]
    fn a_file_without_a_first_comment_is_not() {
        assert_eq!(judge(LINTS, "use std::fmt;\n").len(), 1);
        assert_eq!(judge(LINTS, "/// of the next item\nstruct A;\n").len(), 1);
    }
}
