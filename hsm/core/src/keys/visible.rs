//! Which keys of a list its caller may see.
//!
//! The names in a list are in order, and so are the scopes that allow it: the list of somebody who
//! may see a few keys of many is found without looking at the others.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::rbac::{ActionSet, Principal, Scope};
use crate::state::{KeyEntry, State};

/// The keys that somebody may see.
pub(super) enum Visible {
    /// All.
    All,
    /// Those of these spans, which are in order and share no name.
    Spans(Vec<Span>),
}

/// A part of the names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Span {
    /// Those that begin so.
    Prefix(String),
    /// One.
    Name(String),
}

impl Visible {
    /// What of the keys the principal is allowed the action for.
    pub(super) fn to(state: &State, principal: &Principal, action: ActionSet) -> Self {
        let held =
            principal.ids().filter_map(|id| state.assignments_by_principal.get(&id)).flatten();
        let mut spans = Vec::new();
        for held in held.filter(|held| held.actions.covers(action)) {
            match &held.assignment.scope {
                Scope::Root | Scope::Keys => return Self::All,
                Scope::Prefix(prefix) => spans.push(Span::Prefix(prefix.folded().to_owned())),
                Scope::Key(name) => spans.push(Span::Name(name.folded().to_owned())),
            }
        }
        Self::Spans(disjoint(spans))
    }

    /// The visible keys after a place, in order.
    pub(super) fn after<'a>(
        &'a self,
        keys: &'a BTreeMap<String, KeyEntry>,
        after: Option<&'a str>,
    ) -> Box<dyn Iterator<Item = (&'a String, &'a KeyEntry)> + 'a> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        match self {
            Self::All => Box::new(keys.range::<str, _>((from, Bound::Unbounded))),
            Self::Spans(spans) => {
                let passed = |span: &Span| after.is_some_and(|after| span.ends_before(after));
                let rest = spans.get(spans.partition_point(passed)..).unwrap_or_default();
                Box::new(rest.iter().flat_map(move |span| span.of(keys, after)))
            }
        }
    }
}

impl Span {
    fn begins(&self) -> &str {
        match self {
            Self::Prefix(text) | Self::Name(text) => text,
        }
    }

    /// Whether all its names stand before this one, or are this one.
    fn ends_before(&self, after: &str) -> bool {
        match self {
            Self::Prefix(prefix) => prefix.as_str() <= after && !after.starts_with(prefix.as_str()),
            Self::Name(name) => name.as_str() <= after,
        }
    }

    fn of<'a>(
        &'a self,
        keys: &'a BTreeMap<String, KeyEntry>,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a String, &'a KeyEntry)> {
        let begins = self.begins();
        let from = match after {
            Some(after) if after >= begins => Bound::Excluded(after),
            _ => Bound::Included(begins),
        };
        let fits = move |name: &str| match self {
            Self::Prefix(prefix) => name.starts_with(prefix.as_str()),
            Self::Name(own) => name == own,
        };
        let rest = keys.range::<str, _>((from, Bound::Unbounded));
        rest.take_while(move |(name, _)| fits(name))
    }
}

/// In order, without those that another one holds already.
fn disjoint(mut spans: Vec<Span>) -> Vec<Span> {
    // What a prefix covers follows it; where the texts are the same, the prefix goes first.
    spans.sort_by(|one, other| {
        let is_name = |span: &Span| matches!(span, Span::Name(_));
        (one.begins(), is_name(one)).cmp(&(other.begins(), is_name(other)))
    });
    let mut kept: Vec<Span> = Vec::new();
    for span in spans {
        let covered = kept.last().is_some_and(|last| match last {
            Span::Prefix(prefix) => span.begins().starts_with(prefix.as_str()),
            Span::Name(name) => span == Span::Name(name.clone()),
        });
        if !covered {
            kept.push(span);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Span {
        Span::Prefix(text.to_owned())
    }

    fn name(text: &str) -> Span {
        Span::Name(text.to_owned())
    }

    #[test]
    fn spans_are_in_order_and_share_nothing() {
        let spans = vec![
            name("team-a-1"),
            name("z"),
            prefix("team-a-"),
            name("a"),
            prefix("team-a-x"),
            name("team-a-"),
            prefix("b"),
            name("a"),
        ];
        let wanted = [name("a"), prefix("b"), prefix("team-a-"), name("z")];
        assert_eq!(disjoint(spans), wanted);
        assert_eq!(disjoint(vec![name("ab"), prefix("abc"), name("abcd")]).len(), 2);
    }

    #[test]
    fn a_span_is_passed_when_all_its_names_are() {
        for (span, after, passed) in [
            (name("b"), "b", true),
            (name("b"), "a", false),
            (prefix("b"), "b", false),
            (prefix("b"), "bz", false),
            (prefix("b"), "c", true),
            (prefix("b"), "a", false),
        ] {
            assert_eq!(span.ends_before(after), passed, "{span:?} {after}");
        }
    }
}
