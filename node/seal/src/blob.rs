//! Slots that begin with what a device gave out: the common header, parts with their lengths, and
//! the payload sealed under the key that the device gives back.

use std::path::{Path, PathBuf};

use crate::error::GuardError;

const MAGIC: [u8; 8] = *b"CMATSEAL";
const VERSION: u8 = 1;
/// Magic, version, kind.
const PREFIX_BYTES: usize = 10;

/// Writes one.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn new(kind: u8) -> Self {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&[VERSION, kind]);
        Self(bytes)
    }

    /// A part: two bytes of length, and the bytes.
    pub(crate) fn part(&mut self, bytes: &[u8]) {
        let length = u16::try_from(bytes.len()).expect("parts are much shorter than 64 KiB");
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn end(mut self, payload: &[u8]) -> Vec<u8> {
        self.0.extend_from_slice(payload);
        self.0
    }
}

/// Reads one.
pub(crate) struct Reader<'a> {
    left: &'a [u8],
    slot: PathBuf,
}

impl<'a> Reader<'a> {
    /// Tells another kind from what is no slot.
    pub(crate) fn new(kind: u8, sealed: &'a [u8], slot: &Path) -> Result<Self, GuardError> {
        let reader = Self { left: sealed, slot: slot.to_owned() };
        let Some((prefix, left)) = sealed.split_first_chunk::<PREFIX_BYTES>() else {
            return Err(reader.malformed());
        };
        match prefix.split_at(MAGIC.len()) {
            (magic, [VERSION, found]) if magic == MAGIC => {
                if *found == kind {
                    Ok(Self { left, ..reader })
                } else {
                    Err(GuardError::OtherGuard { slot: reader.slot })
                }
            }
            _ => Err(reader.malformed()),
        }
    }

    pub(crate) fn part(&mut self, bytes_max: usize) -> Result<&'a [u8], GuardError> {
        let (length, left) = self.left.split_first_chunk::<2>().ok_or_else(|| self.malformed())?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (part, left) = left.split_at_checked(length).ok_or_else(|| self.malformed())?;
        if part.is_empty() || part.len() > bytes_max {
            return Err(self.malformed());
        }
        self.left = left;
        Ok(part)
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.left
    }

    fn malformed(&self) -> GuardError {
        GuardError::Malformed { slot: self.slot.clone(), cause: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: &str = "/seals/alpha/1.seal";

    fn read(sealed: &[u8]) -> Result<(Vec<u8>, Vec<u8>), GuardError> {
        let mut reader = Reader::new(3, sealed, Path::new(SLOT))?;
        let part = reader.part(4)?.to_vec();
        Ok((part, reader.rest().to_vec()))
    }

    fn written(part: &[u8]) -> Vec<u8> {
        let mut writer = Writer::new(3);
        writer.part(part);
        writer.end(b"payload")
    }

    #[test]
    fn what_is_written_is_read() {
        let (part, rest) = read(&written(b"abcd")).unwrap();
        assert_eq!((part.as_slice(), rest.as_slice()), (b"abcd".as_slice(), b"payload".as_slice()));
    }

    #[test]
    fn what_is_cut_or_too_long_is_refused() {
        let good = written(b"abcd");
        for length in 0..16 {
            assert!(read(&good[..length]).is_err(), "{length}");
        }
        assert!(read(&written(b"abcde")).is_err());
        assert!(read(&written(b"")).is_err());
        for at in 0..9 {
            let mut changed = good.clone();
            changed[at] ^= 1;
            assert!(matches!(read(&changed), Err(GuardError::Malformed { .. })), "{at}");
        }
    }

    #[test]
    fn another_kind_is_told() {
        let mut other = written(b"abcd");
        other[9] = 4;
        assert!(matches!(read(&other), Err(GuardError::OtherGuard { .. })));
    }
}
