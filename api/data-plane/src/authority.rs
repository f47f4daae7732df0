//! Which of the HSM's names was asked. Ids and links are made from that name's configured URL,
//! never from what the caller sent.

use http::header::HOST;
use http::request::Parts;

use crate::plane::Name;

/// The configured name that the request is for; none means "not us".
///
/// A host without a port stands for any port: libmongocrypt leaves it out.
pub(crate) fn asked<'a>(names: &'a [Name], parts: &Parts) -> Option<&'a Name> {
    let authority = match parts.uri.authority() {
        Some(authority) => authority.as_str(),
        None => {
            let mut hosts = parts.headers.get_all(HOST).iter();
            let only = hosts.next()?;
            if hosts.next().is_some() {
                return None;
            }
            only.to_str().ok()?
        }
    };
    let (host, port) = split(authority)?;
    let fits = |name: &&Name| {
        name.host.eq_ignore_ascii_case(host) && port.is_none_or(|port| port == name.port)
    };
    names.iter().find(fits)
}

/// Host, without the brackets of an IPv6 address, and port.
fn split(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    if rest.is_empty() {
        return Some((host, None));
    }
    let digits = rest.strip_prefix(':')?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().map(|port| (host, Some(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_split_strictly() {
        assert_eq!(split("h"), Some(("h", None)));
        assert_eq!(split("h:8443"), Some(("h", Some(8443))));
        assert_eq!(split("[::1]:1"), Some(("::1", Some(1))));
        assert_eq!(split("[::1]"), Some(("::1", None)));
        for bad in ["h:", "h:x", "h:+1", "h:65536", "[::1", "[::1]x", "a:b:1", "h:1:2"] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }
}
