//! Seals a record to its place and opens it there.

use std::sync::Arc;

use crate::sealed::codec::{Header, associated_data, decode_record, encode_record, mark_input};
use crate::sealed::head::{Head, decode_head, head_path};
use crate::{CipherError, FormatError, Generation, OpenError, Path, RecordCipher, StoreIdentity};

/// The cipher and whose records it seals.
#[derive(Clone)]
pub(super) struct Sealer {
    pub(super) cipher: Arc<dyn RecordCipher>,
    pub(super) identity: StoreIdentity,
    /// What records are still sealed under that have not been brought forward: nothing is sealed
    /// under it any more, and never the head.
    pub(super) earlier: Option<EarlierEpoch>,
}

/// The cipher of the epoch before the present one.
#[derive(Clone)]
pub struct EarlierEpoch {
    /// Its number.
    pub epoch: u32,
    /// Its cipher.
    pub cipher: Arc<dyn RecordCipher>,
}

impl Sealer {
    /// Of one epoch alone.
    pub(super) fn new(cipher: Arc<dyn RecordCipher>, identity: StoreIdentity) -> Self {
        Self { cipher, identity, earlier: None }
    }

    /// The cipher of an epoch, if this is one of ours.
    fn cipher_of(&self, epoch: u32) -> Option<&dyn RecordCipher> {
        let earlier = self.earlier.as_ref().filter(|earlier| earlier.epoch == epoch);
        match (epoch == self.identity.epoch, earlier) {
            (true, _) => Some(&*self.cipher),
            (false, Some(earlier)) => Some(&*earlier.cipher),
            (false, None) => None,
        }
    }

    /// Whether a stored value is of the epoch before the present one.
    pub(super) fn is_behind(&self, value: &[u8]) -> bool {
        let epoch = decode_record(value).ok().map(|(header, _)| header.epoch);
        self.earlier.as_ref().is_some_and(|earlier| Some(earlier.epoch) == epoch)
    }

    /// The stored value of a record.
    pub(super) fn seal(
        &self,
        path: &Path,
        generation: Generation,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, CipherError> {
        let aad = associated_data(self.identity, generation, path);
        let sealed = self.cipher.seal(&aad, plaintext)?;
        Ok(encode_record(Header { epoch: self.identity.epoch, generation }, &sealed))
    }

    /// The generation and the plaintext of a stored value at this path.
    pub(super) fn open(
        &self,
        path: &Path,
        value: &[u8],
    ) -> Result<(Generation, Vec<u8>), OpenError> {
        let malformed = |cause| OpenError::Malformed { path: path.clone(), cause };
        let (Header { epoch, generation }, sealed) = decode_record(value).map_err(malformed)?;
        let expected = self.identity.epoch;
        let other = || OpenError::OtherEpoch { path: path.clone(), found: epoch, expected };
        let cipher = self.cipher_of(epoch).ok_or_else(other)?;
        let aad = associated_data(StoreIdentity { epoch, ..self.identity }, generation, path);
        let plaintext = cipher
            .open(&aad, sealed)
            .map_err(|CipherError| OpenError::Unreadable { path: path.clone() })?;
        Ok((generation, plaintext))
    }

    /// The stored value of a head.
    pub(super) fn seal_head(&self, head: &Head) -> Result<Vec<u8>, CipherError> {
        self.seal(&head_path(), head.generation(), &head.encode())
    }

    /// The head in a stored value; of the present epoch alone, so that who holds the secret of the
    /// one before cannot put a store back.
    pub(super) fn open_head(&self, value: &[u8]) -> Result<Head, OpenError> {
        if let Some(earlier) = self.earlier.as_ref().filter(|_| self.is_behind(value)) {
            let (found, expected) = (earlier.epoch, self.identity.epoch);
            return Err(OpenError::OtherEpoch { path: head_path(), found, expected });
        }
        let malformed = |cause| OpenError::Malformed { path: head_path(), cause };
        let (sealed_as, plaintext) = self.open(&head_path(), value)?;
        let head = decode_head(&plaintext).map_err(malformed)?;
        if head.generation() != sealed_as {
            let sealed_as = sealed_as.0;
            return Err(malformed(FormatError::HeadDisagrees { sealed_as, says: head.sequence }));
        }
        Ok(head)
    }

    /// A record's share of the set hash, under the key of the epoch that it is sealed in.
    pub(super) fn mark(&self, path: &Path, generation: Generation, value: &[u8]) -> [u8; 32] {
        let earlier = self.earlier.as_ref().filter(|_| self.is_behind(value));
        let cipher = earlier.map_or(&self.cipher, |earlier| &earlier.cipher);
        cipher.mark(&mark_input(path, generation, value))
    }
}
