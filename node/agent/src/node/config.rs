//! The file of `casemate node --config FILE`: listeners, names, folders and limits. Whom an HSM
//! believes does not stand here; that is sealed inside it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::seal::{SealConfig, SealRefusal};
use crate::limits::{LimitChange, LimitRefusal, changed};
use crate::managed_identity::{IdentityConfig, IdentityError};
use crate::options::is_hsm_name;

/// Largest file, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Longest domain, in bytes: with a label of 63 and `.managedhsm.` before it, a name has 253.
const DOMAIN_BYTES_MAX: usize = 177;

/// What the node is told.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeConfig {
    /// The folder for all data.
    pub(crate) data_dir: PathBuf,
    /// HSM `alpha` is `alpha.managedhsm.DOMAIN`.
    pub(crate) domain: String,
    /// The region that answers and audit records name.
    pub(crate) region: String,
    /// Listeners.
    pub(crate) listen: Listen,
    /// What opens the seals of its HSMs.
    #[serde(default)]
    pub(crate) seal: SealConfig,
    /// The managed identities of its HSMs, by the HSM's name.
    #[serde(default)]
    pub(crate) identity: BTreeMap<String, IdentityConfig>,
    /// Other limits than the built-in ones.
    #[serde(default)]
    pub(crate) limits: BTreeMap<String, u64>,
}

/// Where the node listens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listen {
    /// All HSMs, told apart by server name.
    pub(crate) hsm: SocketAddr,
    /// The port that clients use, where something before the node has another one.
    pub(crate) external_port: Option<u16>,
    /// Metrics, health and readiness.
    pub(crate) management: SocketAddr,
}

