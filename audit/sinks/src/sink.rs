//! One sink.

use std::fmt;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::alerts::{Burst, Rules};
use crate::error::SinksError;
use crate::secret::{SECRET_BYTES_MAX, SinkSecret};

/// Longest name, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 32;
/// Longest address, in bytes.
pub(crate) const ENDPOINT_BYTES_MAX: usize = 2048;
/// Longest list of roots, in bytes.
pub(crate) const ANCHORS_BYTES_MAX: usize = 32 * 1024;
/// Size of a file before the next is begun, in bytes.
const ROTATE_BYTES: (u64, u64, u64) = (64 * 1024, 64 << 20, 1 << 30);
/// Files that are kept.
const KEEP_FILES: (u64, u64, u64) = (2, 16, 10_000);
/// Numbers that a burst may have: its count, and its time in seconds.
const BURST: ((u64, u64), (u64, u64)) = ((1, 1_000), (1, 3_600));
/// The longest quiet time after an alert, in seconds.
const QUIET_SECONDS_MAX: u64 = 86_400;
const PEM_BEGIN: &str = "-----BEGIN CERTIFICATE-----";

/// The name of a sink.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct SinkName(String);

/// Where a sink is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    url: Url,
    /// The roots that its certificate must come from, PEM.
    pub trust_anchors: String,
}

/// What a sink is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Files of JSON lines in the courier's folder.
    File {
        /// Size before the next file is begun, in bytes.
        rotate_bytes: u64,
        /// How many are kept.
        keep_files: u64,
    },
    /// RFC 5424 messages over TLS, RFC 5425.
    Syslog(Endpoint),
    /// OTLP logs over HTTPS, protobuf.
    Otlp(Endpoint),
    /// Signed JSON lines over HTTPS.
    Webhook(Endpoint),
    /// Hourly append blobs in a container.
    AzureBlob(Endpoint),
    /// Alerts over HTTPS, signed; no copy of the log.
    Alerts(Endpoint, Rules),
}

/// One sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sink {
    /// Its name.
    pub name: SinkName,
    /// What it is.
    pub target: Target,
    /// What it needs to be let in, or to sign with.
    pub secret: Option<SinkSecret>,
}

/// A sink as JSON; the secret goes in and never comes out. Not printable, since it may hold one.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RawSink {
    pub(crate) name: String,
    kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trust_anchors: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rotate_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keep_files: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rules: Option<Rules>,
    #[serde(default, skip_serializing)]
    secret: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Kind {
    File,
    Syslog,
    Otlp,
    Webhook,
    AzureBlob,
    Alerts,
}

impl SinkName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn new(text: String) -> Result<Self, SinksError> {
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits = !text.is_empty() && text.len() <= NAME_BYTES_MAX && text.bytes().all(letter);
        if fits { Ok(Self(text)) } else { Err(SinksError::Name) }
    }
}

impl fmt::Display for SinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Endpoint {
    /// The host, without brackets.
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default().trim_matches(['[', ']'])
    }

    /// The TCP port; syslog over TLS has 6514, HTTPS 443.
    pub fn port(&self) -> u16 {
        let known = if self.url.scheme() == "tls" { 6514 } else { 443 };
        self.url.port_or_known_default().unwrap_or(known)
    }

    /// `host` or `host:port`, as the header `Host` has it.
    pub fn authority(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// The path, beginning with a slash.
    pub fn path(&self) -> &str {
        if self.url.path().is_empty() { "/" } else { self.url.path() }
    }

    /// The address as text; it holds no secret.
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }
}

impl Sink {
    /// Whether a copy of every record goes there.
    pub fn copies(&self) -> bool {
        !matches!(self.target, Target::Alerts(..))
    }

