//! What callers are told who ask for the security domain, or for anything before there is one.

use casemate_hsm::security_domain::{
    ApprovalRefusal, DownloadRefusal, ExchangeKeyRefusal, KeeperError, RequestError, ResealFailure,
    UploadError, UploadRefusal,
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

refusals!(RequestError, UploadError, DownloadRefusal, ExchangeKeyRefusal, UploadRefusal);

/// What the caller is told.
pub(super) fn refused(refusal: &DomainRefused) -> Problem {
    match refusal {
        DomainRefused::NotActivated { recovering } => not_activated(*recovering),
        DomainRefused::IsActive => is_active(),
        DomainRefused::NoOperation => no_operation(),
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

fn download(refusal: &DownloadRefusal) -> Problem {
    match refusal {
        DownloadRefusal::Approval(refusal) => approval(refusal),
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
            "The store gave no sure answer, so the HSM may or may not have been activated: it is \
             opened anew. Ask for its keys to see; while it is not activated, try again.",
        ),
        ResealFailure::Fault(_) => Problem::internal(),
    }
}
