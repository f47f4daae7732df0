//! The parameters of a query. Names are percent-decoded too: the JavaScript client encodes them.

use std::borrow::Cow;

use casemate_wire::ApiVersion;

/// The parameters that mean something; of a repeated one the first counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// `api-version`.
    pub version: Version,
    /// `maxresults`.
    pub max_results: Option<String>,
    /// `$skiptoken`.
    pub skip_token: Option<String>,
    /// `$filter`.
    pub filter: Option<String>,
    /// `key`, of our own `/audit/usage`.
    pub key: Option<String>,
    /// `principal`, of an explanation as the three that follow.
    pub principal: Option<String>,
    /// `action`.
    pub action: Option<String>,
    /// `scope`.
    pub scope: Option<String>,
    /// `groups`.
    pub groups: Option<String>,
}

/// The api-version that was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// None.
    #[default]
    Missing,
    /// One that is not known here.
    Unknown,
    /// A known one.
    Known(ApiVersion),
}

impl Query {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut query = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name, true)?, decode(value, true)?);
            if name.eq_ignore_ascii_case("api-version") {
                if query.version == Version::Missing {
                    query.version =
                        ApiVersion::parse(&value).map_or(Version::Unknown, Version::Known);
                }
                continue;
            }
            let place = [
                ("maxresults", &mut query.max_results),
                ("$skiptoken", &mut query.skip_token),
                ("$filter", &mut query.filter),
                ("key", &mut query.key),
                ("principal", &mut query.principal),
                ("action", &mut query.action),
                ("scope", &mut query.scope),
                ("groups", &mut query.groups),
            ]
            .into_iter()
            .find(|(known, _)| name.eq_ignore_ascii_case(known));
            if let Some((_, place)) = place {
                place.get_or_insert_with(|| value.into_owned());
            }
        }
        Some(query)
    }
}

/// Decodes percent-encoding (RFC 3986, section 2.1), in a query `+` as a space too; none if it is
/// malformed or no UTF-8.
pub(crate) fn decode(text: &str, plus: bool) -> Option<Cow<'_, str>> {
    let coded = |byte: u8| byte == b'%' || (plus && byte == b'+');
    if !text.bytes().any(coded) {
        return Some(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => digit(bytes.next()?)? * 16 + digit(bytes.next()?)?,
            b'+' if plus => b' ',
            plain => plain,
        });
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}
