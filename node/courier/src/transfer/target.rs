//! From an address to a place where objects lie.
//!
//! | address | what |
//! |---|---|
//! | `https://HOST[:PORT]/…/CONTAINER` | Azure Blob, by a shared access signature or an identity |
//! | `s3+https://HOST[:PORT]/BUCKET[/…]` | S3, opened by an access key as a query |
//! | `file:///NAME[/…]` | a folder `backups/NAME` of the courier's own, or what is mounted there |
//!
//! The query of S3: `accessKeyId=…&secretAccessKey=…[&region=…][&sessionToken=…]`. `http` and
//! `s3+http` reach this machine only.

use std::error::Error as _;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use object_store::aws::{AmazonS3Builder, Checksum};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, Error, ObjectStore, ObjectStoreExt, PutMode, PutPayload,
    RetryConfig,
};
use url::{Host, Url};

use casemate_channel::SecretText;
use casemate_channel::transfer::OBJECT_BYTES_MAX;

use super::http::{Connector, Roots};
use super::identity::NoToken;
use super::local::LocalFolder;

/// Folder of the courier's own in which local backups lie.
const LOCAL_FOLDER: &str = "backups";

/// Tries of one request, and the time for all of them.
const RETRIES_MAX: usize = 4;
const RETRY_TIMEOUT: Duration = Duration::from_secs(120);

/// Why an object was not carried. No text is the target's own, and none holds what opens it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetFailure {
    #[error(
        "'storageResourceUri' must begin with https:// (Azure Blob), s3+https:// or file:/// and \
         name a container; http:// reaches this machine only"
    )]
    Address,
    #[error("the token is none for this kind of target; see the page on backups")]
    Token,
    #[error("{host} did not take the request; check address, token and its rights, and network")]
    Refused {
        host: String,
        #[source]
        cause: Error,
    },
    #[error("{host} refused the token; check its rights and when it ends")]
    Denied { host: String },
    #[error(
        "{host} refused the HSM's managed identity; give it there the right to read, write and \
         delete blobs (such as Storage Blob Data Contributor), and wait until that holds"
    )]
    IdentityDenied { host: String },
    #[error(transparent)]
    NoToken(#[from] NoToken),
    #[error("the container does not exist, or has no such object")]
    NotFound,
    #[error("another object lies there under this name, and nothing is ever put over one")]
    Taken,
    #[error(
        "{host} does not let the object go: an immutable target keeps it until its time is over"
    )]
    Kept { host: String },
    #[error("the object is longer than any of a backup")]
    TooLong,
    #[error("it took longer than {seconds} s")]
    Deadline { seconds: u64 },
    #[error("the folder of local backups cannot be used; check its owner and the disk")]
    Folder(#[source] std::io::Error),
}

/// What opens a target.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Access {
    /// A token of the caller's.
    Token(SecretText),
    /// A token of the HSM's managed identity.
    Identity(SecretText),
}

impl Access {
    pub(crate) fn token(token: &str) -> Self {
        Self::Token(SecretText::new(token.to_owned()))
    }

    pub(crate) fn identity(token: &str) -> Self {
        Self::Identity(SecretText::new(token.to_owned()))
    }
}

enum Store {
    Remote(Arc<dyn ObjectStore>),
    Local(LocalFolder),
}

/// Where objects lie.
pub(crate) struct Place {
    store: Store,
    /// What stands before the folders of backups.
    prefix: Vec<String>,
    host: String,
    by_identity: bool,
    is_s3: bool,
}

