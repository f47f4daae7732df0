//! An HSM's own identity at an issuer, for the storage of its backups: where its tokens come from,
//! how one is asked for, what an answer is, and which storage a token may be shown to.
//!
//! Vocabulary and rules alone. It opens no file and sends nothing; `docs/design/backup.md` has the
//! protocol.
//!
//! Invariants:
//! - A token is given out for storage accounts that the operator has listed and for no other
//!   address, whoever asks ([`ManagedIdentity::may_show_token_to`]).
//! - A credential and a token are not printed, and are wiped when dropped.

mod account;
mod answer;
mod credential;
mod request;

pub use account::{ACCOUNT_BYTES_MAX, StorageAccount};
pub use answer::{ANSWER_BYTES_MAX, AccessToken, AnswerRefusal, TOKEN_BYTES_MAX, read, refused};
pub use credential::{CREDENTIAL_BYTES_MAX, Credential, CredentialKind, CredentialRefusal};
pub use request::{SCOPE, form};

use url::{Host, Url};

/// Most storage accounts of one identity.
pub const ACCOUNTS_MAX: usize = 16;

/// Longest client id, in bytes.
pub const CLIENT_ID_BYTES_MAX: usize = 256;

/// Longest address of a token endpoint, in bytes.
pub const ENDPOINT_BYTES_MAX: usize = 2_048;

/// An identity, checked: who the HSM is at which issuer, and where its tokens may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedIdentity {
    endpoint: Url,
    client_id: String,
    credential: CredentialKind,
    storage: Vec<StorageAccount>,
}

/// Why it is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityRefusal {
    /// The token endpoint.
    #[error(
        "token_endpoint must be a whole https URL without user, query and fragment, such as \
         https://login.example.org/TENANT/oauth2/v2.0/token; http reaches this machine only"
    )]
    Endpoint,
    /// The client id.
    #[error(
        "client_id must be the id that the issuer knows the HSM by: 1 to {CLIENT_ID_BYTES_MAX} \
         bytes of plain text without spaces"
    )]
    ClientId,
    /// The storage accounts.
    #[error(
        "storage must list 1 to {ACCOUNTS_MAX} storage accounts that the identity's tokens may go \
         to, such as https://ACCOUNT.blob.core.windows.net; http reaches this machine only"
    )]
    Storage,
}

impl ManagedIdentity {
    /// Checks what an operator has written.
    ///
    /// # Errors
    /// The first member that cannot be.
    pub fn new(
        token_endpoint: &str,
        client_id: &str,
        credential: CredentialKind,
        storage: &[String],
    ) -> Result<Self, IdentityRefusal> {
        let endpoint = address(token_endpoint, ENDPOINT_BYTES_MAX);
        let endpoint = endpoint.ok_or(IdentityRefusal::Endpoint)?;
        let is_id = (1..=CLIENT_ID_BYTES_MAX).contains(&client_id.len())
            && client_id.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_id {
            return Err(IdentityRefusal::ClientId);
        }
        let accounts: Option<Vec<StorageAccount>> =
            storage.iter().map(|text| StorageAccount::parse(text)).collect();
        let storage = accounts.ok_or(IdentityRefusal::Storage)?;
        if !(1..=ACCOUNTS_MAX).contains(&storage.len()) {
            return Err(IdentityRefusal::Storage);
        }
        Ok(Self { endpoint, client_id: client_id.to_owned(), credential, storage })
    }

    /// Where its tokens come from: `https`, or `http` to this machine.
    pub fn endpoint(&self) -> &Url {
        &self.endpoint
    }

    /// The id that the issuer knows it by.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// What it proves itself with.
    pub fn credential(&self) -> CredentialKind {
        self.credential
    }

    /// Whether a token may be shown to what answers at the address of this container: whoever may
    /// start a backup chooses the address, and would else be sent a token for all the storage that
    /// the identity may use.
    pub fn may_show_token_to(&self, container: &str) -> bool {
        let Some(url) = address(container, ENDPOINT_BYTES_MAX) else { return false };
        self.storage.iter().any(|account| account.has_container(&url))
    }
}

/// A whole address without user, query and fragment: `https`, or `http` to this machine.
fn address(text: &str, bytes_max: usize) -> Option<Url> {
    // None of them has a place in such an address; readers of addresses differ about some.
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"@?#\\".contains(&byte);
    if text.len() > bytes_max || !text.bytes().all(is_plain) {
        return None;
    }
    let url = Url::parse(text).ok()?;
    let is_here = match url.host()? {
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
        Host::Domain(name) => name == "localhost",
    };
    let is_safe = url.scheme() == "https" || (url.scheme() == "http" && is_here);
    is_safe.then_some(url)
}

#[cfg(test)]
mod tests;
