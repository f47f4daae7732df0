//! `casemate hsm create`: the first settings of an HSM, checked before anything is made.

use std::path::PathBuf;

use casemate_channel::Engine;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::options::{RETENTION_DAYS_DEFAULT, is_hsm_name};

/// Most first administrators.
const ADMINISTRATORS_MAX: usize = 16;
/// Most further audiences, and most further hosts.
const FURTHER_MAX: usize = 16;
/// Longest URL or name, in bytes.
const TEXT_BYTES_MAX: usize = 2048;
/// Longest label of a token, in bytes (PKCS #11, `CK_TOKEN_INFO`).
const LABEL_BYTES_MAX: usize = 32;
/// The one role of first administrators; whoever holds it gives the others.
const FIRST_ROLES: [&str; 1] = ["Managed HSM Administrator"];

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewHsm {
    /// The HSM's name.
    pub name: String,
    /// The tenant whose principals may call.
    pub tenant: Uuid,
    /// The `iss` of the tokens that are believed.
    pub issuer: String,
    /// The issuer's discovery document; by default below the issuer's own address.
    pub issuer_metadata: Option<String>,
    /// The authority that clients are told of; by default the issuer without `/v2.0`.
    pub authority: Option<String>,
    /// The roots of the issuer's TLS certificate, PEM.
    pub issuer_ca_pem: String,
    /// Object ids of the first administrators.
    pub administrators: Vec<Uuid>,
    /// Audiences beside the HSM's own.
    pub audiences: Vec<String>,
    /// Further hosts (`host:port`) that the issuer's documents name.
    pub outbound: Vec<String>,
    /// Days for which a deleted key can be recovered.
    pub retention_days: Option<u32>,
    /// Whether deleted keys stay until then, whoever asks.
    pub purge_protection: bool,
    /// Where its keys live, for ever.
    #[serde(default)]
    pub engine: Engine,
}

/// Why no HSM is made.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreationRefusal {
    /// A name that Azure would not take.
    #[error(
        "{0:?} is no name for a managed HSM; use 3 to 24 letters, digits and single hyphens, \
         beginning with a letter"
    )]
    Name(String),
    /// A URL that is none, or not safe.
    #[error("{what} is {text:?}; give a whole https URL without user, query and fragment")]
    Url {
        /// Which.
        what: &'static str,
        /// As it was given.
        text: String,
    },
    /// No certificate in the PEM.
    #[error("the roots of the issuer hold no certificate; give a PEM file with the CA's own")]
    NoRoots,
    /// Nobody.
    #[error("give at least one first administrator, and at most {ADMINISTRATORS_MAX}: --admin OID")]
    Administrators,
    /// Too many.
    #[error("give at most {FURTHER_MAX} further audiences and {FURTHER_MAX} further hosts")]
    TooMany,
    /// Not a host with a port.
    #[error("{0:?} is no host with a port, such as login.example.org:443")]
    Host(String),
    /// A path that depends on where the program was started.
    #[error("{0:?} depends on where the program is started; write the whole path, from / on")]
    Relative(PathBuf),
    /// A label that no token can have.
    #[error("the token's label is {0:?}; write the one it was initialised with, 1 to 32 bytes")]
    Label(String),
    /// Retention out of range.
    #[error("{0} days of retention are not possible; use 7 to 90")]
    Retention(u32),
}

/// What can be known of a token from the words alone.
fn check_engine(engine: &Engine) -> Result<(), CreationRefusal> {
    let Engine::Pkcs11(place) = engine else { return Ok(()) };
    let fixed = [&place.module, &place.pin_file];
    let mut paths = fixed.into_iter().chain(&place.paths);
    if let Some(path) = paths.find(|path| !path.is_absolute()) {
        return Err(CreationRefusal::Relative(path.clone()));
    }
    match (1..=LABEL_BYTES_MAX).contains(&place.token.len()) {
        true => Ok(()),
        false => Err(CreationRefusal::Label(place.token.clone())),
    }
}

