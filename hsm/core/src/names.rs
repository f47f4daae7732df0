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
    /// Not the beginning of key names.
    #[error(
        "a name prefix is 1 to 127 characters, each a letter, a digit or a hyphen, and one star at \
         its end"
    )]
    Prefix,
}

impl KeyName {
    /// Checks a text.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if !is_name(text) {
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

fn is_name(text: &str) -> bool {
    (1..=KEY_NAME_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// How the names of some keys begin: the beginning of a key name, and a star. Compared without
/// case, shown as written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyPrefix {
    /// Without the star.
    begins: KeyName,
}

impl KeyPrefix {
    /// Checks a text, `team-a-*`. The star stands at the end and nowhere else.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let begins = text.strip_suffix('*').ok_or(NameError::Prefix)?;
        KeyName::new(begins).map(|begins| Self { begins }).map_err(|_| NameError::Prefix)
    }

    /// The beginning that all the names share, in lower case.
    pub fn folded(&self) -> &str {
        self.begins.folded()
    }

    /// Whether the key's name begins so.
    pub fn fits(&self, name: &KeyName) -> bool {
        name.folded().starts_with(self.folded())
    }

    /// Whether all names that begin as the other says begin so.
    pub fn covers(&self, other: &Self) -> bool {
        other.folded().starts_with(self.folded())
    }
}

impl PartialEq for KeyPrefix {
    fn eq(&self, other: &Self) -> bool {
        self.begins == other.begins
    }
}

impl Eq for KeyPrefix {}

impl std::hash::Hash for KeyPrefix {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.begins.hash(state);
    }
}

impl fmt::Display for KeyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}*", self.begins)
    }
}

impl TryFrom<String> for KeyPrefix {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(&text)
    }
}

impl From<KeyPrefix> for String {
    fn from(prefix: KeyPrefix) -> Self {
        prefix.to_string()
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
    fn prefixes_end_with_the_one_star_and_compare_without_case() {
        let prefix = KeyPrefix::new("Team-A-*").unwrap();
        assert_eq!(prefix, KeyPrefix::new("team-a-*").unwrap());
        assert_eq!(prefix.to_string(), "Team-A-*");
        for (name, fits) in [("team-a-1", true), ("TEAM-A-", true), ("team-a", false)] {
            assert_eq!(prefix.fits(&KeyName::new(name).unwrap()), fits, "{name}");
        }
        assert!(prefix.covers(&KeyPrefix::new("team-a-x*").unwrap()));
        assert!(!prefix.covers(&KeyPrefix::new("team-*").unwrap()));
        for bad in ["", "*", "a", "*a", "a*b", "a**", "a*b*", "a_*", "ä*", "a *", "a/*"] {
            assert_eq!(KeyPrefix::new(bad).unwrap_err(), NameError::Prefix, "{bad:?}");
        }
        assert!(KeyPrefix::new(&format!("{}*", "x".repeat(128))).is_err());
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
