//! A SoftHSM2 token of the test's own: its folder, its configuration, its PIN file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// The user's PIN.
pub const PIN: &str = "271828";
/// The token's label.
pub const LABEL: &str = "casemate-test";

/// Where distributions put the module.
const MODULES: [&str; 5] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// An initialised token in a temporary folder.
#[derive(Debug)]
pub struct SoftHsm {
    folder: TempDir,
}

/// The module.
pub fn module() -> PathBuf {
    let found = MODULES.iter().map(PathBuf::from).find(|path| path.is_file());
    found.expect("SoftHSM2 is there: `cargo xtask test` installs it, or apt-get install softhsm2")
}

impl SoftHsm {
    /// Makes the folder and one token.
    pub fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let path = folder.path();
        fs::create_dir(path.join("tokens")).expect("the folder can be written");
        let conf = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            path.join("tokens").display()
        );
        fs::write(path.join("softhsm2.conf"), conf).expect("the folder can be written");
        let made = Self { folder };
        write_pin(&made.pin_file(), PIN);
        made.init(LABEL);
        made
    }

    /// Makes one more token.
    pub fn init(&self, label: &str) {
        let done = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "314159"])
            .env("SOFTHSM2_CONF", self.conf())
            .output()
            .expect("softhsm2-util can be started");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// The folder that holds all of it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration, for `SOFTHSM2_CONF`.
    pub fn conf(&self) -> PathBuf {
        self.folder().join("softhsm2.conf")
    }

    /// The PIN file.
    pub fn pin_file(&self) -> PathBuf {
        pin_file(self.folder())
    }

    /// Takes the token out: its folder is moved away.
    pub fn remove(&self) {
        remove(self.folder());
    }

    /// Puts the token back.
    pub fn put_back(&self) {
        put_back(self.folder());
    }
}

impl Default for SoftHsm {
    fn default() -> Self {
        Self::new()
    }
}

/// The PIN file of a token in this folder.
pub fn pin_file(folder: &Path) -> PathBuf {
    folder.join("pin")
}

/// Writes a PIN file that only its owner reads.
pub fn write_pin(path: &Path, pin: &str) {
    fs::write(path, pin).expect("the folder can be written");
    fs::set_permissions(path, PermissionsExt::from_mode(0o600)).expect("it is ours");
}

/// Moves the token of this folder away.
pub fn remove(folder: &Path) {
    fs::rename(folder.join("tokens"), folder.join("gone")).expect("the token is there");
}

/// Moves the token of this folder back.
pub fn put_back(folder: &Path) {
    fs::rename(folder.join("gone"), folder.join("tokens")).expect("the token was moved away");
}
