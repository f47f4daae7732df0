//! What keeps an HSM's secret across restarts, in words: where files are and what opens them. The
//! keys themselves travel nowhere.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The node seal of one HSM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Seal {
    /// A file of mode 0600 with a random key, made at creation; as the confined partition sees it.
    Key {
        /// Where it is.
        path: PathBuf,
    },
    /// Sealing keys in a slot, read before the partition is confined.
    Slot(Slot),
}

/// A file of sealing keys and what opens it. Paths are as the process sees them before it is
/// confined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slot {
    /// The file.
    pub path: PathBuf,
    /// What opens it.
    pub guard: Guard,
}

/// What guards sealing keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Guard {
    /// A file of mode 0600 with a passphrase.
    Passphrase {
        /// Where it is.
        file: PathBuf,
    },
    /// A file with 32 random bytes that the service manager gives.
    Credential {
        /// Where it is.
        file: PathBuf,
    },
    /// A TPM 2.0.
    Tpm {
        /// How it is reached, as the TSS names it: `device:/dev/tpmrm0`.
        device: String,
        /// The registers that must be as they are now, by number; none for no such condition.
        pcrs: Vec<u8>,
    },
    /// A key of a PKCS #11 token.
    Token {
        /// The module: a shared library.
        module: PathBuf,
        /// The token's label.
        token: String,
        /// A file of mode 0600 with the user's PIN.
        pin_file: PathBuf,
        /// Variables of the agent's environment that the module is told.
        environment: Vec<String>,
    },
}

impl Guard {
    /// The variables that whoever works with it is told.
    #[must_use]
    pub fn environment(&self) -> &[String] {
        match self {
            Self::Token { environment, .. } => environment,
            Self::Passphrase { .. } | Self::Credential { .. } | Self::Tpm { .. } => &[],
        }
    }
}

impl Seal {
    /// The variables that whoever opens it is told.
    #[must_use]
    pub fn environment(&self) -> &[String] {
        match self {
            Self::Key { .. } => &[],
            Self::Slot(slot) => slot.guard.environment(),
        }
    }
}

/// What a resealing process is to do, as JSON on its standard input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reseal {
    /// What opens the HSM's secret now. Paths are all as this process sees them.
    pub from: Seal,
    /// The slot that is made.
    pub to: Slot,
    /// The sealed file that the keys are for.
    pub sealed: PathBuf,
}

/// What it answers, as JSON on its standard output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Resealed {
    /// The slot is there and opens.
    Done,
    /// It is not.
    Refused {
        /// Why, and what to do.
        message: String,
    },
}
