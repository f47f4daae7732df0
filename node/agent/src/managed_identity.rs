//! An HSM's managed identity as the operator of the machine has written it: in the node's file, or
//! in a file of its own for `casemate dev`.
//!
//! It is read anew each time a partition asks, so what is written holds for the next object of a
//! backup, without a restart. The file of the credential is opened here, for the partition may open
//! none, and its bytes are read there alone.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use casemate_channel::{
    AgentEnd, IDENTITY_ROOTS_BYTES_MAX, Identity, IdentityAnswer, ToPartition, chain,
};
use casemate_managed_identity::{
    CREDENTIAL_BYTES_MAX, CredentialKind, IdentityRefusal, ManagedIdentity,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use tokio::sync::{Semaphore, oneshot};

use crate::node::{ConfigRefusal, NodeConfig};
use crate::say::say;

/// Largest file of an identity, in bytes.
const FILE_BYTES_MAX: usize = 64 * 1024;
/// `O_NONBLOCK`: a FIFO must hold up nobody.
const NONBLOCKING: i32 = 0o4000;
/// Longest roots as they are written into a message, in bytes.
const WRITTEN_ROOTS_BYTES_MAX: usize = 40 * 1024;
/// Room for the end of a line after a credential, in bytes.
const LINE_END_BYTES: usize = 2;
/// Looks of one HSM that are under way at once; one takes its time only where a file system does
/// not answer.
const LOOKS_MAX: usize = 2;
/// Modes that let others read or write a file.
const READ_OR_WRITTEN_BY_OTHERS: u32 = 0o077;
/// Modes that let others write a file.
const WRITTEN_BY_OTHERS: u32 = 0o022;

/// What is written of an identity.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IdentityConfig {
    /// Where its tokens come from.
    token_endpoint: String,
    /// The id that the issuer knows it by.
    client_id: String,
    /// The file of its secret,
    secret_file: Option<PathBuf>,
    /// or of a token of another issuer, which somebody renews.
    federated_token_file: Option<PathBuf>,
    /// The roots of the token endpoint's TLS certificate; those of the machine if not given.
    ca: Option<PathBuf>,
    /// The storage accounts that its tokens may go to.
    storage: Vec<String>,
}

/// Why an identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A member that cannot be.
    #[error(transparent)]
    Refused(#[from] IdentityRefusal),
    /// No credential, or two.
    #[error("name the identity's credential once: secret_file, or federated_token_file")]
    Credential,
    /// A path that depends on where the program was started.
    #[error("{0:?} depends on where the program is started; write the whole path, from / on")]
    Relative(PathBuf),
    /// A file that cannot be read.
    #[error("{path} cannot be read; look at its path, owner and mode", path = path.display())]
    Unread {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The file of an identity is not understood.
    #[error("{path} is not understood; mend what is said of it", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where, and what is wrong.
        #[source]
        cause: Box<toml::de::Error>,
    },
    /// Others have the credential, or can change it.
    #[error(
        "{path} holds a credential that others can read or change (mode {mode:o}); chmod 600 it, \
         and get a new one if somebody has",
        path = path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is no file of that kind.
    #[error("{path} is no file of at most {bytes_max} bytes", path = path.display())]
    NoFile {
        /// The path.
        path: PathBuf,
        /// The most that it may have.
        bytes_max: usize,
    },
    /// Too many looks of this HSM wait for a file system.
    #[error(
        "{LOOKS_MAX} looks for the HSM's identity are under way and do not end; see whether the \
         disk of their files answers"
    )]
    Busy,
    /// No roots.
    #[error(
        "{path} holds no certificate, or more than certificates; give a PEM file with the CA of \
         the token endpoint's own",
        path = path.display()
    )]
    Roots {
        /// The file.
        path: PathBuf,
    },
    /// The node's file.
    #[error(transparent)]
    Config(#[from] Box<ConfigRefusal>),
}

/// Where the identity of an HSM is written.
#[derive(Debug, Clone)]
pub(crate) enum IdentityPlace {
    /// Nowhere.
    None,
    /// In a file of its own.
    File(PathBuf),
    /// In the node's file, under the HSM's name.
    Node {
        /// The file.
        file: PathBuf,
        /// The name.
        hsm: String,
    },
}

/// Looks for the identity of one HSM. What hangs there is nobody else's concern.
#[derive(Debug, Clone)]
pub(crate) struct IdentityLooks {
    place: IdentityPlace,
    under_way: Arc<Semaphore>,
}

