//! The port of where full backups lie: objects under names, in one folder of one target.
//!
//! Whoever carries them sees sealed bytes only.

use casemate_store_port::BoxFuture;

/// Longest object, in bytes.
pub const OBJECT_BYTES_MAX: usize = 48 * 1024 * 1024;

/// Longest address of a target, in bytes.
const URI_BYTES_MAX: usize = 2_048;

/// Longest token of a target, in bytes.
const TOKEN_BYTES_MAX: usize = 4_096;

/// Longest name of a folder, in bytes.
const FOLDER_BYTES_MAX: usize = 256;

/// Where a backup lies, or will lie.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    uri: String,
    access: Access,
}

/// What opens a target.
#[derive(Clone, PartialEq, Eq)]
enum Access {
    /// A token of the caller's; empty where none is wanted.
    Token(String),
    /// The HSM's managed identity.
    Identity,
}

/// A folder of a target: one backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// The target.
    pub target: Target,
    /// The folder's name, one segment.
    pub name: String,
}

/// Why an address is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The address.
    #[error(
        "'storageResourceUri' must be the URL of a container, such as \
         https://ACCOUNT.blob.core.windows.net/CONTAINER, without a query"
    )]
    Uri,
    /// The token.
    #[error("'token' must be one line of at most {TOKEN_BYTES_MAX} bytes")]
    Token,
    /// A target that no identity opens.
    #[error(
        "a managed identity opens containers of Azure Blob alone (https://…); send a 'token' for \
         S3, and nothing for file:///"
    )]
    Identity,
    /// The folder.
    #[error(
        "the folder must be the name that the backup ended with, such as mhsm-NAME-2026112500301500"
    )]
    Folder,
}

impl Target {
    /// Checks an address and what opens it. What schemes there are is the carrier's to say.
    pub fn new(uri: &str, token: &str) -> Result<Self, TargetError> {
        let uri = address(uri)?.to_owned();
        let token = token.trim_start_matches('?');
        if token.len() > TOKEN_BYTES_MAX || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TargetError::Token);
        }
        Ok(Self { uri, access: Access::Token(token.to_owned()) })
    }

    /// Checks an address that the HSM's managed identity opens.
    pub fn with_identity(uri: &str) -> Result<Self, TargetError> {
        let uri = address(uri)?.to_owned();
        let scheme = uri.split("://").next().unwrap_or_default();
        match scheme {
            "https" | "http" => Ok(Self { uri, access: Access::Identity }),
            _ => Err(TargetError::Identity),
        }
    }

    /// The address, without an end slash.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// What opens it: a secret of the caller's; empty if the HSM's identity does.
    pub fn expose_token(&self) -> &str {
        match &self.access {
            Access::Token(token) => token,
            Access::Identity => "",
        }
    }

    /// Whether the HSM's managed identity opens it.
    pub fn is_opened_by_identity(&self) -> bool {
        self.access == Access::Identity
    }

    /// The folder of a new backup here.
    pub fn folder(self, name: String) -> Folder {
        Folder { target: self, name }
    }

    /// The folder of a backup that is there: clients split its URL where they like, so both halves
    /// are put together before the last segment is taken for the folder.
    pub fn existing(&self, folder: &str) -> Result<Folder, TargetError> {
        let whole = format!("{}/{}", self.uri, folder.trim_matches('/'));
        let (uri, name) = whole.rsplit_once('/').ok_or(TargetError::Folder)?;
        let named = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_name = !name.is_empty()
            && name.len() <= FOLDER_BYTES_MAX
            && name.bytes().all(named)
            && !name.starts_with('.');
        if folder.is_empty() || !is_name {
            return Err(TargetError::Folder);
        }
        let target = match &self.access {
            Access::Token(token) => Self::new(uri, token)?,
            Access::Identity => Self::with_identity(uri)?,
        };
        Ok(Folder { target, name: name.to_owned() })
    }
}

/// An address without an end slash, if it is one.
fn address(uri: &str) -> Result<&str, TargetError> {
    let uri = uri.trim_end_matches('/');
    let (scheme, rest) = uri.split_once("://").ok_or(TargetError::Uri)?;
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"?#\"\\<>".contains(&byte);
    let is_uri = uri.len() <= URI_BYTES_MAX
        && !scheme.is_empty()
        && rest.trim_start_matches('/').contains(|c: char| c != '/')
        && uri.bytes().all(plain);
    if is_uri { Ok(uri) } else { Err(TargetError::Uri) }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("uri", &self.uri).finish_non_exhaustive()
    }
}

impl Folder {
    /// Its URL.
    pub fn url(&self) -> String {
        format!("{}/{}", self.target.uri, self.name)
    }
}

