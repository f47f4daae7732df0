//! The one map from refusals to what a caller is told: status, code, message, inner error.
//!
//! No wildcard on our own enums: a new refusal does not compile until it has its answer here. The
//! text for the caller says what to do next; the text for log and audit is the refusal's own. What
//! is nobody's fault outside becomes a bare 500 without any detail.

mod backups;
mod call;
mod request;
mod roles;
mod security_domain;

use std::borrow::Cow;
use std::sync::Arc;

use casemate_audit::TrailError;
use casemate_audit_sinks::SinksError;
use casemate_engine_port::{EngineError, OperationError};
use casemate_hsm::keys::{
    AttributesRefusal, CreateRefusal, DeleteRefusal, FindRefusal, ImportRefusal, PurgeRefusal,
    RANDOM_BYTES_MAX, RandomRefusal, RecoverRefusal, UpdateRefusal, UseRefusal, WindowEdge,
};
use casemate_hsm::rbac::{
    AssignRefusal, DefineRefusal, DeleteAssignmentRefusal, DeleteDefinitionRefusal, ExplainRefusal,
    NotAuthorized,
};
use casemate_hsm::{
    ChangeSettingRefusal, CommitRefusal, CutOffRefusal, PoolFailure, SetSinksRefusal,
};
use casemate_token::{GroupsUnknown, TokenRefusal};
use http::StatusCode as S;

pub(crate) use backups::OfBackups;

use crate::admission::TooManyUnderWay;
use crate::body::BodyRefusal;
use crate::copies::CopyMissing;
use crate::parameters::BadParameter;
use crate::refusals::TooManyRefused;
use crate::route::{Absent, Allow, RouteRefusal};

