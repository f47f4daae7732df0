//! One managed HSM from inside: its keys and their versions, who may do what, its settings.
//!
//! No I/O: sockets, files, time and randomness come in as ports ([`Clock`], [`Pool`], [`Spawn`],
//! the engine, the sealed store, the audit trail). It does not know HTTP, JSON or a runtime.
//!
//! Invariants:
//! - No act without a [`rbac::Permit`] for exactly its action, and none on another key than the
//!   permit's.
//! - No change without [`casemate_audit::Recorded`], the proof that its intent is durable.
//! - The state in memory is what the store holds: a change is applied only after it is durable,
//!   and always, even if the caller has gone away.

mod audit_sinks;
pub mod backup;
mod clock;
mod commit;
mod cut_off;
mod door;
mod handles;
mod hsm;
mod keep;
pub mod keys;
mod names;
mod ports;
pub mod rbac;
mod records;
pub mod security_domain;
mod settings;
mod state;

pub use audit_sinks::SetSinksRefusal;
pub use clock::{Clock, UnixSeconds};
pub use commit::CommitRefusal;
pub use cut_off::{CutOff, CutOffRefusal};
pub use door::Door;
pub use hsm::{Hsm, HsmLimits, OpenFailure, Ports};
pub use names::{KeyName, KeyPrefix, NameError, VersionId};
pub use ports::{Pool, PoolBusy, PoolFailure, Spawn, Turn};
pub use settings::{
    AUDIT_LOSS_ACCEPTED, ChangeSettingRefusal, Creation, Escalation, OctKeyOps, RetentionDays,
    SETTINGS, Separation, Setting, SettingKind, Settings, SettingsError, Shown, TrustedIssuer,
    setting,
};