    /// The kind, as the settings name it.
    pub fn kind(&self) -> &'static str {
        match self.target {
            Target::File { .. } => "file",
            Target::Syslog(_) => "syslog",
            Target::Otlp(_) => "otlp",
            Target::Webhook(_) => "webhook",
            Target::AzureBlob(_) => "azureBlob",
            Target::Alerts(..) => "alerts",
        }
    }

    /// Where it is, unless it is a file.
    pub fn endpoint(&self) -> Option<&Endpoint> {
        match &self.target {
            Target::File { .. } => None,
            Target::Syslog(endpoint)
            | Target::Otlp(endpoint)
            | Target::Webhook(endpoint)
            | Target::AzureBlob(endpoint)
            | Target::Alerts(endpoint, _) => Some(endpoint),
        }
    }

    /// Whether a secret that was set for `other` may go to this one: the same kind at the same
    /// address. Otherwise who may change settings could have a secret sent to themselves.
    pub(crate) fn may_keep_secret_of(&self, other: &Self) -> bool {
        self.name == other.name
            && self.kind() == other.kind()
            && self.endpoint() == other.endpoint()
    }

    /// Whether its secret is there and of the form that its kind needs.
    pub(crate) fn check_secret(&self) -> Result<(), SinksError> {
        let refuse = |form| Err(SinksError::Secret { name: self.name.to_string(), form });
        let missing = || Err(SinksError::Missing { name: self.name.to_string(), member: "secret" });
        let text = self.secret.as_ref().map(SinkSecret::expose);
        if text.is_some_and(|text| text.len() > SECRET_BYTES_MAX) {
            return refuse("at most 4096 bytes");
        }
        match (&self.target, text) {
            (Target::File { .. } | Target::Syslog(_), Some(_)) => {
                Err(SinksError::Unused { name: self.name.to_string(), member: "secret" })
            }
            (Target::File { .. } | Target::Syslog(_) | Target::Otlp(_), None) => Ok(()),
            (Target::Otlp(_), Some(text)) if is_header_value(text) => Ok(()),
            (Target::Otlp(_), Some(_)) => {
                refuse("the value of the header Authorization, in visible ASCII")
            }
            (Target::Webhook(_) | Target::Alerts(..) | Target::AzureBlob(_), None) => missing(),
            (Target::Webhook(_) | Target::Alerts(..), Some(_)) => {
                let key = self.secret.as_ref().and_then(SinkSecret::expose_signing_key);
                if key.is_some() {
                    return Ok(());
                }
                refuse("'whsec_' and the base64 of 24 to 64 bytes")
            }
            (Target::AzureBlob(_), Some(text)) if is_sas(text) => Ok(()),
            (Target::AzureBlob(_), Some(_)) => {
                refuse("a shared access signature ('sv=…&sig=…', without '?')")
            }
        }
    }

    pub(crate) fn raw(&self) -> RawSink {
        let endpoint = self.endpoint();
        let (rotate_bytes, keep_files) = match self.target {
            Target::File { rotate_bytes, keep_files } => (Some(rotate_bytes), Some(keep_files)),
            _ => (None, None),
        };
        let (kind, rules) = match &self.target {
            Target::File { .. } => (Kind::File, None),
            Target::Syslog(_) => (Kind::Syslog, None),
            Target::Otlp(_) => (Kind::Otlp, None),
            Target::Webhook(_) => (Kind::Webhook, None),
            Target::AzureBlob(_) => (Kind::AzureBlob, None),
            Target::Alerts(_, rules) => (Kind::Alerts, Some(*rules)),
        };
        RawSink {
            name: self.name.to_string(),
            kind,
            endpoint: endpoint.map(|endpoint| endpoint.as_str().to_owned()),
            trust_anchors: endpoint.map(|endpoint| endpoint.trust_anchors.clone()),
            rotate_bytes,
            keep_files,
            rules,
            secret: None,
        }
    }
}

impl TryFrom<RawSink> for Sink {
    type Error = SinksError;

    /// Checks everything but the secret, which may be kept from before.
    fn try_from(raw: RawSink) -> Result<Self, SinksError> {
        let name = SinkName::new(raw.name.clone())?;
        let unused = |member| SinksError::Unused { name: raw.name.clone(), member };
        let is_file = raw.kind == Kind::File;
        if !is_file && raw.rotate_bytes.is_some() {
            return Err(unused("rotateBytes"));
        }
        if !is_file && raw.keep_files.is_some() {
            return Err(unused("keepFiles"));
        }
        if raw.kind != Kind::Alerts && raw.rules.is_some() {
            return Err(unused("rules"));
        }
        if is_file && raw.endpoint.is_some() {
            return Err(unused("endpoint"));
        }
        if is_file && raw.trust_anchors.is_some() {
            return Err(unused("trustAnchors"));
        }
        let target = target(&raw)?;
        Ok(Self { name, target, secret: raw.secret.map(SinkSecret::new) })
    }
}

