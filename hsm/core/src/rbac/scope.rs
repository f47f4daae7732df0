//! Where a right holds: the whole HSM, all keys, the keys whose names begin alike, one key.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{KeyName, KeyPrefix, NameError};

/// A scope: `/`, `/keys`, `/keys/PREFIX*` or `/keys/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    /// `/`: everything.
    Root,
    /// `/keys`: all keys, present and to come.
    Keys,
    /// `/keys/PREFIX*`: the keys whose names begin so, present and to come.
    Prefix(KeyPrefix),
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
                Self::below_keys(name)
            }
            _ => Err(NameError::Key),
        }
    }

    /// The scope of one key, or of a name prefix, from the last segment of its text.
    pub fn below_keys(segment: &str) -> Result<Self, NameError> {
        match segment.contains('*') {
            true => KeyPrefix::new(segment).map(Self::Prefix),
            false => KeyName::new(segment).map(Self::Key),
        }
    }

    /// Whether what is allowed here is allowed at the other scope too.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Root, _) | (Self::Keys, Self::Keys | Self::Prefix(_) | Self::Key(_)) => true,
            (Self::Prefix(mine), Self::Prefix(theirs)) => mine.covers(theirs),
            (Self::Prefix(mine), Self::Key(theirs)) => mine.fits(theirs),
            (Self::Key(mine), Self::Key(theirs)) => mine == theirs,
            (Self::Keys | Self::Prefix(_) | Self::Key(_), _) => false,
        }
    }

    /// Whether something can be at both scopes: one of them covers the other.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// The one key of the scope, if it is of one.
    pub fn key(&self) -> Option<&KeyName> {
        match self {
            Self::Key(name) => Some(name),
            Self::Root | Self::Keys | Self::Prefix(_) => None,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("/"),
            Self::Keys => f.write_str("/keys"),
            Self::Prefix(prefix) => write!(f, "/keys/{prefix}"),
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
    fn a_prefix_covers_the_names_that_begin_so_and_nothing_else() {
        let team = scope("/keys/Team-A-*");
        assert_eq!(team.to_string(), "/keys/Team-A-*");
        for covered in ["/keys/team-a-1", "/keys/TEAM-A-", "/keys/team-a-*", "/keys/team-a-x*"] {
            assert!(team.covers(&scope(covered)), "{covered}");
        }
        for other in ["/", "/keys", "/keys/team-a", "/keys/team-b-1", "/keys/team-*"] {
            assert!(!team.covers(&scope(other)), "{other}");
        }
        assert!(scope("/keys").covers(&team) && scope("/").covers(&team));
        assert!(!scope("/keys/team-a-1").covers(&team));
        assert!(team.overlaps(&scope("/keys/team-*")) && !team.overlaps(&scope("/keys/b*")));
    }

    #[test]
    fn what_is_no_scope_is_refused() {
        for bad in [
            "/secrets",
            "/keys/a/b",
            "/keys/a b",
            "keys/ü",
            "/keys/*",
            "/keys/a*b",
            "/keys/*a",
            "/*",
            "/keys*",
            "/keys/a**",
            "/keys/a*/b",
        ] {
            assert!(Scope::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(scope(""), Scope::Root);
        assert_eq!(scope("keys/A").to_string(), "/keys/A");
    }
}
