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
