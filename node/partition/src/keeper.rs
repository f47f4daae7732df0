//! This node's copy of the domain, as the security domain's ceremonies ask for it.

use std::sync::Arc;

use casemate_engine_port::Secret;
use casemate_engine_soft::ceremony::SoftPrimitives;
use casemate_engine_soft::domain::{DomainKeys, RecordCipher, domain_id};
use casemate_hsm::security_domain::{
    Domain, Epoch, EpochKeys, ExchangeKey, Keeper, KeeperError, NextSeal, Primitives,
};
use parking_lot::Mutex;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use tokio::sync::{Notify, watch};

use crate::failure::chain;
use crate::ledger::is_identity;
use crate::open::lock_all;
use crate::record_cipher::DomainCipher;
use crate::seal::{NodeSeal, SealFileError, random_secret};

/// Guards the node seal, and tells when the HSM must be opened anew.
pub(crate) struct NodeKeeper {
    seal: Mutex<NodeSeal>,
    identity: Secret,
    /// The HSM's name, for the exchange key's certificate.
    hsm: String,
    memory_is_locked: bool,
    reopen: watch::Sender<bool>,
    given_again: Notify,
}

impl NodeKeeper {
    pub(crate) fn new(
        seal: NodeSeal,
        identity: Secret,
        hsm: &str,
        memory_is_locked: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            seal: Mutex::new(seal),
            identity,
            hsm: hsm.to_owned(),
            memory_is_locked,
            reopen: watch::Sender::new(false),
            given_again: Notify::new(),
        })
    }

    /// See [`NodeSeal::remember`].
    pub(crate) fn remember(&self, sequence: u64) -> Result<(), SealFileError> {
        self.seal.lock().remember(sequence)
    }

    /// Waits until the HSM must be opened anew.
    pub(crate) async fn reopened(&self) {
        let mut reopen = self.reopen.subscribe();
        // The sender is ours, so the wait cannot fail.
        let _over = reopen.wait_for(|reopen| *reopen).await;
    }

    /// Waits until the domain was given out again.
    pub(crate) async fn gave_again(&self) {
        self.given_again.notified().await;
    }
}

impl NodeKeeper {
    /// Before which epoch nothing is kept once the one before is left; 0 if all is.
    pub(crate) fn forget_before(&self) -> u32 {
        self.seal.lock().forget_before()
    }

    /// The cipher of records under the domain's newest secret.
    fn cipher(&self, domain: &Domain) -> Arc<DomainCipher> {
        let keys = DomainKeys::derive(domain.secret());
        if !self.memory_is_locked {
            lock_all([keys.record_key(), keys.head_key()].into_iter());
        }
        let (record, head, _, _) = keys.into_parts();
        Arc::new(DomainCipher(RecordCipher::new(record, head)))
    }
}

impl Keeper for NodeKeeper {
    fn primitives(&self) -> &dyn Primitives {
        &SoftPrimitives
    }

    fn new_domain(&self) -> Domain {
        let secret = random_secret();
        let id = domain_id(&secret);
        let epochs = vec![Epoch { number: 1, keys: EpochKeys::Whole(secret) }];
        Domain::new(id, epochs).expect("one whole epoch makes a domain")
    }

    fn domain(&self) -> Option<Domain> {
        let seal = self.seal.lock();
        let epochs = given(seal.domain()?, seal.forget_before());
        Some(Domain::new(seal.domain()?.id(), epochs).expect("its newest epoch is whole"))
    }

    fn next_epoch(&self, forget_before: Option<u32>) -> Option<Domain> {
        let seal = self.seal.lock();
        let domain = seal.domain()?;
        let number = domain.epoch().checked_add(1)?;
        let forget_before = forget_before.unwrap_or_default();
        let mut epochs = given(domain, forget_before);
        // The one in force becomes one that backups are opened with, if not even that.
        epochs.retain(|epoch| epoch.number >= forget_before);
        if let Some(last) = epochs.last_mut().filter(|epoch| epoch.number == domain.epoch()) {
            last.keys = for_backups(domain.secret());
        }
        epochs.push(Epoch { number, keys: EpochKeys::Whole(random_secret()) });
        Domain::new(domain.id(), epochs).ok()
    }

    fn leaving(&self) -> Option<u32> {
        self.seal.lock().leaving().map(|epoch| epoch.number)
    }

