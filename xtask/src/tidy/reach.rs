//! What a crate must not link even through others.
//!
//! This is the rule behind "no key can ever enter the agent": the crates that the agent is made
//! of reach no engine, no domain and no store of sealed records, however long the way. Cargo's
//! metadata also names links that only other features would bring: too many, never too few.

use std::collections::{BTreeSet, VecDeque};

use super::Breach;
use crate::workspace::Metadata;

/// The crates that must stay keyless, by folder.
const KEYLESS: &[&str] = &["node/agent", "node/courier", "api/control-plane", "clients/cli"];

/// What would bring keys or sealed records: packages of ours by folder, others by name.
const FORBIDDEN_FOLDERS: &[&str] = &["engines/", "hsm/core", "stores/embedded"];
const FORBIDDEN_NAMES: &[&str] = &["rusqlite", "libsqlite3-sys"];

pub(super) fn check(metadata: &Metadata) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let keyless = |folder: &str| KEYLESS.contains(&folder);
    for package in metadata.packages.iter().filter(|package| keyless(&package.folder)) {
        for way in ways(metadata, &package.name) {
            let Some(end) = way.last() else { continue };
            if is_forbidden(metadata, end) {
                let says = format!("must not link `{end}`, but does: {}", way.join(" -> "));
                breaches.push(Breach::of(&format!("{}/Cargo.toml", package.folder), says));
            }
        }
    }
    breaches
}

fn is_forbidden(metadata: &Metadata, name: &str) -> bool {
    let ours = metadata.packages.iter().find(|package| package.name == name);
    match ours {
        Some(ours) => FORBIDDEN_FOLDERS.iter().any(|folder| ours.folder.starts_with(folder)),
        None => FORBIDDEN_NAMES.contains(&name),
    }
}

/// The shortest way to each package that `from` links.
fn ways(metadata: &Metadata, from: &str) -> Vec<Vec<String>> {
    let mut seen = BTreeSet::from([from.to_owned()]);
    let mut queue = VecDeque::from([vec![from.to_owned()]]);
    let mut ways = Vec::new();
    while let Some(way) = queue.pop_front() {
        let links = way.last().and_then(|name| metadata.links.get(name));
        for next in links.into_iter().flatten() {
            if seen.insert(next.clone()) {
                let longer: Vec<String> = way.iter().chain([next]).cloned().collect();
                queue.push_back(longer.clone());
                ways.push(longer);
            }
        }
    }
    ways
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Package;
    use std::collections::BTreeMap;

    fn judge(links: &[(&str, &[&str])]) -> Vec<String> {
        let package = |name: &str, folder: &str| Package {
            name: name.to_owned(),
            folder: folder.to_owned(),
            arrows: BTreeSet::new(),
        };
        let links: BTreeMap<String, BTreeSet<String>> = links
            .iter()
            .map(|(from, to)| {
                ((*from).to_owned(), to.iter().map(|name| (*name).to_owned()).collect())
            })
            .collect();
        let packages = vec![
            package("agent", "node/agent"),
            package("hsm", "hsm/core"),
            package("partition", "node/partition"),
        ];
        let metadata = Metadata { packages, links };
        check(&metadata).into_iter().map(|breach| breach.says).collect()
    }

    #[test]
    fn the_agent_may_link_what_holds_no_key() {
        assert!(judge(&[("agent", &["rustls"]), ("partition", &["hsm", "rusqlite"])]).is_empty());
    }

    #[test]
    fn the_agent_must_not_reach_the_domain_through_others() {
        let says = judge(&[("agent", &["innocent"]), ("innocent", &["hsm"])]);
        assert_eq!(says, ["must not link `hsm`, but does: agent -> innocent -> hsm"]);
    }

    #[test]
    fn the_agent_must_not_reach_a_database() {
        assert_eq!(judge(&[("agent", &["x"]), ("x", &["rusqlite"])]).len(), 1);
    }

    #[test]
    fn a_circle_ends() {
        assert!(judge(&[("agent", &["a"]), ("a", &["agent"])]).is_empty());
    }
}
