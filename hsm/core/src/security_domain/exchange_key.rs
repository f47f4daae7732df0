//! The exchange key of a recovery: made when it is first asked for, and kept until the upload.

use std::sync::Arc;

use casemate_audit::Recorded;
use casemate_quorum::{Holder, Jwk};
use casemate_store_port::{Change, Condition, Write};
use futures_channel::oneshot;

use super::not_activated::ActivateRefusal;
use super::{ExchangeKey, ExchangeRecord, Keeper, KeeperError, NotActivated};
use crate::commit::{Attempt, CommitRefusal};
use crate::rbac::{Permit, act};
use crate::state::Applied;
use crate::{PoolFailure, records};

/// Room for the record of an exchange key: its bytes must not be left behind by a growing buffer.
const RECORD_BYTES: usize = 8 * 1024;

/// The public part of an exchange key, as clients read it.
pub type TransferKey = Jwk;

/// Why there is no exchange key.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeKeyRefusal {
    /// The HSM was activated a moment ago.
    #[error("the HSM was activated a moment ago and is being opened")]
    Spent,
    /// No key was made.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    /// The pool.
    #[error(transparent)]
    Pool(#[from] PoolFailure),
    /// Not stored.
    #[error(transparent)]
    Commit(#[from] CommitRefusal),
}

impl NotActivated {
    /// The exchange key; asked for again, the same. From now on the HSM is recovering.
    pub async fn exchange_key(
        &self,
        permit: &Permit<act::SecurityDomainTransferKeyRead>,
        _intent: &Recorded,
        keeper: &Arc<dyn Keeper>,
    ) -> Result<TransferKey, ExchangeKeyRefusal> {
        let _alone = self.ceremony.lock().await;
        if let Err(ActivateRefusal::Spent) = self.not_spent() {
            return Err(ExchangeKeyRefusal::Spent);
        }
        let there = self.hsm.state.read().security_domain.exchange.clone();
        let record = match there {
            Some((record, _)) => record,
            None => self.make(permit, keeper).await?,
        };
        let primitives = keeper.primitives();
        let holder = Holder::from_der(&record.certificate, primitives);
        let holder = holder.map_err(|_| KeeperError::ExchangeKey)?;
        Ok(holder.jwk(primitives))
    }

    async fn make(
        &self,
        permit: &Permit<act::SecurityDomainTransferKeyRead>,
        keeper: &Arc<dyn Keeper>,
    ) -> Result<Arc<ExchangeRecord>, ExchangeKeyRefusal> {
        let by = permit.principal().id;
        let (tell, told) = oneshot::channel();
        let maker = Arc::clone(keeper);
        let job = move || {
            // Whoever asked may have gone.
            let _ = tell.send(maker.new_exchange_key());
        };
        self.hsm.pool.run(by, Box::new(job)).map_err(PoolFailure::from)?;
        let made = told.await.map_err(|oneshot::Canceled| PoolFailure::Died)?;
        let ExchangeKey { pkcs8, certificate } = made?;
        let record = ExchangeRecord { pkcs8, certificate, at: self.hsm.now(), by };
        let record = Arc::new(record);
        self.hsm
            .attempt_by(permit, "security-domain", || {
                let path = records::exchange_path();
                let value = records::encode_in(record.as_ref(), RECORD_BYTES);
                Ok::<_, CommitRefusal>(Attempt {
                    change: Change {
                        expect: vec![(path.clone(), Condition::Absent)],
                        writes: vec![Write::Put(path, value)],
                    },
                    applied: vec![Applied::ExchangeKey(Arc::clone(&record))],
                    result: (),
                })
            })
            .await?;
        Ok(record)
    }
}