pub(crate) use security_domain::DomainRefused;

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the request names a host that this HSM does not answer for")]
    Misdirected,
    #[error(transparent)]
    Token(#[from] TokenRefusal),
    #[error(transparent)]
    Route(#[from] RouteRefusal),
    #[error("the api-version is missing")]
    VersionMissing,
    #[error("the api-version is unknown")]
    VersionUnknown,
    #[error("{} is not available in this release", .0.name())]
    NotInRelease(Absent),
    #[error(transparent)]
    Body(#[from] BodyRefusal),
    #[error(transparent)]
    Parameter(#[from] BadParameter),
    #[error(transparent)]
    NotAuthorized(#[from] NotAuthorized),
    #[error("{refusal}; {why}")]
    GroupsUnknown {
        /// What was refused, as far as the caller's groups are known.
        refusal: NotAuthorized,
        /// Why they are not all known.
        #[source]
        why: GroupsUnknown,
    },
    #[error("there is no such role assignment at this scope")]
    NoSuchAssignment,
    #[error("there is no such role definition")]
    NoSuchDefinition,
    #[error(transparent)]
    Create(#[from] CreateRefusal),
    #[error(transparent)]
    Import(#[from] ImportRefusal),
    #[error(transparent)]
    Update(#[from] UpdateRefusal),
    #[error(transparent)]
    Find(#[from] FindRefusal),
    #[error(transparent)]
    Delete(#[from] DeleteRefusal),
    #[error(transparent)]
    Recover(#[from] RecoverRefusal),
    #[error(transparent)]
    Purge(#[from] PurgeRefusal),
    #[error(transparent)]
    OfBackups(#[from] OfBackups),
    #[error(transparent)]
    Use(#[from] UseRefusal),
    #[error(transparent)]
    Random(#[from] RandomRefusal),
    #[error(transparent)]
    Assign(#[from] AssignRefusal),
    #[error(transparent)]
    DeleteAssignment(#[from] DeleteAssignmentRefusal),
    #[error(transparent)]
    Setting(#[from] ChangeSettingRefusal),
    #[error(transparent)]
    Define(#[from] DefineRefusal),
    #[error(transparent)]
    DeleteDefinition(#[from] DeleteDefinitionRefusal),
    #[error(transparent)]
    Explain(#[from] ExplainRefusal),
    #[error("the audit trail did not take the record")]
    Audit {
        /// Why.
        #[source]
        cause: TrailError,
        /// Whether a change had been made when the trail refused.
        after_change: bool,
    },
    #[error(transparent)]
    Sinks(#[from] SinksError),
    #[error(transparent)]
    SetSinks(#[from] SetSinksRefusal),
    /// Tokens not cut off.
    #[error(transparent)]
    CutOff(#[from] CutOffRefusal),
    /// The synchronous copy.
    #[error(transparent)]
    Copy {
        /// Which, and how long was waited.
        #[from]
        cause: CopyMissing,
    },
    #[error(transparent)]
    TooManyUnderWay(#[from] TooManyUnderWay),
    #[error(transparent)]
    TooManyRefused(#[from] TooManyRefused),
    #[error("the audit log before this one was lost, and no Administrator has accepted that")]
    AuditLost {
        /// What was lost, and who gave it up.
        lost: Arc<str>,
    },
    #[error("the work ended before its answer")]
    Broken,
    #[error(transparent)]
    SecurityDomain(#[from] DomainRefused),
}

/// What a caller is told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: S,
    pub(crate) code: &'static str,
    pub(crate) message: Cow<'static, str>,
    pub(crate) inner: Option<&'static str>,
    pub(crate) retry_after_s: Option<u16>,
    pub(crate) allow: Option<Allow>,
}

/// How long a caller should wait when there is too much to do, in seconds.
const BUSY_RETRY_S: u16 = 1;

/// How long a caller should wait for the store, the trail or an issuer, in seconds.
const TROUBLE_RETRY_S: u16 = 5;

impl Problem {
    fn new(status: S, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            inner: None,
            retry_after_s: None,
            allow: None,
        }
    }

    fn bad(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(S::BAD_REQUEST, "BadParameter", message)
    }

    fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(S::FORBIDDEN, "Forbidden", message)
    }

    fn conflict(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(S::CONFLICT, "Conflict", message)
    }

    fn busy(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(S::TOO_MANY_REQUESTS, "Throttled", message).after(BUSY_RETRY_S)
    }

    fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(S::SERVICE_UNAVAILABLE, "ServiceUnavailable", message).after(TROUBLE_RETRY_S)
    }

    fn internal() -> Self {
        let message = "An internal error occurred; the operator finds it by the activity id.";
        Self::new(S::INTERNAL_SERVER_ERROR, "InternalServerError", message)
    }

    fn inner(mut self, code: &'static str) -> Self {
        self.inner = Some(code);
        self
    }

    fn after(mut self, seconds: u16) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }
}

impl Refusal {
    /// What the caller is told. `url` is what ids begin with.
    pub(crate) fn problem(&self, url: &str) -> Problem {
        match self {
            Self::Misdirected => call::misdirected(),
            Self::Token(refusal) => token(refusal),
            Self::Route(refusal) => request::route(*refusal),
            Self::VersionMissing => call::version("api-version must be specified"),
            Self::VersionUnknown => call::version("The specified api-version is not supported"),
            Self::NotInRelease(absent) => Problem::new(
                S::BAD_REQUEST,
                "NotSupported",
                format!("Not available in this release: {}.", absent.name()),
            ),
            Self::Body(refusal) => request::body(refusal),
            Self::Parameter(refusal) => Problem::bad(sentence(refusal)),
            Self::NotAuthorized(refusal) => denied(refusal),
            Self::GroupsUnknown { refusal, why } => groups_unknown(refusal, why),
            Self::NoSuchAssignment => roles::no_such_assignment(),
            Self::NoSuchDefinition => roles::no_such_definition(),
            Self::Create(refusal) => create(refusal),
            Self::Import(refusal) => import(refusal),
            Self::Update(refusal) => update(refusal, url),
            Self::Find(refusal) => find(refusal, url),
            Self::Delete(DeleteRefusal::Find(refusal))
            | Self::Recover(RecoverRefusal::Find(refusal)) => find(refusal, url),
            Self::Delete(DeleteRefusal::Commit(refusal))
            | Self::Recover(RecoverRefusal::Commit(refusal)) => commit(refusal),
            Self::Purge(refusal) => purge(refusal, url),
            Self::OfBackups(refusal) => refusal.problem(url),
            Self::Use(refusal) => use_key(refusal, url),
            Self::Random(RandomRefusal::Count(given)) => Problem::bad(format!(
                "The parameter 'count' must be from 1 to {RANDOM_BYTES_MAX}, not {given}."
            )),
            Self::Random(RandomRefusal::Engine(error)) => engine(error),
            Self::Assign(refusal) => roles::assign(refusal),
            Self::DeleteAssignment(refusal) => roles::delete_assignment(refusal),
            Self::Define(refusal) => roles::define(refusal),
            Self::DeleteDefinition(refusal) => roles::delete_definition(refusal),
            Self::Explain(ExplainRefusal::NotForThem(_)) => Problem::forbidden(sentence(self)),
            Self::Setting(refusal) => setting(refusal),
            Self::Audit { cause, after_change } => trail(cause, *after_change),
            Self::Sinks(refusal) | Self::SetSinks(SetSinksRefusal::Sinks(refusal)) => {
                Problem::bad(sentence(refusal))
            }
            Self::SetSinks(SetSinksRefusal::Commit(refusal)) => commit(refusal),
            Self::CutOff(refusal) => cut_off(refusal),
            Self::Copy { cause } => call::not_copied(cause),
            Self::TooManyUnderWay(refusal) => request::too_many_under_way(refusal),
            Self::TooManyRefused(refusal) => request::too_many_refused(*refusal),
            Self::AuditLost { lost } => call::audit_lost(lost),
            Self::Broken => Problem::internal(),
            Self::SecurityDomain(refusal) => security_domain::refused(refusal),
        }
    }

    /// Whether the trail itself is what failed: then there is no use in recording it there.
    pub(crate) fn is_of_the_trail(&self) -> bool {
        matches!(self, Self::Audit { .. })
    }
}

fn token(refusal: &TokenRefusal) -> Problem {
    use casemate_token::RefusalKind;
    let message = sentence(refusal);
    match refusal.kind() {
        RefusalKind::Token | RefusalKind::CutOff { .. } => {
            Problem::new(S::UNAUTHORIZED, "Unauthorized", message)
        }
        RefusalKind::Unavailable => Problem::unavailable(message),
    }
}

fn denied(refusal: &NotAuthorized) -> Problem {
    // The text of the original, to the letter.
    Problem::new(S::FORBIDDEN, "AccessDenied", refusal.to_string())
}

fn groups_unknown(refusal: &NotAuthorized, why: &GroupsUnknown) -> Problem {
    let message = format!("{refusal}. {}", sentence(why));
    match why {
        GroupsUnknown::Fetch(_) => Problem::unavailable(format!("{message} Try again later.")),
        GroupsUnknown::NoSource
        | GroupsUnknown::Malformed
        | GroupsUnknown::OtherPrincipal
        | GroupsUnknown::TooMany(_) => Problem::new(S::FORBIDDEN, "AccessDenied", message),
    }
}

fn attributes(refusal: &AttributesRefusal) -> Problem {
    match refusal {
        AttributesRefusal::EmptyWindow
        | AttributesRefusal::TimeOutOfRange
        | AttributesRefusal::OperationDoesNotFit(_)
        | AttributesRefusal::ImportNotAlone
        | AttributesRefusal::TooManyTags(_)
        | AttributesRefusal::TagTooLong => Problem::bad(sentence(refusal)),
    }
}

fn create(refusal: &CreateRefusal) -> Problem {
    match refusal {
        CreateRefusal::Attributes(refusal) => attributes(refusal),
        CreateRefusal::Unsupported { .. } => Problem::bad(sentence(refusal)),
        CreateRefusal::NameIsDeleted(name) => name_is_deleted(name),
        CreateRefusal::NameIsBeingPurged(_) => {
            Problem::conflict(sentence(refusal)).inner("ObjectIsBeingDeleted")
        }
        CreateRefusal::TooManyVersions(..) | CreateRefusal::TooManyKeys => {
            Problem::conflict(sentence(refusal))
        }
        CreateRefusal::Pool(failure) => pool(failure),
        CreateRefusal::Commit(refusal) => commit(refusal),
        CreateRefusal::Engine(error) => engine(error),
    }
}

fn import(refusal: &ImportRefusal) -> Problem {
    match refusal {
        ImportRefusal::BadKey(_) => Problem::bad(sentence(refusal)),
        ImportRefusal::Attributes(refusal) => attributes(refusal),
        ImportRefusal::Unsupported { .. } => Problem::bad(sentence(refusal)),
        ImportRefusal::NameIsDeleted(name) => name_is_deleted(name),
        ImportRefusal::NameIsBeingPurged(_) => {
            Problem::conflict(sentence(refusal)).inner("ObjectIsBeingDeleted")
        }
        ImportRefusal::TooManyVersions(..) | ImportRefusal::TooManyKeys => {
            Problem::conflict(sentence(refusal))
        }
        ImportRefusal::Pool(failure) => pool(failure),
        ImportRefusal::Commit(refusal) => commit(refusal),
        ImportRefusal::Engine(error) => engine(error),
    }
}

fn name_is_deleted(name: &casemate_hsm::KeyName) -> Problem {
    Problem::conflict(format!(
        "Key {name} is currently in a deleted but recoverable state, and its name cannot be \
         reused; in this state, the key can only be recovered or purged."
    ))
    .inner("ObjectIsDeletedButRecoverable")
}

fn update(refusal: &UpdateRefusal, url: &str) -> Problem {
    match refusal {
        UpdateRefusal::Find(refusal) => find(refusal, url),
        UpdateRefusal::Attributes(refusal) => attributes(refusal),
        UpdateRefusal::Commit(refusal) => commit(refusal),
    }
}

fn find(refusal: &FindRefusal, url: &str) -> Problem {
    let message = match refusal {
        FindRefusal::NoSuchKey(name) => format!("Key not found: {url}/keys/{name}"),
        FindRefusal::NoSuchVersion(name, version) => {
            format!("Key not found: {url}/keys/{name}/{version}")
        }
        FindRefusal::NoSuchDeletedKey(name) => {
            format!("Key not found: {url}/deletedkeys/{name}")
        }
    };
    Problem::new(S::NOT_FOUND, "KeyNotFound", message)
}

fn purge(refusal: &PurgeRefusal, url: &str) -> Problem {
    match refusal {
        PurgeRefusal::Find(refusal) => find(refusal, url),
        PurgeRefusal::Protected { purge_at } => Problem::forbidden(format!(
            "Purge protection is on: the key is purged when its retention ends, at {} (Unix \
             seconds). Until then it can be recovered.",
            purge_at.0
        )),
        PurgeRefusal::NotDue => Problem::forbidden(sentence(refusal)),
        PurgeRefusal::Commit(refusal) => commit(refusal),
    }
}

fn use_key(refusal: &UseRefusal, url: &str) -> Problem {
    match refusal {
        UseRefusal::Find(refusal) => find(refusal, url),
        UseRefusal::Disabled => Problem::forbidden(
            "Operation is not allowed on a disabled key; enable this version or use another.",
        )
        .inner("KeyDisabled"),
        UseRefusal::OperationNotPermitted(op) => Problem::forbidden(format!(
            "Operation {} is not permitted on this key; its key_ops do not list it.",
            op.name()
        )),
        UseRefusal::OutsideWindow(WindowEdge::NotYet(from)) => Problem::forbidden(format!(
            "The key is not valid before {} (Unix seconds, 'nbf').",
            from.0
        )),
        UseRefusal::OutsideWindow(WindowEdge::Expired(until)) => Problem::forbidden(format!(
            "The key expired at {} (Unix seconds, 'exp'); use a newer version.",
            until.0
        )),
        UseRefusal::AlgorithmDoesNotFit { .. }
        | UseRefusal::DigestLength { .. }
        | UseRefusal::InputTooLong { .. }
        | UseRefusal::BadInput(_) => Problem::bad(sentence(refusal)),
        // One text for every reason: a decryption that fails tells nothing.
        UseRefusal::DecryptionFailed => Problem::bad("The value could not be decrypted."),
        UseRefusal::GcmExhausted => Problem::forbidden(sentence(refusal)),
        UseRefusal::Pool(failure) => pool(failure),
        UseRefusal::NotAuthorized(refusal) => denied(refusal),
        UseRefusal::Commit(refusal) => commit(refusal),
        UseRefusal::Engine(error) => engine(error),
        UseRefusal::Operation(error) => match error {
            OperationError::BadInput(reason) => Problem::bad(sentence(reason)),
            OperationError::DecryptionFailed => Problem::bad("The value could not be decrypted."),
            OperationError::Unavailable(_) => Problem::unavailable(sentence(error)),
            OperationError::Failed(_) => Problem::internal(),
        },
    }
}

fn pool(failure: &PoolFailure) -> Problem {
    match failure {
        PoolFailure::Busy(_) => {
            Problem::busy("Too many costly operations are waiting; try again in a moment.")
        }
        PoolFailure::Died => Problem::internal(),
    }
}

fn commit(refusal: &CommitRefusal) -> Problem {
    match refusal {
        CommitRefusal::NotAuthorized(refusal) => denied(refusal),
        CommitRefusal::Contended => {
            Problem::busy("Too many changes of the same object at once; try again in a moment.")
        }
        CommitRefusal::Unknown => Problem::unavailable(
            "The store gave no answer, so the change may or may not have been made: read it back \
             before you repeat it.",
        ),
        CommitRefusal::Restoring => backups::restoring(),
        CommitRefusal::Store(_) => Problem::unavailable(
            "The store takes no changes and nothing was changed; the operator must look at its \
             disk. Then try again.",
        ),
    }
}

fn engine(error: &EngineError) -> Problem {
    match error {
        EngineError::Unsupported(_) | EngineError::BadKey(_) => Problem::bad(sentence(error)),
        EngineError::Unavailable(_) => Problem::unavailable(sentence(error)),
        EngineError::NotAuthentic | EngineError::Failed(_) => Problem::internal(),
    }
}

fn setting(refusal: &ChangeSettingRefusal) -> Problem {
    match refusal {
        ChangeSettingRefusal::Value(_) => Problem::bad(sentence(refusal)),
        ChangeSettingRefusal::Commit(refusal) => commit(refusal),
    }
}

fn cut_off(refusal: &CutOffRefusal) -> Problem {
    match refusal {
        CutOffRefusal::TooMany => Problem::conflict(format!(
            "{} Take away the principal's roles instead.",
            sentence(refusal)
        )),
        CutOffRefusal::Commit(refusal) => commit(refusal),
    }
}

fn trail(cause: &TrailError, after_change: bool) -> Problem {
    let why = match cause {
        TrailError::Full { .. } => {
            "The audit trail has no space left; the operator must free some. Then try again."
        }
        TrailError::Overloaded { .. } => {
            "Too many audit records wait for the disk; try again in a moment."
        }
        TrailError::Closed => "The HSM is stopping; try again in a moment.",
        TrailError::Failed { .. }
        | TrailError::Open { .. }
        | TrailError::InUse { .. }
        | TrailError::Damaged { .. }
        | TrailError::Removed { .. }
        | TrailError::Stray { .. }
        | TrailError::Lost { .. }
        | TrailError::Altered { .. } => {
            "The audit trail cannot be written; the operator must check its disk and restart the \
             HSM."
        }
    };
    let what = match after_change {
        true => {
            "The change was made but its outcome not recorded: read it back before you repeat it."
        }
        false => "Nothing was done, since nothing may be done without a record.",
    };
    Problem::unavailable(format!("{why} {what}"))
}

/// An error's own text as a sentence.
fn sentence(error: impl ToString) -> String {
    let mut text = error.to_string();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    if !text.ends_with('.') {
        text.push('.');
    }
    text
}
