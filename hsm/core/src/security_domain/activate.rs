//! The first download: gives a new domain to a quorum, and activates the HSM.

use casemate_audit::Recorded;
use casemate_quorum::DownloadRequest;

use super::download::{DownloadRefusal, give_out};
use super::held::{Done, certificates};
use super::items::Given;
use super::not_activated::ActivateRefusal;
use super::{HeldRecord, Keeper, NotActivated};
use crate::Escalation;
use crate::rbac::{Permit, act};

impl NotActivated {
    /// Makes a domain, gives it to the quorum and seals the HSM under it. The answer is the blob;
    /// nothing else is ever told of the domain.
    pub async fn download(
        &self,
        permit: &Permit<act::SecurityDomainDownload>,
        _intent: &Recorded,
        request: &DownloadRequest,
        keeper: &dyn Keeper,
    ) -> Result<String, DownloadRefusal> {
        if request.rotation.is_some() {
            return Err(DownloadRefusal::IsRotation);
        }
        let _alone = self.ceremony.lock().await;
        self.not_spent()?;
        let quorum = &request.quorum;
        let (domain, identity, made) = (keeper.new_domain(), keeper.identity(), self.hsm.now());
        let given = Given { domain: &domain, identity: &identity, quorum, download: 1, made };
        let blob = give_out(&given, keeper)?;
        let by = permit.principal().id;
        let held = HeldRecord {
            domain: domain.id().to_vec(),
            download: 1,
            required: quorum.required(),
            holders: certificates(quorum),
            downloaded: Some(Done { at: made, by, confirmed: false }),
            uploaded: None,
            strict: self.hsm.settings().escalation == Escalation::Strict,
            turns: Vec::new(),
        };
        self.seal_under(&domain, &held, Vec::new(), keeper).await?;
        Ok(blob)
    }
}

impl From<ActivateRefusal> for DownloadRefusal {
    fn from(refusal: ActivateRefusal) -> Self {
        match refusal {
            ActivateRefusal::Spent => Self::Spent,
            ActivateRefusal::Keeper(error) => Self::Keeper(error),
            ActivateRefusal::Reseal(error) => Self::Reseal(error),
        }
    }
}
