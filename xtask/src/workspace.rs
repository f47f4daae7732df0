//! The workspace as cargo and git see it: packages, their arrows, the files.
//!
//! Read once per command; nothing here judges.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::failure::Failure;
use crate::run::{cargo, output};

/// The root folder, from which everything else is found.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
}

/// Why one package names another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Normal,
    Build,
    Dev,
}

/// One direct dependency, as its package's manifest names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arrow {
    pub(crate) to: String,
    pub(crate) kind: Kind,
}

/// One package of ours.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Relative to the root, with `/`: `hsm/core`.
    pub(crate) folder: String,
    pub(crate) arrows: BTreeSet<Arrow>,
}

/// What `cargo metadata` says, reduced to what the rules ask.
#[derive(Debug, Default)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    /// Package name to the names it links, for this machine's target, without dev arrows.
    pub(crate) links: BTreeMap<String, BTreeSet<String>>,
}

/// One text file that git keeps or would keep.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Workspace {
    /// The workspace this program was built from.
    pub(crate) fn here() -> Result<Self, Failure> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest.parent().ok_or(Failure::MetadataLacks { field: "root" })?;
        Ok(Self { root: root.to_owned() })
    }

    /// A cargo command that runs in the root.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = cargo();
        command.current_dir(&self.root);
        command
    }

    /// The folder that outlives a build: `$XDG_CACHE_HOME/casemate` or `~/.cache/casemate`.
    pub(crate) fn cache(&self) -> Result<PathBuf, Failure> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let base = match set("XDG_CACHE_HOME") {
            Some(folder) => PathBuf::from(folder),
            None => PathBuf::from(set("HOME").ok_or(Failure::NoHome)?).join(".cache"),
        };
        Ok(base.join("casemate"))
    }

    /// The folder cargo builds into.
    pub(crate) fn target(&self) -> PathBuf {
        match std::env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => self.root.join(folder),
            None => self.root.join("target"),
        }
    }

    /// Asks cargo for packages and links.
    pub(crate) fn metadata(&self) -> Result<Metadata, Failure> {
        let host = host()?;
        let text = output(self.cargo().args([
            "metadata",
            "--format-version=1",
            "--filter-platform",
            &host,
        ]))?;
        let json: Value =
            serde_json::from_str(&text).map_err(|source| Failure::Metadata { source })?;
        read_metadata(&json, &self.root)
    }

    /// Every text file that is committed or would be: new files are judged before their commit.
    pub(crate) fn files(&self) -> Result<Vec<File>, Failure> {
        let listed = output(Command::new("git").current_dir(&self.root).args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ]))?;
        let mut paths: Vec<&str> = listed.split('\0').filter(|path| !path.is_empty()).collect();
        paths.sort_unstable();
        paths.dedup();
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            let whole = self.root.join(path);
            // Listed but deleted in the work tree, or no text: nothing to read.
            if !whole.is_file() {
                continue;
            }
            let bytes = read(&whole)?;
            if let Ok(text) = String::from_utf8(bytes) {
                files.push(File { path: path.to_owned(), text });
            }
        }
        Ok(files)
    }
}

impl File {
    /// The ending of the name, without its dot: `rs`.
    pub(crate) fn ending(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or(&self.path);
        name.rsplit_once('.').map_or("", |(_, ending)| ending)
    }
}

/// Reads a file, naming it if that fails.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|source| Failure::File { path: path.to_owned(), source })
}

/// Writes a file, naming it if that fails.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|source| Failure::File { path: path.to_owned(), source })
}

fn host() -> Result<String, Failure> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let text = output(Command::new(rustc).arg("-vV"))?;
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .ok_or(Failure::MetadataLacks { field: "host" })
}

