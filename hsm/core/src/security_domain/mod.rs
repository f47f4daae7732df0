//! The security domain: how an HSM becomes active, and how it comes back.
//!
//! An HSM begins *not activated* ([`NotActivated`]). Its first download, which gives the domain to
//! a quorum of officers, activates it; an upload of a domain activates it as a member of that one.
//! Both end the process's use of its store: everything is sealed anew under the domain's secret in
//! one transaction, and the HSM is then opened anew, as an active [`Hsm`](crate::Hsm).
//! docs/design/security-domain.md specifies the states, the formats and the order of steps.
//!
//! Invariants:
//! - An HSM that is not activated has no key methods: its type has none.
//! - A new secret ([`Hsm::rotate_security_domain`](crate::Hsm)) begins with one transaction, and
//!   what the one before is kept for is brought forward while the HSM serves.
//! - At every moment the node's seal holds the secret that the records are sealed under.

mod activate;
mod confirm;
mod domain;
mod download;
mod exchange_key;
mod held;
mod held_by;
mod items;
mod keeper;
mod not_activated;
mod rewrap;
mod rotate;
mod status;
mod upload;

pub use casemate_quorum::{
    ApprovalRefusal, DownloadRequest, Primitives, RequestError, Rotation, Upload, UploadError,
};
pub use domain::{Domain, DomainError, Epoch, EpochKeys};
pub use download::DownloadRefusal;
pub use exchange_key::{ExchangeKeyRefusal, TransferKey};
pub(crate) use held::{ExchangeRecord, HeldRecord};
pub use held_by::HeldBy;
pub use items::{DomainRefusal, ItemReader, domain_of};
pub use keeper::{ExchangeKey, Keeper, KeeperError, NextSeal};
pub use not_activated::{NotActivated, ResealFailure};
pub(crate) use rewrap::under_present_key;
pub use rewrap::{Left, RewrapFailure};
pub use rotate::{Forgotten, ForgottenEpoch, RotateRefusal, Rotated, Turned};
pub use status::{Operation, OperationStatus};
pub use upload::UploadRefusal;

use std::sync::Arc;

use casemate_store_port::Generation;

/// What the state knows of the security domain.
#[derive(Default)]
pub(crate) struct Known {
    /// Who holds the domain.
    pub(crate) held: Option<(Arc<HeldRecord>, Generation)>,
    /// The exchange key of a recovery that has begun.
    pub(crate) exchange: Option<(Arc<ExchangeRecord>, Generation)>,
}
