//! The issuer as a whole: its folder, its settings, and which request goes where.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::rand;
use bytes::Bytes;
use casemate_token::{KeyFetch, KeyRing, TrustedIssuer};
use http::{Method, Request, Response, StatusCode};
use parking_lot::{Mutex, RwLock};
use uuid::Uuid;

use crate::answer::{json_answer, refused};
use crate::directory::{AppCreated, Directory, GroupCreated, NewApp, SecretHash, UserCreated};
use crate::error::IssuerError;
use crate::managed_identity;
use crate::metadata;
use crate::refusal::Refusal;
use crate::replay::Replays;
use crate::signing_key::{SigningKey, secret_text};
use crate::store::{DIRECTORY_FILE, FileMark, Folder};
use crate::token_endpoint::Desk;
use crate::user_info::user_info;

/// The header that the App Service managed-identity endpoint demands.
pub const IDENTITY_HEADER_NAME: &str = "x-identity-header";
/// The path of the App Service managed-identity endpoint.
pub const MANAGED_IDENTITY_PATH: &str = "/msi/token";
/// The tenant's name for clients that are to ask no Microsoft host about us.
const ADFS: &str = "adfs";
/// Names under which the tenant answers besides its GUID.
const TENANT_ALIASES: [&str; 3] = [ADFS, "organizations", "common"];

/// A token issuer for development.
pub struct DevIssuer {
    folder: Folder,
    key: SigningKey,
    tenant: Uuid,
    audiences: Vec<String>,
    fetch: Option<Arc<dyn KeyFetch>>,
    identity_header: String,
    managed_identity: RwLock<Option<Uuid>>,
    imds_identity: RwLock<Option<Uuid>>,
    known: RwLock<Known>,
    rings: Mutex<HashMap<String, Arc<KeyRing>>>,
    pub(crate) replays: Mutex<Replays>,
}

/// The directory as it was last read.
struct Known {
    mark: Option<FileMark>,
    directory: Arc<Directory>,
}

