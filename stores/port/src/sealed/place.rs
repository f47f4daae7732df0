//! Seals a record to its place and opens it there.

use std::sync::Arc;

use crate::sealed::codec::{Header, associated_data, decode_record, encode_record, mark_input};
use crate::sealed::head::{Head, decode_head, head_path};
use crate::{CipherError, FormatError, Generation, OpenError, Path, RecordCipher, StoreIdentity};

/// The cipher and whose records it seals.
pub(super) struct Sealer {
    pub(super) cipher: Arc<dyn RecordCipher>,
    pub(super) identity: StoreIdentity,
}

impl Sealer {
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
        if epoch != expected {
            return Err(OpenError::OtherEpoch { path: path.clone(), found: epoch, expected });
        }
        let aad = associated_data(self.identity, generation, path);
        let plaintext = self
            .cipher
            .open(&aad, sealed)
            .map_err(|CipherError| OpenError::Unreadable { path: path.clone() })?;
        Ok((generation, plaintext))
    }

    /// The stored value of a head.
    pub(super) fn seal_head(&self, head: &Head) -> Result<Vec<u8>, CipherError> {
        self.seal(&head_path(), head.generation(), &head.encode())
    }

    /// The head in a stored value.
    pub(super) fn open_head(&self, value: &[u8]) -> Result<Head, OpenError> {
        let malformed = |cause| OpenError::Malformed { path: head_path(), cause };
        let (sealed_as, plaintext) = self.open(&head_path(), value)?;
        let head = decode_head(&plaintext).map_err(malformed)?;
        if head.generation() != sealed_as {
            let sealed_as = sealed_as.0;
            return Err(malformed(FormatError::HeadDisagrees { sealed_as, says: head.sequence }));
        }
        Ok(head)
    }

    /// A record's share of the set hash.
    pub(super) fn mark(&self, path: &Path, generation: Generation, value: &[u8]) -> [u8; 32] {
        self.cipher.mark(&mark_input(path, generation, value))
    }
}
