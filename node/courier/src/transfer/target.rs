//! From an address to a place where objects lie.
//!
//! | address | what |
//! |---|---|
//! | `https://HOST[:PORT]/…/CONTAINER` | Azure Blob, opened by a shared access signature or an identity |
//! | `s3+https://HOST[:PORT]/BUCKET[/…]` | S3, opened by an access key as a query |
//! | `file:///NAME[/…]` | a folder `backups/NAME` of the courier's own, or what is mounted there |
//!
//! The query of S3: `accessKeyId=…&secretAccessKey=…[&region=…][&sessionToken=…]`. `http` and
//! `s3+http` reach this machine only.

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig,
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
        cause: object_store::Error,
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

    pub(super) async fn put(&self, path: &Path, object: Vec<u8>) -> Result<(), TargetFailure> {
        match &self.store {
            Store::Remote(store) => {
                let payload = PutPayload::from(object);
                store.put(path, payload).await.map(drop).map_err(|error| self.failure(error))
            }
            Store::Local(folder) => {
                folder.put(path.as_ref(), &object).map_err(TargetFailure::Folder)
            }
        }
    }

    pub(super) async fn remove(&self, path: &Path) -> Result<(), TargetFailure> {
        match &self.store {
            Store::Remote(store) => store.delete(path).await.map_err(|error| self.failure(error)),
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

    fn failure(&self, error: object_store::Error) -> TargetFailure {
        let host = self.host.clone();
        match error {
            object_store::Error::NotFound { .. } => TargetFailure::NotFound,
            object_store::Error::PermissionDenied { .. }
            | object_store::Error::Unauthenticated { .. } => match self.by_identity {
                true => TargetFailure::IdentityDenied { host },
                false => TargetFailure::Denied { host },
            },
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
        Ok(Self { store: Store::Remote(Arc::new(store)), prefix: Vec::new(), host, by_identity })
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
            .with_retry(retry())
            .with_client_options(ClientOptions::new().with_allow_http(is_plain))
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
        Ok(Self { store, prefix: segments, host, by_identity: false })
    }

    fn local(path: &str, own: &FilePath) -> Result<Self, TargetFailure> {
        let prefix: Vec<String> = path.split('/').map(str::to_owned).collect();
        let store = Store::Local(LocalFolder::new(own.join(LOCAL_FOLDER)));
        Ok(Self { store, prefix, host: String::new(), by_identity: false })
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
mod tests {
    use super::*;

    fn open(uri: &str, token: &str) -> Result<Place, TargetFailure> {
        let own = tempfile::tempdir().unwrap();
        Place::open(uri, &Access::token(token), own.path(), &Roots::none())
    }

    #[test]
    fn addresses_of_each_kind_are_opened() {
        let keys = "accessKeyId=a&secretAccessKey=b";
        for (uri, token) in [
            ("https://a.blob.core.windows.net/c", "sv=1&sig=x"),
            ("https://127.0.0.1:10000/devstoreaccount1/c", "sig=x"),
            ("http://127.0.0.1:10000/devstoreaccount1/c", "sig=x"),
            ("http://[::1]:1/c", "sig=x"),
            ("s3+https://s3.example/bucket", keys),
            ("s3+http://localhost:9000/bucket/below", "accessKeyId=a&secretAccessKey=b&region=r"),
            ("file:///nightly", ""),
            ("file:///nightly/below", ""),
        ] {
            let place = open(uri, token).unwrap_or_else(|error| panic!("{uri}: {error}"));
            assert!(place.path("mhsm-dev-1", "part-000000").is_ok(), "{uri}");
        }
    }

    #[test]
    fn what_reaches_too_far_or_opens_nothing_is_refused() {
        for (uri, token) in [
            ("http://a.example/c", "sig=x"),
            ("http://10.0.0.1/c", "sig=x"),
            ("ftp://a.example/c", "sig=x"),
            ("https://a.example", "sig=x"),
            ("https://a.example/c", ""),
            ("https://a.example/c", "sv=1"),
            ("s3+https://a.example", "accessKeyId=a&secretAccessKey=b"),
            ("s3+https://a.example/b", "accessKeyId=a"),
            ("s3+https://a.example/b", "accessKeyId=a&secretAccessKey=b&endpoint=c"),
            ("s3+http://a.example/b", "accessKeyId=a&secretAccessKey=b"),
            ("s3+file:///b", ""),
        ] {
            assert!(open(uri, token).is_err(), "{uri} {token}");
        }
    }

    #[test]
    fn an_identity_opens_azure_blob_alone() {
        let own = tempfile::tempdir().unwrap();
        let open =
            |uri: &str| Place::open(uri, &Access::identity("eyJ.a.b"), own.path(), &Roots::none());
        assert!(open("https://a.blob.core.windows.net/c").unwrap().by_identity);
        assert!(open("https://127.0.0.1:10000/devstoreaccount1/c").unwrap().by_identity);
        for bad in ["s3+https://s3.example/b", "s3+http://localhost/b", "http://a.example/c"] {
            assert!(open(bad).is_err(), "{bad}");
        }
        assert!(open("file:///nightly").is_err(), "nothing that is sent there");
    }

    #[test]
    fn no_path_leads_out_of_its_folder() {
        for (uri, folder, name) in [
            ("file:///a/../../b", "f", "n"),
            ("file:///..", "f", "n"),
            ("file:///a", "..", "n"),
            ("file:///a", "f", "../n"),
            ("file:///a", "f/g", "n"),
            ("file:///a", "f", ""),
            ("file:///", "f", "n"),
        ] {
            let place = open(uri, "");
            assert!(place.is_err() || place.unwrap().path(folder, name).is_err(), "{uri}");
        }
    }
}