impl NewHsm {
    /// The settings to be sealed, for an HSM of this domain reached at this port.
    pub(crate) fn settings(&self, domain: &str, port: u16) -> Result<Value, CreationRefusal> {
        if !is_hsm_name(&self.name) {
            return Err(CreationRefusal::Name(self.name.clone()));
        }
        check_engine(&self.engine)?;
        let issuer = https("the issuer", &self.issuer)?;
        let usual =
            format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let metadata_url = self.issuer_metadata.clone().unwrap_or(usual);
        let metadata = https("the issuer's metadata", &metadata_url)?;
        let bare = self.issuer.trim_end_matches('/').trim_end_matches("/v2.0").to_owned();
        let authority = self.authority.clone().unwrap_or(bare);
        https("the authority", &authority)?;
        let mut roots = CertificateDer::pem_slice_iter(self.issuer_ca_pem.as_bytes());
        if !matches!(roots.next(), Some(Ok(_))) || roots.any(|root| root.is_err()) {
            return Err(CreationRefusal::NoRoots);
        }
        if !(1..=ADMINISTRATORS_MAX).contains(&self.administrators.len()) {
            return Err(CreationRefusal::Administrators);
        }
        if self.audiences.len() > FURTHER_MAX || self.outbound.len() > FURTHER_MAX {
            return Err(CreationRefusal::TooMany);
        }
        for audience in &self.audiences {
            https("an audience", audience)?;
        }
        let retention_days = self.retention_days.unwrap_or(RETENTION_DAYS_DEFAULT);
        if !(7..=90).contains(&retention_days) {
            return Err(CreationRefusal::Retention(retention_days));
        }
        let own = ["managedhsm", "vault"].map(|kind| own_audience(kind, domain, port));
        Ok(json!({
            "tenant": self.tenant,
            "authority": authority,
            "issuers": [{
                "issuer": self.issuer,
                "metadata_url": metadata_url,
                "trust_anchors_pem": self.issuer_ca_pem,
            }],
            "audiences": own.into_iter().chain(self.audiences.iter().cloned()).collect::<Vec<_>>(),
            "outbound": self.hosts(&issuer, &metadata)?,
            "first_administrators": self.administrators,
            "first_roles": FIRST_ROLES,
            "retention_days": retention_days,
            "purge_protection": self.purge_protection,
            "oct_key_ops": "omit",
            "escalation": "strict",
        }))
    }