impl Place {
    /// Opens an address; nothing is sent yet.
    pub(crate) fn open(
        uri: &str,
        access: &Access,
        own: &FilePath,
        roots: &Roots,
    ) -> Result<Self, TargetFailure> {
        if let Some(path) = uri.strip_prefix("file:///") {
            return match access {
                Access::Token(_) => Self::local(path, own),
                Access::Identity(_) => Err(TargetFailure::Token),
            };
        }
        let (is_s3, address) = match uri.strip_prefix("s3+") {
            Some(address) => (true, address),
            None => (false, uri),
        };
        let url = Url::parse(address).map_err(|_| TargetFailure::Address)?;
        let is_here = match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => return Err(TargetFailure::Address),
        };
        let is_plain = match url.scheme() {
            "https" => false,
            "http" if is_here => true,
            _ => return Err(TargetFailure::Address),
        };
        let segments: Vec<String> = url
            .path_segments()
            .into_iter()
            .flatten()
            .filter(|segment| !segment.is_empty())
            .map(str::to_owned)
            .collect();
        match is_s3 {
            true => match access {
                Access::Token(token) => Self::s3(&url, segments, token.expose(), is_plain, roots),
                Access::Identity(_) => Err(TargetFailure::Token),
            },
            false => Self::azure(&url, segments, access, is_plain, roots),
        }
    }

    /// The object's path.
    pub(crate) fn path(&self, folder: &str, name: &str) -> Result<Path, TargetFailure> {
        let parts = self.prefix.iter().map(String::as_str).chain([folder, name]);
        let parts: Vec<&str> = parts.collect();
        let plain = |part: &&str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        if !parts.iter().all(plain) {
            return Err(TargetFailure::Address);
        }
        Ok(Path::from_iter(parts))
    }

    /// Puts an object where there is none. The very same one that lies there already is that of a
    /// try whose answer was lost.
    ///
    /// That there is none is the target's to see to, which is told so with the put. Of S3 there are
    /// servers that take no notice of that, and so it is looked before; and some that refuse to
    /// hear it: of those alone it is believed that there is none after it was looked.
    pub(super) async fn put(&self, path: &Path, object: Vec<u8>) -> Result<(), TargetFailure> {
        let object = Bytes::from(object);
        let remote = match &self.store {
            Store::Remote(store) => store,
            Store::Local(folder) => {
                return match folder.put(path.as_ref(), &object) {
                    Ok(true) => Ok(()),
                    Ok(false) => Err(TargetFailure::Taken),
                    Err(error) => Err(TargetFailure::Folder(error)),
                };
            }
        };
        if self.is_s3 && remote.head(path).await.is_ok() {
            return self.is_there(path, &object).await?.unwrap_or(Err(TargetFailure::Taken));
        }
        let payload = || PutPayload::from(object.clone());
        let put = |mode: PutMode| remote.put_opts(path, payload(), mode.into());
        let failed = match put(PutMode::Create).await {
            Ok(_) => return Ok(()),
            Err(
                error @ (Error::NotFound { .. }
                | Error::PermissionDenied { .. }
                | Error::Unauthenticated { .. }),
            ) => return Err(self.failure(error)),
            // There is one; or the target does not know such a condition, or did not answer.
            Err(error) => error,
        };
        tracing::debug!(%failed, "an object was not put at once");
        if let Some(there) = self.is_there(path, &object).await? {
            return there;
        }
        let again = if knows_no_condition(&failed) { PutMode::Overwrite } else { PutMode::Create };
        match put(again).await {
            Ok(_) => Ok(()),
            Err(Error::AlreadyExists { .. }) => {
                self.is_there(path, &object).await?.unwrap_or(Err(TargetFailure::Taken))
            }
            Err(error) => Err(self.failure(error)),
        }
    }

    /// What it comes to that an object lies there; `None` if there is none.
    async fn is_there(
        &self,
        path: &Path,
        object: &Bytes,
    ) -> Result<Option<Result<(), TargetFailure>>, TargetFailure> {
        match self.get(path).await {
            Ok(found) if found == *object => Ok(Some(Ok(()))),
            Ok(_) | Err(TargetFailure::TooLong) => Ok(Some(Err(TargetFailure::Taken))),
            Err(TargetFailure::NotFound) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Removes an object. One that is not there is gone.
    pub(super) async fn remove(&self, path: &Path) -> Result<(), TargetFailure> {
        match &self.store {
            Store::Remote(store) => match store.delete(path).await {
                Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
                Err(error) if is_kept(&error) => {
                    Err(TargetFailure::Kept { host: self.host.clone() })
                }
                Err(error) => Err(self.failure(error)),
            },
            Store::Local(folder) => folder.remove(path.as_ref()).map_err(TargetFailure::Folder),
        }
    }

    pub(super) async fn get(&self, path: &Path) -> Result<Vec<u8>, TargetFailure> {
        match &self.store {
            Store::Remote(store) => {
                let found = store.get(path).await.map_err(|error| self.failure(error))?;
                if found.meta.size > OBJECT_BYTES_MAX {
                    return Err(TargetFailure::TooLong);
                }
                let bytes = found.bytes().await.map_err(|error| self.failure(error))?;
                Ok(bytes.to_vec())
            }
            Store::Local(folder) => match folder.get(path.as_ref(), OBJECT_BYTES_MAX) {
                Ok(Some(bytes)) => Ok(bytes),
                Ok(None) => Err(TargetFailure::NotFound),
                Err(error) if error.kind() == std::io::ErrorKind::FileTooLarge => {
                    Err(TargetFailure::TooLong)
                }
                Err(error) => Err(TargetFailure::Folder(error)),
            },
        }
    }

    fn failure(&self, error: Error) -> TargetFailure {
        let host = self.host.clone();
        match error {
            Error::NotFound { .. } => TargetFailure::NotFound,
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
                match self.by_identity {
                    true => TargetFailure::IdentityDenied { host },
                    false => TargetFailure::Denied { host },
                }
            }
            cause => TargetFailure::Refused { host, cause },
        }
    }

    /// The last segment is the container; what stands before it, such as an account's name, belongs
    /// to the endpoint.
    fn azure(
        url: &Url,
        mut segments: Vec<String>,
        access: &Access,
        is_plain: bool,
        roots: &Roots,
    ) -> Result<Self, TargetFailure> {
        let container = segments.pop().ok_or(TargetFailure::Address)?;
        let mut endpoint = url.clone();
        endpoint.set_path(&segments.join("/"));
        let builder = MicrosoftAzureBuilder::new();
        let builder = match access {
            Access::Token(token) => builder.with_sas_authorization(signature(token)?),
            Access::Identity(token) => builder.with_bearer_token_authorization(token.expose()),
        };
        let host = host(url)?;
        let store = builder
            // Nothing is signed with it: the account is the one of the address.
            .with_account("account")
            .with_endpoint(endpoint.as_str().trim_end_matches('/').to_owned())
            .with_container_name(container)
            .with_retry(retry())
            .with_client_options(ClientOptions::new().with_allow_http(is_plain))
            .with_http_connector(Connector::new(roots))
            .build()
            .map_err(|cause| TargetFailure::Refused { host: host.clone(), cause })?;
        let by_identity = matches!(access, Access::Identity(_));
        let (store, prefix) = (Store::Remote(Arc::new(store)), Vec::new());
        Ok(Self { store, prefix, host, by_identity, is_s3: false })
    }

    fn s3(
        url: &Url,
        mut segments: Vec<String>,
        token: &str,
        is_plain: bool,
        roots: &Roots,
    ) -> Result<Self, TargetFailure> {
        if segments.is_empty() {
            return Err(TargetFailure::Address);
        }
        let bucket = segments.remove(0);
        let mut endpoint = url.clone();
        endpoint.set_path("");
        let host = host(url)?;
        let mut builder = AmazonS3Builder::new()
            .with_endpoint(endpoint.as_str().trim_end_matches('/'))
            .with_bucket_name(bucket)
            .with_virtual_hosted_style_request(false)
            .with_region("us-east-1")
            .with_checksum_algorithm(Checksum::SHA256)
            // Every server knows the removal of one object; not every one that of many.
            .with_disable_bulk_delete(true)
            .with_retry(retry())
            .with_client_options(checksummed(is_plain))
            .with_http_connector(Connector::new(roots));
        let (mut has_id, mut has_secret) = (false, false);
        for (name, value) in url::form_urlencoded::parse(token.as_bytes()) {
            builder = match &*name {
                "accessKeyId" => {
                    has_id = true;
                    builder.with_access_key_id(value)
                }
                "secretAccessKey" => {
                    has_secret = true;
                    builder.with_secret_access_key(value)
                }
                "region" => builder.with_region(value),
                "sessionToken" => builder.with_token(value),
                _ => return Err(TargetFailure::Token),
            };
        }
        if !has_id || !has_secret {
            return Err(TargetFailure::Token);
        }
        let refused = |cause| TargetFailure::Refused { host: host.clone(), cause };
        let store = builder.build().map_err(refused)?;
        let store = Store::Remote(Arc::new(store));
        Ok(Self { store, prefix: segments, host, by_identity: false, is_s3: true })
    }

    fn local(path: &str, own: &FilePath) -> Result<Self, TargetFailure> {
        let prefix: Vec<String> = path.split('/').map(str::to_owned).collect();
        let store = Store::Local(LocalFolder::new(own.join(LOCAL_FOLDER)));
        Ok(Self { store, prefix, host: String::new(), by_identity: false, is_s3: false })
    }
}

