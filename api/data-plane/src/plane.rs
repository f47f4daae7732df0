//! What the data plane is made of: the HSM behind it, whom it believes, the names it answers to.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use casemate_audit::Trail;
use casemate_hsm::security_domain::{Keeper, NotActivated};
use casemate_hsm::{Door, Hsm};
use casemate_token::{Groups, Validator, challenge};
use casemate_trace::Tracer;
use http::HeaderValue;
use tokio::sync::Semaphore;

use crate::admission::Admission;
use crate::budget::Budget;
use crate::copies::Copies;
use crate::jobs::Backups;
use crate::meter::Meter;
use crate::refusals::Refusals;
use crate::request_id::RequestIds;
use crate::traced;

/// What a data plane is composed of.
pub struct Config {
    /// The HSM, in its state.
    pub hsm: Serving,
    /// This node's copy of the domain.
    pub keeper: Arc<dyn Keeper>,
    /// Checks bearer tokens; its settings are made from the HSM's by the composition.
    pub validator: Arc<Validator>,
    /// Finds the groups that tokens leave out.
    pub groups: Groups,
    /// Where every authenticated call is recorded.
    pub trail: Trail,
    /// What was lost and who gave it up, if a trail before this one was lost: then an active HSM
    /// serves nobody until an Administrator has accepted that.
    pub audit_lost: Option<String>,
    /// Who carries copies of the records to sinks.
    pub copies: Arc<dyn Copies>,
    /// What full backups and restores are made with.
    pub backups: Backups,
    /// Where spans of requests go; it is told which requests to trace.
    pub tracer: Arc<Tracer>,
    /// The names and addresses that are answered; any other gets 421.
    pub names: Vec<ExternalName>,
    /// What `{port}` stands for in the addresses of the HSM's settings.
    pub named_port: u16,
    /// The region, as replies name it.
    pub region: String,
    /// The version of this build, as replies name it.
    pub build: String,
    /// Bounds.
    pub limits: Limits,
}

/// The HSM that is served, in its state.
pub enum Serving {
    /// Active.
    Active(Arc<Hsm>),
    /// Not activated: the security domain's calls alone are answered.
    NotActivated(Arc<NotActivated>),
}

impl Serving {
    /// What it answers in every state.
    pub fn door(&self) -> Door {
        match self {
            Self::Active(hsm) => Door::from(hsm),
            Self::NotActivated(hsm) => hsm.door(),
        }
    }
}

/// A name or address under which the HSM is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalName {
    /// The host: a DNS name or an IP address, without brackets.
    pub host: String,
    /// The port as callers see it.
    pub port: u16,
    /// The external URL that ids and links begin with, such as `https://127.0.0.1:8444`.
    pub url: String,
}

/// Most backups of keys that are taken in at the same time: their bodies are the longest.
pub(crate) const BACKUPS_AT_ONCE_MAX: usize = 16;

/// Refused tokens that have a line in the process's log each, of one address: so many at once.
const TOKEN_LINES_MAX: usize = 100;
/// The same in a minute, in the long run. All are counted as answers with 401.
const TOKEN_LINES_PER_MINUTE_MAX: usize = 20;

/// Bounds of the data plane.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest body of a request that uses a key, in bytes.
    pub payload_bytes_max: usize,
    /// Largest body of any other request, in bytes.
    pub body_bytes_max: usize,
    /// Largest body of a request that restores a key, in bytes.
    pub backup_bytes_max: usize,
    /// Longest time that a body may take to arrive.
    pub body_deadline: Duration,
    /// Most requests of one caller under way.
    pub caller_requests_max: usize,
    /// Refusals of one caller at once that are recorded one by one.
    pub caller_refusals_max: usize,
    /// The same in a minute, in the long run.
    pub caller_refusals_per_minute_max: usize,
    /// How often it is recorded how many refusals of a caller were counted instead.
    pub refusals_summary_interval: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            payload_bytes_max: 256 * 1024,
            body_bytes_max: 64 * 1024,
            backup_bytes_max: 1024 * 1024,
            body_deadline: Duration::from_secs(30),
            caller_requests_max: 2_048,
            caller_refusals_max: 10_000,
            caller_refusals_per_minute_max: 120,
            refusals_summary_interval: Duration::from_secs(60),
        }
    }
}

