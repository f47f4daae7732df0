//! A kryoptic token of the test's own: its folder, its configuration, its PIN file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::places;
use crate::softhsm::{LABEL, PIN, pin_file, write_pin};

const SO_PIN: &str = "314159";

/// A folder with initialised tokens.
#[derive(Debug)]
pub struct Kryoptic {
    folder: TempDir,
}

/// The module, which `cargo xtask test` builds once.
pub fn module() -> PathBuf {
    places::kryoptic()
}

/// The configuration of the tokens in this folder, for `KRYOPTIC_CONF`.
pub fn conf(folder: &Path) -> PathBuf {
    folder.join("kryoptic.conf")
}

/// Makes a token in this folder.
pub fn init(folder: &Path, label: &str) {
    let mut text = fs::read_to_string(conf(folder)).unwrap_or_default();
    let slots = text.lines().filter_map(|line| line.strip_prefix("slot = "));
    let last = slots.filter_map(|slot| slot.parse::<u32>().ok()).max();
    let slot = last.map_or(0, |last| last + 1).to_string();
    text.push_str(&block(folder, label, &slot));
    fs::write(conf(folder), text).expect("the folder can be written");
    tool(folder, &["--slot", &slot, "--init-token", "--label", label, "--so-pin", SO_PIN]);
    let login = ["--slot", &slot, "--login", "--login-type", "so", "--so-pin", SO_PIN];
    tool(folder, &[&login[..], &["--init-pin", "--pin", PIN]].concat());
}

/// Takes a token out of this folder, for good.
pub fn delete(folder: &Path, label: &str) {
    let text = fs::read_to_string(conf(folder)).expect("there are tokens");
    let own = database(folder, label);
    let others = text.split_inclusive("\n\n").filter(|block| !block.contains(&own));
    fs::write(conf(folder), others.collect::<String>()).expect("the folder can be written");
    fs::remove_file(own).expect("the token is there");
}

fn database(folder: &Path, label: &str) -> String {
    folder.join("tokens").join(format!("{label}.sql")).display().to_string()
}

fn block(folder: &Path, label: &str, slot: &str) -> String {
    let database = database(folder, label);
    format!("[[slots]]\nslot = {slot}\ndbtype = \"sqlite\"\ndbargs = \"{database}\"\n\n")
}

fn tool(folder: &Path, words: &[&str]) {
    let done = Command::new("pkcs11-tool")
        .arg("--module")
        .arg(module())
        .args(words)
        .env("KRYOPTIC_CONF", conf(folder))
        .output()
        .expect("pkcs11-tool can be started: `cargo xtask test` installs opensc");
    assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
}

impl Kryoptic {
    /// Makes the folder and one token.
    pub fn new() -> Self {
        let made = Self::empty();
        write_pin(&pin_file(made.folder()), PIN);
        init(made.folder(), LABEL);
        made
    }

    /// Makes the folder, without a token.
    pub fn empty() -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        fs::create_dir(folder.path().join("tokens")).expect("the folder can be written");
        fs::write(conf(folder.path()), "").expect("the folder can be written");
        Self { folder }
    }

    /// The folder that holds all of it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Default for Kryoptic {
    fn default() -> Self {
        Self::new()
    }
}
