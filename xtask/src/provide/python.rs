//! Virtual environments with the Python clients, one per pinned list of requirements.
//!
//! An environment is made anew when its list changes: a copy of the list inside it, written last,
//! says what it was made from, so one that was interrupted half-way is made anew too.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::run::{run, say};
use crate::workspace::{Workspace, read, write};

const STAMP: &str = "made-from.txt";

/// The environment for `tests/system/python/requirements-<name>.txt`.
pub(super) fn venv(workspace: &Workspace, name: &str) -> Result<PathBuf, Failure> {
    let list = workspace.root.join(format!("tests/system/python/requirements-{name}.txt"));
    if !list.is_file() {
        return Err(Failure::FileMissing { path: list });
    }
    let folder = workspace.cache()?.join(format!("venv-{name}"));
    make(&folder, &list)?;
    Ok(folder)
}

/// Makes the environment at `folder` from the list, unless it is there and of this list.
pub(super) fn make(folder: &Path, list: &Path) -> Result<(), Failure> {
    let wanted = String::from_utf8_lossy(&read(list)?).into_owned();
    let stamp = folder.join(STAMP);
    if std::fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == wanted) {
        return Ok(());
    }
    say(&format!("xtask: making {} (once; takes a while)", folder.display()));
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder))?;
    run(Command::new(folder.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check", "--requirement"])
        .arg(list))?;
    write(&stamp, &wanted)
}
