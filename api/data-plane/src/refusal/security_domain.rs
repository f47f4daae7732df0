//! What callers are told who ask for the security domain, or for anything before there is one.

use casemate_hsm::security_domain::{
    ApprovalRefusal, DownloadRefusal, ExchangeKeyRefusal, KeeperError, RequestError, ResealFailure,
    RotateRefusal, UploadError, UploadRefusal,
};
use http::StatusCode as S;

use super::{Problem, Refusal, commit, pool, sentence};

/// Why a call was not done that is about the security domain, or came before there was one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DomainRefused {
    #[error("the HSM is not activated")]
    NotActivated {
        /// Whether a recovery has begun.
        recovering: bool,
    },
    #[error("the HSM is active already")]
    IsActive,
    #[error("there was no such operation of the security domain")]
    NoOperation,
    #[error("no new epoch of the security domain ever began here")]
    NoRotation,
    #[error(transparent)]
    Rotate(#[from] RotateRefusal),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Wrapped(#[from] UploadError),
    #[error(transparent)]
    Download(#[from] DownloadRefusal),
    #[error(transparent)]
    ExchangeKey(#[from] ExchangeKeyRefusal),
    #[error(transparent)]
    Upload(#[from] UploadRefusal),
}

macro_rules! refusals {
    ($($cause:ty),+) => {
        $(
            impl From<$cause> for Refusal {
                fn from(cause: $cause) -> Self {
                    Self::SecurityDomain(cause.into())
                }
            }
        )+
    };
}

refusals!(
    RequestError,
    UploadError,
    DownloadRefusal,
    ExchangeKeyRefusal,
    UploadRefusal,
    RotateRefusal
);

/// What the caller is told.
pub(super) fn refused(refusal: &DomainRefused) -> Problem {
    match refusal {
        DomainRefused::NotActivated { recovering } => not_activated(*recovering),
        DomainRefused::IsActive => is_active(),
        DomainRefused::NoOperation => no_operation(),
        DomainRefused::NoRotation => no_rotation(),
        DomainRefused::Rotate(refusal) => rotate(refusal),
        DomainRefused::Request(refusal) => Problem::bad(sentence(refusal)),
        DomainRefused::Wrapped(refusal) => Problem::bad(sentence(refusal)),
        DomainRefused::Download(refusal) => download(refusal),
        DomainRefused::ExchangeKey(refusal) => exchange_key(refusal),
        DomainRefused::Upload(refusal) => upload(refusal),
    }
}

/// Every call but the security domain's, before activation.
fn not_activated(recovering: bool) -> Problem {
    Problem::unavailable(match recovering {
        false => {
            "This HSM is not activated: an Administrator activates it by giving its security \
             domain to officers (az keyvault security-domain download), or brings back the domain \
             of another HSM (az keyvault security-domain init-recovery, then upload)."
        }
        true => {
            "This HSM is not activated and waits for a security domain: an Administrator uploads \
             it, wrapped to the exchange key (az keyvault security-domain upload)."
        }
    })
    .inner("NotActivated")
}

/// An upload, or the key for one, of an HSM that has a domain.
fn is_active() -> Problem {
    Problem::conflict(
        "This HSM is active under its security domain, which an upload cannot replace. To recover \
         a domain, upload it to a new HSM that is not activated.",
    )
}

/// The status of what was never begun.
fn no_operation() -> Problem {
    Problem::new(
        S::NOT_FOUND,
        "NotFound",
        "There was no such operation on this HSM: start it with POST /securitydomain/download or \
         /securitydomain/upload.",
    )
}

/// The status of what never began.
fn no_rotation() -> Problem {
    Problem::new(
        S::NOT_FOUND,
        "NotFound",
        "No new epoch of the security domain began on this HSM: POST /securitydomain/rotate begins \
         one.",
    )
}

fn rotate(refusal: &RotateRefusal) -> Problem {
    match refusal {
        RotateRefusal::NotARotation
        | RotateRefusal::OtherEpoch { .. }
        | RotateRefusal::ForgetsTooMuch { .. }
        | RotateRefusal::ForgetsNothing { .. } => Problem::bad(sentence(refusal)),
        RotateRefusal::TooManyEpochs
        | RotateRefusal::Engine { .. }
        | RotateRefusal::UnderWay { .. }
        | RotateRefusal::Busy(_) => Problem::conflict(sentence(refusal)),
        RotateRefusal::Approval(refusal) => approval(refusal),
        RotateRefusal::NotAuthorized(refusal) => {
            commit(&casemate_hsm::CommitRefusal::NotAuthorized(refusal.clone()))
        }
        RotateRefusal::Seal(_) | RotateRefusal::NoDomain => Problem::internal(),
        RotateRefusal::Keeper(error) => keeper(error),
        RotateRefusal::Reseal(error) => reseal(error),
        RotateRefusal::Pool(failure) => pool(failure),
        RotateRefusal::Commit(refusal) => commit(refusal),
    }
}

fn download(refusal: &DownloadRefusal) -> Problem {
    match refusal {
        DownloadRefusal::Approval(refusal) => approval(refusal),
        DownloadRefusal::IsRotation => Problem::bad(sentence(refusal)),
        DownloadRefusal::Seal(_) | DownloadRefusal::NoDomain => Problem::internal(),
        DownloadRefusal::Spent => spent(),
        DownloadRefusal::Keeper(error) => keeper(error),
        DownloadRefusal::Reseal(error) => reseal(error),
        DownloadRefusal::Commit(refusal) => commit(refusal),
    }
}

fn exchange_key(refusal: &ExchangeKeyRefusal) -> Problem {
    match refusal {
        ExchangeKeyRefusal::Spent => spent(),
        ExchangeKeyRefusal::Keeper(error) => keeper(error),
        ExchangeKeyRefusal::Pool(failure) => pool(failure),
        ExchangeKeyRefusal::Commit(refusal) => commit(refusal),
    }
}

fn upload(refusal: &UploadRefusal) -> Problem {
    match refusal {
        UploadRefusal::NoExchangeKey => Problem::conflict(
            "No exchange key was asked for, so nothing can be wrapped to it: begin with az \
             keyvault security-domain init-recovery.",
        ),
        UploadRefusal::Upload(refusal) => Problem::bad(sentence(refusal)),
        UploadRefusal::Domain(_) => Problem::bad(sentence(refusal)),
        UploadRefusal::Spent => spent(),
        UploadRefusal::Keeper(error) => keeper(error),
        UploadRefusal::Reseal(error) => reseal(error),
    }
}

/// An Administrator alone does not get the domain a second time.
fn approval(refusal: &ApprovalRefusal) -> Problem {
    Problem::forbidden(format!(
        "{} The security domain of an active HSM is given out again only with the signatures of \
         those who hold it: casemate security-domain approve makes them, offline.",
        sentence(refusal)
    ))
    .inner("ApprovalsMissing")
}

fn spent() -> Problem {
    Problem::unavailable(
        "This HSM was activated a moment ago and is being opened; try again in a moment.",
    )
}

fn keeper(error: &KeeperError) -> Problem {
    match error {
        KeeperError::Seal(_) => Problem::unavailable(
            "The node seal could not be written and nothing was changed; the operator must look at \
             its disk. Then try again.",
        ),
        KeeperError::ExchangeKey => Problem::internal(),
    }
}

fn reseal(failure: &ResealFailure) -> Problem {
    match failure {
        ResealFailure::NothingChanged(_) => Problem::unavailable(
            "The store takes no changes and nothing was changed; the operator must look at its \
             disk. Then try again.",
        ),
        ResealFailure::Unsure(_) => Problem::unavailable(
            "The store gave no sure answer, so it may or may not have been done: the HSM is opened \
             anew. Ask for its keys, or for the status, to see; if it was not, try again.",
        ),
        ResealFailure::Fault(_) => Problem::internal(),
    }
}
