//! A keeper in memory: what a node would keep in its seal.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use casemate_engine_port::Secret;
use casemate_engine_soft::ceremony::SoftPrimitives;
use casemate_engine_soft::domain::{DomainKeys, RecordCipher, domain_id};
use casemate_hsm::security_domain::{
    Domain, Epoch, EpochKeys, ExchangeKey, Keeper, KeeperError, NextSeal, Primitives,
};
use casemate_store_port::StoreIdentity;
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};

use crate::kit::Cipher;

pub(crate) struct PlayedKeeper {
    /// The secret of the domain that the HSM is active under.
    domain: Mutex<Option<u8>>,
    /// The node seal cannot be written.
    pub(crate) is_full: AtomicBool,
    pub(crate) is_reopened: AtomicBool,
    pub(crate) prepared: AtomicU64,
    /// The epoch that records may be sealed under beside the newest.
    leaving: Mutex<Option<u32>>,
}

impl PlayedKeeper {
    pub(crate) fn new(activated: bool) -> Arc<Self> {
        Arc::new(Self {
            domain: Mutex::new(activated.then_some(7)),
            is_full: AtomicBool::new(false),
            is_reopened: AtomicBool::new(false),
            prepared: AtomicU64::new(0),
            leaving: Mutex::new(None),
        })
    }
}

/// A domain whose secret is this byte.
fn domain(byte: u8) -> Domain {
    let secret = Secret::new(vec![byte; 32]);
    let id = domain_id(&secret);
    Domain::new(id, vec![Epoch { number: 1, keys: EpochKeys::Whole(secret) }]).unwrap()
}

impl Keeper for PlayedKeeper {
    fn primitives(&self) -> &dyn Primitives {
        &SoftPrimitives
    }

    fn new_domain(&self) -> Domain {
        domain(9)
    }

    fn domain(&self) -> Option<Domain> {
        self.domain.lock().unwrap().map(domain)
    }

    fn next_epoch(&self, forget_before: Option<u32>) -> Option<Domain> {
        let first = Secret::new(vec![7; 32]);
        let id = domain_id(&first);
        let keys = EpochKeys::BackupOnly(DomainKeys::derive(&first).into_backup_keys());
        let mut epochs = vec![Epoch { number: 1, keys }];
        epochs.retain(|epoch| epoch.number >= forget_before.unwrap_or_default());
        epochs.push(Epoch { number: 2, keys: EpochKeys::Whole(Secret::new(vec![8; 32])) });
        Domain::new(id, epochs).ok()
    }

    fn leaving(&self) -> Option<u32> {
        *self.leaving.lock().unwrap()
    }

    fn prepare_epoch(&self, next: &Domain, _: Option<u32>) -> Result<NextSeal, KeeperError> {
        let prepared = self.prepare(next)?;
        *self.leaving.lock().unwrap() = Some(1);
        Ok(prepared)
    }

    fn abandon_epoch(&self) {
        *self.leaving.lock().unwrap() = None;
    }

    fn leave_epoch(&self, _: u64) -> Result<(), KeeperError> {
        *self.leaving.lock().unwrap() = None;
        Ok(())
    }

    fn manifest_key(&self, secret: &Secret) -> Secret {
        DomainKeys::derive(secret).into_manifest_key()
    }

    fn identity(&self) -> Secret {
        Secret::new(vec![1; 33])
    }

    fn is_identity(&self, record: &[u8]) -> bool {
        record.len() == 33 && record[0] == 1
    }

    fn new_exchange_key(&self) -> Result<ExchangeKey, KeeperError> {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let params = CertificateParams::new(Vec::new()).unwrap();
        let certificate = params.self_signed(&key).unwrap().der().to_vec();
        Ok(ExchangeKey { pkcs8: Secret::new(key.serialize_der()), certificate })
    }

    fn prepare(&self, next: &Domain) -> Result<NextSeal, KeeperError> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(KeeperError::Seal("no space".into()));
        }
        self.prepared.fetch_add(1, Ordering::SeqCst);
        let (record, head, _, _) = DomainKeys::derive(next.secret()).into_parts();
        let cipher = Arc::new(Cipher(RecordCipher::new(record, head)));
        let identity = StoreIdentity { hsm: [1; 16], epoch: next.epoch() };
        Ok(NextSeal { cipher, identity })
    }

    fn complete(&self, _sequence: u64) {}

    fn given_again(&self) {}

    fn reopen(&self) {
        self.is_reopened.store(true, Ordering::SeqCst);
    }
}
