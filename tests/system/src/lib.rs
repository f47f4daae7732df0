//! Proof of the whole: every test of this package starts the real program and looks from outside.
//!
//! The tests are in `tests/`, one file a topic; what foreign clients do is in `python/` and `js/`.
//! Here is only what several of them need.

pub mod acknowledged;
pub mod az;
pub mod azurite;
pub mod disk;
pub mod identity;
pub mod jobs;
pub mod management;
pub mod nodes;
pub mod rotating;
pub mod s3;
mod told;
pub mod trace;

use std::fs;
use std::path::{Path, PathBuf};

use casemate_test_kit::clients::Client;
use casemate_test_kit::{Dev, places};
use serde_json::Value;

/// A Python script of this package, ready to run against a server.
pub fn python(dev: &Dev, script: &str) -> Client {
    python_of(dev, &places::python(), script)
}

/// The same, with the Python of another environment.
pub fn python_of(dev: &Dev, python: &Path, script: &str) -> Client {
    let path = folder("python").join(script);
    Client::of(dev, python, dev.scratch()).word(&path.display().to_string())
}

/// A JavaScript of this package, ready to run against a server.
///
/// Modules are looked for beside a script, so the scripts are copied to where the modules are
/// linked.
pub fn javascript(dev: &Dev, script: &str) -> Client {
    let home = dev.scratch().join("js");
    fs::create_dir_all(&home).expect("the scratch folder can be written");
    for entry in fs::read_dir(folder("js")).expect("the scripts are there").flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().ends_with(".mjs") {
            fs::copy(entry.path(), home.join(name)).expect("the scratch folder can be written");
        }
    }
    let modules = home.join("node_modules");
    if !modules.exists() {
        std::os::unix::fs::symlink(places::node_modules(), modules).expect("a link can be made");
    }
    Client::of(dev, &places::node(), &home).word(script)
}

/// Runs a command of the program's own against a running server and reads its JSON.
pub fn casemate(dev: &Dev, words: &[&str]) -> Value {
    let client = Client::of(dev, &places::casemate(), dev.scratch());
    let data_dir = dev.data_dir().display().to_string();
    let words = words.iter().copied().chain(["--data-dir", data_dir.as_str()]);
    let out = client.words(words).succeed("a command of the program");
    serde_json::from_str(&out).unwrap_or(Value::String(out))
}

/// A token for the HSM, of an application.
pub fn token(dev: &Dev, id: &str, secret: &str) -> String {
    dev.token_of(id, secret, "https://managedhsm.azure.net/.default")
}

/// Host and port of a URL of the server.
pub fn authority(url: &str) -> &str {
    url.trim_start_matches("https://").trim_end_matches('/')
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}