/// What is known of the connection that a request came on. Made once per connection.
#[derive(Clone, Debug)]
pub struct ConnectionFacts {
    pub(crate) peer: IpAddr,
    pub(crate) network_info: HeaderValue,
}

impl ConnectionFacts {
    /// The facts of a connection from this peer.
    pub fn new(peer: SocketAddr) -> Self {
        let address = peer.ip().to_canonical();
        let family = if address.is_ipv4() { "Ipv4" } else { "Ipv6" };
        let text = format!("conn_type={family};addr={address};act_addr_fam={family};");
        let network_info =
            HeaderValue::try_from(text).expect("an IP address is printed in visible ASCII");
        Self { peer: address, network_info }
    }
}

/// Why a data plane cannot be composed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Nobody could reach it.
    #[error("the HSM needs at least one external name")]
    NoNames,
    /// A URL that no id can begin with.
    #[error("the external URL '{url}' must be https://HOST[:PORT] in ASCII, without a path")]
    Url {
        /// The URL.
        url: String,
    },
    /// A text that no HTTP header can carry.
    #[error("the {what} '{text}' cannot be sent in a header: use visible ASCII")]
    Text {
        /// What the text is.
        what: &'static str,
        /// The text.
        text: String,
    },
}

/// The data plane of one HSM.
pub struct DataPlane {
    pub(crate) hsm: Serving,
    pub(crate) door: Door,
    pub(crate) keeper: Arc<dyn Keeper>,
    pub(crate) validator: Arc<Validator>,
    pub(crate) groups: Groups,
    pub(crate) trail: Trail,
    pub(crate) audit_lost: Option<Arc<str>>,
    pub(crate) copies: Arc<dyn Copies>,
    pub(crate) backups: Backups,
    pub(crate) tracer: Arc<Tracer>,
    pub(crate) names: Vec<Name>,
    pub(crate) region: HeaderValue,
    pub(crate) build: HeaderValue,
    pub(crate) limits: Limits,
    pub(crate) request_ids: RequestIds,
    pub(crate) meter: Meter,
    pub(crate) admission: Arc<Admission>,
    pub(crate) refusals: Refusals,
    /// Lines of the process's log about refused tokens, for each address.
    pub(crate) token_lines: Budget,
    /// Room for the bodies of backups.
    pub(crate) backup_room: Arc<Semaphore>,
}

/// An external name with what is derived from it.
#[derive(Debug)]
pub(crate) struct Name {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) url: Arc<str>,
    /// `authorization` of the challenge.
    pub(crate) authorization: String,
    /// `resource` of the challenge.
    pub(crate) resource: String,
    pub(crate) challenge: HeaderValue,
}

impl DataPlane {
    /// What an Administrator has to accept before anybody is served.
    pub(crate) fn waits_for_acceptance(&self) -> Option<Arc<str>> {
        let is_active = matches!(self.hsm, Serving::Active(_));
        let stands = is_active && !self.door.settings().audit_loss_accepted;
        self.audit_lost.clone().filter(|_| stands)
    }

    /// Composes the data plane; reads nothing and starts nothing but the tracing that is set.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let Config {
            hsm,
            keeper,
            validator,
            groups,
            trail,
            audit_lost,
            copies,
            backups,
            tracer,
            names,
            named_port,
            region,
            build,
            limits,
        } = config;
        if names.is_empty() {
            return Err(ConfigError::NoNames);
        }
        let port = named_port.to_string();
        let door = hsm.door();
        let settings = door.settings();
        let authorization = settings.authority.replace("{port}", &port);
        let first_audience =
            settings.audiences.first().map(|audience| audience.replace("{port}", &port));
        let names = names
            .into_iter()
            .map(|name| Name::new(name, &authorization, first_audience.as_deref()))
            .collect::<Result<_, _>>()?;
        traced::configure(&tracer, &door.audit_sinks());
        Ok(Self {
            validator,
            groups,
            trail,
            audit_lost: audit_lost.map(Arc::from),
            copies,
            backups,
            tracer,
            names,
            region: header("region", region)?,
            build: header("build version", build)?,
            limits,
            request_ids: RequestIds::new(),
            meter: Meter::default(),
            token_lines: Budget::new(TOKEN_LINES_MAX, TOKEN_LINES_PER_MINUTE_MAX),
            admission: Admission::new(limits.caller_requests_max),
            refusals: Refusals::new(
                limits.caller_refusals_max,
                limits.caller_refusals_per_minute_max,
            ),
            backup_room: Arc::new(Semaphore::new(BACKUPS_AT_ONCE_MAX)),
            keeper,
            hsm,
            door: door.clone(),
        })
    }

    /// The counts for monitoring.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// How many requests were refused because their callers had too many under way.
    pub fn refused_by_admission(&self) -> u64 {
        self.admission.refused()
    }

    /// How many refusals were counted instead of recorded one by one.
    pub fn refusals_counted(&self) -> u64 {
        self.refusals.counted()
    }
}

