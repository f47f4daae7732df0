//! Where the restored HSM is made ready: a second folder beside the first one's, in the same
//! temporary folder.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use casemate_hsm::backup::{Aside, AsideError};
use casemate_store_embedded::EmbeddedStore;
use casemate_store_port::{BoxFuture, Store};

/// The folder aside.
pub(crate) struct TemporaryAside {
    pub(crate) folder: PathBuf,
    /// Whether what is there takes over.
    pub(crate) taken: AtomicBool,
}

impl TemporaryAside {
    fn make(&self) -> Result<Arc<dyn Store>, AsideError> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| AsideError(error);
        std::fs::create_dir(&self.folder).map_err(|error| failed(Box::new(error)))?;
        let store = EmbeddedStore::open(&self.folder).map_err(|error| failed(Box::new(error)))?;
        Ok(Arc::new(store))
    }
}

impl Aside for TemporaryAside {
    fn create(&self) -> BoxFuture<'_, Result<Arc<dyn Store>, AsideError>> {
        Box::pin(async move { self.make() })
    }

    fn take_over(&self) -> BoxFuture<'_, Result<(), AsideError>> {
        Box::pin(async move {
            self.taken.store(true, Ordering::Release);
            Ok(())
        })
    }

    /// The whole temporary folder is removed at the end.
    fn discard(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
