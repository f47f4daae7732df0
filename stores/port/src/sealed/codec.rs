//! The bytes around a sealed value: header, associated data, input of the mark.
//!
//! Pure functions over untrusted bytes. They authenticate nothing: the cipher does.

use crate::{Generation, Path, StoreIdentity};

/// The version of the record format that this program writes, and the only one it reads.
pub const FORMAT_VERSION: u8 = 1;

/// Bytes of a value's header: version, epoch, generation.
pub(super) const HEADER_BYTES: usize = 1 + 4 + 8;

const MARK_LABEL: &[u8] = b"casemate record mark 1";

/// What a stored value says in clear about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The number of the domain secret it is sealed under.
    pub epoch: u32,
    /// The change that wrote it.
    pub generation: Generation,
}

/// Why bytes are no record or no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Format of another time or no record at all.
    #[error("format version {version} is not known to this program")]
    UnknownVersion {
        /// The first byte.
        version: u8,
    },
    /// Too short or too long.
    #[error("{bytes} bytes is not the length of it")]
    WrongLength {
        /// How many bytes there are.
        bytes: usize,
    },
    /// The head's header and the head inside name different sequence numbers.
    #[error("the head is sealed as number {sealed_as} but says {says}")]
    HeadDisagrees {
        /// The generation in the header.
        sealed_as: u64,
        /// The sequence inside.
        says: u64,
    },
}

/// Splits a stored value into its header and its sealed bytes.
pub fn decode_record(value: &[u8]) -> Result<(Header, &[u8]), FormatError> {
    let wrong_length = FormatError::WrongLength { bytes: value.len() };
    let rest = strip_version(value)?;
    let (epoch, rest) = rest.split_first_chunk::<4>().ok_or(wrong_length)?;
    let (generation, sealed) = rest.split_first_chunk::<8>().ok_or(wrong_length)?;
    let epoch = u32::from_be_bytes(*epoch);
    let generation = Generation(u64::from_be_bytes(*generation));
    Ok((Header { epoch, generation }, sealed))
}

/// Takes off and checks the version byte that begins every format.
pub(super) fn strip_version(bytes: &[u8]) -> Result<&[u8], FormatError> {
    let (version, rest) =
        bytes.split_first().ok_or(FormatError::WrongLength { bytes: bytes.len() })?;
    if *version != FORMAT_VERSION {
        return Err(FormatError::UnknownVersion { version: *version });
    }
    Ok(rest)
}

/// A stored value.
pub(super) fn encode_record(header: Header, sealed: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEADER_BYTES + sealed.len());
    value.push(FORMAT_VERSION);
    value.extend_from_slice(&header.epoch.to_be_bytes());
    value.extend_from_slice(&header.generation.0.to_be_bytes());
    value.extend_from_slice(sealed);
    value
}

/// What a value is bound to. Only the last field varies in length, so no two places give the same.
pub(super) fn associated_data(
    identity: StoreIdentity,
    generation: Generation,
    path: &Path,
) -> Vec<u8> {
    let path = path.as_str().as_bytes();
    let mut aad = Vec::with_capacity(1 + 16 + 4 + 8 + path.len());
    aad.push(FORMAT_VERSION);
    aad.extend_from_slice(&identity.hsm);
    aad.extend_from_slice(&identity.epoch.to_be_bytes());
    aad.extend_from_slice(&generation.0.to_be_bytes());
    aad.extend_from_slice(path);
    aad
}

/// What a record's mark is made of: its place and its stored bytes.
pub(super) fn mark_input(path: &Path, generation: Generation, value: &[u8]) -> Vec<u8> {
    let path = path.as_str().as_bytes();
    let length = u16::try_from(path.len()).expect("a path has at most 512 bytes");
    let mut input = Vec::with_capacity(MARK_LABEL.len() + 2 + path.len() + 8 + value.len());
    input.extend_from_slice(MARK_LABEL);
    input.extend_from_slice(&length.to_be_bytes());
    input.extend_from_slice(path);
    input.extend_from_slice(&generation.0.to_be_bytes());
    input.extend_from_slice(value);
    input
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header { epoch: 7, generation: Generation(0x0102_0304_0506_0708) };

    fn path(text: &str) -> Path {
        Path::new(text).unwrap()
    }

    #[test]
    fn the_layout_is_the_one_on_the_page() {
        let value = encode_record(HEADER, b"sealed");
        assert_eq!(value, b"\x01\0\0\0\x07\x01\x02\x03\x04\x05\x06\x07\x08sealed");
        assert_eq!(decode_record(&value), Ok((HEADER, b"sealed".as_slice())));
    }

    #[test]
    fn every_cut_within_the_header_is_refused() {
        let value = encode_record(HEADER, b"");
        for length in 0..value.len() {
            let cut = &value[..length];
            assert_eq!(decode_record(cut), Err(FormatError::WrongLength { bytes: length }));
        }
    }

    #[test]
    fn every_other_version_is_refused() {
        for version in (0..=u8::MAX).filter(|version| *version != FORMAT_VERSION) {
            let mut value = encode_record(HEADER, b"sealed");
            value[0] = version;
            assert_eq!(decode_record(&value), Err(FormatError::UnknownVersion { version }));
        }
    }

    #[test]
    fn each_part_of_the_place_changes_the_associated_data() {
        let identity = StoreIdentity { hsm: [3; 16], epoch: 1 };
        let base = associated_data(identity, Generation(5), &path("a/b"));
        let others = [
            associated_data(
                StoreIdentity { hsm: [4; 16], ..identity },
                Generation(5),
                &path("a/b"),
            ),
            associated_data(StoreIdentity { epoch: 2, ..identity }, Generation(5), &path("a/b")),
            associated_data(identity, Generation(6), &path("a/b")),
            associated_data(identity, Generation(5), &path("a/c")),
        ];
        assert!(others.iter().all(|other| *other != base));
    }

    #[test]
    fn the_mark_input_has_one_reading_only() {
        // Without the length, the path's end could be read as the generation's beginning.
        let short = mark_input(&path("a"), Generation(0x6262_6262_6262_6262), b"c");
        let long = mark_input(&path("abbbbbbbb"), Generation(0), b"c");
        assert_ne!(short, long);
        assert_ne!(
            mark_input(&path("a"), Generation(1), b"x"),
            mark_input(&path("a"), Generation(1), b"y")
        );
    }
}
