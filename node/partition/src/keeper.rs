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
        self.seal.lock().domain().map(copy)
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
        let keys = DomainKeys::derive(next.secret());
        if !self.memory_is_locked {
            lock_all([keys.record_key(), keys.head_key()].into_iter());
        }
        let (record, head, _, _) = keys.into_parts();
        let cipher = Arc::new(DomainCipher(RecordCipher::new(record, head)));
        Ok(NextSeal { cipher, identity })
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

/// The same domain once more.
pub(crate) fn copy(domain: &Domain) -> Domain {
    let same = |secret: &Secret| Secret::new(secret.expose().to_vec());
    let epoch = |epoch: &Epoch| Epoch {
        number: epoch.number,
        keys: match &epoch.keys {
            EpochKeys::Whole(secret) => EpochKeys::Whole(same(secret)),
            EpochKeys::BackupOnly(secret) => EpochKeys::BackupOnly(same(secret)),
        },
    };
    let epochs = domain.epochs().iter().map(epoch).collect();
    Domain::new(domain.id(), epochs).expect("a copy of a domain is one")
}