    fn prepare_epoch(
        &self,
        next: &Domain,
        forget_before: Option<u32>,
    ) -> Result<NextSeal, KeeperError> {
        let mut seal = self.seal.lock();
        let failed = |error| KeeperError::Seal(Box::new(error));
        // With all that opens backups now: it is forgotten only when the new epoch has begun.
        let epochs = seal.domain().map(Domain::epochs).unwrap_or_default();
        let newest = Epoch { number: next.epoch(), keys: EpochKeys::Whole(same(next.secret())) };
        let epochs = epochs.iter().map(same_epoch).chain([newest]).collect();
        let both =
            Domain::new(next.id(), epochs).map_err(|error| KeeperError::Seal(Box::new(error)))?;
        let identity = seal.prepare_epoch(both, forget_before.unwrap_or_default());
        let identity = identity.map_err(failed)?;
        drop(seal);
        Ok(NextSeal { cipher: self.cipher(next), identity })
    }

    fn abandon_epoch(&self) {
        let mut seal = self.seal.lock();
        let Some(epoch) = seal.leaving().map(|epoch| epoch.number) else { return };
        seal.settle(epoch);
        let sequence = seal.last_sequence();
        if let Err(error) = seal.remember(sequence) {
            tracing::warn!("{}; done at the next start", chain(&error));
        }
    }

    fn leave_epoch(&self, sequence: u64) -> Result<(), KeeperError> {
        let failed = |error| KeeperError::Seal(Box::new(error));
        let mut seal = self.seal.lock();
        let Some(domain) = seal.domain() else { return Ok(()) };
        let epochs = given(domain, seal.forget_before());
        let left = Domain::new(domain.id(), epochs).expect("its newest epoch is whole");
        seal.leave_epoch(left, sequence).map_err(failed)
    }

    fn manifest_key(&self, secret: &Secret) -> Secret {
        DomainKeys::derive(secret).into_manifest_key()
    }

    fn identity(&self) -> Secret {
        Secret::new(self.identity.expose().to_vec())
    }

    fn is_identity(&self, record: &[u8]) -> bool {
        is_identity(record)
    }

    fn new_exchange_key(&self) -> Result<ExchangeKey, KeeperError> {
        let made = || -> Result<ExchangeKey, rcgen::Error> {
            let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_3072)?;
            let mut params = CertificateParams::new(Vec::new())?;
            let name = format!("Exchange key of the managed HSM {}", self.hsm);
            params.distinguished_name.push(DnType::CommonName, name);
            let certificate = params.self_signed(&key)?.der().to_vec();
            Ok(ExchangeKey { pkcs8: Secret::new(key.serialize_der()), certificate })
        };
        made().map_err(|error| {
            tracing::error!(%error, "no exchange key was made");
            KeeperError::ExchangeKey
        })
    }

    fn prepare(&self, next: &Domain) -> Result<NextSeal, KeeperError> {
        let identity = self.seal.lock().prepare(copy(next));
        let identity = identity.map_err(|error| KeeperError::Seal(Box::new(error)))?;
        Ok(NextSeal { cipher: self.cipher(next), identity })
    }

    fn complete(&self, sequence: u64) {
        let mut seal = self.seal.lock();
        let Some(epoch) = seal.pending_epoch() else { return };
        seal.settle(epoch);
        if let Err(error) = seal.remember(sequence) {
            tracing::warn!("{}; done at the next start", chain(&error));
        }
    }

    fn given_again(&self) {
        self.given_again.notify_one();
    }

    fn reopen(&self) {
        self.reopen.send_replace(true);
    }
}

fn same(secret: &Secret) -> Secret {
    Secret::new(secret.expose().to_vec())
}

fn same_epoch(epoch: &Epoch) -> Epoch {
    let keys = match &epoch.keys {
        EpochKeys::Whole(secret) => EpochKeys::Whole(same(secret)),
        EpochKeys::BackupOnly(keys) => EpochKeys::BackupOnly(same(keys)),
    };
    Epoch { number: epoch.number, keys }
}

/// The same domain once more.
pub(crate) fn copy(domain: &Domain) -> Domain {
    let epochs = domain.epochs().iter().map(same_epoch).collect();
    Domain::new(domain.id(), epochs).expect("a copy of a domain is one")
}

/// What opens the backups of an epoch with this secret.
fn for_backups(secret: &Secret) -> EpochKeys {
    EpochKeys::BackupOnly(DomainKeys::derive(secret).into_backup_keys())
}

/// The epochs of a domain as others are given them: the newest whole, of earlier ones what opens
/// their backups, and nothing of those that are to be forgotten.
fn given(domain: &Domain, forget_before: u32) -> Vec<Epoch> {
    let newest = domain.epoch();
    let kept = domain
        .epochs()
        .iter()
        .filter(|epoch| epoch.number == newest || epoch.number >= forget_before);
    let given = |epoch: &Epoch| match &epoch.keys {
        EpochKeys::Whole(secret) if epoch.number != newest => {
            Epoch { number: epoch.number, keys: for_backups(secret) }
        }
        EpochKeys::Whole(_) | EpochKeys::BackupOnly(_) => same_epoch(epoch),
    };
    kept.map(given).collect()
}
