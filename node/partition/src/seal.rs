//! The node seal: this node's copy of the secrets across restarts, and the last change seen.
//!
//! `seal.bin` in the HSM's folder holds, sealed as `docs/design/node-seal.md` specifies, what
//! `docs/design/partition.md` lists. It is opened with a sealing key: that of a key file beside it,
//! or of a slot, which was read before the process was confined.
//!
//! Invariant: a secret is durable here before anything is sealed under it, and is forgotten only
//! when nothing is any more.

mod content;

use std::io;
use std::path::{Path, PathBuf};

use casemate_engine_port::Secret;
use casemate_engine_soft::random;
use casemate_engine_soft::seal::{SealError, open_with_key, under_key};
use casemate_hsm::UnixSeconds;
use casemate_hsm::security_domain::{Domain, Epoch};
use casemate_node_seal::{GuardError, SealingKeys, read_private};
use casemate_store_port::StoreIdentity;

use crate::files;
use content::Content;

/// Name of the file in the HSM's folder.
const SEAL_FILE: &str = "seal.bin";
/// Largest seal file, in bytes.
const SEAL_BYTES_MAX: u64 = 16 * 1024;
/// Length of the key file and of the domain secret, in bytes.
const SECRET_BYTES: usize = 32;
/// An opened node seal.
pub(crate) struct NodeSeal {
    path: PathBuf,
    /// The first one seals; the others opened it until now.
    keys: Vec<Secret>,
    content: Content,
    /// Whether the file still holds a secret that was forgotten, or is under an earlier key.
    unsaved: bool,
}

/// Where its sealing keys are.
pub(crate) enum Sealing {
    /// In a file, made for a new HSM.
    File(PathBuf),
    /// Here: they came out of a slot.
    Keys(SealingKeys),
}

/// Why the node seal is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealFileError {
    /// There is no seal, though there should be one.
    #[error(
        "there is no node seal at {}: put it back, or recover the HSM from its security domain",
        path.display()
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The key file.
    #[error(transparent)]
    Key(#[from] GuardError),
    /// A file could not be read or written.
    #[error("{} cannot be used: check its owner and the disk", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// It does not open.
    #[error("the node seal {} is refused", path.display())]
    Refused {
        /// The seal file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: SealError,
    },
    /// It opens, but holds something else.
    #[error("the node seal {} holds what this release cannot read", path.display())]
    Content {
        /// The seal file.
        path: PathBuf,
    },
}

impl NodeSeal {
    /// Opens the folder's seal.
    pub(crate) fn open(folder: &Path, sealing: Sealing) -> Result<Self, SealFileError> {
        let path = folder.join(SEAL_FILE);
        let sealed = sealed(&path)?.ok_or_else(|| SealFileError::Missing { path: path.clone() })?;
        Self::opened(path, &sealed, sealing.keys()?)
    }

    /// Opens it with the first key that does.
    fn opened(path: PathBuf, sealed: &[u8], keys: Vec<Secret>) -> Result<Self, SealFileError> {
        let mut refused = SealError::NotAuthentic;
        for (at, key) in keys.iter().enumerate() {
            match open_with_key(key, sealed) {
                Ok(opened) => {
                    let content = Content::decode(&opened)
                        .ok_or_else(|| SealFileError::Content { path: path.clone() })?;
                    return Ok(Self { path, keys, content, unsaved: at > 0 });
                }
                Err(cause) => refused = cause,
            }
        }
        Err(SealFileError::Refused { path, cause: refused })
    }

    /// Opens the folder's seal, or makes one for a new HSM: a domain secret, an id, and the key
    /// file too if there is none.
    pub(crate) fn open_or_create(
        folder: &Path,
        sealing: Sealing,
        now: UnixSeconds,
    ) -> Result<Self, SealFileError> {
        let path = folder.join(SEAL_FILE);
        match sealed(&path)? {
            Some(sealed) => Self::opened(path, &sealed, sealing.keys()?),
            None => Self::create(path, sealing, now),
        }
    }

    /// Remembers a change, and makes that durable. Never goes back.
    pub(crate) fn remember(&mut self, sequence: u64) -> Result<(), SealFileError> {
        if sequence <= self.content.last_sequence && !self.unsaved {
            return Ok(());
        }
        let before = self.content.last_sequence;
        self.content.last_sequence = before.max(sequence);
        self.save().inspect_err(|_| self.content.last_sequence = before)?;
        self.unsaved = false;
        Ok(())
    }

    /// The secret that the records are sealed under: the newest of the domain, or before activation
    /// the provisional one.
    pub(crate) fn domain_secret(&self) -> &Secret {
        self.content.in_force().1
    }

    /// Whose records are sealed under it.
    pub(crate) fn identity(&self) -> StoreIdentity {
        StoreIdentity { hsm: self.content.hsm, epoch: self.content.in_force().0 }
    }

    /// Seals what else this node keeps; it is in no domain.
    pub(crate) fn node_secret(&self) -> &Secret {
        &self.content.node_secret
    }

    /// The domain that the HSM is active under.
    pub(crate) fn domain(&self) -> Option<&Domain> {
        self.content.domain.as_ref().filter(|_| self.content.provisional.is_none())
    }