impl From<IdentityPlace> for IdentityLooks {
    fn from(place: IdentityPlace) -> Self {
        Self { place, under_way: Arc::new(Semaphore::new(LOOKS_MAX)) }
    }
}

impl IdentityConfig {
    /// Reads the file of an identity and checks what it holds.
    pub(crate) fn read(path: &Path) -> Result<Self, IdentityError> {
        let bytes = read(open(path, FILE_BYTES_MAX)?, path)?;
        let malformed =
            |cause| IdentityError::Malformed { path: path.to_owned(), cause: Box::new(cause) };
        let text = String::from_utf8_lossy(&bytes);
        let config: Self = toml::from_str(&text).map_err(malformed)?;
        config.check()?;
        Ok(config)
    }

    /// Checks what can be known from the words alone.
    pub(crate) fn check(&self) -> Result<(), IdentityError> {
        let (kind, file) = self.credential()?;
        let mut paths = [Some(file), self.ca.as_deref()].into_iter().flatten();
        if let Some(path) = paths.find(|path| !path.is_absolute()) {
            return Err(IdentityError::Relative(path.to_owned()));
        }
        ManagedIdentity::new(&self.token_endpoint, &self.client_id, kind, &self.storage)?;
        Ok(())
    }

    fn credential(&self) -> Result<(CredentialKind, &Path), IdentityError> {
        match (&self.secret_file, &self.federated_token_file) {
            (Some(file), None) => Ok((CredentialKind::Secret, file)),
            (None, Some(file)) => Ok((CredentialKind::FederatedToken, file)),
            (None, None) | (Some(_), Some(_)) => Err(IdentityError::Credential),
        }
    }

    /// The identity, and the open file of its credential.
    fn look(&self) -> Result<(Identity, File), IdentityError> {
        self.check()?;
        let (kind, path) = self.credential()?;
        let file = open(path, CREDENTIAL_BYTES_MAX + LINE_END_BYTES)?;
        let unread = |cause| IdentityError::Unread { path: path.to_owned(), cause };
        let mode = file.metadata().map_err(unread)?.mode() & 0o7777;
        // What renews a federated token often lets everybody on the machine read it; it is for this
        // issuer alone, and ends soon.
        let exposed = match kind {
            CredentialKind::Secret => READ_OR_WRITTEN_BY_OTHERS,
            CredentialKind::FederatedToken => WRITTEN_BY_OTHERS,
        };
        if mode & exposed != 0 {
            return Err(IdentityError::Exposed { path: path.to_owned(), mode });
        }
        let roots = self.ca.as_deref().map(roots).transpose()?;
        let identity = Identity {
            token_endpoint: self.token_endpoint.clone(),
            client_id: self.client_id.clone(),
            federated: kind == CredentialKind::FederatedToken,
            trust_anchors_pem: roots,
            storage: self.storage.clone(),
        };
        Ok((identity, file))
    }
}

impl IdentityPlace {
    /// The identity as it is written now, if there is one.
    fn look(&self) -> Result<Option<(Identity, File)>, IdentityError> {
        match self {
            Self::None => Ok(None),
            Self::File(path) => IdentityConfig::read(path)?.look().map(Some),
            Self::Node { file, hsm } => {
                let config = NodeConfig::read(file).map_err(Box::new)?;
                config.identity.get(hsm).map(IdentityConfig::look).transpose()
            }
        }
    }
}

impl IdentityLooks {
    /// Answers a partition that asks, beside everything else: the files may lie where reading takes
    /// its time.
    pub(crate) fn answer(&self, end: &Arc<AgentEnd>, id: u64) {
        let (looks, end) = (self.clone(), Arc::clone(end));
        tokio::spawn(async move {
            let (answer, file) = match looks.look_aside().await {
                Ok(Some((identity, file))) => (IdentityAnswer::Is(identity), Some(file)),
                Ok(None) => (IdentityAnswer::None, None),
                Err(error) => {
                    say(format_args!("a managed identity cannot be used: {}", chain(&error)));
                    (IdentityAnswer::Unusable, None)
                }
            };
            let message = ToPartition::Identity { id, answer };
            // A partition that has gone asks again when it is back.
            let _gone = end.send(&message, file.as_ref().map(AsFd::as_fd)).await;
        });
    }

