//! `[seal]` of the node's file: what opens the seals of its HSMs. Never a secret, only where it is.

use std::path::{Path, PathBuf};

use casemate_channel::Guard;
use serde::{Deserialize, Serialize};

/// Where the service manager says that credentials are.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// Longest name of a credential, in bytes, as systemd has it.
const NAME_BYTES_MAX: usize = 255;

/// Longest label of a token, in bytes.
const LABEL_BYTES_MAX: usize = 32;
/// Registers of a TPM.
const PCRS: u8 = 24;

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
    /// A TPM 2.0 of this machine.
    Tpm {
        /// How it is reached.
        #[serde(default = "device")]
        device: String,
        /// The registers that must stay as they are.
        #[serde(default)]
        pcrs: Vec<u8>,
    },
    /// A key of a PKCS #11 token.
    Token {
        /// The module.
        module: PathBuf,
        /// The token's label.
        token: String,
        /// Where the PIN is: a file,
        pin_file: Option<PathBuf>,
        /// or a credential of the service manager's.
        pin_credential: Option<String>,
        /// Variables that the module reads.
        #[serde(default)]
        environment: Vec<String>,
    },
}

/// The kernel's own manager of the TPM's memory.
fn device() -> String {
    "device:/dev/tpmrm0".to_owned()
}

/// Why `[seal]` is refused.
#[derive(Debug, thiserror::Error)]
pub enum SealRefusal {
    /// A file that depends on where the program was started.
    #[error("{0:?} depends on where the program is started; write the whole path, from / on")]
    Relative(PathBuf),
    /// A name that leads elsewhere.
    #[error(
        "the credential's name is {0:?}; write it as in LoadCredentialEncrypted=NAME:FILE, \
         without a slash"
    )]
    CredentialName(String),
    /// A TPM that cannot be.
    #[error(
        "the seal's TPM is {0:?}; write device:/dev/tpmrm0, or swtpm:host=127.0.0.1,port=2321 for \
         a program that plays one"
    )]
    Device(String),
    /// Registers that cannot be.
    #[error("the seal's pcrs are {0:?}; write each register once, in order, from 0 to 23")]
    Pcrs(Vec<u8>),
    /// A label that cannot be.
    #[error("the token's label is {0:?}; write the one it was initialised with, 1 to 32 bytes")]
    Label(String),
    /// No PIN, or two.
    #[error("name the token's PIN once: pin_file, or pin_credential")]
    Pin,
    /// A variable that cannot be.
    #[error("{0:?} is no name of a variable of the environment; write letters, digits and _")]
    Variable(String),
    /// No service manager gives any.
    #[error(
        "the node's file names a credential, and the service manager gives none ({CREDENTIALS} is \
         not set): add LoadCredentialEncrypted= to the unit, and start the node as that service"
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
            Self::Tpm { device, .. } if !is_device(device) => {
                Err(SealRefusal::Device(device.clone()))
            }
            Self::Tpm { pcrs, .. } if !are_pcrs(pcrs) => Err(SealRefusal::Pcrs(pcrs.clone())),
            Self::Tpm { .. } => Ok(()),
            Self::Token { module, token, pin_file, pin_credential, environment } => {
                check_token(module, token, environment)?;
                check_pin(pin_file.as_deref(), pin_credential.as_deref())
            }
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
            Self::Credential { name } => Guard::Credential { file: credential(name, credentials)? },
            Self::Tpm { device, pcrs } => Guard::Tpm { device: device.clone(), pcrs: pcrs.clone() },
            Self::Token { module, token, pin_file, pin_credential, environment } => Guard::Token {
                module: module.clone(),
                token: token.clone(),
                pin_file: pin(pin_file.as_deref(), pin_credential.as_deref(), credentials)?,
                environment: environment.clone(),
            },
        }))
    }

    /// In words, for people.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::KeyFile {} => "key-file".to_owned(),
            Self::Passphrase { file } => format!("passphrase ({})", file.display()),
            Self::Credential { name } => format!("credential ({name})"),
            Self::Tpm { device, pcrs } if pcrs.is_empty() => format!("tpm ({device})"),
            Self::Tpm { device, pcrs } => format!("tpm ({device}, pcrs {pcrs:?})"),
            Self::Token { token, .. } => format!("token ({token})"),
        }
    }
}

/// A credential's file.
fn credential(name: &str, credentials: Option<&Path>) -> Result<PathBuf, SealRefusal> {
    let folder = credentials.filter(|folder| folder.is_absolute());
    Ok(folder.ok_or(SealRefusal::NoCredentials)?.join(name))
}