/// Why an object was not carried. Nothing of what the target said is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// Nobody carries: the courier is not there.
    #[error("nobody carries backups at this moment; try again in a moment")]
    NoCarrier,
    /// There is no such object.
    #[error("the target has no object '{0}' there")]
    NotFound(String),
    /// Another object lies there under that name; it was left as it is.
    #[error(
        "the target holds another object '{0}' there, and nothing is ever put over one; use \
         another container if that happens again"
    )]
    Taken(String),
    /// The target does not let the object go for a time of its own.
    #[error("{0}")]
    Kept(String),
    /// What opens the target does not allow that.
    #[error("{0}")]
    Denied(String),
    /// The target or its address was refused, or refuses.
    #[error("{0}")]
    Refused(String),
    /// The HSM has no managed identity.
    #[error(
        "the HSM has no managed identity; send a 'token' for the storage, or have the operator of \
         the node give it one"
    )]
    NoIdentity,
    /// It has one that cannot be used.
    #[error(
        "the HSM's managed identity cannot be used; the log of the node says why, and its operator \
         must mend that"
    )]
    IdentityUnusable,
    /// It got no token.
    #[error("{0}")]
    NoToken(String),
    /// It is longer than a backup's objects are.
    #[error("the object has more than {OBJECT_BYTES_MAX} bytes, so it is none of a backup")]
    TooLong,
}

/// Carries the objects of backups.
pub trait Objects: Send + Sync + 'static {
    /// Puts an object; it is durable there when this has answered.
    fn put<'a>(
        &'a self,
        folder: &'a Folder,
        name: &'a str,
        bytes: Vec<u8>,
    ) -> BoxFuture<'a, Result<(), TransferError>>;

    /// Gets an object, whole.
    fn get<'a>(
        &'a self,
        folder: &'a Folder,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Vec<u8>, TransferError>>;

    /// Removes an object.
    fn remove<'a>(
        &'a self,
        folder: &'a Folder,
        name: &'a str,
    ) -> BoxFuture<'a, Result<(), TransferError>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_halves_of_a_folders_url_are_put_together() {
        for (uri, folder) in [
            ("https://a.blob.example/c", "mhsm-dev-1"),
            ("https://a.blob.example/c/", "/mhsm-dev-1/"),
            ("https://a.blob.example", "c/mhsm-dev-1"),
        ] {
            let found = Target::new("https://a.blob.example/c", "?sv=1").unwrap();
            let split = Target { uri: uri.trim_end_matches('/').to_owned(), ..found.clone() };
            let by_identity = Target { access: Access::Identity, ..split.clone() };
            assert!(by_identity.existing(folder).unwrap().target.is_opened_by_identity());
            let folder = split.existing(folder).unwrap();
            assert_eq!(folder, found.folder("mhsm-dev-1".to_owned()), "{uri}");
            assert_eq!(folder.target.expose_token(), "sv=1");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in ["", "c", "https://", "https:///", "://h/c", "https://h/c?x=1", "https://h/ä"] {
            assert_eq!(Target::new(bad, "").unwrap_err(), TargetError::Uri, "{bad}");
        }
        assert_eq!(Target::new("https://h/c", "a b").unwrap_err(), TargetError::Token);
        assert_eq!(Target::new("https://h/c", "a\nb").unwrap_err(), TargetError::Token);
        let target = Target::new("https://h/c", "").unwrap();
        for bad in ["", "/", "..", "a/..", ".", "a b", "a?b", "a/ä"] {
            assert!(target.existing(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_identity_opens_azure_blob_alone() {
        for good in ["https://a.blob.example/c", "http://127.0.0.1:1/a/c/"] {
            let target = Target::with_identity(good).unwrap();
            assert!(target.is_opened_by_identity() && target.expose_token().is_empty());
        }
        for bad in
            ["s3+https://h/b", "s3+http://localhost/b", "file:///c", "HTTPS://h/c", "x://h/c"]
        {
            assert_eq!(Target::with_identity(bad).unwrap_err(), TargetError::Identity, "{bad}");
        }
        for bad in ["", "https://", "https://h/c?x=1"] {
            assert_eq!(Target::with_identity(bad).unwrap_err(), TargetError::Uri, "{bad}");
        }
        assert!(!Target::new("https://h/c", "").unwrap().is_opened_by_identity());
    }

    #[test]
    fn a_token_is_not_printed() {
        let target = Target::new("https://h/c", "sig=hunter2").unwrap();
        let folder = target.folder("f".to_owned());
        assert!(!format!("{folder:?}").contains("hunter2"));
    }
}