impl Name {
    fn new(
        name: ExternalName,
        authorization: &str,
        first_audience: Option<&str>,
    ) -> Result<Self, ConfigError> {
        let url = name.url.trim_end_matches('/');
        let authority = url.strip_prefix("https://").unwrap_or_default();
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"/?#@\"\\".contains(&byte);
        if authority.is_empty() || !authority.bytes().all(plain) {
            return Err(ConfigError::Url { url: name.url });
        }
        let resource = match parent_domain(&name.host) {
            Some(parent) if name.port == 443 => format!("https://{parent}"),
            Some(parent) => format!("https://{parent}:{}", name.port),
            None => first_audience.unwrap_or(url).trim_end_matches('/').to_owned(),
        };
        let challenge = header("challenge", challenge(authorization, &resource))?;
        Ok(Self {
            url: Arc::from(url),
            host: name.host,
            port: name.port,
            authorization: authorization.to_owned(),
            resource,
            challenge,
        })
    }
}

/// The domain above the HSM's own name. An address has none, and neither has a single label.
fn parent_domain(host: &str) -> Option<&str> {
    if host.parse::<IpAddr>().is_ok() {
        return None;
    }
    host.split_once('.').map(|(_, parent)| parent).filter(|parent| !parent.is_empty())
}

fn header(what: &'static str, text: String) -> Result<HeaderValue, ConfigError> {
    HeaderValue::try_from(&text).map_err(|_| ConfigError::Text { what, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(host: &str, port: u16, url: &str) -> Result<Name, ConfigError> {
        let name = ExternalName { host: host.to_owned(), port, url: url.to_owned() };
        Name::new(name, "https://localhost:8443/adfs", Some("https://managedhsm.localhost:8443/"))
    }

    #[test]
    fn the_challenge_names_the_parent_domain_of_the_name_that_was_asked() {
        let named =
            name("dev.managedhsm.localhost", 8443, "https://dev.managedhsm.localhost:8443/");
        let named = named.unwrap();
        assert_eq!(&*named.url, "https://dev.managedhsm.localhost:8443");
        assert_eq!(
            named.challenge.to_str().unwrap(),
            "Bearer authorization=\"https://localhost:8443/adfs\", \
             resource=\"https://managedhsm.localhost:8443\""
        );
        let plain = name("alpha.vault.example", 443, "https://alpha.vault.example").unwrap();
        assert_eq!(plain.resource, "https://vault.example");
    }

    #[test]
    fn an_address_names_the_first_audience() {
        for host in ["127.0.0.1", "::1", "localhost"] {
            let named = name(host, 8444, "https://127.0.0.1:8444").unwrap();
            assert_eq!(named.resource, "https://managedhsm.localhost:8443", "{host}");
        }
    }

    #[test]
    fn urls_that_no_id_can_begin_with_are_refused() {
        for bad in [
            "",
            "https://",
            "http://127.0.0.1:8444",
            "https://h/keys",
            "https://h?x",
            "https://u@h",
            "https://a b",
            "https://ä",
            "https://h\"",
        ] {
            assert!(matches!(name("h", 1, bad), Err(ConfigError::Url { .. })), "{bad}");
        }
    }
}
