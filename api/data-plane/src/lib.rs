//! The Managed HSM data plane: from an HTTP request to an HTTP response.
//!
//! It routes, parses, asks for a permit, calls one act of the domain and renders what came of it.
//! It holds no rule of the domain, opens no socket and knows no TLS. The path of a request, its
//! codes and its quirks are described in `docs/design/data-plane.md`.
//!
//! Invariants:
//! - Nothing of a request is looked at before its token was believed, but the name that it asks.
//! - Every authenticated request has a durable audit record before its answer leaves.
//! - A change that has begun runs to its end, whether or not its caller still waits.
//! - What a caller sent is never an internal error.

mod admission;
mod answer;
mod audit_sinks;
mod audit_usage;
mod authenticate;
mod authority;
mod body;
mod budget;
mod copies;
mod crypto;
mod cut_off;
mod deleted_keys;
mod details;
mod dispatch;
mod exchange;
mod explain;
mod full_backup;
mod full_restore;
mod jobs;
mod key_backup;
mod keys;
pub mod meter;
mod paging;
mod parameters;
mod pipeline;
mod plane;
mod query;
mod random;
mod refusal;
mod refusals;
mod render;
mod request_id;
mod role_assignments;
mod role_definitions;
mod role_parameters;
mod rotation;
pub mod route;
mod schedules;
mod security_domain;
mod settings;
mod traced;

pub use copies::{Copies, CopyMissing, NoCopies, SinkStatus};
pub use details::{of_purge, of_removal, of_run};
pub use jobs::Backups;
pub use plane::{Config, ConfigError, ConnectionFacts, DataPlane, ExternalName, Limits, Serving};
pub use query::{Query, Version};
