//! The command line: what can be typed, and the commands that are clients of a running agent.
//!
//! What it does not do: it starts no process and holds no state; commands that become an agent or
//! look into `/proc` are carried out by the crates that own those.

mod arguments;
mod audit;
mod backup;
mod identity;
mod migrate;
mod security_domain;

pub use arguments::{
    Arguments, Command, DataDir, DevArguments, DevCommand, EngineChoice, HsmCommand, HsmCreate,
    IdentityCommand, NodeFile, SealCommand, TlsCommand, TokenArguments, parse_error_code,
};
pub use audit::{AuditCommand, AuditError, AuditPlace, audit};
pub use backup::{
    AskedHsm, AskedSchedule, BackupCommand, BackupVerify, ScheduleCall, ScheduleCommand,
    ScheduleSet, TokenFileError, token_file,
};
pub use identity::{IdentityError, identity};
pub use migrate::{MigrateCommand, MigratePlan};
pub use security_domain::{
    RotateArguments, SecurityDomainCommand, SecurityDomainError, open_domain, security_domain,
};
