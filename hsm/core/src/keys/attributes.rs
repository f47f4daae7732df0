//! Attributes and tags as a caller sends them, checked.

use std::collections::BTreeMap;

use casemate_engine_port::KeySpec;

use super::KeyOp;
use crate::UnixSeconds;

/// Most tags of a version.
const TAGS_MAX: usize = 15;

/// Longest name or value of a tag, in characters.
const TAG_CHARS_MAX: usize = 256;

/// The last second of the year 9999: no time beyond it is accepted.
const TIME_MAX: UnixSeconds = UnixSeconds(253_402_300_799);

/// Attributes that a caller sets; what is absent keeps its value or takes its default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NewAttributes {
    /// Whether the version may be used at all.
    pub enabled: Option<bool>,
    /// Not to be used before.
    pub not_before: Option<UnixSeconds>,
    /// Not to be used from then on.
    pub expires: Option<UnixSeconds>,
}

/// Tags, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(BTreeMap<String, String>);

/// Why attributes, operations or tags are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttributesRefusal {
    /// The window is empty.
    #[error("'exp' must be later than 'nbf'")]
    EmptyWindow,
    /// A time before 1970 or after 9999.
    #[error("'nbf' and 'exp' are seconds since 1970, up to the year 9999")]
    TimeOutOfRange,
    /// An operation that keys of this kind cannot do.
    #[error("a key of this type cannot do the operation '{}'", .0.name())]
    OperationDoesNotFit(KeyOp),
    /// `import` beside others.
    #[error("the operation 'import' excludes all others")]
    ImportNotAlone,
    /// Too many tags.
    #[error("a key has at most {TAGS_MAX} tags, not {0}")]
    TooManyTags(usize),
    /// A tag too long.
    #[error("names and values of tags have at most {TAG_CHARS_MAX} characters")]
    TagTooLong,
}

impl Tags {
    /// Checks number and lengths.
    pub fn new(tags: BTreeMap<String, String>) -> Result<Self, AttributesRefusal> {
        if tags.len() > TAGS_MAX {
            return Err(AttributesRefusal::TooManyTags(tags.len()));
        }
        let short = |text: &String| text.chars().count() <= TAG_CHARS_MAX;
        if tags.iter().all(|(name, value)| short(name) && short(value)) {
            Ok(Self(tags))
        } else {
            Err(AttributesRefusal::TagTooLong)
        }
    }

    /// The tags.
    pub fn into_map(self) -> BTreeMap<String, String> {
        self.0
    }
}

/// Whether the window from `nbf` to `exp` is one.
pub(super) fn check_window(
    not_before: Option<UnixSeconds>,
    expires: Option<UnixSeconds>,
) -> Result<(), AttributesRefusal> {
    let range = UnixSeconds(0)..=TIME_MAX;
    if [not_before, expires].into_iter().flatten().any(|time| !range.contains(&time)) {
        return Err(AttributesRefusal::TimeOutOfRange);
    }
    match (not_before, expires) {
        (Some(from), Some(until)) if until <= from => Err(AttributesRefusal::EmptyWindow),
        _ => Ok(()),
    }
}

/// The operations of a version: each once, all possible, `import` alone.
pub(super) fn check_key_ops(
    spec: KeySpec,
    wanted: &[KeyOp],
) -> Result<Vec<KeyOp>, AttributesRefusal> {
    if let Some(op) = wanted.iter().find(|op| !op.fits(spec)) {
        return Err(AttributesRefusal::OperationDoesNotFit(*op));
    }
    if wanted.contains(&KeyOp::Import) && wanted.iter().any(|op| *op != KeyOp::Import) {
        return Err(AttributesRefusal::ImportNotAlone);
    }
    let mut ops: Vec<KeyOp> = Vec::with_capacity(wanted.len());
    for op in wanted {
        if !ops.contains(op) {
            ops.push(*op);
        }
    }
    Ok(ops)
}

#[cfg(test)]
mod tests {
    use super::*;
    use casemate_engine_port::{Curve, OctSize, RsaSize};

    fn at(seconds: i64) -> Option<UnixSeconds> {
        Some(UnixSeconds(seconds))
    }

    #[test]
    fn a_window_must_hold_a_moment() {
        assert_eq!(check_window(at(5), at(5)), Err(AttributesRefusal::EmptyWindow));
        assert_eq!(check_window(at(6), at(5)), Err(AttributesRefusal::EmptyWindow));
        assert_eq!(check_window(at(-1), None), Err(AttributesRefusal::TimeOutOfRange));
        assert_eq!(check_window(None, at(i64::MAX)), Err(AttributesRefusal::TimeOutOfRange));
        assert_eq!(check_window(at(5), at(6)), Ok(()));
        assert_eq!(check_window(None, at(0)), Ok(()));
    }

    #[test]
    fn operations_must_fit_the_type() {
        let ec = KeySpec::Ec(Curve::P256);
        let oct = KeySpec::Oct(OctSize::B256);
        let rsa = KeySpec::Rsa(RsaSize::B2048);
        for op in [KeyOp::Encrypt, KeyOp::Decrypt, KeyOp::WrapKey, KeyOp::UnwrapKey] {
            assert_eq!(check_key_ops(ec, &[op]), Err(AttributesRefusal::OperationDoesNotFit(op)));
        }
        assert!(check_key_ops(oct, &[KeyOp::Import]).is_err());
        assert_eq!(
            check_key_ops(rsa, &[KeyOp::Import, KeyOp::Sign]),
            Err(AttributesRefusal::ImportNotAlone)
        );
        assert_eq!(check_key_ops(rsa, &[KeyOp::Import]), Ok(vec![KeyOp::Import]));
        assert_eq!(check_key_ops(ec, &[KeyOp::Sign, KeyOp::Sign]), Ok(vec![KeyOp::Sign]));
        assert_eq!(check_key_ops(ec, &[]), Ok(Vec::new()));
    }

    #[test]
    fn tags_have_bounds() {
        let many = (0..16).map(|n| (n.to_string(), String::new())).collect();
        assert_eq!(Tags::new(many), Err(AttributesRefusal::TooManyTags(16)));
        let long = [("a".to_owned(), "é".repeat(257))].into();
        assert_eq!(Tags::new(long), Err(AttributesRefusal::TagTooLong));
        let fits = [("é".repeat(256), "é".repeat(256))].into();
        assert!(Tags::new(fits).is_ok());
    }
}
