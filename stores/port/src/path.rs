//! Paths of records.

use std::fmt;

/// Longest path, in bytes.
const PATH_BYTES_MAX: usize = 512;

/// The path of a record: lower-case segments joined by `/`, such as `keys/alpha/versions/0af3…`.
///
/// Names compare without case everywhere, so a path holds no upper-case letter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(String);

/// Why a text is no path.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a record path: {0:?}")]
pub struct PathError(String);

impl Path {
    /// Checks a text: 1 to 512 bytes of `a-z 0-9 - _ . /`, no empty segment.
    pub fn new(text: impl Into<String>) -> Result<Self, PathError> {
        let text = text.into();
        let allowed = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_./".contains(&byte)
        };
        let whole = !text.is_empty()
            && text.len() <= PATH_BYTES_MAX
            && text.bytes().all(allowed)
            && text.split('/').all(|segment| !segment.is_empty());
        if whole { Ok(Self(text)) } else { Err(PathError(text)) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upper_case_empty_segments_and_foreign_letters_are_refused() {
        for bad in ["", "/", "a//b", "/a", "a/", "Keys/a", "a b", "ä", &"x".repeat(513)] {
            assert!(Path::new(bad).is_err(), "{bad:?}");
        }
        for good in ["head", "keys/a-1/versions/00ff", "rbac/assignments/1.2_3"] {
            assert_eq!(Path::new(good).unwrap().as_str(), good);
        }
    }
}
