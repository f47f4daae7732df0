//! Names and addresses that a source tells.

/// Longest name of a key (Key Vault REST API: 1 to 127 letters, digits and hyphens).
const NAME_BYTES_MAX: usize = 127;
/// Length of a version.
const VERSION_BYTES: usize = 32;

/// The name and the version of a key, from its id below this source.
pub(crate) fn of_kid<'a>(source: &str, kid: &'a str) -> Option<(&'a str, Option<&'a str>)> {
    let below = below(source, kid)?;
    let mut segments = below.trim_matches('/').split('/');
    let is_key = segments.next().is_some_and(|area| area == "keys");
    let name = segments.next().filter(|name| is_key && is_name(name))?;
    let version = match segments.next() {
        None => None,
        Some(version) if is_version(version) => Some(version),
        Some(_) => return None,
    };
    segments.next().is_none().then_some((name, version))
}

/// The path and query of an address below the source; none of another host.
pub(crate) fn below<'a>(source: &str, url: &'a str) -> Option<&'a str> {
    let (source, begin) =
        (source.trim_end_matches('/'), url.get(..source.trim_end_matches('/').len())?);
    let rest = url.get(source.len()..)?;
    let is_ours = begin.eq_ignore_ascii_case(source) && rest.starts_with('/');
    let plain = rest.bytes().all(|byte| byte.is_ascii_graphic());
    (is_ours && plain).then_some(rest)
}

pub(crate) fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn is_version(version: &str) -> bool {
    version.len() == VERSION_BYTES && version.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "https://alpha.managedhsm.azure.net/";

    #[test]
    fn ids_below_the_source_are_read() {
        let version = "0123456789abcdef0123456789abcdef";
        let kid = format!("https://ALPHA.managedhsm.azure.net/keys/Pay-1/{version}");
        assert_eq!(of_kid(SOURCE, &kid), Some(("Pay-1", Some(version))));
        let kid = "https://alpha.managedhsm.azure.net/keys/pay";
        assert_eq!(of_kid(SOURCE, kid), Some(("pay", None)));
    }

    #[test]
    fn what_leads_elsewhere_is_not() {
        for kid in [
            "https://alpha.managedhsm.azure.net.evil.example/keys/pay",
            "https://evil.example/keys/pay",
            "http://alpha.managedhsm.azure.net/keys/pay",
            "https://alpha.managedhsm.azure.net@evil.example/keys/pay",
            "https://alpha.managedhsm.azure.net/secrets/pay",
            "https://alpha.managedhsm.azure.net/keys/",
            "https://alpha.managedhsm.azure.net/keys/a%2fb",
            "https://alpha.managedhsm.azure.net/keys/a b",
            "https://alpha.managedhsm.azure.net/keys/pay/short",
            "https://alpha.managedhsm.azure.net/keys/pay/0123456789abcdef0123456789abcdef/x",
            "",
            "ü",
        ] {
            assert_eq!(of_kid(SOURCE, kid), None, "{kid}");
        }
        assert_eq!(below(SOURCE, "https://alpha.managedhsm.azure.net:8443/keys"), None);
        assert_eq!(below(SOURCE, "https://alpha.managedhsm.azure.net/keys\r\nx"), None);
    }
}
