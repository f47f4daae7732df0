//! An upload: the HSM becomes a member of the domain that a quorum of officers brings.

use casemate_audit::Recorded;
use casemate_quorum::{Hidden, Holder, Item, Upload, UploadError};
use casemate_store_port::Write;

use super::held::{Done, certificates};
use super::items::{Brought, DomainRefusal, read};
use super::not_activated::{ActivateRefusal, ResealFailure};
use super::{ExchangeRecord, HeldRecord, Keeper, KeeperError, NotActivated};
use crate::rbac::{Permit, act};
use crate::{Escalation, Hsm};

/// Why a security domain was not taken.
#[derive(Debug, thiserror::Error)]
pub enum UploadRefusal {
    /// Nobody has asked for an exchange key.
    #[error("no exchange key was asked for, so nothing can be wrapped to it")]
    NoExchangeKey,
    /// What came is no upload for this HSM.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// What it holds is no domain of ours.
    #[error("the security domain is refused: {0}")]
    Domain(#[from] DomainRefusal),
    /// The HSM was activated a moment ago.
    #[error("the HSM was activated a moment ago and is being opened")]
    Spent,
    /// The node seal, or the exchange key that is kept.
    #[error(transparent)]
    Keeper(KeeperError),
    /// The records.
    #[error(transparent)]
    Reseal(ResealFailure),
}

impl NotActivated {
    /// Takes a domain and seals the HSM under it.
    pub async fn upload(
        &self,
        permit: &Permit<act::SecurityDomainUpload>,
        _intent: &Recorded,
        upload: &Upload,
        keeper: &dyn Keeper,
    ) -> Result<(), UploadRefusal> {
        let _alone = self.ceremony.lock().await;
        self.not_spent()?;
        let exchange = self.hsm.state.read().security_domain.exchange.clone();
        let (exchange, _) = exchange.ok_or(UploadRefusal::NoExchangeKey)?;
        let items = open(upload, &exchange, keeper)?;
        let Brought { domain, identity, quorum, download } = read(&items, keeper)?;
        let (at, by) = (self.hsm.now(), permit.principal().id);
        let held = HeldRecord {
            domain: domain.id().to_vec(),
            download,
            required: quorum.required(),
            holders: certificates(&quorum),
            downloaded: None,
            uploaded: Some(Done { at, by, confirmed: false }),
            strict: self.hsm.settings().escalation == Escalation::Strict,
            turns: Vec::new(),
        };
        let identity = Write::Put(Hsm::kept_path("identity"), identity.expose().to_vec());
        self.seal_under(&domain, &held, vec![identity], keeper).await?;
        Ok(())
    }
}

fn open(
    upload: &Upload,
    exchange: &ExchangeRecord,
    keeper: &dyn Keeper,
) -> Result<Vec<Item>, UploadRefusal> {
    let primitives = keeper.primitives();
    let kept = || UploadRefusal::Keeper(KeeperError::ExchangeKey);
    let holder = Holder::from_der(&exchange.certificate, primitives).map_err(|_| kept())?;
    let key = primitives.rsa_private_key(&Hidden::copied(exchange.pkcs8.expose()));
    let key = key.ok_or_else(kept)?;
    Ok(upload.open(holder.thumbprint(), &*key, primitives)?)
}

impl From<ActivateRefusal> for UploadRefusal {
    fn from(refusal: ActivateRefusal) -> Self {
        match refusal {
            ActivateRefusal::Spent => Self::Spent,
            ActivateRefusal::Keeper(error) => Self::Keeper(error),
            ActivateRefusal::Reseal(error) => Self::Reseal(error),
        }
    }
}
