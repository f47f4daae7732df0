//! What the security domain needs done for it: this node's copy of the secrets, and new ones.

use std::sync::Arc;

use casemate_engine_port::Secret;
use casemate_quorum::Primitives;
use casemate_store_port::{RecordCipher, StoreIdentity};

use super::Domain;

/// Keeps this node's copy of the domain.
pub trait Keeper: Send + Sync + 'static {
    /// Cryptography.
    fn primitives(&self) -> &dyn Primitives;

    /// A new domain, in its first epoch. Nothing is kept of it yet.
    fn new_domain(&self) -> Domain;

    /// The domain that this HSM is active under, as officers are given it; none before its
    /// activation.
    fn domain(&self) -> Option<Domain>;

    /// The same domain with a new epoch, as officers are given it: of earlier epochs what opens
    /// their backups, and nothing of those before `forget_before`. Nothing is kept of it yet. None
    /// if it would have too many epochs, or none to begin with.
    fn next_epoch(&self, forget_before: Option<u32>) -> Option<Domain>;

    /// The epoch before the present one, while records may be sealed under it.
    fn leaving(&self) -> Option<u32>;

    /// Keeps the next epoch, durably, beside the one that is in use; and that nothing of the epochs
    /// before `forget_before` is kept once it has begun.
    fn prepare_epoch(
        &self,
        next: &Domain,
        forget_before: Option<u32>,
    ) -> Result<NextSeal, KeeperError>;

    /// Forgets an epoch that was prepared and did not begin.
    fn abandon_epoch(&self);

    /// Nothing is sealed any more under the epoch before: keeps of it what opens its backups, or
    /// nothing. Durable when it returns.
    fn leave_epoch(&self, sequence: u64) -> Result<(), KeeperError>;

    /// What authenticates the items of a domain with this secret.
    fn manifest_key(&self, secret: &Secret) -> Secret;

    /// The HSM's identity key, as its record has it.
    fn identity(&self) -> Secret;

    /// Whether these bytes are the record of an identity key.
    fn is_identity(&self, record: &[u8]) -> bool;

    /// A new exchange key with its certificate.
    fn new_exchange_key(&self) -> Result<ExchangeKey, KeeperError>;

    /// Keeps the next domain, durably, beside the secret that is in use.
    fn prepare(&self, next: &Domain) -> Result<NextSeal, KeeperError>;

    /// Forgets what the records are no longer sealed under; durable at the latest when the HSM has
    /// been opened anew.
    fn complete(&self, sequence: u64);

    /// The domain was given out again; that is to be confirmed in a moment.
    fn given_again(&self);

    /// The HSM must be opened anew; what is under way comes to its end first.
    fn reopen(&self);
}

/// What the records are to be sealed under.
pub struct NextSeal {
    /// The cipher.
    pub cipher: Arc<dyn RecordCipher>,
    /// The HSM and the epoch.
    pub identity: StoreIdentity,
}

/// An exchange key.
pub struct ExchangeKey {
    /// The private key, PKCS #8.
    pub pkcs8: Secret,
    /// Its certificate, DER.
    pub certificate: Vec<u8>,
}

/// Why the keeper did not do it.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The node seal was not written.
    #[error("the node seal could not be written")]
    Seal(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No key or certificate was made.
    #[error("the exchange key could not be made")]
    ExchangeKey,
}
