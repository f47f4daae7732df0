//! Links between pages lead somewhere, and every page under `docs/` can be found from the root.
//!
//! A link to a folder finds the pages directly in it. Links to the outside are not followed. The
//! tests that the threat model names exist.

use std::collections::{BTreeMap, BTreeSet};

use super::Breach;
use crate::workspace::File;

/// Where a reader starts.
const STARTS: &[&str] =
    &["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"];

pub(super) fn check(files: &[File]) -> Vec<Breach> {
    let paths: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let mut breaches = Vec::new();
    let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.ending() == "md") {
        for (line, target) in links(&file.text) {
            let Some(path) = resolve(&file.path, &target) else {
                breaches.push(Breach::at(file, line, format!("`{target}` leads out of the tree")));
                continue;
            };
            let folder = format!("{path}/");
            let inside: Vec<&&str> = paths
                .iter()
                .filter(|known| path.is_empty() || known.starts_with(&folder))
                .collect();
            if !paths.contains(path.as_str()) && inside.is_empty() {
                breaches.push(Breach::at(file, line, format!("`{target}` leads nowhere")));
            }
            let direct = inside.iter().filter(|known| {
                known.strip_prefix(&folder).is_some_and(|rest| !rest.contains('/'))
            });
            let entry = found.entry(file.path.as_str()).or_default();
            entry.extend(direct.map(|known| (**known).to_owned()));
            entry.push(path);
        }
    }
    breaches.extend(absent_proofs(files, &paths));
    let reached = reach(&found);
    let pages = files.iter().filter(|file| file.path.starts_with("docs/"));
    for page in pages.filter(|page| !reached.contains(page.path.as_str())) {
        breaches.push(Breach::of(&page.path, "no page that a reader starts from leads here"));
    }
    breaches
}

/// The page that names a test for each promise.
const PROOFS: &str = "docs/threat-model.md";

/// A control whose test does not exist is a claim without proof.
fn absent_proofs(files: &[File], paths: &BTreeSet<&str>) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let Some(page) = files.iter().find(|file| file.path == PROOFS) else { return breaches };
    for (index, line) in page.text.lines().enumerate() {
        let named = line.split('`').skip(1).step_by(2).filter(|code| code.ends_with(".rs"));
        for test in named.filter(|code| !paths.contains(code)) {
            breaches.push(Breach::at(page, index + 1, format!("the test `{test}` does not exist")));
        }
    }
    breaches
}

fn reach(found: &BTreeMap<&str, Vec<String>>) -> BTreeSet<String> {
    let mut reached: BTreeSet<String> = STARTS.iter().map(|start| (*start).to_owned()).collect();
    let mut queue: Vec<String> = reached.iter().cloned().collect();
    while let Some(page) = queue.pop() {
        for next in found.get(page.as_str()).into_iter().flatten() {
            if reached.insert(next.clone()) {
                queue.push(next.clone());
            }
        }
    }
    reached
}

/// The targets of `[text](target)` outside of code, with their lines; anchors are cut off.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        if fenced {
            continue;
        }
        for part in without_code(line).split("](").skip(1) {
            let target = part.split([')', ' ']).next().unwrap_or_default();
            let target = target.split('#').next().unwrap_or_default();
            let outside = target.contains("://") || target.starts_with("mailto:");
            if !target.is_empty() && !outside {
                links.push((index + 1, target.to_owned()));
            }
        }
    }
    links
}

/// The line without what stands between backticks.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("")
}

/// The path that a link names, seen from the root; nothing if it climbs out.
fn resolve(from: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = match target.strip_prefix('/') {
        Some(_) => Vec::new(),
        None => from.split('/').collect(),
    };
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::super::samples::file;
    use super::*;

    fn judge(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<File> = files.iter().map(|(path, text)| file(path, text)).collect();
        check(&files).into_iter().map(|breach| breach.to_string()).collect()
    }

    #[test]
    fn pages_that_are_linked_are_fine() {
        let says = judge(&[
            ("README.md", "[a](docs/a.md#part) and [b](docs/design/), [out](https://x.org/y)"),
            ("docs/a.md", "back [home](../README.md), [c](c/d.md)"),
            ("docs/c/d.md", "the end"),
            ("docs/design/e.md", "[a folder](/docs)"),
        ]);
        assert_eq!(says, Vec::<String>::new());
    }

    #[test]
    fn a_link_to_nothing_is_found_with_its_line() {
        assert_eq!(judge(&[("README.md", "x\n[a](b.md)")]), ["README.md:2: `b.md` leads nowhere"]);
    }

    #[test]
    fn a_link_out_of_the_tree_is_found() {
        let says = judge(&[("README.md", "[a](../b.md)")]);
        assert_eq!(says, ["README.md:1: `../b.md` leads out of the tree"]);
    }

    #[test]
    fn a_page_that_nobody_links_is_found() {
        let says = judge(&[
            ("README.md", "[a](docs/)"),
            ("docs/a.md", ""),
            ("docs/deep/b.md", "[itself](b.md)"),
        ]);
        assert_eq!(says, ["docs/deep/b.md: no page that a reader starts from leads here"]);
    }

    #[test]
    fn a_named_test_must_exist() {
        let page = "| 1 | `audit/tests/full.rs` and `audit/tests/empty.rs` by `kill -9` |";
        let says = judge(&[
            ("README.md", "[t](docs/threat-model.md)"),
            (PROOFS, page),
            ("audit/tests/full.rs", ""),
        ]);
        let expected = "docs/threat-model.md:1: the test `audit/tests/empty.rs` does not exist";
        assert_eq!(says, [expected]);
    }

    #[test]
    fn code_holds_no_links() {
        assert!(judge(&[("README.md", "```\n[a](b.md)\n```\nand `[a](b.md)`")]).is_empty());
    }
}
