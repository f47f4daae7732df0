//! `casemate tls …`: the certificate of an HSM of this node, while it serves.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use casemate_channel::TlsOrder;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::timeout;

use super::set::{HsmSet, SetError};
use crate::inspect::Unanswered;

/// `O_NONBLOCK`: a FIFO must hold up nobody.
const NONBLOCKING: i32 = 0o4000;
/// Longest file of a key, in bytes.
const KEY_FILE_BYTES_MAX: u64 = 16 * 1024;

/// How long an order waits for another change of the node's HSMs.
pub(crate) const CHANGING_TIMEOUT: Duration = Duration::from_secs(5);

/// What is asked for, as the local socket carries it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TlsQuestion {
    /// What is in force.
    Show,
    /// A request for a certificate.
    Request,
    /// The certificate of the request.
    Install {
        /// The chain, PEM.
        chain: String,
    },
    /// A certificate and its key.
    Import {
        /// The chain, PEM.
        chain: String,
        /// The key's file.
        key: PathBuf,
    },
    /// Back to the node's authority.
    Reset,
}

/// Why an order about TLS was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The key's file.
    #[error(
        "{path} cannot be read by the node; give the whole path of the key's file",
        path = path.display()
    )]
    Key {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// Others can read it.
    #[error(
        "{path} can be read by others (mode {mode:o}); chmod 600 it, and make a new key if \
         somebody has",
        path = path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is something else.
    #[error(
        "{path} is no file of a key, which has at most {KEY_FILE_BYTES_MAX} bytes",
        path = path.display()
    )]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// Something else is being changed.
    #[error(
        "another change of this node's HSMs is under way, and nothing was done; try again when it \
         has ended"
    )]
    Busy,
    /// No answer, which is not the same as nothing done.
    #[error(
        "the HSM has not answered within {seconds} s and may still carry it out; look with \
         `casemate tls show` before you try again"
    )]
    Late {
        /// How long it was waited for.
        seconds: u64,
    },
    /// The HSM says no.
    #[error("{0}")]
    Refused(Box<str>),
}

impl HsmSet {
    /// Has it done by the HSM.
    pub(crate) async fn tls(&self, name: &str, question: TlsQuestion) -> Result<Value, SetError> {
        let (link, facts) = self.reached(name)?;
        // What is in force is said whatever is being changed.
        let _one_at_a_time = match question {
            TlsQuestion::Show => None,
            _ => {
                let turn = timeout(CHANGING_TIMEOUT, self.changing.lock()).await;
                Some(turn.map_err(|_| TlsError::Busy)?)
            }
        };
        let is_show = matches!(question, TlsQuestion::Show);
        let (order, key) = match question {
            TlsQuestion::Show => (TlsOrder::Show, None),
            TlsQuestion::Request => (TlsOrder::Request, None),
            TlsQuestion::Install { chain } => (TlsOrder::Install { chain_pem: chain }, None),
            TlsQuestion::Import { chain, key } => {
                (TlsOrder::Import { chain_pem: chain }, Some(key_file(&key)?))
            }
            TlsQuestion::Reset => (TlsOrder::Reset, None),
        };
        let told = facts.inspections.order(&link, order, key.as_ref().map(File::as_fd)).await;
        let mut told = told.map_err(|unanswered| match unanswered {
            Unanswered::Late(time) if !is_show => TlsError::Late { seconds: time.as_secs() }.into(),
            _ => SetError::Silent(name.to_ascii_lowercase()),
        })?;
        match told.get("error").and_then(Value::as_str) {
            Some(error) => Err(TlsError::Refused(error.into()).into()),
            None => Ok(told["result"].take()),
        }
    }
}

/// Opens the file of a key. Its bytes are read by the HSM alone.
fn key_file(path: &Path) -> Result<File, TlsError> {
    let failed = |cause| TlsError::Key { path: path.to_owned(), cause };
    if !path.is_absolute() {
        return Err(failed(io::ErrorKind::InvalidInput.into()));
    }
    let file =
        OpenOptions::new().read(true).custom_flags(NONBLOCKING).open(path).map_err(failed)?;
    let facts = file.metadata().map_err(failed)?;
    if !facts.is_file() || facts.len() > KEY_FILE_BYTES_MAX {
        return Err(TlsError::NoKey { path: path.to_owned() });
    }
    let mode = facts.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(TlsError::Exposed { path: path.to_owned(), mode });
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_comes_from_a_file_that_nobody_else_reads() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        fs::write(&path, "key").unwrap();
        for (mode, good) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(key_file(&path).is_ok(), good, "{mode:o}");
        }
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let long = usize::try_from(KEY_FILE_BYTES_MAX).unwrap() + 1;
        fs::write(&path, vec![b'k'; long]).unwrap();
        assert!(matches!(key_file(&path), Err(TlsError::NoKey { .. })));
        assert!(matches!(key_file(dir.path()), Err(TlsError::NoKey { .. })));
        assert!(matches!(key_file(&dir.path().join("none")), Err(TlsError::Key { .. })));
        assert!(matches!(key_file(Path::new("key.pem")), Err(TlsError::Key { .. })), "whole paths");
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        assert!(matches!(key_file(&fifo), Err(TlsError::NoKey { .. })));
    }
}