    fn hosts(&self, issuer: &Url, metadata: &Url) -> Result<Vec<String>, CreationRefusal> {
        let mut hosts = Vec::new();
        let at = |url: &Url| {
            let port = url.port_or_known_default().unwrap_or(443);
            url.host_str().map(|host| format!("{host}:{port}"))
        };
        for host in [at(issuer), at(metadata)].into_iter().flatten() {
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        for host in &self.outbound {
            let parsed = Url::parse(&format!("https://{host}"));
            let named = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
            let plain = |url: &Url| url.path() == "/" && url.username().is_empty();
            if !named || !parsed.is_ok_and(|url| plain(&url)) || host.contains('/') {
                return Err(CreationRefusal::Host(host.clone()));
            }
            hosts.push(host.to_ascii_lowercase());
        }
        Ok(hosts)
    }
}

/// The audience of tokens for the HSMs of a domain; 443 is not written.
fn own_audience(kind: &str, domain: &str, port: u16) -> String {
    match port {
        443 => format!("https://{kind}.{domain}"),
        port => format!("https://{kind}.{domain}:{port}"),
    }
}

fn https(what: &'static str, text: &str) -> Result<Url, CreationRefusal> {
    let refused = || CreationRefusal::Url { what, text: text.chars().take(200).collect() };
    let url = Url::parse(text).map_err(|_| refused())?;
    let plain = url.scheme() == "https"
        && url.host_str().is_some()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if plain && text.len() <= TEXT_BYTES_MAX { Ok(url) } else { Err(refused()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use casemate_channel::Pkcs11;

    fn new_hsm() -> NewHsm {
        let key = rcgen::generate_simple_self_signed(vec!["ca.example".to_owned()]).unwrap();
        NewHsm {
            name: "alpha".to_owned(),
            tenant: Uuid::from_u128(1),
            issuer: "https://login.example.org/tenant/v2.0".to_owned(),
            issuer_metadata: None,
            authority: None,
            issuer_ca_pem: key.cert.pem(),
            administrators: vec![Uuid::from_u128(2)],
            audiences: Vec::new(),
            outbound: Vec::new(),
            retention_days: None,
            purge_protection: true,
            engine: Engine::Software,
        }
    }

    fn token(label: &str, path: &str) -> Engine {
        Engine::Pkcs11(Pkcs11 {
            module: "/m.so".into(),
            token: label.to_owned(),
            pin_file: "/pin".into(),
            paths: vec![path.into()],
            environment: Vec::new(),
            daemon: false,
        })
    }

    #[test]
    fn a_token_is_named_by_whole_paths_and_its_label() {
        assert_eq!(check_engine(&token("one", "/var/tokens")), Ok(()));
        let relative = check_engine(&token("one", "tokens")).unwrap_err();
        assert!(relative.to_string().contains("whole path"), "{relative}");
        for label in ["", &"x".repeat(33)] {
            assert!(matches!(check_engine(&token(label, "/t")), Err(CreationRefusal::Label(_))));
        }
        let asked = new_hsm();
        let text = serde_json::to_string(&asked).unwrap();
        let without = text.replace(",\"engine\":\"software\"", "");
        assert_ne!(text, without);
        assert_eq!(serde_json::from_str::<NewHsm>(&without).unwrap(), asked, "of an older command");
    }

    #[test]
    fn the_rest_follows_from_the_issuer() {
        let settings = new_hsm().settings("hsm.example", 443).unwrap();
        assert_eq!(settings["authority"], "https://login.example.org/tenant");
        let issuer = &settings["issuers"][0];
        assert_eq!(
            issuer["metadata_url"],
            "https://login.example.org/tenant/v2.0/.well-known/openid-configuration"
        );
        assert_eq!(settings["outbound"], json!(["login.example.org:443"]));
        let audiences = json!(["https://managedhsm.hsm.example", "https://vault.hsm.example"]);
        assert_eq!(settings["audiences"], audiences);
        assert_eq!(settings["retention_days"], 90);
        let other = new_hsm().settings("hsm.example", 8443).unwrap();
        assert_eq!(other["audiences"][0], "https://managedhsm.hsm.example:8443");
    }

    #[test]
    fn further_hosts_and_audiences_are_added() {
        let more = NewHsm {
            outbound: vec!["Keys.example.org:8443".to_owned()],
            audiences: vec!["https://managedhsm.azure.net".to_owned()],
            ..new_hsm()
        };
        let settings = more.settings("hsm.example", 443).unwrap();
        assert_eq!(settings["outbound"][1], "keys.example.org:8443");
        assert_eq!(settings["audiences"][2], "https://managedhsm.azure.net");
    }

    fn refused(change: impl FnOnce(&mut NewHsm)) -> CreationRefusal {
        let mut asked = new_hsm();
        change(&mut asked);
        asked.settings("hsm.example", 443).unwrap_err()
    }

    #[test]
    fn what_cannot_be_is_refused() {
        type Change = fn(&mut NewHsm);
        let cases: [(Change, &str); 14] = [
            (|hsm| hsm.name = "a".to_owned(), "no name"),
            (|hsm| hsm.name = "../x".to_owned(), "no name"),
            (|hsm| hsm.issuer = "http://x".to_owned(), "https"),
            (|hsm| hsm.issuer = "https://u:p@x".to_owned(), "https"),
            (|hsm| hsm.issuer_metadata = Some("x".to_owned()), "metadata"),
            (|hsm| hsm.authority = Some("x".to_owned()), "authority"),
            (|hsm| hsm.issuer_ca_pem.clear(), "no certificate"),
            (|hsm| hsm.issuer_ca_pem = "-----BEGIN".to_owned(), "certificate"),
            (|hsm| hsm.administrators.clear(), "--admin"),
            (|hsm| hsm.administrators = vec![Uuid::nil(); 17], "--admin"),
            (|hsm| hsm.audiences = vec!["x".to_owned()], "audience"),
            (|hsm| hsm.outbound = vec!["x:1".to_owned(); 17], "at most"),
            (|hsm| hsm.retention_days = Some(6), "7 to 90"),
            (|hsm| hsm.retention_days = Some(91), "7 to 90"),
        ];
        for (change, says) in cases {
            let text = refused(change).to_string();
            assert!(text.contains(says), "{text}");
        }
        let long = format!("https://x/{}", "a".repeat(3000));
        assert!(refused(|hsm| hsm.issuer = long).to_string().len() < 400);
    }

    #[test]
    fn a_host_is_a_name_and_a_port() {
        for host in ["x", "x:", "x:99999", "https://x:1", "u@x:1", "x:1/y", ""] {
            let refused = refused(|hsm| hsm.outbound = vec![host.to_owned()]);
            assert_eq!(refused, CreationRefusal::Host(host.to_owned()));
        }
    }
}
