//! Azurite, the emulator of Azure Blob Storage, with one container for backups.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use casemate_test_kit::places;
use serde_json::Value;
use tempfile::TempDir;

use crate::told;

/// A running Azurite; ended when it is dropped.
pub struct Azurite {
    child: Child,
    folder: TempDir,
    told: Value,
}

impl Azurite {
    /// Starts it, over HTTPS and over HTTP, and makes a container.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let (child, told) = told::start(
            Command::new(places::python_sinks())
                .arg(super::folder("python").join("azurite_target.py"))
                .arg(folder.path())
                .env("CASEMATE_AZURITE", places::azurite()),
        );
        Self { child, folder, told }
    }

    /// The root of its certificate.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    /// The container over HTTPS, and a token for it.
    pub fn container(&self) -> (&str, &str) {
        (self.text("url"), self.text("token"))
    }

    /// The container over HTTPS under the account's own name, as in production, and a token for it.
    /// The name means this machine only where a hosts file says so.
    pub fn named_container(&self) -> (&str, &str) {
        (self.text("namedUrl"), self.text("token"))
    }

    /// The storage account over HTTPS, without and with a name of its own.
    pub fn accounts(&self) -> [&str; 2] {
        [self.container().0, self.named_container().0]
            .map(|container| container.rsplit_once('/').map_or("", |(account, _)| account))
    }

    /// Its folder: `leaf.pem` and `leaf.key` are of this machine.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The container over HTTP, and a token for it.
    pub fn plain_container(&self) -> (&str, &str) {
        (self.text("plainUrl"), self.text("plainToken"))
    }

    fn text(&self, name: &str) -> &str {
        self.told[name].as_str().expect("it says where it is")
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        // It ends when its input does.
        drop(self.child.stdin.take());
        let _ended = self.child.wait();
    }
}
