//! Where the program under test and the foreign clients lie.
//!
//! `cargo xtask test` says so in the environment; a plain `cargo test` finds the usual places.

use std::env;
use std::path::{Path, PathBuf};

/// The executable under test: `CASEMATE_BIN`, or the release build beside the running test.
pub fn casemate() -> PathBuf {
    let found = env::var_os("CASEMATE_BIN").map_or_else(beside_this_test, PathBuf::from);
    assert!(
        found.is_file(),
        "{} is not there: run `cargo build --release -p casemate` first, or set CASEMATE_BIN",
        found.display()
    );
    found
}

/// Python of the virtual environment that holds the Azure SDK.
pub fn python() -> PathBuf {
    prepared("CASEMATE_VENV_SDK", "venv-sdk", "bin/python")
}

/// Python of the virtual environment that holds what the receivers of the audit log are made of.
pub fn python_sinks() -> PathBuf {
    prepared("CASEMATE_VENV_SINKS", "venv-sinks", "bin/python")
}

/// Python of the virtual environment that holds the newest client of the security domain.
pub fn python_domain() -> PathBuf {
    prepared("CASEMATE_VENV_DOMAIN", "venv-domain", "bin/python")
}

/// A server that speaks S3, for backups.
pub fn moto_server() -> PathBuf {
    prepared("CASEMATE_VENV_BACKUP", "venv-backup", "bin/moto_server")
}

/// The main script of Azurite's blob service.
pub fn azurite() -> PathBuf {
    prepared("CASEMATE_AZURITE_MODULES", "azurite/node_modules", "azurite/dist/src/blob/main.js")
}

/// The `az` of the virtual environment that holds the Azure CLI.
pub fn az() -> PathBuf {
    prepared("CASEMATE_VENV_AZ", "venv-az", "bin/az")
}

/// The PKCS #11 module of kryoptic.
pub fn kryoptic() -> PathBuf {
    prepared("CASEMATE_KRYOPTIC", "kryoptic", "libkryoptic_pkcs11.so")
}

/// The JavaScript runtime.
pub fn node() -> PathBuf {
    env::var_os("CASEMATE_NODE").map_or_else(|| PathBuf::from("node"), PathBuf::from)
}

/// The folder `node_modules` that holds the JavaScript SDK.
pub fn node_modules() -> PathBuf {
    env::var_os("CASEMATE_NODE_MODULES")
        .map_or_else(|| prepared("CASEMATE_NODE_MODULES", "node", "node_modules"), PathBuf::from)
}

/// An executable built beside the program under test, for instance the Rust SDK's driver.
pub fn built(name: &str) -> PathBuf {
    let path = casemate().with_file_name(name);
    assert!(path.is_file(), "{} is not there: build the workspace first", path.display());
    path
}

fn beside_this_test() -> PathBuf {
    let test = env::current_exe().expect("a running test has a path");
    let folder = test.ancestors().nth(2).expect("tests run from target/release/deps");
    folder.join("casemate")
}

fn prepared(variable: &str, usual: &str, inside: &str) -> PathBuf {
    let root = env::var_os(variable).map_or_else(|| cache().join(usual), PathBuf::from);
    let path = root.join(inside);
    assert!(
        path.exists(),
        "{} is not there: `cargo xtask test` installs it, or set {variable}",
        path.display()
    );
    path
}

fn cache() -> PathBuf {
    env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
        .expect("a home folder is set")
        .join("casemate")
}
