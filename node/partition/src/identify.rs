//! The HSM's managed identity, from its agent: looked for anew each time, so that one that was
//! taken away, or whose credential was exchanged, is not used any more.
//!
//! Invariant: the credential is read here, from the descriptor that came, and by nobody before.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use casemate_channel::{Identity, Proven, SecretText};
use casemate_hsm::backup::TransferError;
use casemate_managed_identity::{CREDENTIAL_BYTES_MAX, Credential};
use casemate_store_port::BoxFuture;

use crate::agent::{Agent, NoIdentity};
use crate::files::read_open;

/// Room for the end of a line after a credential, in bytes.
const LINE_END_BYTES: usize = 2;

/// Who knows the identity.
pub(crate) trait Identify: Send + Sync {
    /// The identity as it is now, with its credential.
    fn identify(&self) -> BoxFuture<'_, Result<Proven, TransferError>>;
}

/// The agent knows it.
pub(crate) struct ByAgent(pub(crate) Arc<Agent>);

impl Identify for ByAgent {
    fn identify(&self) -> BoxFuture<'_, Result<Proven, TransferError>> {
        Box::pin(async move {
            let found = self.0.identity().await.map_err(|error| {
                tracing::warn!("{}", crate::failure::chain(&error));
                TransferError::IdentityUnusable
            })?;
            match found {
                Ok((identity, file)) => proven(identity, file),
                Err(NoIdentity::None) => Err(TransferError::NoIdentity),
                Err(NoIdentity::Unusable) => Err(TransferError::IdentityUnusable),
            }
        })
    }
}

fn proven(identity: Identity, file: OwnedFd) -> Result<Proven, TransferError> {
    let most = u64::try_from(CREDENTIAL_BYTES_MAX + LINE_END_BYTES).unwrap_or(u64::MAX);
    let bytes = read_open(File::from(file), most).map_err(|error| {
        tracing::warn!(%error, "the credential of the managed identity cannot be read");
        TransferError::IdentityUnusable
    })?;
    let credential = Credential::from_file(bytes).map_err(|refusal| {
        tracing::warn!("{refusal}");
        TransferError::IdentityUnusable
    })?;
    Ok(Proven { identity, credential: SecretText::new(credential.expose().to_owned()) })
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;

    fn read(content: &[u8]) -> Result<Proven, TransferError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file.rewind().unwrap();
        let identity = Identity {
            token_endpoint: "https://login.example/token".to_owned(),
            client_id: "hsm".to_owned(),
            federated: false,
            trust_anchors_pem: None,
            storage: Vec::new(),
        };
        proven(identity, file.into())
    }

    #[test]
    fn a_credential_is_one_line_of_a_bounded_length() {
        assert_eq!(read(b"hunter2\n").unwrap().credential.expose(), "hunter2");
        let longest = [vec![b'x'; CREDENTIAL_BYTES_MAX], b"\r\n".to_vec()].concat();
        assert_eq!(read(&longest).unwrap().credential.expose().len(), CREDENTIAL_BYTES_MAX);
        for bad in
            [b"".to_vec(), b"a b".to_vec(), b"a\nb".to_vec(), vec![0xff], vec![b'x'; 1 << 20]]
        {
            assert_eq!(read(&bad).unwrap_err(), TransferError::IdentityUnusable);
        }
    }
}