    /// The epoch before the one in force, while records may be sealed under it.
    pub(crate) fn leaving(&self) -> Option<&Epoch> {
        self.content.leaving()
    }

    /// Before which epoch backups are not opened any more; 0 if all are.
    pub(crate) fn forget_before(&self) -> u32 {
        self.content.forget_before
    }

    /// The epoch of the domain that is prepared, until it is settled.
    pub(crate) fn pending_epoch(&self) -> Option<u32> {
        let domain = self.content.domain.as_ref().filter(|_| self.is_undecided());
        domain.map(Domain::epoch)
    }

    /// Whether only the store tells under which of two secrets it is sealed.
    pub(crate) fn is_undecided(&self) -> bool {
        self.content.provisional.is_some() && self.content.domain.is_some()
    }

    /// Keeps the next domain besides, durably.
    pub(crate) fn prepare(&mut self, next: Domain) -> Result<StoreIdentity, SealFileError> {
        let identity = StoreIdentity { hsm: self.content.hsm, epoch: next.epoch() };
        let before = self.content.domain.replace(next);
        match self.save() {
            Ok(()) => Ok(identity),
            Err(error) => {
                self.content.domain = before;
                Err(error)
            }
        }
    }

    /// Keeps a new secret of the domain besides, durably.
    pub(crate) fn prepare_epoch(
        &mut self,
        domain: Domain,
        forget_before: u32,
    ) -> Result<StoreIdentity, SealFileError> {
        let before = std::mem::replace(&mut self.content.forget_before, forget_before);
        let prepared = self.prepare(domain);
        if prepared.is_err() {
            self.content.forget_before = before;
        }
        prepared
    }

    /// Puts another form of the same domain in the place of this one, with nothing left to be
    /// forgotten and the last change remembered; durable when it returns.
    pub(crate) fn leave_epoch(
        &mut self,
        domain: Domain,
        sequence: u64,
    ) -> Result<(), SealFileError> {
        let sequence = sequence.max(self.content.last_sequence);
        let domain = self.content.domain.replace(domain);
        let forget_before = std::mem::take(&mut self.content.forget_before);
        let last_sequence = std::mem::replace(&mut self.content.last_sequence, sequence);
        self.save().inspect_err(|_| {
            self.content.domain = domain;
            self.content.forget_before = forget_before;
            self.content.last_sequence = last_sequence;
        })?;
        self.unsaved = false;
        Ok(())
    }

    /// Forgets the secret that the records are not sealed under: their epoch tells which. Durable
    /// with the next change that is remembered, which follows when the records have opened.
    pub(crate) fn settle(&mut self, epoch: u32) {
        let has_not_begun = self.content.leaving().is_some_and(|leaving| leaving.number == epoch);
        match epoch {
            content::PROVISIONAL_EPOCH => self.content.domain = None,
            _ if has_not_begun => self.content.drop_newest(),
            _ if self.content.provisional.is_none() => return,
            _ => self.content.provisional = None,
        }
        self.unsaved = true;
    }

    /// The last change remembered.
    pub(crate) fn last_sequence(&self) -> u64 {
        self.content.last_sequence
    }

    fn create(path: PathBuf, sealing: Sealing, now: UnixSeconds) -> Result<Self, SealFileError> {
        if let Sealing::File(path) = &sealing {
            create_key(path)?;
        }
        let keys = sealing.keys()?;
        let mut hsm = [0; 16];
        random(&mut hsm);
        let content = Content {
            hsm,
            created: now,
            last_sequence: 0,
            node_secret: random_secret(),
            provisional: Some(random_secret()),
            domain: None,
            forget_before: 0,
        };
        let made = Self { path, keys, content, unsaved: false };
        made.save()?;
        Ok(made)
    }

    fn save(&self) -> Result<(), SealFileError> {
        let key = self.keys.first().expect("there is at least one key");
        let sealed = under_key(key, &self.content.encode())
            .map_err(|cause| SealFileError::Refused { path: self.path.clone(), cause })?;
        files::replace(&self.path, &sealed)
            .map_err(|cause| SealFileError::Io { path: self.path.clone(), cause })
    }
}

impl Sealing {
    fn keys(self) -> Result<Vec<Secret>, SealFileError> {
        match self {
            Self::File(path) => Ok(vec![read_private(&path, SECRET_BYTES)?]),
            Self::Keys(keys) => Ok(keys.into_all()),
        }
    }
}

/// The sealed file, if there is one.
fn sealed(path: &Path) -> Result<Option<Vec<u8>>, SealFileError> {
    let read = files::read(path, SEAL_BYTES_MAX);
    read.map_err(|cause| SealFileError::Io { path: path.to_owned(), cause })
}

/// Makes the key file, unless it is there.
fn create_key(path: &Path) -> Result<(), SealFileError> {
    match files::create(path, random_secret().expose()) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        done => done.map_err(|cause| SealFileError::Io { path: path.to_owned(), cause }),
    }
}

pub(crate) fn random_secret() -> Secret {
    let mut bytes = vec![0; SECRET_BYTES];
    random(&mut bytes);
    Secret::new(bytes)
}

#[cfg(test)]
mod tests;
