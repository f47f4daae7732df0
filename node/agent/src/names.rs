//! The names of one development HSM and its agent, and the URLs that come from them.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use casemate_channel::ExternalName;

/// The domain of everything that `dev` makes.
const DOMAIN: &str = "localhost";

/// Where everything is, once the listeners are bound.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    hsm: String,
    /// The listener that picks by server name.
    pub(crate) listen: SocketAddr,
    /// The HSM's own listener.
    pub(crate) hsm_listen: SocketAddr,
}

impl Names {
    pub(crate) fn new(hsm: &str, listen: SocketAddr, hsm_listen: SocketAddr) -> Self {
        Self { hsm: hsm.to_owned(), listen: reachable(listen), hsm_listen: reachable(hsm_listen) }
    }

    /// The agent's own address: issuer and control plane.
    pub(crate) fn base_url(&self) -> String {
        format!("https://{DOMAIN}:{}", self.listen.port())
    }

    /// The HSM by name.
    pub(crate) fn named_url(&self) -> String {
        format!("https://{}{}", self.hsm, self.suffix("managedhsm"))
    }

    /// The HSM by address.
    pub(crate) fn address_url(&self) -> String {
        format!("https://{}", self.hsm_listen)
    }

    /// The resource of tokens for the control plane.
    pub(crate) fn control_audience(&self) -> String {
        format!("https://management.{DOMAIN}:{}", self.listen.port())
    }

    /// What follows a resource's name in its authority.
    pub(crate) fn suffix(&self, kind: &str) -> String {
        format!(".{kind}.{DOMAIN}:{}", self.listen.port())
    }

    /// The server names of the HSM.
    pub(crate) fn hsm_hosts(&self) -> [String; 2] {
        ["managedhsm", "vault"].map(|kind| format!("{}.{kind}.{DOMAIN}", self.hsm))
    }

    /// Each authority that the HSM accepts.
    pub(crate) fn external(&self) -> Vec<ExternalName> {
        let at = |host: String, port| ExternalName { host, port };
        let named = self.hsm_hosts().map(|host| at(host, self.listen.port()));
        let direct = [self.hsm_listen.ip().to_string(), DOMAIN.to_owned()];
        let direct = direct.into_iter().chain(self.hsm_hosts());
        let direct = direct.map(|host| at(host, self.hsm_listen.port()));
        named.into_iter().chain(direct).collect()
    }

    /// The names a certificate of the HSM may carry.
    pub(crate) fn certified(&self) -> HashSet<String> {
        self.external().into_iter().map(|name| name.host).collect()
    }

    /// The agent's own server names.
    pub(crate) fn own_hosts(&self) -> Vec<String> {
        let sub = |label: &str| format!("{label}.{DOMAIN}");
        let address = self.listen.ip().to_string();
        vec![DOMAIN.to_owned(), sub("login"), sub("management"), address]
    }
}

/// An address that a client on this machine can use.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_no_trailing_slash_and_addresses_can_be_used() {
        let names = |address: &str| {
            Names::new("dev", "127.0.0.1:8443".parse().unwrap(), address.parse().unwrap())
        };
        let usual = names("127.0.0.1:8444");
        assert_eq!(usual.named_url(), "https://dev.managedhsm.localhost:8443");
        assert_eq!(usual.address_url(), "https://127.0.0.1:8444");
        assert_eq!(usual.base_url(), "https://localhost:8443");
        assert_eq!(names("0.0.0.0:1").address_url(), "https://127.0.0.1:1");
        assert_eq!(names("[::]:1").address_url(), "https://[::1]:1");
    }

    #[test]
    fn an_hsm_is_never_certified_for_the_agents_names() {
        let names =
            Names::new("dev", "127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        let certified = names.certified();
        for label in ["login.localhost", "management.localhost"] {
            assert!(!certified.contains(label));
        }
        assert!(certified.contains("127.0.0.1"));
    }
}