/// The PIN's file.
fn pin(
    file: Option<&Path>,
    name: Option<&str>,
    credentials: Option<&Path>,
) -> Result<PathBuf, SealRefusal> {
    match (file, name) {
        (Some(file), None) => Ok(file.to_owned()),
        (None, Some(name)) => credential(name, credentials),
        _ => Err(SealRefusal::Pin),
    }
}

fn check_pin(file: Option<&Path>, name: Option<&str>) -> Result<(), SealRefusal> {
    match (file, name) {
        (Some(file), None) if !file.is_absolute() => Err(SealRefusal::Relative(file.to_owned())),
        (None, Some(name)) if !is_name(name) => Err(SealRefusal::CredentialName(name.to_owned())),
        (Some(_), None) | (None, Some(_)) => Ok(()),
        _ => Err(SealRefusal::Pin),
    }
}

fn check_token(module: &Path, label: &str, environment: &[String]) -> Result<(), SealRefusal> {
    if !module.is_absolute() {
        return Err(SealRefusal::Relative(module.to_owned()));
    }
    if !(1..=LABEL_BYTES_MAX).contains(&label.len()) {
        return Err(SealRefusal::Label(label.to_owned()));
    }
    match environment.iter().find(|name| !is_variable(name)) {
        Some(name) => Err(SealRefusal::Variable(name.clone())),
        None => Ok(()),
    }
}

fn is_variable(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_letter)
}

/// A device of this machine, or a program of this machine that plays one. Others need a daemon or
/// start threads, which a process that is to be confined must not.
fn is_device(device: &str) -> bool {
    let path = device.strip_prefix("device:/");
    path.or(device.strip_prefix("swtpm:")).is_some_and(|rest| {
        (1..=NAME_BYTES_MAX).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_graphic())
    })
}

fn are_pcrs(pcrs: &[u8]) -> bool {
    pcrs.is_sorted_by(|one, next| one < next) && pcrs.iter().all(|pcr| *pcr < PCRS)
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
            (
                "kind = \"tpm\"",
                Some(Guard::Tpm { device: "device:/dev/tpmrm0".to_owned(), pcrs: Vec::new() }),
            ),
            (
                "kind = \"tpm\"\ndevice = \"swtpm:port=2321\"\npcrs = [0, 7]",
                Some(Guard::Tpm { device: "swtpm:port=2321".to_owned(), pcrs: vec![0, 7] }),
            ),
            (
                "kind = \"token\"\nmodule = \"/m.so\"\ntoken = \"t\"\npin_credential = \"pin\"",
                Some(Guard::Token {
                    module: "/m.so".into(),
                    token: "t".to_owned(),
                    pin_file: folder.join("pin"),
                    environment: Vec::new(),
                }),
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
            "kind = \"tpm\"\npcrs = [256]",
            "kind = \"tpm\"\npcr = [7]",
            "kind = \"token\"\nmodule = \"/m.so\"",
            "kind = \"token\"\nmodule = \"/m.so\"\ntoken = \"t\"\npin = \"1234\"",
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
        let token = "kind = \"token\"\nmodule = \"/m.so\"\ntoken = \"t\"\n";
        for (text, says) in [
            ("kind = \"tpm\"\ndevice = \"/dev/tpm0\"".to_owned(), "/dev/tpmrm0"),
            ("kind = \"tpm\"\ndevice = \"tabrmd:\"".to_owned(), "/dev/tpmrm0"),
            ("kind = \"tpm\"\ndevice = \"device:dev/tpm0\"".to_owned(), "/dev/tpmrm0"),
            ("kind = \"tpm\"\npcrs = [24]".to_owned(), "0 to 23"),
            ("kind = \"tpm\"\npcrs = [7, 7]".to_owned(), "once"),
            ("kind = \"tpm\"\npcrs = [7, 0]".to_owned(), "in order"),
            (token.to_owned(), "pin_file"),
            (format!("{token}pin_file = \"/p\"\npin_credential = \"p\""), "once"),
            (format!("{token}pin_file = \"p\""), "whole path"),
            (format!("{token}pin_credential = \"../p\""), "without a slash"),
            (format!("{token}pin_file = \"/p\"\nenvironment = [\"A=B\"]"), "variable"),
            (token.replace("/m.so", "m.so") + "pin_file = \"/p\"", "whole path"),
            (token.replace("\"t\"", "\"\"") + "pin_file = \"/p\"", "label"),
        ] {
            let said = refused(&text);
            assert!(said.contains(says), "{text}: {said}");
        }
        let credential = SealConfig::Credential { name: "seal".to_owned() };
        for folder in [None, Some(Path::new("relative"))] {
            let said = credential.guard_in(folder).unwrap_err().to_string();
            assert!(said.contains("LoadCredentialEncrypted"), "{said}");
        }
    }
}
