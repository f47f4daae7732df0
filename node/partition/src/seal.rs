//! The node seal: this node's copy of the domain secret across restarts, and the last change seen.
//!
//! `seal.bin` in the HSM's folder holds, sealed as `docs/design/node-seal.md` specifies, what
//! `docs/design/partition.md` lists. It is opened with a key file or a passphrase file, which
//! nobody but the owner may read.
//!
//! Invariant: the domain secret is made once, and is durable before anything is sealed under it.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use casemate_channel::Seal;
use casemate_engine_port::Secret;
use casemate_engine_soft::random;
use casemate_engine_soft::seal::{
    SealError, open_with_key, open_with_passphrase, under_key, under_passphrase,
};
use casemate_hsm::UnixSeconds;
use casemate_store_port::StoreIdentity;

use crate::files;

/// Name of the file in the HSM's folder.
const SEAL_FILE: &str = "seal.bin";
/// Largest seal file, in bytes.
const SEAL_BYTES_MAX: u64 = 4096;
/// Largest passphrase file, in bytes.
const PASSPHRASE_BYTES_MAX: u64 = 1024;
/// Length of the key file and of the domain secret, in bytes.
const SECRET_BYTES: usize = 32;
/// Version of what is sealed.
const VERSION: u8 = 1;
/// Version, domain secret, HSM id, epoch, creation, last change.
const CONTENT_BYTES: usize = 1 + SECRET_BYTES + 16 + 4 + 8 + 8;

/// An opened node seal.
pub(crate) struct NodeSeal {
    path: PathBuf,
    opener: Opener,
    content: Content,
}

/// What opens it.
enum Opener {
    Key(Secret),
    Passphrase(Secret),
}

struct Content {
    domain_secret: Secret,
    hsm: [u8; 16],
    epoch: u32,
    created: UnixSeconds,
    last_sequence: u64,
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
    /// There is no key or passphrase file.
    #[error("there is no file {} to open the node seal with: put it back", path.display())]
    NoOpener {
        /// Where it should be.
        path: PathBuf,
    },
    /// Others may read the key or passphrase file.
    #[error("others may read {} (mode {mode:o}): chmod 600 it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is something else than a plain file.
    #[error("{} is no plain file", path.display())]
    NotAFile {
        /// What it is not.
        path: PathBuf,
    },
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
    pub(crate) fn open(folder: &Path, seal: &Seal) -> Result<Self, SealFileError> {
        let path = folder.join(SEAL_FILE);
        let sealed = files::read(&path, SEAL_BYTES_MAX)
            .map_err(|cause| SealFileError::Io { path: path.clone(), cause })?
            .ok_or_else(|| SealFileError::Missing { path: path.clone() })?;
        let opener = Opener::read(seal)?;
        let opened = match &opener {
            Opener::Key(key) => open_with_key(key, &sealed),
            Opener::Passphrase(passphrase) => open_with_passphrase(passphrase, &sealed),
        };
        let opened =
            opened.map_err(|cause| SealFileError::Refused { path: path.clone(), cause })?;
        let content = Content::decode(opened.expose())
            .ok_or_else(|| SealFileError::Content { path: path.clone() })?;
        Ok(Self { path, opener, content })
    }

    /// Opens the folder's seal, or makes one for a new HSM: a domain secret, an id, and the key
    /// file too if there is none.
    pub(crate) fn open_or_create(
        folder: &Path,
        seal: &Seal,
        now: UnixSeconds,
    ) -> Result<Self, SealFileError> {
        match Self::open(folder, seal) {
            Err(SealFileError::Missing { path }) => Self::create(path, seal, now),
            done => done,
        }
    }

    /// Remembers a change, and makes that durable. Never goes back.
    pub(crate) fn remember(&mut self, sequence: u64) -> Result<(), SealFileError> {
        if sequence <= self.content.last_sequence {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.content.last_sequence, sequence);
        self.save().inspect_err(|_| self.content.last_sequence = before)
    }

    /// The domain secret, from which all other keys are derived.
    pub(crate) fn domain_secret(&self) -> &Secret {
        &self.content.domain_secret
    }

    /// Whose records are sealed under it.
    pub(crate) fn identity(&self) -> StoreIdentity {
        StoreIdentity { hsm: self.content.hsm, epoch: self.content.epoch }
    }

