//! Names of keys and versions.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest key name, in characters (Key Vault REST API).
const KEY_NAME_CHARS_MAX: usize = 127;

/// The name of a key: 1 to 127 of `0-9 a-z A-Z -`. Compared without case, shown as created.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyName {
    shown: String,
    folded: String,
}

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a key name.
    #[error("a key name has 1 to 127 characters, each a letter, a digit or a hyphen")]
    Key,
    /// Not a version.
    #[error("a key version is 32 hexadecimal digits")]
    Version,
}

impl KeyName {
    /// Checks a text.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let whole = (1..=KEY_NAME_CHARS_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !whole {
            return Err(NameError::Key);
        }
        Ok(Self { shown: text.to_owned(), folded: text.to_ascii_lowercase() })
    }

    /// The name as it was written.
    pub fn as_str(&self) -> &str {
        &self.shown
    }

    /// The name in lower case: what is compared and stored under.
    pub fn folded(&self) -> &str {
        &self.folded
    }
}

impl PartialEq for KeyName {
    fn eq(&self, other: &Self) -> bool {
        self.folded == other.folded
    }
}

impl Eq for KeyName {}

impl std::hash::Hash for KeyName {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.folded.hash(state);
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl TryFrom<String> for KeyName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(&text)
    }
}

impl From<KeyName> for String {
    fn from(name: KeyName) -> Self {
        name.shown
    }
}

/// A key version: 128 random bits, written as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VersionId([u8; 16]);

impl VersionId {
    /// From random bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// From its text; either case.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let digits = text.as_bytes();
        if digits.len() != 32 {
            return Err(NameError::Version);
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| NameError::Version)?;
            if pair.starts_with('+') {
                return Err(NameError::Version);
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| NameError::Version)?;
        }
        Ok(Self(bytes))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_case_and_shown_as_written() {
        let name = KeyName::new("Pay-Roll").unwrap();
        assert_eq!(name, KeyName::new("PAY-roll").unwrap());
        assert_eq!(name.to_string(), "Pay-Roll");
        assert_eq!(name.folded(), "pay-roll");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for bad in ["", "a b", "a/b", "ä", "a_b", "a.b", "a%41", &"x".repeat(128)] {
            assert_eq!(KeyName::new(bad).unwrap_err(), NameError::Key, "{bad:?}");
        }
        assert!(KeyName::new(&"x".repeat(127)).is_ok());
    }

    #[test]
    fn versions_are_32_hexadecimal_digits() {
        let text = "00ff10aa00ff10aa00ff10aa00ff10aa";
        assert_eq!(VersionId::parse(text).unwrap().to_string(), text);
        assert!(VersionId::parse(&text.to_uppercase()).is_ok());
        for bad in ["", "00", &"g".repeat(32), &"+1".repeat(16), &"é".repeat(16)] {
            assert!(VersionId::parse(bad).is_err(), "{bad:?}");
        }
    }
}
