//! The tokens that tests run against, one like the other.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Options;
use crate::kryoptic::{self, Kryoptic};
use crate::softhsm::{self, LABEL, PIN, SoftHsm};

/// Whose module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SoftHSM2, of the distribution.
    SoftHsm,
    /// Kryoptic, built by `cargo xtask test`.
    Kryoptic,
}

/// A token of the test's own.
#[derive(Debug)]
pub enum TestToken {
    /// Of SoftHSM2.
    SoftHsm(SoftHsm),
    /// Of kryoptic.
    Kryoptic(Kryoptic),
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::SoftHsm, Self::Kryoptic];

    /// The name of the kind, for an environment.
    pub fn name(self) -> &'static str {
        match self {
            Self::SoftHsm => "softhsm",
            Self::Kryoptic => "kryoptic",
        }
    }

    /// The kind of this name.
    pub fn of_name(name: &str) -> Self {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == name);
        found.expect("the name of a kind of token")
    }

    /// The module.
    pub fn module(self) -> PathBuf {
        match self {
            Self::SoftHsm => softhsm::module(),
            Self::Kryoptic => kryoptic::module(),
        }
    }

    /// The variable in which the module finds its configuration.
    pub fn variable(self) -> &'static str {
        match self {
            Self::SoftHsm => "SOFTHSM2_CONF",
            Self::Kryoptic => "KRYOPTIC_CONF",
        }
    }

    /// The configuration of a token in this folder.
    pub fn conf(self, folder: &Path) -> PathBuf {
        match self {
            Self::SoftHsm => folder.join("softhsm2.conf"),
            Self::Kryoptic => kryoptic::conf(folder),
        }
    }
}

impl TestToken {
    /// Makes one.
    pub fn new(kind: Kind) -> Self {
        match kind {
            Kind::SoftHsm => Self::SoftHsm(SoftHsm::new()),
            Kind::Kryoptic => Self::Kryoptic(Kryoptic::new()),
        }
    }

    /// Whose it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::SoftHsm(_) => Kind::SoftHsm,
            Self::Kryoptic(_) => Kind::Kryoptic,
        }
    }

    /// The folder that holds all of it.
    pub fn folder(&self) -> &Path {
        match self {
            Self::SoftHsm(token) => token.folder(),
            Self::Kryoptic(token) => token.folder(),
        }
    }

    /// The variable and its value that lead the module to this token.
    pub fn variable(&self) -> (String, String) {
        variable(self.kind(), self.folder())
    }

    /// The labels of the secret keys that stay in it, seen by another program.
    pub fn kept(&self) -> Vec<String> {
        let (variable, conf) = self.variable();
        let done = Command::new("pkcs11-tool")
            .arg("--module")
            .arg(self.kind().module())
            .args(["--login", "--pin", PIN, "--list-objects", "--type", "secrkey"])
            .env(variable, conf)
            .output()
            .expect("pkcs11-tool can be started");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        let labels = text.lines().filter_map(|line| line.trim().strip_prefix("label:"));
        let mut labels: Vec<String> = labels.map(|label| label.trim().to_owned()).collect();
        labels.sort();
        labels
    }

    /// `casemate dev` with its keys in this token.
    pub fn options(&self) -> Options {
        options(self.kind(), self.folder())
    }

    /// The same HSM again: the options are remembered; only the environment is said again.
    pub fn options_again(&self, data_dir: &Path) -> Options {
        let mut options = Options::in_dir(data_dir);
        options.variables.push(self.variable());
        options
    }
}

fn variable(kind: Kind, folder: &Path) -> (String, String) {
    (kind.variable().to_owned(), kind.conf(folder).display().to_string())
}

/// `casemate dev` with its keys in the token of this folder.
pub fn options(kind: Kind, folder: &Path) -> Options {
    let text = |path: &Path| path.display().to_string();
    let (module, pin) = (text(&kind.module()), text(&softhsm::pin_file(folder)));
    let mut options = Options::default().with(&[
        "--engine",
        "pkcs11",
        "--pkcs11-module",
        &module,
        "--pkcs11-token",
        LABEL,
        "--pkcs11-pin-file",
        &pin,
        "--pkcs11-path",
        &text(folder),
        "--pkcs11-env",
        kind.variable(),
    ]);
    options.variables.push(variable(kind, folder));
    options
}