    /// The last change remembered.
    pub(crate) fn last_sequence(&self) -> u64 {
        self.content.last_sequence
    }

    fn create(path: PathBuf, seal: &Seal, now: UnixSeconds) -> Result<Self, SealFileError> {
        if let Seal::Key { path } = seal {
            create_key(path)?;
        }
        let opener = Opener::read(seal)?;
        let mut hsm = [0; 16];
        random(&mut hsm);
        let content = Content {
            domain_secret: random_secret(),
            hsm,
            epoch: 1,
            created: now,
            last_sequence: 0,
        };
        let made = Self { path, opener, content };
        made.save()?;
        Ok(made)
    }

    fn save(&self) -> Result<(), SealFileError> {
        let payload = self.content.encode();
        let sealed = match &self.opener {
            Opener::Key(key) => under_key(key, &payload),
            Opener::Passphrase(passphrase) => under_passphrase(passphrase, &payload),
        };
        let sealed =
            sealed.map_err(|cause| SealFileError::Refused { path: self.path.clone(), cause })?;
        files::replace(&self.path, &sealed)
            .map_err(|cause| SealFileError::Io { path: self.path.clone(), cause })
    }
}

impl Opener {
    fn read(seal: &Seal) -> Result<Self, SealFileError> {
        match seal {
            Seal::Key { path } => {
                Ok(Self::Key(Secret::new(read_private(path, u64_of(SECRET_BYTES))?)))
            }
            Seal::Passphrase { path } => {
                let mut bytes = read_private(path, PASSPHRASE_BYTES_MAX)?;
                // Editors and `echo` end a line.
                if bytes.last() == Some(&b'\n') {
                    bytes.pop();
                }
                Ok(Self::Passphrase(Secret::new(bytes)))
            }
        }
    }
}

impl Content {
    fn encode(&self) -> Secret {
        let mut bytes = Vec::with_capacity(CONTENT_BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(self.domain_secret.expose());
        bytes.extend_from_slice(&self.hsm);
        bytes.extend_from_slice(&self.epoch.to_be_bytes());
        bytes.extend_from_slice(&self.created.0.to_be_bytes());
        bytes.extend_from_slice(&self.last_sequence.to_be_bytes());
        Secret::new(bytes)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != CONTENT_BYTES || bytes.first() != Some(&VERSION) {
            return None;
        }
        let (domain_secret, rest) = bytes[1..].split_at(SECRET_BYTES);
        let (hsm, rest) = rest.split_first_chunk::<16>()?;
        let (epoch, rest) = rest.split_first_chunk::<4>()?;
        let (created, rest) = rest.split_first_chunk::<8>()?;
        let (last, _) = rest.split_first_chunk::<8>()?;
        Some(Self {
            domain_secret: Secret::new(domain_secret.to_vec()),
            hsm: *hsm,
            epoch: u32::from_be_bytes(*epoch),
            created: UnixSeconds(i64::from_be_bytes(*created)),
            last_sequence: u64::from_be_bytes(*last),
        })
    }
}

/// Makes the key file, unless it is there.
fn create_key(path: &Path) -> Result<(), SealFileError> {
    match files::create(path, random_secret().expose()) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        done => done.map_err(|cause| SealFileError::Io { path: path.to_owned(), cause }),
    }
}

/// Reads a file that nobody but its owner may read.
fn read_private(path: &Path, bytes_max: u64) -> Result<Vec<u8>, SealFileError> {
    let io = |cause| SealFileError::Io { path: path.to_owned(), cause };
    let file = match OpenOptions::new().read(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(SealFileError::NoOpener { path: path.to_owned() });
        }
        Err(error) => return Err(io(error)),
    };
    let facts = file.metadata().map_err(io)?;
    if !facts.is_file() {
        return Err(SealFileError::NotAFile { path: path.to_owned() });
    }
    let mode = facts.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(SealFileError::Exposed { path: path.to_owned(), mode });
    }
    files::read_open(file, bytes_max).map_err(io)
}

fn random_secret() -> Secret {
    let mut bytes = vec![0; SECRET_BYTES];
    random(&mut bytes);
    Secret::new(bytes)
}

fn u64_of(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
