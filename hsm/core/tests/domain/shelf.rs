//! A target of backups and a place aside, both in memory.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use casemate_hsm::backup::{Aside, AsideError, Folder, Objects, TransferError};
use casemate_store_port::{BoxFuture, Store};

use crate::bench::MemoryStore;

/// A target in memory that can be told to hold an answer back or to fail.
#[derive(Default)]
pub(crate) struct Shelf {
    pub(crate) objects: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Refuses when so many were asked for; 0 for never.
    pub(crate) refuse_at: AtomicUsize,
    pub(crate) asked: AtomicUsize,
    pub(crate) gate: tokio::sync::Mutex<()>,
    /// Lets nothing go.
    pub(crate) is_immutable: AtomicBool,
    /// Folders of which it lets nothing go.
    pub(crate) kept: Mutex<BTreeSet<String>>,
    /// Why nothing can be read, if that is so.
    pub(crate) unreadable: Mutex<Option<TransferError>>,
    /// Never answers when so many were asked for; 0 for never.
    pub(crate) hang_at: AtomicUsize,
    /// The tokens that puts and removals came with, in order.
    pub(crate) opened: Mutex<Vec<String>>,
    /// What was removed, in order.
    pub(crate) removed: Mutex<Vec<String>>,
}

impl Shelf {
    async fn pass(&self) -> Result<(), TransferError> {
        let _open = self.gate.lock().await;
        let asked = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        if asked == self.hang_at.load(Ordering::SeqCst) {
            return std::future::pending().await;
        }
        match self.refuse_at.load(Ordering::SeqCst) {
            at if at > 0 && asked >= at => Err(TransferError::Refused("no".to_owned())),
            _ => Ok(()),
        }
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.objects.lock().unwrap().keys().cloned().collect()
    }

    pub(crate) fn get(&self, name: &str) -> Vec<u8> {
        self.objects.lock().unwrap()[name].clone()
    }

    pub(crate) fn set(&self, name: &str, bytes: Option<Vec<u8>>) {
        let mut objects = self.objects.lock().unwrap();
        match bytes {
            Some(bytes) => drop(objects.insert(name.to_owned(), bytes)),
            None => drop(objects.remove(name)),
        }
    }
}

fn at(folder: &Folder, name: &str) -> String {
    format!("{}/{name}", folder.name)
}

impl Objects for Shelf {
    fn put<'a>(
        &'a self,
        folder: &'a Folder,
        name: &'a str,
        bytes: Vec<u8>,
    ) -> BoxFuture<'a, Result<(), TransferError>> {
        Box::pin(async move {
            self.opened.lock().unwrap().push(folder.target.expose_token().to_owned());
            self.pass().await?;
            // As every target does it: nothing is put over another object.
            match self.objects.lock().unwrap().entry(at(folder, name)) {
                Entry::Vacant(place) => drop(place.insert(bytes)),
                Entry::Occupied(_) => return Err(TransferError::Taken(name.to_owned())),
            }
            Ok(())
        })
    }

    fn get<'a>(
        &'a self,
        folder: &'a Folder,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Vec<u8>, TransferError>> {
        Box::pin(async move {
            self.pass().await?;
            if let Some(why) = self.unreadable.lock().unwrap().clone() {
                return Err(why);
            }
            let found = self.objects.lock().unwrap().get(&at(folder, name)).cloned();
            found.ok_or_else(|| TransferError::NotFound(name.to_owned()))
        })
    }

    fn remove<'a>(
        &'a self,
        folder: &'a Folder,
        name: &'a str,
    ) -> BoxFuture<'a, Result<(), TransferError>> {
        Box::pin(async move {
            self.opened.lock().unwrap().push(folder.target.expose_token().to_owned());
            self.pass().await?;
            let keeps = self.kept.lock().unwrap().contains(&folder.name);
            if keeps || self.is_immutable.load(Ordering::SeqCst) {
                return Err(TransferError::Kept("no, it is kept".to_owned()));
            }
            self.set(&at(folder, name), None);
            self.removed.lock().unwrap().push(at(folder, name));
            Ok(())
        })
    }
}

/// A place aside in memory.
#[derive(Default)]
pub(crate) struct Beside {
    pub(crate) store: Mutex<Option<Arc<MemoryStore>>>,
    /// Commits that the store aside does before it refuses; `None`: all.
    pub(crate) commits: Mutex<Option<u64>>,
    pub(crate) taken: AtomicBool,
    pub(crate) refuse_to_take: AtomicBool,
}

impl Aside for Beside {
    fn create(&self) -> BoxFuture<'_, Result<Arc<dyn Store>, AsideError>> {
        let store = Arc::new(MemoryStore::default());
        store.refuse_after(*self.commits.lock().unwrap());
        *self.store.lock().unwrap() = Some(Arc::clone(&store));
        Box::pin(async move { Ok::<Arc<dyn Store>, _>(store) })
    }

    fn take_over(&self) -> BoxFuture<'_, Result<(), AsideError>> {
        let store = self.store.lock().unwrap();
        let shares = Arc::strong_count(store.as_ref().unwrap());
        assert_eq!(shares, 1, "the store aside is closed before it is taken");
        let refused = self.refuse_to_take.load(Ordering::SeqCst);
        self.taken.store(!refused, Ordering::SeqCst);
        Box::pin(async move {
            match refused {
                true => Err(AsideError("no space".into())),
                false => Ok(()),
            }
        })
    }

    fn discard(&self) -> BoxFuture<'_, ()> {
        *self.store.lock().unwrap() = None;
        Box::pin(std::future::ready(()))
    }
}