/// Where a path leads.
enum Route<'a> {
    Discovery { tenant: &'a str, v2: bool },
    Token { tenant: &'a str },
    Authorize,
    Keys { tenant: &'a str },
    UserInfo { tenant: &'a str },
    Instance,
    AppService,
    InstanceMetadata,
}

// === impl DevIssuer ===

impl DevIssuer {
    /// Whether an issuer was made in this folder: its tenant and its principals are there.
    #[must_use]
    pub fn is_in(dir: &Path) -> bool {
        dir.join(DIRECTORY_FILE).exists()
    }

    /// Opens the issuer of a folder; the first time, makes its tenant and its signing key.
    ///
    /// # Errors
    ///
    /// If the folder or its files cannot be read or written.
    pub fn open(dir: &Path) -> Result<Self, IssuerError> {
        let folder = Folder::open(dir)?;
        let lock = folder.lock()?;
        let directory = match folder.read_directory()? {
            Some(directory) => directory,
            None => {
                let new = Directory::new(Uuid::new_v4());
                folder.write_directory(&new, &lock)?;
                new
            }
        };
        let key = SigningKey::open(&folder, &lock)?;
        let mark = folder.mark()?;
        Ok(Self {
            identity_header: key.derive_secret("managed identity header"),
            tenant: directory.tenant,
            folder,
            key,
            audiences: Vec::new(),
            fetch: None,
            managed_identity: RwLock::default(),
            imds_identity: RwLock::default(),
            known: RwLock::new(Known { mark, directory: Arc::new(directory) }),
            rings: Mutex::default(),
            replays: Mutex::default(),
        })
    }

    /// Also issues tokens for these audiences. Those under the issuer's own domain always are.
    #[must_use]
    pub fn with_audiences(mut self, audiences: Vec<String>) -> Self {
        self.audiences = audiences;
        self
    }

    /// Fetches the keys of federated issuers through this port; without it only the issuer's own
    /// tokens serve as federated assertions.
    #[must_use]
    pub fn with_key_fetch(mut self, fetch: Arc<dyn KeyFetch>) -> Self {
        self.fetch = Some(fetch);
        self
    }

    /// The tenant's GUID.
    #[must_use]
    pub fn tenant(&self) -> Uuid {
        self.tenant
    }

    /// The `iss` of the tokens it gives when it answers at `base_url`.
    #[must_use]
    pub fn issuer_name(&self, base_url: &str) -> String {
        format!("{base_url}/{}/v2.0", self.tenant)
    }

    /// Where its discovery document is.
    #[must_use]
    pub fn metadata_url(&self, base_url: &str) -> String {
        format!("{}/.well-known/openid-configuration", self.issuer_name(base_url))
    }

    /// The secret that the App Service managed-identity endpoint demands; the same in every run.
    #[must_use]
    pub fn identity_header(&self) -> &str {
        &self.identity_header
    }

    /// Adds an app with a fresh secret.
    ///
    /// # Errors
    ///
    /// If the name is bad or taken, a credential cannot be used, or the folder not be written.
    pub fn add_app(&self, name: &str, options: NewApp) -> Result<AppCreated, IssuerError> {
        let secret = new_secret()?;
        self.change(|directory| directory.add_app(name, options, secret))
    }

    /// The app of this name with a secret that stays the same over restarts; added if it is not
    /// there. For the development principal: its secret is derived from the signing key.
    ///
    /// # Errors
    ///
    /// If the name is bad or belongs to a user or a group, or the folder cannot be written.
    pub fn ensure_app(&self, name: &str) -> Result<AppCreated, IssuerError> {
        let secret = self.key.derive_secret(&format!("app {}", name.to_lowercase()));
        self.change(|directory| {
            let known = directory.apps.iter_mut().find(|app| app.name == name);
            let Some(app) = known else {
                return directory.add_app(name, NewApp::default(), secret);
            };
            app.secret = SecretHash::of(&secret);
            Ok(AppCreated { app_id: app.app_id, object_id: app.object_id, secret })
        })
    }

    /// Adds a user with a fresh password.
    ///
    /// # Errors
    ///
    /// If the name is bad or taken, or the folder cannot be written.
    pub fn add_user(&self, name: &str) -> Result<UserCreated, IssuerError> {
        let secret = new_secret()?;
        self.change(|directory| directory.add_user(name, secret))
    }

    /// Adds a group.
    ///
    /// # Errors
    ///
    /// If the name is bad or taken, or the folder cannot be written.
    pub fn add_group(&self, name: &str) -> Result<GroupCreated, IssuerError> {
        self.change(|directory| directory.add_group(name))
    }

    /// Puts an app or a user into a group; each is named by its name or object id.
    ///
    /// # Errors
    ///
    /// If one of them is not there, the member is a group, or the folder cannot be written.
    pub fn add_member(&self, group: &str, member: &str) -> Result<(), IssuerError> {
        self.change(|directory| directory.add_member(group, member))
    }

    /// Lets the App Service managed-identity endpoint give tokens of this app (name or id).
    ///
    /// # Errors
    ///
    /// If there is no such app.
    pub fn set_managed_identity(&self, app: &str) -> Result<(), IssuerError> {
        let directory = self.directory()?;
        let found = directory
            .app_called(app)
            .ok_or_else(|| IssuerError::NotFound { kind: "app", wanted: app.to_owned() })?;
        *self.managed_identity.write() = Some(found.object_id);
        Ok(())
    }

    /// Switches the IMDS endpoint on, for an app of this name, which is added if it is not there.
    /// Answers its object id. The issuer knows no roles: a new app has none.
    ///
    /// # Errors
    ///
    /// As [`Self::add_app`].
    pub fn enable_imds(&self, name: &str) -> Result<Uuid, IssuerError> {
        let directory = self.directory()?;
        let known = directory.apps.iter().find(|app| app.name == name);
        let object_id = match known {
            Some(app) => app.object_id,
            None => self.add_app(name, NewApp::default())?.object_id,
        };
        *self.imds_identity.write() = Some(object_id);
        Ok(object_id)
    }

    /// Answers a request; `None` if its path is not one of the issuer's. `base_url` is the
    /// issuer's own address without a trailing slash. Waits only for the keys of a federated
    /// issuer.
    pub async fn handle(
        &self,
        request: &Request<Bytes>,
        base_url: &str,
        peer: SocketAddr,
        now: i64,
    ) -> Option<Response<Bytes>> {
        let route = Route::find(request.uri().path())?;
        let answer = self.answer(&route, request, base_url, peer, now).await;
        Some(answer.unwrap_or_else(|refusal| refused(&refusal)))
    }

    async fn answer(
        &self,
        route: &Route<'_>,
        request: &Request<Bytes>,
        base_url: &str,
        peer: SocketAddr,
        now: i64,
    ) -> Result<Response<Bytes>, Refusal> {
        let directory = self.directory().map_err(|_| Refusal::Internal)?;
        let desk = |tenant_alias| Desk {
            issuer: self,
            directory: &directory,
            base_url,
            tenant_alias,
            now,
        };
        match route {
            Route::Token { tenant } => {
                let tenant = self.known_tenant(tenant)?;
                desk(&tenant).answer(request).await
            }
            Route::UserInfo { tenant } => {
                self.known_tenant(tenant)?;
                if request.method() != Method::GET {
                    return Err(Refusal::WrongMethod { allowed: "GET" });
                }
                let issuer = self.issuer_name(base_url);
                let said = user_info(&self.key, &directory, &issuer, request, now)?;
                Ok(json_answer(StatusCode::OK, &said))
            }
            Route::AppService => {
                managed_identity::app_service(&desk(&self.tenant.to_string()), request, peer)
            }
            Route::InstanceMetadata => {
                managed_identity::instance_metadata(&desk(&self.tenant.to_string()), request, peer)
            }
            Route::Discovery { .. } | Route::Keys { .. } | Route::Authorize | Route::Instance => {
                self.document(route, request, base_url)
            }
        }
    }

    fn document(
        &self,
        route: &Route<'_>,
        request: &Request<Bytes>,
        base_url: &str,
    ) -> Result<Response<Bytes>, Refusal> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return Err(Refusal::WrongMethod { allowed: "GET, HEAD" });
        }
        let body = match route {
            Route::Discovery { tenant, v2 } => {
                let tenant = self.known_tenant(tenant)?;
                let path = if *v2 { "oauth2/v2.0" } else { "oauth2" };
                // `az login --tenant adfs` reads from this one document (and from no other) which
                // tenant the name stands for, and would go on with the GUID, for which it asks a
                // Microsoft host whether we are known.
                let issuer = if *v2 && tenant == ADFS {
                    format!("{base_url}/{ADFS}/v2.0")
                } else {
                    self.issuer_name(base_url)
                };
                metadata::discovery(base_url, &tenant, path, &issuer)
            }
            Route::Keys { tenant } => {
                self.known_tenant(tenant)?;
                self.key.key_set().clone()
            }
            Route::Instance => metadata::instance(base_url, &self.tenant.to_string()),
            Route::Authorize => return Err(Refusal::NoBrowser),
            Route::Token { .. }
            | Route::UserInfo { .. }
            | Route::AppService
            | Route::InstanceMetadata => {
                return Err(Refusal::Internal);
            }
        };
        Ok(json_answer(StatusCode::OK, &body))
    }

    /// The directory as the file has it now.
    fn directory(&self) -> Result<Arc<Directory>, IssuerError> {
        let mark = self.folder.mark()?;
        {
            let known = self.known.read();
            if known.mark == mark {
                return Ok(Arc::clone(&known.directory));
            }
        }
        let mut known = self.known.write();
        // The mark is taken before the file is read: a change in between is read once more.
        if let Some(directory) = self.folder.read_directory()? {
            *known = Known { mark, directory: Arc::new(directory) };
        }
        Ok(Arc::clone(&known.directory))
    }

    /// Reads, changes and writes the directory while nobody else does.
    fn change<T>(
        &self,
        act: impl FnOnce(&mut Directory) -> Result<T, IssuerError>,
    ) -> Result<T, IssuerError> {
        let lock = self.folder.lock()?;
        let mut directory = Directory::clone(&*self.directory()?);
        let outcome = act(&mut directory)?;
        self.folder.write_directory(&directory, &lock)?;
        Ok(outcome)
    }

    /// The name of the tenant in lower case, if it is ours.
    fn known_tenant(&self, asked: &str) -> Result<String, Refusal> {
        let asked = asked.to_ascii_lowercase();
        if self.tenant_names().contains(&asked) { Ok(asked) } else { Err(Refusal::UnknownTenant) }
    }

    pub(crate) fn tenant_names(&self) -> Vec<String> {
        let own = self.tenant.to_string();
        TENANT_ALIASES.map(str::to_owned).into_iter().chain([own]).collect()
    }

    pub(crate) fn audiences(&self) -> &[String] {
        &self.audiences
    }

    pub(crate) fn signing_key(&self) -> &SigningKey {
        &self.key
    }

    pub(crate) fn managed_identity(&self) -> Option<Uuid> {
        *self.managed_identity.read()
    }

    pub(crate) fn imds_identity(&self) -> Option<Uuid> {
        *self.imds_identity.read()
    }

    /// The keys of a federated issuer. Only issuers that an app names come here, so the number of
    /// rings is bounded by the number of apps.
    pub(crate) fn ring(&self, issuer: &str) -> Option<Arc<KeyRing>> {
        let fetch = self.fetch.as_ref()?;
        let mut rings = self.rings.lock();
        let ring = rings.entry(issuer.to_owned()).or_insert_with(|| {
            let bare = issuer.trim_end_matches('/');
            let trusted = TrustedIssuer {
                issuer: issuer.to_owned(),
                metadata_url: format!("{bare}/.well-known/openid-configuration"),
                trust_anchors_pem: String::new(),
                directory: false,
            };
            Arc::new(KeyRing::new(trusted, Arc::clone(fetch)))
        });
        Some(Arc::clone(ring))
    }
}

// === impl Route ===

impl<'a> Route<'a> {
    fn find(path: &'a str) -> Option<Self> {
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        match segments.as_slice() {
            [tenant, ".well-known", "openid-configuration"] => {
                Some(Self::Discovery { tenant, v2: false })
            }
            [tenant, "v2.0", ".well-known", "openid-configuration"] => {
                Some(Self::Discovery { tenant, v2: true })
            }
            [tenant, "oauth2", "token"] | [tenant, "oauth2", "v2.0", "token"] => {
                Some(Self::Token { tenant })
            }
            [_, "oauth2", "authorize"] | [_, "oauth2", "v2.0", "authorize"] => {
                Some(Self::Authorize)
            }
            [tenant, "discovery", "keys"] | [tenant, "discovery", "v2.0", "keys"] => {
                Some(Self::Keys { tenant })
            }
            [tenant, "userinfo"] | [tenant, "v2.0", "userinfo"] => Some(Self::UserInfo { tenant }),
            ["common", "discovery", "instance"] => Some(Self::Instance),
            ["msi", "token"] => Some(Self::AppService),
            ["metadata", "identity", "oauth2", "token"] => Some(Self::InstanceMetadata),
            _ => None,
        }
    }
}

/// A secret of 32 random bytes as text.
fn new_secret() -> Result<String, IssuerError> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes)
        .map_err(|_| IssuerError::Cryptography { action: "give random bytes" })?;
    Ok(secret_text(&bytes))
}
