//! The place beside the database where a restored HSM is made ready, and the step by which it takes
//! the database's place.
//!
//! `restore/` in the HSM's folder holds a database of its own. The file `ready` in it is the
//! decision: made when that database is whole, synced and closed. From then on every opening of the
//! HSM goes the same few steps until the database has moved; without it every opening removes the
//! folder.
//!
//! Invariant: at each moment the folder holds one whole database that the next opening finds.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use casemate_hsm::backup::{Aside, AsideError};
use casemate_store_embedded::{DATABASE_FILE, EmbeddedStore};
use casemate_store_port::{BoxFuture, Store};
use tokio::sync::Notify;

use crate::files;

/// The folder aside.
const FOLDER: &str = "restore";

/// The decision.
const READY: &str = "ready";

/// What SQLite may leave beside a database.
const BESIDE_DATABASE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// The place aside of one HSM.
pub(crate) struct FolderAside {
    folder: PathBuf,
    taken: Notify,
}

impl FolderAside {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), taken: Notify::new() }
    }

    /// Waits until a restored HSM is to be opened.
    pub(crate) async fn taken(&self) {
        self.taken.notified().await;
    }

    fn make(&self) -> io::Result<Arc<dyn Store>> {
        remove(&self.folder.join(FOLDER))?;
        let aside = self.folder.join(FOLDER);
        files::folder(&aside)?;
        sync(&self.folder)?;
        let store = EmbeddedStore::open(&aside).map_err(io::Error::other)?;
        Ok(Arc::new(store))
    }

    fn decide(&self) -> io::Result<()> {
        let aside = self.folder.join(FOLDER);
        for suffix in BESIDE_DATABASE {
            if aside.join(format!("{DATABASE_FILE}{suffix}")).exists() {
                return Err(io::Error::other("the database aside is still open"));
            }
        }
        File::open(aside.join(DATABASE_FILE))?.sync_all()?;
        files::create(&aside.join(READY), b"1")?;
        sync(&aside)
    }
}

impl Aside for FolderAside {
    fn create(&self) -> BoxFuture<'_, Result<Arc<dyn Store>, AsideError>> {
        Box::pin(async move { self.make().map_err(failed) })
    }

    fn take_over(&self) -> BoxFuture<'_, Result<(), AsideError>> {
        Box::pin(async move {
            self.decide().map_err(failed)?;
            self.taken.notify_one();
            Ok(())
        })
    }

    fn discard(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Err(error) = remove(&self.folder.join(FOLDER)) {
                tracing::warn!(%error, "what a restore left is removed at the next start");
            }
        })
    }
}

fn failed(error: io::Error) -> AsideError {
    AsideError(Box::new(error))
}

/// Lets a database aside take the place of the HSM's, if that was decided; removes it otherwise.
/// Runs before the database is opened.
pub(crate) fn take_place(folder: &Path) -> io::Result<()> {
    STEPS.iter().try_for_each(|step| step(folder, &folder.join(FOLDER)))
}

type Step = fn(&Path, &Path) -> io::Result<()>;

/// Each may be the last before the power fails; all are gone again from the first.
const STEPS: [Step; 4] = [without_the_old_log, moved, undecided, removed];

/// The log of the database before would be taken for that of the new one.
fn without_the_old_log(folder: &Path, aside: &Path) -> io::Result<()> {
    if !aside.join(READY).exists() || !aside.join(DATABASE_FILE).exists() {
        return Ok(());
    }
    for suffix in BESIDE_DATABASE {
        match fs::remove_file(folder.join(format!("{DATABASE_FILE}{suffix}"))) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    sync(folder)
}

fn moved(folder: &Path, aside: &Path) -> io::Result<()> {
    if !aside.join(READY).exists() || !aside.join(DATABASE_FILE).exists() {
        return Ok(());
    }
    fs::rename(aside.join(DATABASE_FILE), folder.join(DATABASE_FILE))?;
    sync(folder)?;
    sync(aside)
}

fn undecided(_: &Path, aside: &Path) -> io::Result<()> {
    match fs::remove_file(aside.join(READY)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync(aside),
    }
}

fn removed(folder: &Path, aside: &Path) -> io::Result<()> {
    remove(aside)?;
    sync(folder)
}

fn remove(aside: &Path) -> io::Result<()> {
    match fs::remove_dir_all(aside) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use casemate_store_port::{Path as RecordPath, Transaction, Write};

    fn path() -> RecordPath {
        RecordPath::new("which").unwrap()
    }

    async fn write(store: &dyn Store, value: &[u8]) {
        let writes = vec![Write::Put(path(), value.to_vec())];
        store.commit(Transaction { expect: Vec::new(), writes }).await.unwrap();
    }

    async fn which(folder: &Path) -> Vec<u8> {
        let store = EmbeddedStore::open(folder).unwrap();
        store.read(&path()).await.unwrap().unwrap().value
    }

    /// A folder with the database before, its log still beside it as after a death, and one aside.
    async fn prepared() -> (tempfile::TempDir, FolderAside) {
        let dir = tempfile::tempdir().unwrap();
        write(&EmbeddedStore::open(dir.path()).unwrap(), b"before").await;
        let aside = FolderAside::new(dir.path());
        let store = aside.create().await.unwrap();
        write(&*store, b"after").await;
        drop(store);
        (dir, aside)
    }

    #[tokio::test]
    async fn what_was_not_decided_is_removed_and_changes_nothing() {
        let (dir, _aside) = prepared().await;
        take_place(dir.path()).unwrap();
        assert!(!dir.path().join(FOLDER).exists());
        assert_eq!(which(dir.path()).await, b"before");
        take_place(dir.path()).unwrap();
    }

    #[tokio::test]
    async fn what_was_decided_takes_the_place_whatever_step_was_the_last() {
        for steps in 0..=STEPS.len() {
            let (dir, aside) = prepared().await;
            aside.take_over().await.unwrap();
            aside.taken().await;
            // As a death leaves it: the log of the database before.
            fs::write(dir.path().join("records.db-wal"), b"stale").unwrap();
            for step in &STEPS[..steps] {
                step(dir.path(), &dir.path().join(FOLDER)).unwrap();
            }
            // Killed here; started again.
            take_place(dir.path()).unwrap();
            assert_eq!(which(dir.path()).await, b"after", "{steps}");
            assert!(!dir.path().join(FOLDER).exists(), "{steps}");
            take_place(dir.path()).unwrap();
            assert_eq!(which(dir.path()).await, b"after", "{steps}");
        }
    }

    #[tokio::test]
    async fn a_database_that_is_still_open_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let aside = FolderAside::new(dir.path());
        let store = aside.create().await.unwrap();
        write(&*store, b"after").await;
        assert!(aside.take_over().await.is_err());
        drop(store);
        aside.discard().await;
        assert!(!dir.path().join(FOLDER).exists());
        assert!(aside.take_over().await.is_err(), "there is none");
    }

    #[tokio::test]
    async fn what_an_earlier_restore_left_is_not_mixed_in() {
        let (dir, aside) = prepared().await;
        let store = aside.create().await.unwrap();
        assert!(store.read(&path()).await.unwrap().is_none());
        drop(store);
        take_place(dir.path()).unwrap();
        assert_eq!(which(dir.path()).await, b"before");
    }
}