/// The parts of a shared access signature.
fn signature(token: &SecretText) -> Result<Vec<(String, String)>, TargetFailure> {
    let pairs = url::form_urlencoded::parse(token.expose().as_bytes()).into_owned();
    let pairs: Vec<(String, String)> = pairs.collect();
    match pairs.iter().any(|(name, _)| name == "sig") {
        true => Ok(pairs),
        false => Err(TargetFailure::Token),
    }
}

/// Whether a removal was answered with 409 or 412: so it is by the rules of a container that keeps
/// what it holds. Of Azure's removals in a batch the status stands in the text alone.
fn is_kept(error: &Error) -> bool {
    match error {
        Error::AlreadyExists { .. } | Error::Precondition { .. } => true,
        Error::Generic { source, .. } => source.to_string().ends_with("(code: 409)"),
        _ => false,
    }
}

/// Whether a put was answered with 501: so it is by servers of S3 that do not know a condition. It
/// stands in the text alone.
fn knows_no_condition(error: &Error) -> bool {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.into_iter().any(|cause| cause.to_string().contains("status code: 501"))
}

/// A bucket with Object Lock takes no put that does not say which checksum it carries.
fn checksummed(is_plain: bool) -> ClientOptions {
    let (name, value) = ("x-amz-sdk-checksum-algorithm", "SHA256");
    let said = [(HeaderName::from_static(name), HeaderValue::from_static(value))];
    ClientOptions::new().with_allow_http(is_plain).with_default_headers(said.into_iter().collect())
}

fn host(url: &Url) -> Result<String, TargetFailure> {
    url.host_str().map(str::to_owned).ok_or(TargetFailure::Address)
}

fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: RETRIES_MAX,
        retry_timeout: RETRY_TIMEOUT,
    }
}

#[cfg(test)]
mod played;
#[cfg(test)]
mod tests;
