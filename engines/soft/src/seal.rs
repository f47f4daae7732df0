//! The primitives of the node seal: a small secret kept across restarts under a passphrase, or
//! under a key that something else guards (a TPM, a token, a service manager's credential).
//!
//! The byte format is specified in `docs/design/node-seal.md`. Everything in the header is
//! authenticated; the cost parameters of a passphrase seal are checked against upper limits before
//! they are obeyed, so a changed file cannot make the node allocate without bound.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use casemate_engine_port::Secret;
use zeroize::{Zeroize, Zeroizing};

use crate::aead::{self, KEY_BYTES, SALT_BYTES};
use crate::random;

const MAGIC: [u8; 8] = *b"CMATSEAL";
const VERSION: u8 = 1;
const KIND_PASSPHRASE: u8 = 1;
const KIND_KEY: u8 = 2;
/// Magic, version, kind.
const PREFIX_BYTES: usize = 10;
/// Prefix, memory, passes, lanes, salt.
const PASSPHRASE_HEADER_BYTES: usize = PREFIX_BYTES + 4 + 4 + 4 + SALT_BYTES;
const KEY_LABEL: &[u8] = b"casemate node seal v1";

/// Memory of a new passphrase seal, in KiB: 64 MiB.
const MEMORY_KIB: u32 = 64 * 1024;
/// Passes over the memory in a new passphrase seal.
const PASSES: u32 = 3;
/// Lanes in a new passphrase seal.
const LANES: u32 = 1;
/// The most memory that opening may take, in KiB: 1 GiB.
const MEMORY_KIB_MAX: u32 = 1024 * 1024;
/// The most passes that opening may take.
const PASSES_MAX: u32 = 16;
/// The most lanes that opening may take.
const LANES_MAX: u32 = 16;
/// The largest payload in bytes; a seal holds keys, not data.
const PAYLOAD_BYTES_MAX: usize = 64 * 1024;

/// Why a seal was not made or not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// An empty passphrase guards nothing.
    #[error("the passphrase is empty")]
    EmptyPassphrase,
    /// The sealing key has another length than 32 bytes.
    #[error("a sealing key has 32 bytes, this one {found}")]
    KeyLength {
        /// Length of the key given.
        found: usize,
    },
    /// The payload is larger than a seal holds.
    #[error("a seal holds at most {PAYLOAD_BYTES_MAX} bytes, not {found}")]
    TooLarge {
        /// Length of the payload.
        found: usize,
    },
    /// The bytes are no node seal, or cut off inside the header.
    #[error("this is not a node seal")]
    NotASeal,
    /// A seal of a format that this program does not know.
    #[error("the node seal has format version {found}, this program knows 1")]
    UnknownVersion {
        /// The version found.
        found: u8,
    },
    /// A seal under a passphrase was opened with a key, or the reverse.
    #[error("the node seal is of another kind than it is opened with")]
    OtherKind,
    /// The header asks for more work than this program is willing to do.
    #[error(
        "the node seal asks for too much work: {memory_kib} KiB, {passes} passes, {lanes} lanes"
    )]
    TooCostly {
        /// Memory asked for, in KiB.
        memory_kib: u32,
        /// Passes asked for.
        passes: u32,
        /// Lanes asked for.
        lanes: u32,
    },
    /// The passphrase or key is not the right one, or the bytes were changed.
    #[error("the node seal does not open: wrong passphrase or key, or changed bytes")]
    NotAuthentic,
    /// The library failed: which call, for the log.
    #[error("the node seal failed in {0}")]
    Failed(&'static str),
}

/// Seals a payload under a passphrase (Argon2id, 64 MiB, 3 passes, 1 lane).
pub fn under_passphrase(passphrase: &Secret, payload: &Secret) -> Result<Vec<u8>, SealError> {
    check_payload(payload)?;
    let cost = Cost { memory_kib: MEMORY_KIB, passes: PASSES, lanes: LANES };
    let mut salt = [0; SALT_BYTES];
    random(&mut salt);
    let key = passphrase_key(passphrase, &salt, cost)?;
    let mut header = prefix(KIND_PASSPHRASE);
    for number in [cost.memory_kib, cost.passes, cost.lanes] {
        header.extend_from_slice(&number.to_be_bytes());
    }
    header.extend_from_slice(&salt);
    let mut out = Vec::with_capacity(header.len() + payload.len() + aead::TAG_BYTES);
    out.extend_from_slice(&header);
    aead::seal_under(&key, &header, payload.expose(), &mut out)
        .map_err(|_| SealError::Failed("AES-GCM encryption"))?;
    Ok(out)
}