/// Why a file is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigRefusal {
    /// It cannot be read.
    #[error("{path} cannot be read; see the manual for `casemate node` for what it holds")]
    Unread {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// It is not understood.
    #[error("{path} is not understood; mend what is said of it")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where, and what is wrong.
        #[source]
        cause: Box<toml::de::Error>,
    },
    /// A folder that depends on where the program was started.
    #[error("data_dir is {0:?}; write the whole path, beginning with /")]
    RelativeFolder(PathBuf),
    /// No domain.
    #[error(
        "domain is {0:?}; write a domain name in lower case, of at most {DOMAIN_BYTES_MAX} bytes, \
         such as hsm.example.org"
    )]
    Domain(String),
    /// No region.
    #[error("region is {0:?}; use 1 to 64 letters, digits and hyphens, such as eu-west")]
    Region(String),
    /// The management listener asks nobody for a name.
    #[error(
        "the management listener {0} can be reached from other machines, and it asks nobody for a \
         name; listen on a loopback address such as 127.0.0.1:8445"
    )]
    ManagementNotLoopback(SocketAddr),
    /// Both listeners at one place.
    #[error("both listeners are at {0}; give each a port of its own")]
    SameListener(SocketAddr),
    /// A seal that cannot be.
    #[error(transparent)]
    Seal(#[from] SealRefusal),
    /// An identity that cannot be.
    #[error("[identity.{hsm}] is refused; mend what is said of it")]
    Identity {
        /// Whose.
        hsm: String,
        /// What is wrong.
        #[source]
        cause: Box<IdentityError>,
    },
    /// An identity of nobody.
    #[error("[identity.{0}] names no HSM; write the name of an HSM in lower case")]
    IdentityOf(String),
    /// A limit that cannot be.
    #[error(transparent)]
    Limit(#[from] LimitRefusal),
}

impl NodeConfig {
    /// Reads and checks the file.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigRefusal> {
        let unread = |cause| ConfigRefusal::Unread { path: path.to_owned(), cause };
        let facts = std::fs::metadata(path).map_err(unread)?;
        if facts.len() > FILE_BYTES_MAX {
            return Err(unread(std::io::ErrorKind::FileTooLarge.into()));
        }
        let text = std::fs::read_to_string(path).map_err(unread)?;
        Self::parse(&text).map_err(|refusal| match refusal {
            ConfigRefusal::Malformed { cause, .. } => {
                ConfigRefusal::Malformed { path: path.to_owned(), cause }
            }
            other => other,
        })
    }

    fn parse(text: &str) -> Result<Self, ConfigRefusal> {
        let malformed = |cause| {
            let (path, cause) = (PathBuf::new(), Box::new(cause));
            ConfigRefusal::Malformed { path, cause }
        };
        let config: Self = toml::from_str(text).map_err(malformed)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigRefusal> {
        if !self.data_dir.is_absolute() {
            return Err(ConfigRefusal::RelativeFolder(self.data_dir.clone()));
        }
        if !is_domain(&self.domain) {
            return Err(ConfigRefusal::Domain(self.domain.clone()));
        }
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if !(1..=64).contains(&self.region.len()) || !self.region.bytes().all(is_word) {
            return Err(ConfigRefusal::Region(self.region.clone()));
        }
        let Listen { hsm, management, .. } = self.listen;
        if !management.ip().to_canonical().is_loopback() {
            return Err(ConfigRefusal::ManagementNotLoopback(management));
        }
        if hsm == management && hsm.port() != 0 {
            return Err(ConfigRefusal::SameListener(hsm));
        }
        self.seal.check()?;
        for (hsm, identity) in &self.identity {
            if !is_hsm_name(hsm) || *hsm != hsm.to_ascii_lowercase() {
                return Err(ConfigRefusal::IdentityOf(hsm.clone()));
            }
            identity.check().map_err(|cause| {
                let (hsm, cause) = (hsm.clone(), Box::new(cause));
                ConfigRefusal::Identity { hsm, cause }
            })?;
        }
        changed(&self.changes())?;
        Ok(())
    }

    /// The limits that shall be others.
    pub(crate) fn changes(&self) -> Vec<LimitChange> {
        let change =
            |(name, value): (&String, &u64)| LimitChange { name: name.clone(), value: *value };
        self.limits.iter().map(change).collect()
    }
}

fn is_domain(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    name.len() <= DOMAIN_BYTES_MAX && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        data_dir = "/var/lib/casemate"
        domain = "hsm.example.org"
        region = "eu-west"
        [listen]
        hsm = "0.0.0.0:443"
        management = "127.0.0.1:8445"
        [limits]
        keys_max = 5000
    "#;

    const IDENTITY: &str = r#"
        token_endpoint = "https://login.example.org/t/oauth2/v2.0/token"
        client_id = "hsm"
        secret_file = "/etc/casemate/secret"
        storage = ["https://a.blob.core.windows.net"]
    "#;

    fn refused(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "{from}");
        let text = GOOD.replace(from, &to.replace("IDENTITY", IDENTITY));
        NodeConfig::parse(&text).unwrap_err().to_string()
    }

    #[test]
    fn an_hsm_may_have_an_identity() {
        let with = format!("{GOOD}\n[identity.alpha]\n{IDENTITY}");
        let config = NodeConfig::parse(&with).unwrap();
        assert!(config.identity.contains_key("alpha") && config.identity.len() == 1);
        let more = with.replace("client_id", "secret = \"hunter2\"\nclient_id");
        let refused = NodeConfig::parse(&more).unwrap_err().to_string();
        assert!(refused.contains("not understood"), "{refused}");
    }

    #[test]
    fn a_whole_file_is_read() {
        let config = NodeConfig::parse(GOOD).unwrap();
        assert_eq!(config.domain, "hsm.example.org");
        assert_eq!(config.listen.external_port, None);
        assert_eq!(config.changes(), [LimitChange { name: "keys_max".to_owned(), value: 5000 }]);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (from, to) in [
            ("data_dir", "data_folder"),
            ("\"eu-west\"", "\"eu-west\"\nmore = 1"),
            ("\"0.0.0.0:443\"", "\"localhost:443\""),
            ("\"0.0.0.0:443\"", "443"),
            ("keys_max = 5000", "keys_max = -1"),
            ("keys_max = 5000", "keys_max = \"5000\""),
            ("[limits]", "[limits"),
            ("[limits]", "[seal]\nkind = \"clear\"\n[limits]"),
            ("[limits]", "[seal]\n[limits]"),
        ] {
            assert!(refused(from, to).contains("not understood"), "{to}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        for (from, to, says) in [
            ("\"/var/lib/casemate\"", "\"casemate\"", "whole path"),
            ("hsm.example.org", "", "domain name"),
            ("hsm.example.org", "HSM.example.org", "lower case"),
            ("hsm.example.org", "-a.example", "domain name"),
            ("hsm.example.org", "a..example", "domain name"),
            ("hsm.example.org", "a.example.", "domain name"),
            ("hsm.example.org", "a.example:443", "domain name"),
            ("\"eu-west\"", "\"\"", "letters"),
            ("\"eu-west\"", "\"eu/west\"", "letters"),
            ("127.0.0.1:8445", "0.0.0.0:8445", "loopback"),
            ("0.0.0.0:443", "127.0.0.1:8445", "port of its own"),
            ("[limits]", "[seal]\nkind = \"passphrase\"\nfile = \"p\"\n[limits]", "whole path"),
            ("[limits]", "[identity.Alpha]\nIDENTITY\n[limits]", "lower case"),
            ("[limits]", "[identity.a]\nIDENTITY\n[limits]", "names no HSM"),
            ("[limits]", "[identity.alpha]\nIDENTITY\nca = \"x\"\n[limits]", "identity.alpha"),
            ("keys_max = 5000", "keys = 5000", "there is no limit"),
            ("keys_max = 5000", "keys_max = 0", "cannot be 0"),
        ] {
            let text = refused(from, to);
            assert!(text.contains(says), "{to}: {text}");
        }
        let long = format!("{}example", "abcdefgh.".repeat(20));
        assert!(refused("hsm.example.org", &long).contains("177"));
    }
}
