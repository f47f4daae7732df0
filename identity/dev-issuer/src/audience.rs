//! From the asked scope to the audience of a token. Pure.

use url::Url;

use crate::refusal::Refusal;

/// The audience of tokens that are handed to another app's federation, as in Entra.
pub(crate) const TOKEN_EXCHANGE: &str = "api://AzureADTokenExchange";
/// Scopes that ask for parts of OpenID Connect and not for a resource.
const OPENID_SCOPES: [&str; 4] = ["openid", "profile", "email", "offline_access"];

/// Reads `scope` (or `resource`) and refuses what tokens are not issued for. The audience has no
/// trailing slash: the scope of a resource that ends with one arrives as `...//.default`.
pub(crate) fn audience(
    scope: Option<&str>,
    resource: Option<&str>,
    allowed: &[String],
    base_url: &str,
) -> Result<String, Refusal> {
    let scopes = scope.unwrap_or_default().split(' ');
    let scopes = scopes.filter(|one| !one.is_empty() && !OPENID_SCOPES.contains(one));
    let asked: Vec<&str> = scopes.chain(resource).map(bare).collect();
    let Some(first) = asked.first() else { return Err(Refusal::NotOneResource) };
    if asked.iter().any(|other| other != first) {
        return Err(Refusal::NotOneResource);
    }
    let listed = allowed.iter().any(|one| bare(one) == *first) || *first == TOKEN_EXCHANGE;
    if listed || is_under(first, base_url) {
        return Ok((*first).to_owned());
    }
    Err(Refusal::UnknownResource)
}

fn bare(resource: &str) -> &str {
    resource.strip_suffix("/.default").unwrap_or(resource).trim_end_matches('/')
}

/// True for `https` addresses without a path under the issuer's own domain: clients that make the
/// scope from a key's host name (CSFLE drivers) ask for such.
fn is_under(resource: &str, base_url: &str) -> bool {
    let host = |text: &str| {
        let url = Url::parse(text).ok().filter(|url| url.scheme() == "https")?;
        let plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let plain = plain && url.username().is_empty() && url.password().is_none();
        plain.then(|| url.host_str().map(str::to_owned)).flatten()
    };
    let (Some(asked), Some(own)) = (host(resource), host(base_url)) else { return false };
    asked == own || asked.strip_suffix(&own).is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "https://localhost:8443";

    fn asked(scope: &str) -> Result<String, Refusal> {
        audience(Some(scope), None, &["https://managedhsm.azure.net".to_owned()], BASE)
    }

    #[test]
    fn suffixes_and_slashes_fall() {
        for scope in [
            "https://management.localhost:8443//.default",
            "https://management.localhost:8443/.default openid profile",
            "https://management.localhost:8443/",
        ] {
            assert_eq!(asked(scope).unwrap(), "https://management.localhost:8443");
        }
        assert_eq!(asked("https://managedhsm.azure.net/.default").unwrap().len(), 28);
        assert_eq!(asked("https://localhost:8443/.default").unwrap(), BASE);
    }

    #[test]
    fn strangers_are_refused() {
        for scope in [
            "https://vault.azure.net/.default",
            "http://managedhsm.localhost:8443/.default",
            "https://evillocalhost/.default",
            "https://localhost.example/.default",
            "https://managedhsm.localhost/path/.default",
            "https://u@managedhsm.localhost/.default",
            "https://0.0.1/.default",
            "nonsense",
        ] {
            assert_eq!(asked(scope), Err(Refusal::UnknownResource), "{scope}");
        }
        assert_eq!(asked("openid"), Err(Refusal::NotOneResource));
        assert_eq!(asked("https://a.localhost https://b.localhost"), Err(Refusal::NotOneResource));
        assert_eq!(audience(None, None, &[], BASE), Err(Refusal::NotOneResource));
    }
}
