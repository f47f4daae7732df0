//! Kryoptic, a PKCS #11 token in software: built once, by cargo, into the cache.
//!
//! Distributions do not ship it. `tests/tokens/kryoptic` pins its source, whose checksum cargo
//! compares; no copy of it is ours, and nothing links it. The tests load the module at run time. It
//! is made anew when that folder changes: a copy of its lock file and manifest, written last, says
//! what it was made from.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::apt;
use crate::failure::Failure;
use crate::run::{cargo, run, say, succeeds};
use crate::workspace::{Workspace, read, write};

const SOURCE: &str = "tests/tokens/kryoptic";
const FILES: [&str; 3] = ["Cargo.toml", "Cargo.lock", "lib.rs"];
const MODULE: &str = "libkryoptic_pkcs11.so";
const STAMP: &str = "made-from.txt";
/// Of Debian and Ubuntu: what the build needs beside a compiler.
const PACKAGES: [&str; 3] = ["libclang-dev", "libsqlite3-dev", "libssl-dev"];

/// The folder in which the module lies.
pub(super) fn module(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let source = workspace.root.join(SOURCE);
    let folder = workspace.cache()?.join("kryoptic");
    let wanted = pinned(&source)?;
    let stamp = folder.join(STAMP);
    let is_made = std::fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == wanted);
    if is_made && folder.join(MODULE).is_file() {
        return Ok(folder);
    }
    if !can_build() {
        apt::install(&PACKAGES)?;
    }
    say(&format!("xtask: building {} (once; takes a minute)", folder.join(MODULE).display()));
    make_folder(&folder)?;
    for name in FILES {
        write(&folder.join(name), &text(&source.join(name))?)?;
    }
    let target = folder.join("target");
    // Beside our own workspace, so that its settings stay out; the compiler is that of this cargo.
    run(cargo()
        .args(["build", "--release", "--locked", "--package", "kryoptic", "--target-dir"])
        .arg(&target)
        .current_dir(&folder))?;
    let made = target.join("release").join(MODULE);
    let failed = |source| Failure::File { path: made.clone(), source };
    std::fs::rename(&made, folder.join(MODULE)).map_err(failed)?;
    std::fs::remove_dir_all(&target).map_err(failed)?;
    write(&stamp, &wanted)?;
    Ok(folder)
}

/// What decides what is built.
fn pinned(source: &Path) -> Result<String, Failure> {
    Ok([text(&source.join("Cargo.toml"))?, text(&source.join("Cargo.lock"))?].concat())
}

fn text(path: &Path) -> Result<String, Failure> {
    Ok(String::from_utf8_lossy(&read(path)?).into_owned())
}

/// The headers of OpenSSL and SQLite, and the library that reads them for the build.
fn can_build() -> bool {
    succeeds(Command::new("pkg-config").args(["--exists", "openssl", "sqlite3"]))
        && apt::has_clang()
}

fn make_folder(folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder)
        .map_err(|source| Failure::File { path: folder.to_owned(), source })
}
