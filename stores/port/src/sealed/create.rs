//! Creates the head of a new HSM.

use std::sync::Arc;

use crate::sealed::head::{Head, head_path};
use crate::sealed::place::Sealer;
use crate::sealed::state::State;
use crate::{
    Expect, OpenError, Outcome, RecordCipher, SealedStore, Store, StoreError, StoreIdentity,
    Transaction, Write,
};

impl SealedStore {
    /// Creates the head of a new HSM in an empty store. Sequence 0.
    pub async fn create(
        store: Arc<dyn Store>,
        cipher: Arc<dyn RecordCipher>,
        identity: StoreIdentity,
    ) -> Result<Self, OpenError> {
        with_head(store, Sealer::new(cipher, identity), Head::EMPTY).await
    }
}

/// Creates a head in an empty store.
pub(super) async fn with_head(
    store: Arc<dyn Store>,
    sealer: Sealer,
    head: Head,
) -> Result<SealedStore, OpenError> {
    let (entries, _) = store.read_all().await.map_err(OpenError::Store)?;
    if !entries.is_empty() {
        return Err(OpenError::NotEmpty);
    }
    let value = sealer.seal_head(&head).map_err(OpenError::Cipher)?;
    let expect = vec![(head_path(), Expect::Absent)];
    let writes = vec![Write::Put(head_path(), value.clone())];
    let revision = match store.commit(Transaction { expect, writes }).await {
        Ok(Outcome::Committed(revision)) => revision,
        Ok(Outcome::Lost) => return Err(OpenError::NotEmpty),
        Err(cause @ StoreError::Unknown(_)) => {
            let head = store.read(&head_path()).await.map_err(OpenError::Store)?;
            match head {
                Some(entry) if entry.value == value => entry.revision,
                Some(_) => return Err(OpenError::NotEmpty),
                None => return Err(OpenError::Store(cause)),
            }
        }
        Err(cause) => return Err(OpenError::Store(cause)),
    };
    Ok(SealedStore::new(store, sealer, State::new(head, revision, true)))
}
