//! The house rules that a program can judge, one rule a file.
//!
//! A rule is a pure function from what was read to its breaches; reading and printing are here.
//! There is no list of exceptions: a rule that needs one is the wrong rule.

mod arrows;
mod attributes;
mod banned;
mod crates;
mod features;
mod functions;
mod glossary;
mod links;
mod mutants;
mod names;
mod places;
mod reach;
mod sizes;
mod unsafe_code;
mod words;

use std::fmt;

use crate::failure::Failure;
use crate::run::{complain, say};
use crate::workspace::{File, Workspace};

/// One place where a rule is broken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Breach {
    path: String,
    /// From one; zero where the rule is about the whole file.
    line: usize,
    says: String,
}

impl Breach {
    fn at(file: &File, line: usize, says: impl Into<String>) -> Self {
        Self { path: file.path.clone(), line, says: says.into() }
    }

    fn of(path: &str, says: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: 0, says: says.into() }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.says),
            line => write!(f, "{}:{line}: {}", self.path, self.says),
        }
    }
}

/// A Rust file with its syntax tree: parsed once for all rules.
struct Parsed<'a> {
    file: &'a File,
    syntax: syn::File,
}

impl<'a> Parsed<'a> {
    fn new(file: &'a File) -> Result<Self, Failure> {
        let syntax = syn::parse_file(&file.text).map_err(|source| Failure::Rust {
            path: file.path.clone(),
            line: source.span().start().line,
            source,
        })?;
        Ok(Self { file, syntax })
    }
}

/// Judges the whole tree and prints each breach.
pub(crate) fn tidy(workspace: &Workspace) -> Result<(), Failure> {
    let metadata = workspace.metadata()?;
    let files = workspace.files()?;
    let mut breaches = arrows::check(&metadata);
    breaches.extend(reach::check(&metadata));
    breaches.extend(banned::check(workspace)?);
    breaches.extend(crates::check(&metadata, &files));
    breaches.extend(features::check(&files));
    breaches.extend(links::check(&files));
    breaches.extend(mutants::check(&files));
    breaches.extend(glossary::check(&files));
    for file in &files {
        breaches.extend(sizes::check(file));
        breaches.extend(words::check(file));
        breaches.extend(places::check(file));
        if file.ending() == "rs" {
            let parsed = Parsed::new(file)?;
            breaches.extend(functions::check(&parsed));
            breaches.extend(names::check(&parsed));
            breaches.extend(attributes::check(&parsed));
            breaches.extend(unsafe_code::check(&parsed));
        }
    }
    breaches.sort();
    breaches.dedup();
    for breach in &breaches {
        complain(&breach.to_string());
    }
    if breaches.is_empty() {
        say(&format!("tidy: {} files, no breach", files.len()));
        return Ok(());
    }
    Err(Failure::Untidy { count: breaches.len() })
}

#[cfg(test)]
mod samples {
    use super::{Breach, Parsed};
    use crate::workspace::File;

    pub(super) fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    /// Runs a rule over one Rust text and returns what it says.
    pub(super) fn judge(rule: fn(&Parsed<'_>) -> Vec<Breach>, text: &str) -> Vec<String> {
        let file = file("hsm/core/src/sample.rs", text);
        let parsed = Parsed::new(&file).expect("the sample is Rust");
        rule(&parsed).into_iter().map(|breach| breach.to_string()).collect()
    }
}
