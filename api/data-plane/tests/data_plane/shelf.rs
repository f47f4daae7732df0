//! A target of backups in memory, and a place aside that nothing is opened from.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use casemate_data_plane::Backups;
use casemate_hsm::backup::{Aside, AsideError, Folder, Objects, TransferError};
use casemate_store_embedded::EmbeddedStore;
use casemate_store_port::{BoxFuture, Store};
use tokio::sync::Semaphore;

pub(crate) struct Shelf {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    /// One for each object that may be carried.
    pub(crate) gate: Semaphore,
    pub(crate) is_gone: AtomicBool,
    pub(crate) taken: AtomicBool,
    refuses: Mutex<Option<TransferError>>,
    /// Of each object that was carried, whether the HSM's identity opens its target.
    by_identity: Mutex<Vec<bool>>,
    aside: tempfile::TempDir,
}

impl Default for Shelf {
    fn default() -> Self {
        Self {
            objects: Mutex::default(),
            gate: Semaphore::new(1_000),
            is_gone: AtomicBool::new(false),
            taken: AtomicBool::new(false),
            refuses: Mutex::default(),
            by_identity: Mutex::default(),
            aside: tempfile::tempdir().unwrap(),
        }
    }
}

impl Shelf {
    pub(crate) fn backups(self: &Arc<Self>) -> Backups {
        Backups {
            hsm: "dev".to_owned(),
            objects: Arc::<Self>::clone(self),
            aside: Arc::<Self>::clone(self),
        }
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.objects.lock().unwrap().keys().cloned().collect()
    }

    pub(crate) fn alter(&self, name: &str) {
        let mut objects = self.objects.lock().unwrap();
        *objects.get_mut(name).unwrap().last_mut().unwrap() ^= 1;
    }

    /// Every object is refused for this reason, until there is none.
    pub(crate) fn refuse_with(&self, failure: Option<TransferError>) {
        *self.refuses.lock().unwrap() = failure;
    }

    pub(crate) fn opened_by_identity(&self) -> Vec<bool> {
        self.by_identity.lock().unwrap().clone()
    }

    async fn pass(&self, folder: &Folder) -> Result<(), TransferError> {
        self.gate.acquire().await.unwrap().forget();
        self.by_identity.lock().unwrap().push(folder.target.is_opened_by_identity());
        if let Some(failure) = self.refuses.lock().unwrap().clone() {
            return Err(failure);
        }
        match self.is_gone.load(Ordering::SeqCst) {
            true => Err(TransferError::Refused("the target is not there".to_owned())),
            false => Ok(()),
        }
    }
}

impl Objects for Shelf {
    fn put<'a>(
        &'a self,
        folder: &'a Folder,
        name: &'a str,
        bytes: Vec<u8>,
    ) -> BoxFuture<'a, Result<(), TransferError>> {
        Box::pin(async move {
            self.pass(folder).await?;
            self.objects.lock().unwrap().insert(format!("{}/{name}", folder.name), bytes);
            Ok(())
        })
    }

    fn get<'a>(
        &'a self,
        folder: &'a Folder,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Vec<u8>, TransferError>> {
        Box::pin(async move {
            self.pass(folder).await?;
            let objects = self.objects.lock().unwrap();
            let found = objects.get(&format!("{}/{name}", folder.name)).cloned();
            found.ok_or_else(|| TransferError::NotFound(name.to_owned()))
        })
    }

    fn remove<'a>(
        &'a self,
        folder: &'a Folder,
        name: &'a str,
    ) -> BoxFuture<'a, Result<(), TransferError>> {
        Box::pin(async move {
            self.pass(folder).await?;
            self.objects.lock().unwrap().remove(&format!("{}/{name}", folder.name));
            Ok(())
        })
    }
}

impl Aside for Shelf {
    fn create(&self) -> BoxFuture<'_, Result<Arc<dyn Store>, AsideError>> {
        let folder = tempfile::tempdir_in(self.aside.path()).unwrap().keep();
        let store = Arc::new(EmbeddedStore::open(&folder).unwrap());
        Box::pin(async move { Ok::<Arc<dyn Store>, _>(store) })
    }

    fn take_over(&self) -> BoxFuture<'_, Result<(), AsideError>> {
        self.taken.store(true, Ordering::SeqCst);
        Box::pin(std::future::ready(Ok(())))
    }

    fn discard(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}
