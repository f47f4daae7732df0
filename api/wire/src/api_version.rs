//! The api-versions that the data plane answers to.

/// An accepted api-version. Later ones compare greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion(usize);

/// In the order of their publication. What real clients send is among them, down to 7.1
/// (libmongocrypt).
const ACCEPTED: [&str; 21] = [
    "2016-10-01",
    "7.0",
    "7.1",
    "7.2-preview",
    "7.2",
    "7.3-preview",
    "7.3",
    "7.4-preview.1",
    "7.4",
    "7.5-preview.1",
    "7.5",
    "7.6-preview.1",
    "7.6-preview.2",
    "7.6",
    "2025-06-01-preview",
    "2025-07-01",
    "2026-01-01-preview",
    "2026-03-01-preview",
    "2026-04-01",
    "2026-05-01-preview",
    "2026-07-01-preview",
];

impl ApiVersion {
    /// The newest that is no preview.
    pub const NEWEST_STABLE: &str = "2026-04-01";

    /// The version of this name, compared without case.
    pub fn parse(text: &str) -> Option<Self> {
        ACCEPTED.iter().position(|known| known.eq_ignore_ascii_case(text)).map(Self)
    }

    /// All names, oldest first.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ACCEPTED.into_iter()
    }

    /// The name.
    pub fn name(self) -> &'static str {
        ACCEPTED[self.0]
    }

    /// Whether bundles carry the attribute `key_size`: since 2026-01-01-preview.
    pub fn shows_key_size(self) -> bool {
        Self::parse("2026-01-01-preview").is_some_and(|first| self >= first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_nothing_else() {
        for name in ApiVersion::names() {
            assert_eq!(ApiVersion::parse(name).unwrap().name(), name);
        }
        for bad in ["", "7", "7.6 ", "7.10", "2026-04-01-preview", "latest"] {
            assert!(ApiVersion::parse(bad).is_none(), "{bad}");
        }
        assert!(ApiVersion::parse(ApiVersion::NEWEST_STABLE).is_some());
    }

    #[test]
    fn the_key_size_is_shown_from_its_first_version_on() {
        let shows = |name| ApiVersion::parse(name).unwrap().shows_key_size();
        assert!(!shows("7.6") && !shows("2025-07-01"));
        assert!(shows("2026-01-01-preview") && shows("2026-04-01"));
    }
}