/// Opens what [`under_passphrase`] sealed.
pub fn open_with_passphrase(passphrase: &Secret, sealed: &[u8]) -> Result<Secret, SealError> {
    check_prefix(sealed, KIND_PASSPHRASE)?;
    let (header, body) =
        sealed.split_at_checked(PASSPHRASE_HEADER_BYTES).ok_or(SealError::NotASeal)?;
    let number = |at: usize| {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&header[at..at + 4]);
        u32::from_be_bytes(bytes)
    };
    let cost = Cost {
        memory_kib: number(PREFIX_BYTES),
        passes: number(PREFIX_BYTES + 4),
        lanes: number(PREFIX_BYTES + 8),
    };
    cost.check()?;
    let key = passphrase_key(passphrase, &header[PREFIX_BYTES + 12..], cost)?;
    aead::open_under(&key, header, body).ok_or(SealError::NotAuthentic)
}

/// Seals a payload under a key of 32 bytes.
pub fn under_key(key: &Secret, payload: &Secret) -> Result<Vec<u8>, SealError> {
    check_key(key)?;
    check_payload(payload)?;
    let prefix = prefix(KIND_KEY);
    aead::seal(key, KEY_LABEL, &prefix, &prefix, payload.expose())
        .map_err(|_| SealError::Failed("AES-GCM encryption"))
}

/// Opens what [`under_key`] sealed.
pub fn open_with_key(key: &Secret, sealed: &[u8]) -> Result<Secret, SealError> {
    check_key(key)?;
    check_prefix(sealed, KIND_KEY)?;
    let (prefix, body) = sealed.split_at(PREFIX_BYTES);
    aead::open(key, KEY_LABEL, prefix, body).ok_or(SealError::NotAuthentic)
}

#[derive(Clone, Copy)]
struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Cost {
    fn check(self) -> Result<(), SealError> {
        let Self { memory_kib, passes, lanes } = self;
        if memory_kib > MEMORY_KIB_MAX || passes > PASSES_MAX || lanes > LANES_MAX {
            return Err(SealError::TooCostly { memory_kib, passes, lanes });
        }
        Ok(())
    }
}

fn passphrase_key(
    passphrase: &Secret,
    salt: &[u8],
    cost: Cost,
) -> Result<Zeroizing<[u8; KEY_BYTES]>, SealError> {
    if passphrase.is_empty() {
        return Err(SealError::EmptyPassphrase);
    }
    // The crate's own lower limits refuse a header that asks for too little.
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(KEY_BYTES))
        .map_err(|_| SealError::NotASeal)?;
    let mut memory = vec![Block::default(); params.block_count()];
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    let done = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(
            passphrase.expose(),
            salt,
            key.as_mut_slice(),
            memory.as_mut_slice(),
        );
    memory.zeroize();
    done.map_err(|_| SealError::Failed("Argon2id"))?;
    Ok(key)
}

fn prefix(kind: u8) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&[VERSION, kind]);
    bytes
}

fn check_prefix(sealed: &[u8], kind: u8) -> Result<(), SealError> {
    let prefix = sealed.get(..PREFIX_BYTES).ok_or(SealError::NotASeal)?;
    if !prefix.starts_with(&MAGIC) {
        return Err(SealError::NotASeal);
    }
    let (version, found) = (prefix[MAGIC.len()], prefix[MAGIC.len() + 1]);
    if version != VERSION {
        return Err(SealError::UnknownVersion { found: version });
    }
    if found != kind {
        return Err(SealError::OtherKind);
    }
    Ok(())
}

fn check_key(key: &Secret) -> Result<(), SealError> {
    if key.len() != KEY_BYTES {
        return Err(SealError::KeyLength { found: key.len() });
    }
    Ok(())
}

fn check_payload(payload: &Secret) -> Result<(), SealError> {
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(SealError::TooLarge { found: payload.len() });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
