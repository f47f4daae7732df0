//! The first message: everything a partition is told by its agent.
//!
//! It names listeners, folders and limits and nothing else. Whom the HSM believes stands in its own
//! sealed settings; only at its creation are the first settings carried here.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::seal::Seal;

/// What a partition needs to begin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// [`crate::VERSION`].
    pub version: u32,
    /// The HSM's name.
    pub hsm: String,
    /// Each accepted authority with its external port; any other one gets 421.
    pub names: Vec<ExternalName>,
    /// The port of the listener that picks by server name; stands for `{port}` in the settings.
    pub named_port: u16,
    /// The HSM's folder, as the partition sees it once it is confined.
    pub folder: PathBuf,
    /// What keeps the HSM's secret across restarts.
    pub seal: Seal,
    /// Where its keys live.
    pub engine: Engine,
    /// How to create the HSM; only present while it has never been ready.
    pub create: Option<Creation>,
    /// Bounds.
    pub limits: Limits,
    /// The region that answers and audit records name.
    pub region: String,
    /// Worker threads for requests.
    pub threads: usize,
    /// How the process is confined before it reads from outside.
    pub confine: Confine,
    /// The HSM's folder as people outside the confined process see it, for messages.
    #[serde(default)]
    pub shown_folder: PathBuf,
    /// Whether an HSM with the permanent development mark is served.
    #[serde(default)]
    pub development: bool,
}

/// One authority under which the HSM is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalName {
    /// Host name or address, lower case.
    pub host: String,
    /// The port a client uses.
    pub port: u16,
}

/// Where the keys of an HSM live.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Engine {
    /// In the memory of the partition.
    #[default]
    Software,
    /// In a PKCS #11 token. Paths are as the partition sees them before it is confined.
    Pkcs11(Pkcs11),
}

/// A PKCS #11 token and what its module needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pkcs11 {
    /// The module: a shared library, loaded before the partition is confined.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// A file of mode 0600 with the user's PIN, read before the partition is confined.
    pub pin_file: PathBuf,
    /// Folders and files that the module reads and writes while the partition is confined.
    pub paths: Vec<PathBuf>,
    /// Variables of the agent's environment that the module is told.
    pub environment: Vec<String>,
    /// Whether the module speaks with a daemon on this machine over a Unix socket.
    pub daemon: bool,
}

/// How an HSM that does not exist yet begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Creation {
    /// The first settings, which the partition checks and seals.
    pub settings: serde_json::Value,
    /// Whether the HSM carries the permanent development mark.
    pub development: bool,
}

/// How the process is confined.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confine {
    /// The folder that becomes the root folder; only where the agent is root.
    pub root: Option<PathBuf>,
    /// User and group to become; only where the agent is root.
    pub uid_gid: Option<(u32, u32)>,
}

/// Bounds of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections served at once.
    pub connections_max: usize,
    /// Connections served at once from one address.
    pub connections_per_address_max: usize,
    /// Size of a request's body.
    pub body_bytes_max: usize,
    /// Size of a request's header fields together.
    pub header_bytes_max: usize,
    /// Time for the TLS handshake.
    pub handshake_timeout_ms: u64,
    /// Time for a request's body.
    pub body_timeout_ms: u64,
    /// How long a connection may be idle, and how long a request's head may take.
    pub idle_timeout_ms: u64,
    /// Requests that one HTTP/2 connection may have open.
    pub streams_max: u32,
    /// Private-key operations that wait for the pool.
    pub pool_queue_max: usize,
    /// The same of one caller.
    pub caller_pool_queue_max: usize,
    /// Requests that one caller may have under way.
    pub caller_requests_max: usize,
    /// Refusals of one caller at once that are recorded one by one.
    pub caller_refusals_max: usize,
    /// The same in a minute, in the long run.
    pub caller_refusals_per_minute_max: usize,
    /// Keys, deleted ones included.
    pub keys_max: usize,
    /// Versions of one key.
    pub versions_max: usize,
    /// Opened keys kept in memory.
    pub handles_max: usize,
    /// Role assignments.
    pub assignments_max: usize,
    /// Role definitions beside the built-in ones.
    pub definitions_max: usize,
    /// Free bytes of the audit log's disk below which no new work is taken.
    pub disk_reserve_bytes: u64,
    /// How long the partition finishes open requests after Stop.
    pub stop_grace_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 8_192,
            connections_per_address_max: 4_096,
            body_bytes_max: 1024 * 1024,
            header_bytes_max: 64 * 1024,
            handshake_timeout_ms: 10_000,
            body_timeout_ms: 30_000,
            idle_timeout_ms: 120_000,
            streams_max: 128,
            pool_queue_max: 1_024,
            caller_pool_queue_max: 768,
            caller_requests_max: 2_048,
            caller_refusals_max: 10_000,
            caller_refusals_per_minute_max: 120,
            keys_max: 100_000,
            versions_max: 100,
            handles_max: 4_096,
            assignments_max: 20_000,
            definitions_max: 2_000,
            disk_reserve_bytes: 48 * 1024 * 1024,
            stop_grace_ms: 5_000,
        }
    }
}
