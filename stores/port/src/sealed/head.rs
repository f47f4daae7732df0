//! The head: the one record that vouches for all others.

use crate::sealed::codec::{FORMAT_VERSION, FormatError, strip_version};
use crate::{Generation, Path};

/// Bytes of a head's plaintext: version, sequence, count, set hash.
pub(super) const HEAD_BYTES: usize = 1 + 8 + 8 + 32;

/// What the head says about the whole set of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The last change.
    pub sequence: u64,
    /// How many records there are, without the head.
    pub records: u64,
    /// XOR of the marks of all records.
    pub set: [u8; 32],
}

/// Reads a head's plaintext.
pub fn decode_head(bytes: &[u8]) -> Result<Head, FormatError> {
    let wrong_length = FormatError::WrongLength { bytes: bytes.len() };
    let rest = strip_version(bytes)?;
    let (sequence, rest) = rest.split_first_chunk::<8>().ok_or(wrong_length)?;
    let (records, rest) = rest.split_first_chunk::<8>().ok_or(wrong_length)?;
    let set = <[u8; 32]>::try_from(rest).map_err(|_| wrong_length)?;
    let sequence = u64::from_be_bytes(*sequence);
    let records = u64::from_be_bytes(*records);
    Ok(Head { sequence, records, set })
}

impl Head {
    /// The head of an HSM without records.
    pub(super) const EMPTY: Self = Self { sequence: 0, records: 0, set: [0; 32] };

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES);
        bytes.push(FORMAT_VERSION);
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        bytes.extend_from_slice(&self.records.to_be_bytes());
        bytes.extend_from_slice(&self.set);
        bytes
    }

    pub(super) fn generation(&self) -> Generation {
        Generation(self.sequence)
    }

    /// Puts a record in or takes it out: the same act, as XOR undoes itself.
    pub(super) fn toggle(&mut self, mark: &[u8; 32]) {
        for (byte, other) in self.set.iter_mut().zip(mark) {
            *byte ^= other;
        }
    }
}

/// Where the head is.
pub(super) fn head_path() -> Path {
    Path::new("head").expect("`head` is a path")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Head = Head { sequence: 258, records: 3, set: [9; 32] };

    #[test]
    fn the_layout_is_the_one_on_the_page() {
        let mut expected = b"\x01\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x03".to_vec();
        expected.extend_from_slice(&[9; 32]);
        assert_eq!(HEAD.encode(), expected);
        assert_eq!(expected.len(), HEAD_BYTES);
        assert_eq!(decode_head(&expected), Ok(HEAD));
    }

    #[test]
    fn every_other_length_and_version_is_refused() {
        let mut bytes = HEAD.encode();
        bytes.push(0);
        for length in (0..=HEAD_BYTES + 1).filter(|length| *length != HEAD_BYTES) {
            let cut = &bytes[..length];
            assert_eq!(decode_head(cut), Err(FormatError::WrongLength { bytes: length }));
        }
        for version in (0..=u8::MAX).filter(|version| *version != FORMAT_VERSION) {
            bytes[0] = version;
            assert_eq!(decode_head(&bytes), Err(FormatError::UnknownVersion { version }));
        }
    }

    #[test]
    fn toggling_twice_changes_nothing_and_once_changes_the_set() {
        let mut head = HEAD;
        head.toggle(&[1; 32]);
        assert_ne!(head, HEAD);
        head.toggle(&[1; 32]);
        assert_eq!(head, HEAD);
    }
}
