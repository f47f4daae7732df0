//! `[seal]` of the node's file: what opens the seals of its HSMs. Never a secret, only where it is.

use std::path::{Path, PathBuf};

use casemate_channel::Guard;
use serde::{Deserialize, Serialize};

/// Where the service manager says that credentials are.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// Longest name of a credential, in bytes, as systemd has it.
const NAME_BYTES_MAX: usize = 255;

/// What is said in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum SealConfig {
    /// A file beside each seal: whoever reads the disk opens it.
    KeyFile {},
    /// A passphrase.
    Passphrase {
        /// The file that holds it.
        file: PathBuf,
    },
    /// A credential of the service manager's.
    Credential {
        /// Its name.
        name: String,
    },
}

/// Why `[seal]` is refused.
#[derive(Debug, thiserror::Error)]
pub enum SealRefusal {
    /// A file that depends on where the program was started.
    #[error("the seal's file is {0:?}; write the whole path, beginning with /")]
    Relative(PathBuf),
    /// A name that leads elsewhere.
    #[error(
        "the seal's credential is {0:?}; write its name as in LoadCredentialEncrypted=NAME:FILE, \
         without a slash"
    )]
    CredentialName(String),
    /// No service manager gives any.
    #[error(
        "the seal is a credential, and the service manager gives none ({CREDENTIALS} is not set): \
         add LoadCredentialEncrypted= to the unit, and start the node as that service"
    )]
    NoCredentials,
}

impl Default for SealConfig {
    fn default() -> Self {
        Self::KeyFile {}
    }
}

impl SealConfig {
    /// Whether there are no slots.
    pub(crate) fn is_key_file(&self) -> bool {
        matches!(self, Self::KeyFile {})
    }

    /// Checks what can be known from the words alone.
    pub(crate) fn check(&self) -> Result<(), SealRefusal> {
        match self {
            Self::KeyFile {} => Ok(()),
            Self::Passphrase { file } if !file.is_absolute() => {
                Err(SealRefusal::Relative(file.clone()))
            }
            Self::Credential { name } if !is_name(name) => {
                Err(SealRefusal::CredentialName(name.clone()))
            }
            Self::Passphrase { .. } | Self::Credential { .. } => Ok(()),
        }
    }

    /// What opens slots; nothing where there are key files.
    pub(crate) fn guard(&self) -> Result<Option<Guard>, SealRefusal> {
        self.guard_in(std::env::var_os(CREDENTIALS).as_deref().map(Path::new))
    }

    fn guard_in(&self, credentials: Option<&Path>) -> Result<Option<Guard>, SealRefusal> {
        Ok(Some(match self {
            Self::KeyFile {} => return Ok(None),
            Self::Passphrase { file } => Guard::Passphrase { file: file.clone() },
            Self::Credential { name } => {
                let folder = credentials.filter(|folder| folder.is_absolute());
                let folder = folder.ok_or(SealRefusal::NoCredentials)?;
                Guard::Credential { file: folder.join(name) }
            }
        }))
    }

    /// In words, for people.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::KeyFile {} => "key-file".to_owned(),
            Self::Passphrase { file } => format!("passphrase ({})", file.display()),
            Self::Credential { name } => format!("credential ({name})"),
        }
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<SealConfig, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn each_kind_is_read_and_leads_to_its_guard() {
        let folder = Path::new("/run/credentials/casemate.service");
        for (text, guard) in [
            ("kind = \"key-file\"", None),
            (
                "kind = \"passphrase\"\nfile = \"/etc/p\"",
                Some(Guard::Passphrase { file: "/etc/p".into() }),
            ),
            (
                "kind = \"credential\"\nname = \"seal\"",
                Some(Guard::Credential { file: folder.join("seal") }),
            ),
        ] {
            let config = read(text).unwrap();
            config.check().unwrap();
            assert_eq!(config.guard_in(Some(folder)).unwrap(), guard, "{text}");
            let again: SealConfig = serde_json::from_str(&serde_json::to_string(&config).unwrap())
                .expect("what is remembered is read");
            assert_eq!(again, config);
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for text in [
            "",
            "kind = \"clear\"",
            "kind = \"key-file\"\nfile = \"/etc/p\"",
            "kind = \"passphrase\"",
            "kind = \"passphrase\"\npassphrase = \"secret\"",
            "kind = \"passphrase\"\nfile = \"/etc/p\"\nmore = 1",
            "kind = \"credential\"\nfile = \"/etc/p\"",
            "kind = \"credential\"\nname = 1",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        let refused = |text: &str| read(text).unwrap().check().unwrap_err().to_string();
        assert!(refused("kind = \"passphrase\"\nfile = \"p\"").contains("whole path"));
        for name in ["", ".", "..", "a/b", "../../etc/passwd", "a b", "a\\n"] {
            let said = refused(&format!("kind = \"credential\"\nname = \"{name}\""));
            assert!(said.contains("without a slash"), "{name}: {said}");
        }
        let credential = SealConfig::Credential { name: "seal".to_owned() };
        for folder in [None, Some(Path::new("relative"))] {
            let said = credential.guard_in(folder).unwrap_err().to_string();
            assert!(said.contains("LoadCredentialEncrypted"), "{said}");
        }
    }
}