fn target(raw: &RawSink) -> Result<Target, SinksError> {
    let at =
        |scheme| endpoint(&raw.name, raw.endpoint.as_deref(), raw.trust_anchors.as_deref(), scheme);
    Ok(match raw.kind {
        Kind::File => Target::File {
            rotate_bytes: number(raw, "rotateBytes", raw.rotate_bytes, ROTATE_BYTES)?,
            keep_files: number(raw, "keepFiles", raw.keep_files, KEEP_FILES)?,
        },
        Kind::Syslog => Target::Syslog(at("tls")?),
        Kind::Otlp => Target::Otlp(at("https")?),
        Kind::Webhook => Target::Webhook(at("https")?),
        Kind::AzureBlob => Target::AzureBlob(at("https")?),
        Kind::Alerts => {
            let rules = raw.rules.unwrap_or_default();
            check_rules(raw, &rules)?;
            Target::Alerts(at("https")?, rules)
        }
    })
}

fn check_rules(raw: &RawSink, rules: &Rules) -> Result<(), SinksError> {
    for Burst { count, within_seconds } in
        [rules.failed_authorization, rules.failed_decryption].into_iter().flatten()
    {
        let ((least, most), (shortest, longest)) = BURST;
        number(raw, "count", Some(u64::from(count)), (least, least, most))?;
        let within = Some(u64::from(within_seconds));
        number(raw, "withinSeconds", within, (shortest, shortest, longest))?;
    }
    let quiet = Some(u64::from(rules.quiet_seconds));
    number(raw, "quietSeconds", quiet, (0, 0, QUIET_SECONDS_MAX)).map(drop)
}

/// The number, or the one in the middle where none was sent.
fn number(
    raw: &RawSink,
    member: &'static str,
    sent: Option<u64>,
    (min, usual, max): (u64, u64, u64),
) -> Result<u64, SinksError> {
    let number = sent.unwrap_or(usual);
    if (min..=max).contains(&number) {
        return Ok(number);
    }
    Err(SinksError::Number { name: raw.name.clone(), member, min, max })
}

/// An address of this scheme and the roots of its certificate, of the sink that is named so.
pub(crate) fn endpoint(
    name: &str,
    address: Option<&str>,
    trust_anchors: Option<&str>,
    scheme: &'static str,
) -> Result<Endpoint, SinksError> {
    let name = || name.to_owned();
    let missing = |member| SinksError::Missing { name: name(), member };
    let text = address.ok_or_else(|| missing("endpoint"))?;
    let refused = || SinksError::Endpoint { name: name(), scheme };
    if text.len() > ENDPOINT_BYTES_MAX {
        return Err(refused());
    }
    let url = Url::parse(text).map_err(|_| refused())?;
    let bare = url.username().is_empty() && url.password().is_none();
    let plain = url.query().is_none() && url.fragment().is_none();
    let named = url.host_str().is_some_and(|host| !host.is_empty());
    let short = scheme != "tls" || matches!(url.path(), "" | "/");
    if url.scheme() != scheme || !bare || !plain || !named || !short || url.port() == Some(0) {
        return Err(refused());
    }
    let anchors = trust_anchors.ok_or_else(|| missing("trustAnchors"))?;
    if anchors.len() > ANCHORS_BYTES_MAX || !anchors.contains(PEM_BEGIN) {
        return Err(SinksError::Anchors { name: name() });
    }
    Ok(Endpoint { url, trust_anchors: anchors.to_owned() })
}

pub(crate) fn is_header_value(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

/// Query parameters with a signature, fit to be put behind a `?` or `&` as they are.
fn is_sas(text: &str) -> bool {
    let fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%=&:+/".contains(&byte);
    text.bytes().all(fit) && text.split('&').any(|pair| pair.starts_with("sig="))
}
