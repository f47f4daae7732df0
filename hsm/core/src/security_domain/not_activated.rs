//! An HSM before its activation: provisioned, or recovering once its exchange key was asked for.
//!
//! It has settings and administrators, and no keys. The type makes it impossible to create, use or
//! list keys of an HSM whose domain nobody holds: there is no method for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use casemate_store_port::{Change, CommitError, Generation, ResealError, Write};
use futures_util::lock::Mutex;

use super::{Domain, HeldRecord, Keeper, KeeperError};
use crate::{Door, Hsm, records};

/// An HSM that is not activated.
pub struct NotActivated {
    pub(super) hsm: Arc<Hsm>,
    /// One ceremony at a time.
    pub(super) ceremony: Mutex<()>,
    /// Whether its records are sealed under a domain already, and it only waits to be opened anew.
    spent: AtomicBool,
}

/// Why the records were not sealed under a domain.
#[derive(Debug, thiserror::Error)]
pub enum ActivateRefusal {
    /// It was done a moment ago.
    #[error("the HSM was activated a moment ago and is being opened")]
    Spent,
    /// The node seal.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    /// The records.
    #[error(transparent)]
    Reseal(#[from] ResealFailure),
}

/// Why the records are not, or perhaps not, sealed under the domain.
#[derive(Debug, thiserror::Error)]
pub enum ResealFailure {
    /// The store takes no changes; nothing was changed.
    #[error("the store takes no changes, so the records were not sealed under the domain")]
    NothingChanged(#[source] ResealError),
    /// What the store holds is found out by opening it.
    #[error("the store gave no sure answer whether the records are sealed under the domain")]
    Unsure(#[source] ResealError),
    /// A fault of ours; nothing was changed.
    #[error("the records could not be sealed under the domain")]
    Fault(#[source] ResealError),
}

impl From<ResealError> for ResealFailure {
    fn from(error: ResealError) -> Self {
        match &error {
            ResealError::Lost
            | ResealError::Behind { .. }
            | ResealError::Commit(CommitError::Full { .. } | CommitError::Unavailable(_)) => {
                Self::NothingChanged(error)
            }
            ResealError::Commit(
                CommitError::Unknown(_) | CommitError::HeadMoved | CommitError::Stopped,
            )
            | ResealError::Open(_) => Self::Unsure(error),
            ResealError::Commit(
                CommitError::BadChange | CommitError::Busy | CommitError::Cipher(_),
            )
            | ResealError::TooMany { .. } => Self::Fault(error),
        }
    }
}

impl NotActivated {
    /// An HSM whose records are sealed under the node's provisional secret.
    pub fn of(hsm: Arc<Hsm>) -> Arc<Self> {
        Arc::new(Self { hsm, ceremony: Mutex::new(()), spent: AtomicBool::new(false) })
    }

    /// What it answers as every HSM does.
    pub fn door(&self) -> Door {
        Door::from(&self.hsm)
    }

    /// Whether a recovery has begun: an exchange key was asked for.
    pub fn is_recovering(&self) -> bool {
        self.hsm.has_exchange_key()
    }

    /// Whether it was activated a moment ago.
    pub(super) fn is_spent(&self) -> bool {
        self.spent.load(Ordering::Acquire)
    }

    pub(super) fn not_spent(&self) -> Result<(), ActivateRefusal> {
        if self.is_spent() { Err(ActivateRefusal::Spent) } else { Ok(()) }
    }

    /// Seals everything under the domain, together with who holds it. The node keeps both secrets
    /// before and until that is durable, so that every state of the store opens.
    pub(super) async fn seal_under(
        &self,
        domain: &Domain,
        held: &HeldRecord,
        mut writes: Vec<Write>,
        keeper: &dyn Keeper,
    ) -> Result<Generation, ActivateRefusal> {
        let next = keeper.prepare(domain)?;
        writes.push(Write::Put(records::held_path(), records::encode(held)));
        if self.is_recovering() {
            writes.push(Write::Delete(records::exchange_path()));
        }
        let change = Change { expect: Vec::new(), writes };
        let done = self.hsm.store.reseal(next.cipher, next.identity, change).await;
        match &done {
            Ok(generation) => {
                self.spent.store(true, Ordering::Release);
                keeper.complete(generation.0);
                keeper.reopen();
            }
            // What the store holds now is found out by opening it.
            Err(_) if self.hsm.store.is_stopped() => keeper.reopen(),
            Err(_) => {}
        }
        Ok(done.map_err(ResealFailure::from)?)
    }
}