    /// Looks in a thread of its own.
    async fn look_aside(self) -> Result<Option<(Identity, File)>, IdentityError> {
        let Self { place, under_way } = self;
        let permit = under_way.try_acquire_owned().map_err(|_| IdentityError::Busy)?;
        let (tell, told) = oneshot::channel();
        let looking = move || {
            // Who asked may have given up.
            let _given_up = tell.send(place.look());
            drop(permit);
        };
        let thread = std::thread::Builder::new().name("identity".to_owned());
        drop(thread.spawn(looking).map_err(|_| IdentityError::Busy)?);
        told.await.unwrap_or(Err(IdentityError::Busy))
    }
}

fn roots(path: &Path) -> Result<String, IdentityError> {
    let bytes = read(open(path, IDENTITY_ROOTS_BYTES_MAX)?, path)?;
    let refused = || IdentityError::Roots { path: path.to_owned() };
    let mut roots = CertificateDer::pem_slice_iter(&bytes);
    if !matches!(roots.next(), Some(Ok(_))) || roots.any(|root| root.is_err()) {
        return Err(refused());
    }
    let text = String::from_utf8(bytes).map_err(|_| refused())?;
    // What is not a certificate could be written many times as long in a message.
    let written = serde_json::to_string(&text).map_err(|_| refused())?.len();
    if written <= WRITTEN_ROOTS_BYTES_MAX { Ok(text) } else { Err(refused()) }
}

fn read(file: File, path: &Path) -> Result<Vec<u8>, IdentityError> {
    let mut bytes = Vec::new();
    let most = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX);
    file.take(most)
        .read_to_end(&mut bytes)
        .map_err(|cause| IdentityError::Unread { path: path.to_owned(), cause })?;
    Ok(bytes)
}

