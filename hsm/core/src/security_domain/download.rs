//! A later download: gives the same domain to a quorum anew.
//!
//! In mode `strict` those who hold it now have to agree: otherwise one Administrator alone could
//! take the root of the HSM home. In mode `azure` it is as in the original. An Administrator can
//! change the mode; so those who were given the domain in mode `strict` are asked in any mode.

use std::sync::Arc;

use casemate_audit::Recorded;
use casemate_quorum::{
    ApprovalRefusal, DownloadRequest, Facts, Primitives, SealError, Terms, approved, seal,
};
use casemate_store_port::{Change, Condition, Write};

use super::held::{Done, certificates};
use super::items::{Given, items};
use super::not_activated::ResealFailure;
use super::{Domain, HeldRecord, Keeper, KeeperError};
use crate::commit::{Attempt, CommitRefusal};
use crate::rbac::{Permit, act};
use crate::state::Applied;
use crate::{Escalation, Hsm, records};

/// Why no security domain was given out.
#[derive(Debug, thiserror::Error)]
pub enum DownloadRefusal {
    /// Those who hold it now do not all agree.
    #[error(transparent)]
    Approval(#[from] ApprovalRefusal),
    /// The request is one for a new secret.
    #[error(
        "the request asks for a new epoch, which a download does not begin; send it to \
         /securitydomain/rotate"
    )]
    IsRotation,
    /// Not encrypted.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The HSM was activated a moment ago.
    #[error("the HSM was activated a moment ago and is being opened")]
    Spent,
    /// The node keeps no domain, though the HSM is active.
    #[error("this node keeps no copy of the domain that the HSM is active under")]
    NoDomain,
    /// The node seal.
    #[error(transparent)]
    Keeper(KeeperError),
    /// The records.
    #[error(transparent)]
    Reseal(ResealFailure),
    /// Not stored.
    #[error(transparent)]
    Commit(#[from] CommitRefusal),
}

impl Hsm {
    /// Gives the domain that the HSM is active under to a quorum: new shares, the same secret.
    pub async fn download_security_domain(
        self: &Arc<Self>,
        permit: &Permit<act::SecurityDomainDownload>,
        _intent: &Recorded,
        request: &DownloadRequest,
        keeper: &dyn Keeper,
    ) -> Result<String, DownloadRefusal> {
        if request.rotation.is_some() {
            return Err(DownloadRefusal::IsRotation);
        }
        let domain = keeper.domain().ok_or(DownloadRefusal::NoDomain)?;
        let identity = keeper.identity();
        let quorum = &request.quorum;
        let by = permit.principal().id;
        self.attempt_by(permit, "security-domain", || {
            let before = self.state.read().security_domain.held.clone();
            let (before, condition) = match &before {
                Some((held, generation)) => (Some(held), Condition::At(*generation)),
                None => (None, Condition::Absent),
            };
            let download = before.map_or(0, |held| held.download).saturating_add(1);
            let strict = self.settings().escalation == Escalation::Strict;
            if let Some(held) = before.filter(|held| strict || held.strict) {
                let terms = Terms { domain: domain.id(), download, quorum, rotation: None };
                agreed(held, &terms, request, keeper.primitives())?;
            }
            let made = self.now();
            let given = Given { domain: &domain, identity: &identity, quorum, download, made };
            let held = HeldRecord {
                domain: domain.id().to_vec(),
                download,
                required: quorum.required(),
                holders: certificates(quorum),
                downloaded: Some(Done { at: made, by, confirmed: false }),
                uploaded: before.and_then(|held| held.uploaded),
                strict,
                turns: before.map(|held| held.turns.clone()).unwrap_or_default(),
            };
            let path = records::held_path();
            Ok(Attempt {
                change: Change {
                    expect: vec![(path.clone(), condition)],
                    writes: vec![Write::Put(path, records::encode(&held))],
                },
                applied: vec![Applied::SecurityDomain(Arc::new(held))],
                result: give_out(&given, keeper)?,
            })
        })
        .await
    }
}

/// Whether enough of those who hold the domain now approve.
pub(super) fn agreed(
    held: &HeldRecord,
    terms: &Terms<'_>,
    request: &DownloadRequest,
    primitives: &dyn Primitives,
) -> Result<(), ApprovalRefusal> {
    // Certificates that make no quorum are never stored; nobody could approve.
    let nobody = ApprovalRefusal::TooFew { found: 0, required: held.required };
    let present = held.quorum(primitives).ok_or(nobody)?;
    approved(terms, &request.approvals, &present, primitives)
}

/// The blob.
pub(super) fn give_out(given: &Given<'_>, keeper: &dyn Keeper) -> Result<String, SealError> {
    let domain: &Domain = given.domain;
    let hex = domain.id().iter().map(|byte| format!("{byte:02x}")).collect();
    let facts =
        Facts { domain: hex, epoch: domain.epoch(), download: given.download, made: given.made.0 };
    seal(given.quorum, &items(given, keeper), facts, keeper.primitives())
}