fn read_metadata(json: &Value, root: &Path) -> Result<Metadata, Failure> {
    let lacks = |field| Failure::MetadataLacks { field };
    let list = json["packages"].as_array().ok_or(lacks("packages"))?;
    let nodes = json["resolve"]["nodes"].as_array().ok_or(lacks("resolve.nodes"))?;
    let ours: BTreeSet<&str> = json["workspace_members"]
        .as_array()
        .ok_or(lacks("workspace_members"))?
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let names: BTreeMap<&str, &str> = list
        .iter()
        .filter_map(|package| Some((package["id"].as_str()?, package["name"].as_str()?)))
        .collect();
    let packages = list
        .iter()
        .filter(|package| package["id"].as_str().is_some_and(|id| ours.contains(id)))
        .map(|package| read_package(package, root))
        .collect::<Result<_, _>>()?;
    let mut links: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in nodes {
        let from = node["id"].as_str().and_then(|id| names.get(id)).ok_or(lacks("resolve.id"))?;
        let to = node["deps"].as_array().ok_or(lacks("resolve.deps"))?;
        let linked = to.iter().filter(|dependency| is_linked(dependency));
        let linked = linked.filter_map(|dependency| names.get(dependency["pkg"].as_str()?));
        let entry = links.entry((*from).to_owned()).or_default();
        entry.extend(linked.map(|name| (*name).to_owned()));
    }
    Ok(Metadata { packages, links })
}

fn read_package(package: &Value, root: &Path) -> Result<Package, Failure> {
    let lacks = |field| Failure::MetadataLacks { field };
    let manifest = Path::new(package["manifest_path"].as_str().ok_or(lacks("manifest_path"))?);
    let folder = manifest.parent().unwrap_or(manifest);
    let folder = folder.strip_prefix(root).unwrap_or(folder);
    let dependencies = package["dependencies"].as_array().ok_or(lacks("dependencies"))?;
    let arrows = dependencies.iter().filter_map(|dependency| {
        let kind = match dependency["kind"].as_str() {
            Some("dev") => Kind::Dev,
            Some("build") => Kind::Build,
            _ => Kind::Normal,
        };
        Some(Arrow { to: dependency["name"].as_str()?.to_owned(), kind })
    });
    Ok(Package {
        name: package["name"].as_str().ok_or(lacks("name"))?.to_owned(),
        folder: folder.to_string_lossy().into_owned(),
        arrows: arrows.collect(),
    })
}

fn is_linked(dependency: &Value) -> bool {
    let kinds = dependency["dep_kinds"].as_array();
    kinds.is_none_or(|kinds| kinds.iter().any(|kind| kind["kind"].as_str() != Some("dev")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sample() -> Value {
        json!({
            "workspace_members": ["a-id"],
            "packages": [
                {"id": "a-id", "name": "a", "manifest_path": "/r/hsm/a/Cargo.toml",
                 "dependencies": [{"name": "b", "kind": null}, {"name": "c", "kind": "dev"}]},
                {"id": "b-id", "name": "b", "manifest_path": "/x/b/Cargo.toml", "dependencies": []},
                {"id": "c-id", "name": "c", "manifest_path": "/x/c/Cargo.toml", "dependencies": []},
            ],
            "resolve": {"nodes": [
                {"id": "a-id", "deps": [
                    {"pkg": "b-id", "dep_kinds": [{"kind": null}]},
                    {"pkg": "c-id", "dep_kinds": [{"kind": "dev"}]}]},
                {"id": "b-id", "deps": []},
                {"id": "c-id", "deps": []},
            ]},
        })
    }

    #[test]
    fn reads_our_packages_and_leaves_dev_arrows_out_of_the_links() {
        let metadata = read_metadata(&sample(), Path::new("/r")).expect("a good answer");
        let package = &metadata.packages[0];
        assert_eq!((package.name.as_str(), package.folder.as_str()), ("a", "hsm/a"));
        assert_eq!(package.arrows.len(), 2);
        assert_eq!(metadata.links["a"], BTreeSet::from(["b".to_owned()]));
    }

    #[test]
    fn an_answer_without_links_is_refused() {
        let mut json = sample();
        json["resolve"] = Value::Null;
        let failure = read_metadata(&json, Path::new("/r")).expect_err("no links");
        assert_eq!(failure.to_string(), "the answer of `cargo metadata` lacks `resolve.nodes`");
    }

    #[test]
    fn the_ending_is_of_the_name_alone() {
        let file = |path: &str| File { path: path.to_owned(), text: String::new() };
        assert_eq!(file("a.b/c.rs").ending(), "rs");
        assert_eq!(file("a.b/LICENSE").ending(), "");
    }
}
