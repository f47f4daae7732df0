//! Where a right holds: the whole HSM, all keys, one key.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{KeyName, NameError};

/// A scope: `/`, `/keys` or `/keys/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    /// `/`: everything.
    Root,
    /// `/keys`: all keys, present and to come.
    Keys,
    /// `/keys/NAME`: one key with all its versions.
    Key(KeyName),
}

impl Scope {
    /// Reads a scope; an empty text is `/`, a missing first slash is added.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let mut segments = text.split('/').filter(|segment| !segment.is_empty());
        match (segments.next(), segments.next(), segments.next()) {
            (None, _, _) => Ok(Self::Root),
            (Some(keys), None, _) if keys.eq_ignore_ascii_case("keys") => Ok(Self::Keys),
            (Some(keys), Some(name), None) if keys.eq_ignore_ascii_case("keys") => {
                KeyName::new(name).map(Self::Key)
            }
            _ => Err(NameError::Key),
        }
    }

    /// Whether what is allowed here is allowed at the other scope too.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Root, _) | (Self::Keys, Self::Keys | Self::Key(_)) => true,
            (Self::Key(mine), Self::Key(theirs)) => mine == theirs,
            (Self::Keys | Self::Key(_), _) => false,
        }
    }

    /// The one key of the scope, if it is of one.
    pub fn key(&self) -> Option<&KeyName> {
        match self {
            Self::Key(name) => Some(name),
            Self::Root | Self::Keys => None,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("/"),
            Self::Keys => f.write_str("/keys"),
            Self::Key(name) => write!(f, "/keys/{name}"),
        }
    }
}

impl TryFrom<String> for Scope {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(text: &str) -> Scope {
        Scope::parse(text).unwrap()
    }

    #[test]
    fn wider_scopes_cover_narrower_ones_and_never_the_reverse() {
        let (root, keys, key) = (scope("/"), scope("/keys"), scope("/keys/a"));
        assert!(root.covers(&root) && root.covers(&keys) && root.covers(&key));
        assert!(keys.covers(&keys) && keys.covers(&key) && !keys.covers(&root));
        assert!(key.covers(&scope("/KEYS/A")));
        assert!(!key.covers(&scope("/keys/ab")) && !key.covers(&keys) && !key.covers(&root));
    }

    #[test]
    fn what_is_no_scope_is_refused() {
        for bad in ["/secrets", "/keys/a/b", "/keys/a b", "keys/ü"] {
            assert!(Scope::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(scope(""), Scope::Root);
        assert_eq!(scope("keys/A").to_string(), "/keys/A");
    }
}
