//! What a trail is signed with, and what it must still hold when it is opened.

use std::fmt;
use std::sync::Arc;

use crate::checkpoint::Head;
use crate::merkle::{HASH_BYTES, Tree};
use crate::note::{NoteError, Signer, VerifierKey};

/// Version of an anchor's bytes.
const ANCHOR_VERSION: u8 = 1;
/// Version, size, root, first sequence number from which intents may be open.
const ANCHOR_BYTES: usize = 1 + 8 + HASH_BYTES + 8;

/// Who signs a trail's checkpoints.
#[derive(Clone)]
pub struct Ledger {
    pub(crate) key: VerifierKey,
    pub(crate) signer: Arc<dyn Signer>,
    pub(crate) certificate: String,
    pub(crate) anchor: Option<Anchor>,
}

/// What is remembered of a trail outside its folder: it may not have less, or something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// How many records there were, and the root over them.
    pub head: Head,
    /// All intents below this number have their outcome.
    pub open_from: u64,
}

impl Ledger {
    /// The origin is the first line of each checkpoint; the certificate says whose key it is.
    ///
    /// # Errors
    /// When the origin holds a space, a control character or a plus sign.
    pub fn new(
        origin: &str,
        signer: Arc<dyn Signer>,
        certificate: String,
        anchor: Option<Anchor>,
    ) -> Result<Self, NoteError> {
        let key = VerifierKey::new(origin, signer.public_key())?;
        Ok(Self { key, signer, certificate, anchor })
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Anchor {
    /// What is remembered of a log that has not begun.
    #[must_use]
    pub fn of_nothing() -> Self {
        Self { head: Head { size: 0, root: Tree::default().root() }, open_from: 1 }
    }

    /// As bytes, to be kept in a sealed record.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![ANCHOR_VERSION];
        bytes.extend_from_slice(&self.head.size.to_be_bytes());
        bytes.extend_from_slice(&self.head.root);
        bytes.extend_from_slice(&self.open_from.to_be_bytes());
        bytes
    }

    /// From bytes; `None` when this release does not know them.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != ANCHOR_BYTES || bytes.first() != Some(&ANCHOR_VERSION) {
            return None;
        }
        let (size, rest) = bytes[1..].split_first_chunk::<8>()?;
        let (root, rest) = rest.split_first_chunk::<HASH_BYTES>()?;
        let (open_from, _) = rest.split_first_chunk::<8>()?;
        let head = Head { size: u64::from_be_bytes(*size), root: *root };
        Some(Self { head, open_from: u64::from_be_bytes(*open_from) })
    }
}
