//! Pages of lists: which one is asked for, and the link to the next.
//!
//! A skip token is opaque to callers and carries nothing but the place where the page before
//! ended. It is checked when it comes back; a forged one can only name another place in a list
//! that its sender may read anyway.

use casemate_hsm::keys::Page;
use casemate_hsm::{KeyName, UnixSeconds, VersionId};
use casemate_wire::{append_base64url, decode_base64url};
use uuid::Uuid;

use crate::parameters::{BadParameter, PAGE_ITEMS_MAX};
use crate::query::Query;

/// Most items of a page of role assignments, and of role definitions beside the built-in ones.
pub(crate) const ROLES_PER_PAGE: usize = 250;

/// What a list holds: its tokens fit no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListOf {
    Keys,
    DeletedKeys,
    Versions,
    Assignments,
    Definitions,
}

impl ListOf {
    fn tag(self) -> u8 {
        match self {
            Self::Keys => b'k',
            Self::DeletedKeys => b'd',
            Self::Versions => b'v',
            Self::Assignments => b'a',
            Self::Definitions => b'r',
        }
    }

    fn holds(self, place: &str) -> bool {
        match self {
            Self::Keys | Self::DeletedKeys => KeyName::new(place).is_ok(),
            Self::Versions => VersionId::parse(place).is_ok(),
            Self::Assignments | Self::Definitions => role_place(place).is_some(),
        }
    }
}

/// A place in a list of role assignments or definitions: when the last one was made, and its name.
pub(crate) type RolePlace = (UnixSeconds, Uuid);

pub(crate) fn role_place(place: &str) -> Option<RolePlace> {
    let (created, name) = place.split_once(' ')?;
    let name = Uuid::try_parse(name).ok().filter(|_| name.len() == 36)?;
    Some((UnixSeconds(created.parse().ok()?), name))
}

/// The page after a place, and the place of its end if there is more. That the one at the place is
/// gone meanwhile makes no difference. The list is in order of places.
pub(crate) fn page_of_roles<'a, T>(
    all: &'a [T],
    after: Option<&str>,
    place: impl Fn(&T) -> RolePlace,
) -> (&'a [T], Option<String>) {
    let start = after
        .and_then(role_place)
        .map_or(0, |after| all.partition_point(|one| place(one) <= after));
    let rest = all.get(start..).unwrap_or_default();
    match rest.split_at_checked(ROLES_PER_PAGE) {
        Some((page, [_, ..])) => {
            let last = page.last().map(place);
            (page, last.map(|(created, name)| format!("{} {name}", created.0)))
        }
        _ => (rest, None),
    }
}

/// The page of keys that is asked for.
pub(crate) fn page(list: ListOf, query: &Query) -> Result<Page, BadParameter> {
    let items_max = match query.max_results.as_deref() {
        None => PAGE_ITEMS_MAX,
        Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().map_err(|_| BadParameter::MaxResults)?
        }
        Some(_) => return Err(BadParameter::MaxResults),
    };
    if !(1..=PAGE_ITEMS_MAX).contains(&items_max) {
        return Err(BadParameter::MaxResults);
    }
    Ok(Page { after: after(list, query)?, items_max })
}

/// Where the page before ended.
pub(crate) fn after(list: ListOf, query: &Query) -> Result<Option<String>, BadParameter> {
    let Some(token) = query.skip_token.as_deref() else { return Ok(None) };
    let bytes = decode_base64url(token).map_err(|_| BadParameter::SkipToken)?;
    let place = match bytes.split_first() {
        Some((tag, place)) if *tag == list.tag() => std::str::from_utf8(place).ok(),
        _ => None,
    };
    let place = place.filter(|place| list.holds(place)).ok_or(BadParameter::SkipToken)?;
    Ok(Some(place.to_owned()))
}

/// The token of the page after this place.
pub(crate) fn skip_token(list: ListOf, place: &str) -> String {
    let mut bytes = vec![list.tag()];
    bytes.extend_from_slice(place.as_bytes());
    let mut token = Vec::new();
    append_base64url(&mut token, &bytes);
    String::from_utf8(token).expect("base64url is ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(max_results: Option<&str>, skip_token: Option<&str>) -> Query {
        Query {
            max_results: max_results.map(str::to_owned),
            skip_token: skip_token.map(str::to_owned),
            ..Query::default()
        }
    }

    #[test]
    fn a_page_has_one_to_twenty_five_items() {
        assert_eq!(page(ListOf::Keys, &query(None, None)).unwrap().items_max, 25);
        assert_eq!(page(ListOf::Keys, &query(Some("1"), None)).unwrap().items_max, 1);
        for bad in ["", "0", "26", "-1", "+5", "5.0", "x", "99999999999999999999999"] {
            let refusal = page(ListOf::Keys, &query(Some(bad), None)).unwrap_err();
            assert_eq!(refusal, BadParameter::MaxResults, "{bad}");
        }
    }

    #[test]
    fn tokens_come_back_and_fit_their_own_list_only() {
        let token = skip_token(ListOf::Keys, "payroll-7");
        let asked = query(None, Some(&token));
        assert_eq!(after(ListOf::Keys, &asked).unwrap().as_deref(), Some("payroll-7"));
        let others =
            [ListOf::DeletedKeys, ListOf::Versions, ListOf::Assignments, ListOf::Definitions];
        for other in others {
            assert_eq!(after(other, &asked), Err(BadParameter::SkipToken));
        }
        let no_name = skip_token(ListOf::Keys, "a/b");
        for bad in ["", "!", "AA", "a", &no_name, "a3Bhe"] {
            let refusal = after(ListOf::Keys, &query(None, Some(bad)));
            assert_eq!(refusal, Err(BadParameter::SkipToken), "{bad}");
        }
    }

    #[test]
    fn pages_of_roles_follow_each_other_without_loss() {
        let mut all: Vec<u128> = (0..501).collect();
        let place = |one: &u128| (UnixSeconds(0), Uuid::from_u128(*one));
        let from = |all: &[u128], after: Option<&str>| {
            let (page, next) = page_of_roles(all, after, place);
            (page.len(), page.last().copied(), next)
        };
        let (count, last, next) = from(&all, None);
        assert_eq!((count, last), (250, Some(249)));
        let (count, last, third) = from(&all, next.as_deref());
        assert_eq!((count, last), (250, Some(499)));
        assert_eq!(from(&all, third.as_deref()), (1, Some(500), None));
        assert_eq!(from(&all[..250], None), (250, Some(249), None));
        // Whoever deletes what a page showed goes on after it all the same.
        all.drain(..250);
        let (count, last, _) = from(&all, next.as_deref());
        assert_eq!((count, last), (250, Some(499)));
    }
}
