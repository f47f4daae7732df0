//! Why a partition does not run, in words for programs and for people.

use std::io;

use casemate_audit::TrailError;
use casemate_channel::ChannelError;
pub(crate) use casemate_channel::chain;
use casemate_data_plane::ConfigError;
use casemate_engine_pkcs11::TokenError;
use casemate_engine_port::EngineError;
use casemate_harden::HardenError;
use casemate_hsm::OpenFailure;
use casemate_node_seal::GuardError;
use casemate_store_port::{OpenError, StoreError};

use crate::certificate::CertificateError;
use crate::seal::SealFileError;

/// Why the partition ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The channel to the agent.
    #[error("there is no agent to work for")]
    Channel(#[from] ChannelError),
    /// The agent ended.
    #[error("the agent ended")]
    AgentGone,
    /// The process could not be confined.
    #[error("the process could not be confined")]
    Harden(#[from] HardenError),
    /// An HSM with the development mark, asked for by a node that serves none.
    #[error(
        "this HSM was made by `casemate dev` and carries the mark of it for ever: it is served by \
         `casemate dev` only; create another one and bring its keys there"
    )]
    Development,
    /// Threads or timers.
    #[error("the system gives no threads")]
    Threads(#[source] io::Error),
    /// A folder of the HSM's.
    #[error("the HSM's folder cannot be used: check its owner, its rights and the disk")]
    Folder(#[source] io::Error),
    /// The node seal.
    #[error(transparent)]
    Seal(#[from] SealFileError),
    /// What opens the node seal.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The database.
    #[error("the HSM's database cannot be used: check the disk and that nothing else has it open")]
    Store(#[source] StoreError),
    /// The records are not what this HSM wrote.
    #[error(
        "the stored records are not those that this HSM wrote; it stops, to use none of them. \
         Put back the untouched database, or restore a backup"
    )]
    Tampered(#[source] OpenError),
    /// The store is below what the seal remembers, and empty.
    #[error("the database is empty, but the node seal remembers change {sequence}; put it back")]
    Emptied {
        /// The remembered change.
        sequence: u64,
    },
    /// The store went astray while the HSM was in use.
    #[error("the store gave no sure answer; the HSM is opened anew, to find out what it holds")]
    Astray,
    /// The HSM was sealed under another domain, or restored.
    #[error("the HSM was activated or restored; it is opened anew")]
    Anew,
    /// The first settings.
    #[error("the settings for the new HSM are refused")]
    Settings(#[source] serde_json::Error),
    /// The domain could not be opened.
    #[error("the HSM cannot be opened")]
    Domain(#[from] OpenFailure),
    /// The engine.
    #[error("the engine cannot be used")]
    Engine(#[from] EngineError),
    /// The token that holds the keys.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The audit trail.
    #[error(transparent)]
    Audit(#[from] TrailError),
    /// The trail does not hold what is remembered of it, and was not given up.
    #[error(
        "{cause}. The HSM remembers {records} records with the root {root}{asked}. Put the files \
         back; or, if they are gone for good, stop it and run `casemate audit accept-loss \
         --records {records} --by NAME --reason TEXT` ('A lost log' in \
         docs/operate/verify-the-audit-log.md)"
    )]
    AuditLost {
        /// What is wrong with the trail.
        cause: TrailError,
        /// How many records are remembered.
        records: u64,
        /// The root over them.
        root: String,
        /// What was asked for, if it was not this.
        asked: String,
    },
    /// Too many trails were lost.
    #[error(
        "{} audit logs of this HSM were lost: no more are given up",
        casemate_audit::LOSSES_MAX
    )]
    TooManyLosses,
    /// The HSM's name cannot stand in a signed note.
    #[error("the name '{hsm}' cannot sign an audit trail: use letters, digits and hyphens")]
    AuditName {
        /// The name.
        hsm: String,
    },
    /// The server's certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The data plane's configuration.
    #[error("the HSM's names or region cannot be used")]
    Names(#[from] ConfigError),
}

impl Failure {
    /// A short fixed word, for programs.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Channel(_) => "channel",
            Self::AgentGone => "agent-gone",
            Self::Harden(_) => "not-confined",
            Self::Development => "development",
            Self::Threads(_) => "threads",
            Self::Folder(_) => "folder",
            Self::Store(_) => "store",
            Self::Tampered(OpenError::RolledBack { .. }) | Self::Emptied { .. } => "rolled-back",
            Self::Tampered(_) => "tampered",
            Self::Astray => "store-astray",
            Self::Anew => "anew",
            Self::Settings(_) => "settings",
            Self::Domain(_) => "domain",
            Self::Engine(_) => "engine",
            Self::Token(TokenError::PinRefused { .. })
            | Self::Guard(GuardError::Token(TokenError::PinRefused { .. })) => "pin",
            Self::Token(_) => "token",
            Self::Seal(_) | Self::Guard(_) => "seal",
            Self::Audit(_)
            | Self::AuditLost { .. }
            | Self::TooManyLosses
            | Self::AuditName { .. } => "audit",
            Self::Certificate(_) => "certificate",
            Self::Names(_) => "names",
        }
    }

    /// Whether a restart alone will not help.
    pub(crate) fn lasts(&self) -> bool {
        match self {
            Self::Token(error) => error.lasts(),
            Self::Guard(error) => !error.may_pass(),
            Self::Channel(_)
            | Self::AgentGone
            | Self::Threads(_)
            | Self::Store(
                StoreError::BadTransaction
                | StoreError::Full { .. }
                | StoreError::Unavailable(_)
                | StoreError::Unknown(_),
            )
            | Self::Audit(
                TrailError::Failed { .. }
                | TrailError::Removed { .. }
                | TrailError::Full { .. }
                | TrailError::Overloaded { .. }
                | TrailError::Closed,
            )
            | Self::Astray
            | Self::Anew
            | Self::Certificate(_) => false,
            Self::Harden(_)
            | Self::Store(StoreError::Damaged(_))
            | Self::Folder(_)
            | Self::Seal(_)
            | Self::Tampered(_)
            | Self::Emptied { .. }
            | Self::Settings(_)
            | Self::Domain(_)
            | Self::Engine(_)
            | Self::Audit(
                TrailError::Open { .. }
                | TrailError::InUse { .. }
                | TrailError::Damaged { .. }
                | TrailError::Stray { .. }
                | TrailError::Lost { .. }
                | TrailError::Altered { .. },
            )
            | Self::AuditLost { .. }
            | Self::TooManyLosses
            | Self::AuditName { .. }
            | Self::Development
            | Self::Names(_) => true,
        }
    }

    /// The failure with its causes, in one line.
    pub(crate) fn text(&self) -> String {
        chain(self)
    }
}

/// Tells a store that was changed from one that cannot be used.
impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Store(cause) => Self::Store(cause),
            other => Self::Tampered(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_store_lasts_and_an_absent_one_does_not() {
        let changed = Failure::from(OpenError::Missing { expected: 3, found: 2 });
        assert_eq!((changed.code(), changed.lasts()), ("tampered", true));
        assert!(changed.text().contains("2 of 3"), "{}", changed.text());
        let older = Failure::from(OpenError::RolledBack { sequence: 1, floor: 2 });
        assert_eq!((older.code(), older.lasts()), ("rolled-back", true));
        let absent = OpenError::Store(StoreError::Full { place: "x".to_owned() });
        let absent = Failure::from(absent);
        assert_eq!((absent.code(), absent.lasts()), ("store", false));
        let damaged = Failure::from(OpenError::Store(StoreError::Damaged("x".to_owned())));
        assert_eq!((damaged.code(), damaged.lasts()), ("store", true));
    }
}