/// Opens a file of at most so many bytes.
fn open(path: &Path, bytes_max: usize) -> Result<File, IdentityError> {
    let unread = |cause| IdentityError::Unread { path: path.to_owned(), cause };
    let file =
        OpenOptions::new().read(true).custom_flags(NONBLOCKING).open(path).map_err(unread)?;
    let facts = file.metadata().map_err(unread)?;
    if !facts.is_file() || facts.len() > u64::try_from(bytes_max).unwrap_or(u64::MAX) {
        return Err(IdentityError::NoFile { path: path.to_owned(), bytes_max });
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn written(folder: &Path, more: &str) -> PathBuf {
        let path = folder.join("identity.toml");
        let text = format!(
            "token_endpoint = \"https://login.example/token\"\nclient_id = \"hsm\"\n\
             storage = [\"https://a.blob.example\"]\n{more}\n"
        );
        fs::write(&path, text).unwrap();
        path
    }

    fn secret(folder: &Path, mode: u32) -> PathBuf {
        let path = folder.join("secret");
        fs::write(&path, "hunter2\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    fn look(path: &Path) -> Result<(Identity, String), IdentityError> {
        let place = IdentityPlace::File(path.to_owned());
        let (identity, mut file) = place.look()?.expect("there is one");
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        Ok((identity, text))
    }

    #[tokio::test]
    async fn what_hangs_of_one_hsm_takes_nothing_from_another() {
        let dir = tempfile::tempdir().unwrap();
        let hung = dir.path().join("hung.toml");
        nix::unistd::mkfifo(&hung, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let good = written(dir.path(), &format!("secret_file = {:?}", secret(dir.path(), 0o600)));
        let [one, other] = [hung, good].map(|path| IdentityLooks::from(IdentityPlace::File(path)));
        let held: Vec<_> = (0..LOOKS_MAX)
            .map(|_| Arc::clone(&one.under_way).try_acquire_owned().expect("there is room"))
            .collect();
        assert!(matches!(one.clone().look_aside().await, Err(IdentityError::Busy)));
        assert!(other.look_aside().await.unwrap().is_some(), "another HSM's");
        drop(held);
        assert!(!matches!(one.look_aside().await, Err(IdentityError::Busy)), "it ended");
    }

    #[test]
    fn what_is_written_holds_the_next_time_it_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = written(dir.path(), &format!("secret_file = {:?}", secret(dir.path(), 0o600)));
        let (identity, credential) = look(&path).unwrap();
        assert_eq!((identity.client_id.as_str(), credential.as_str()), ("hsm", "hunter2\n"));
        assert!(!identity.federated && identity.trust_anchors_pem.is_none());
        fs::write(dir.path().join("secret"), "exchanged").unwrap();
        assert_eq!(look(&path).unwrap().1, "exchanged");
        fs::remove_file(dir.path().join("secret")).unwrap();
        assert!(matches!(look(&path), Err(IdentityError::Unread { .. })));
        fs::remove_file(&path).unwrap();
        assert!(matches!(look(&path), Err(IdentityError::Unread { .. })));
        assert!(IdentityPlace::None.look().unwrap().is_none());
    }

    #[test]
    fn a_secret_that_others_can_read_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        for (member, modes) in [
            ("secret_file", [(0o600, true), (0o400, true), (0o640, false), (0o604, false)]),
            (
                "federated_token_file",
                [(0o600, true), (0o644, true), (0o664, false), (0o646, false)],
            ),
        ] {
            for (mode, good) in modes {
                let file = secret(dir.path(), mode);
                let found = look(&written(dir.path(), &format!("{member} = {file:?}")));
                assert_eq!(found.is_ok(), good, "{member} {mode:o}");
                fs::remove_file(file).unwrap();
            }
        }
    }

    #[test]
    fn what_is_no_credential_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let file = |path: &Path| written(dir.path(), &format!("secret_file = {path:?}"));
        assert!(matches!(look(&file(dir.path())), Err(IdentityError::NoFile { .. })), "a folder");
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        assert!(matches!(look(&file(&fifo)), Err(IdentityError::NoFile { .. })));
        let long = secret(dir.path(), 0o600);
        fs::write(&long, vec![b'x'; CREDENTIAL_BYTES_MAX + LINE_END_BYTES + 1]).unwrap();
        assert!(matches!(look(&file(&long)), Err(IdentityError::NoFile { .. })));
        fs::write(&long, vec![b'x'; CREDENTIAL_BYTES_MAX]).unwrap();
        assert!(look(&file(&long)).is_ok());
        let roots = dir.path().join("ca.pem");
        fs::write(&roots, vec![b'x'; IDENTITY_ROOTS_BYTES_MAX + 1]).unwrap();
        let more = format!("secret_file = {long:?}\nca = {roots:?}");
        assert!(matches!(look(&written(dir.path(), &more)), Err(IdentityError::NoFile { .. })));
        let made = rcgen::generate_simple_self_signed(vec!["login.example".to_owned()]).unwrap();
        let torn = "-----BEGIN CERTIFICATE-----\nAAAA\n";
        let stuffed = format!("{}{}", made.cert.pem(), "\u{1}".repeat(20_000));
        for bad in ["", "roots", torn, &stuffed, &format!("{}{torn}", made.cert.pem())] {
            fs::write(&roots, bad).unwrap();
            assert!(matches!(look(&written(dir.path(), &more)), Err(IdentityError::Roots { .. })));
        }
        fs::write(&roots, made.cert.pem()).unwrap();
        let found = look(&written(dir.path(), &more)).unwrap().0;
        assert_eq!(found.trust_anchors_pem, Some(made.cert.pem()));
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        let dir = tempfile::tempdir().unwrap();
        for (more, says) in [
            ("", "once"),
            ("secret_file = \"/a\"\nfederated_token_file = \"/b\"", "once"),
            ("secret_file = \"a\"", "whole path"),
            ("secret_file = \"/a\"\nca = \"b\"", "whole path"),
            ("secret_file = \"/a\"\nmore = 1", "not understood"),
            ("secret_file = \"/a\"\nsecret = \"hunter2\"", "not understood"),
            ("secret_file = 1", "not understood"),
        ] {
            let refused = IdentityConfig::read(&written(dir.path(), more)).unwrap_err().to_string();
            assert!(refused.contains(says), "{more}: {refused}");
        }
        let path = written(dir.path(), "secret_file = \"/a\"");
        let good = fs::read_to_string(&path).unwrap();
        for (from, to, says) in [
            ("https://login", "http://login", "token_endpoint"),
            ("\"hsm\"", "\"\"", "client_id"),
            ("https://a.blob", "http://a.blob", "storage"),
            ("[\"https://a.blob.example\"]", "[]", "storage"),
        ] {
            fs::write(&path, good.replace(from, to)).unwrap();
            let refused = IdentityConfig::read(&path).unwrap_err().to_string();
            assert!(refused.contains(says), "{to}: {refused}");
        }
    }
}
