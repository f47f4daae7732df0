//! The directory: service principals, users and groups, and the rules for adding to it. Pure.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use crate::assertion::certificate_key;
use crate::error::IssuerError;

/// The format of the directory file.
pub(crate) const DIRECTORY_FORMAT: u32 = 1;
/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// The most apps, users and groups, each.
const ENTRIES_MAX: usize = 10_000;
/// The most groups of one principal; a token has to hold them all.
const GROUPS_PER_MEMBER_MAX: usize = 2_000;

/// All that the issuer knows.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Directory {
    pub(crate) format: u32,
    pub(crate) tenant: Uuid,
    pub(crate) apps: Vec<App>,
    pub(crate) users: Vec<User>,
    pub(crate) groups: Vec<Group>,
}

/// An application and its service principal.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct App {
    pub(crate) name: String,
    pub(crate) app_id: Uuid,
    pub(crate) object_id: Uuid,
    pub(crate) secret: SecretHash,
    pub(crate) certificate_pem: Option<String>,
    pub(crate) federated: Option<Federation>,
}

/// Whose tokens prove an app.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Federation {
    pub(crate) issuer: String,
    pub(crate) subject: String,
}

/// A user.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) object_id: Uuid,
    pub(crate) secret: SecretHash,
}

/// A group and the object ids of its members.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) object_id: Uuid,
    pub(crate) members: Vec<Uuid>,
}

/// The SHA-256 of a secret of 32 random bytes; so much randomness needs no slow hash.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct SecretHash(String);

/// How a new app may prove itself besides its secret.
#[derive(Clone, Debug, Default)]
pub struct NewApp {
    /// A certificate whose key signs the app's assertions.
    pub certificate_pem: Option<String>,
    /// Issuer and subject of the tokens that prove the app (workload identity).
    pub federated: Option<(String, String)>,
}

/// A new app. The secret is shown here and never again.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AppCreated {
    /// The application's id, a client's `client_id`.
    pub app_id: Uuid,
    /// The object id of its service principal: what a role is assigned to.
    pub object_id: Uuid,
    /// Its secret.
    pub secret: String,
}

/// A new user. The secret is shown here and never again.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UserCreated {
    /// The user's object id.
    pub object_id: Uuid,
    /// The password.
    pub secret: String,
}

/// A new group.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupCreated {
    /// The group's object id.
    pub object_id: Uuid,
}

// === impl Directory ===

impl Directory {
    /// A directory with nobody in it.
    pub(crate) fn new(tenant: Uuid) -> Self {
        let (apps, users, groups) = (Vec::new(), Vec::new(), Vec::new());
        Self { format: DIRECTORY_FORMAT, tenant, apps, users, groups }
    }

    /// Adds an app with this secret.
    pub(crate) fn add_app(
        &mut self,
        name: &str,
        options: NewApp,
        secret: String,
    ) -> Result<AppCreated, IssuerError> {
        self.check_name(name)?;
        check_room("apps", self.apps.len())?;
        if let Some(pem) = &options.certificate_pem {
            certificate_key(pem).ok_or(IssuerError::BadCertificate)?;
        }
        let federated = match options.federated {
            None => None,
            Some((issuer, subject)) => Some(Federation::new(issuer, subject)?),
        };
        let app = App {
            name: name.to_owned(),
            app_id: Uuid::new_v4(),
            object_id: Uuid::new_v4(),
            secret: SecretHash::of(&secret),
            certificate_pem: options.certificate_pem,
            federated,
        };
        let created = AppCreated { app_id: app.app_id, object_id: app.object_id, secret };
        self.apps.push(app);
        Ok(created)
    }

    /// Adds a user with this secret.
    pub(crate) fn add_user(
        &mut self,
        name: &str,
        secret: String,
    ) -> Result<UserCreated, IssuerError> {
        self.check_name(name)?;
        check_room("users", self.users.len())?;
        let object_id = Uuid::new_v4();
        let hash = SecretHash::of(&secret);
        self.users.push(User { name: name.to_owned(), object_id, secret: hash });
        Ok(UserCreated { object_id, secret })
    }

    /// Adds a group without members.
    pub(crate) fn add_group(&mut self, name: &str) -> Result<GroupCreated, IssuerError> {
        self.check_name(name)?;
        check_room("groups", self.groups.len())?;
        let object_id = Uuid::new_v4();
        self.groups.push(Group { name: name.to_owned(), object_id, members: Vec::new() });
        Ok(GroupCreated { object_id })
    }

    /// Puts an app or a user into a group; both by name or object id. A repeat changes nothing.
    pub(crate) fn add_member(&mut self, group: &str, member: &str) -> Result<(), IssuerError> {
        let member_id = self.member_id(member)?;
        let listed_in = self.groups_of(member_id).len();
        let found = self.groups.iter_mut().find(|known| is(group, &known.name, known.object_id));
        let not_found = || IssuerError::NotFound { kind: "group", wanted: group.to_owned() };
        let found = found.ok_or_else(not_found)?;
        if found.members.contains(&member_id) {
            return Ok(());
        }
        if listed_in >= GROUPS_PER_MEMBER_MAX {
            let limit = GROUPS_PER_MEMBER_MAX;
            return Err(IssuerError::Full { kind: "groups of one member", limit });
        }
        found.members.push(member_id);
        Ok(())
    }

    /// The groups that hold this principal.
    pub(crate) fn groups_of(&self, object_id: Uuid) -> Vec<Uuid> {
        let holding = self.groups.iter().filter(|group| group.members.contains(&object_id));
        holding.map(|group| group.object_id).collect()
    }

    /// The app with this application id.
    pub(crate) fn app(&self, app_id: Uuid) -> Option<&App> {
        self.apps.iter().find(|app| app.app_id == app_id)
    }

    /// The app with this name or id of either kind.
    pub(crate) fn app_called(&self, wanted: &str) -> Option<&App> {
        let by_app_id = |app: &&App| wanted.parse() == Ok(app.app_id);
        let by_name = |app: &&App| is(wanted, &app.name, app.object_id);
        self.apps.iter().find(|app| by_name(app) || by_app_id(app))
    }

    /// The user with this name; what follows an `@` is not looked at.
    pub(crate) fn user(&self, username: &str) -> Option<&User> {
        let called =
            |name: &str| self.users.iter().find(|user| is(name, &user.name, user.object_id));
        called(username).or_else(|| called(username.rsplit_once('@')?.0))
    }

    fn member_id(&self, member: &str) -> Result<Uuid, IssuerError> {
        if let Some(app) = self.app_called(member) {
            return Ok(app.object_id);
        }
        let matches = |user: &&User| is(member, &user.name, user.object_id);
        if let Some(user) = self.users.iter().find(matches) {
            return Ok(user.object_id);
        }
        if self.groups.iter().any(|group| is(member, &group.name, group.object_id)) {
            return Err(IssuerError::NestedGroup { name: member.to_owned() });
        }
        Err(IssuerError::NotFound { kind: "app or user", wanted: member.to_owned() })
    }

    fn check_name(&self, name: &str) -> Result<(), IssuerError> {
        let printable = !name.chars().any(char::is_control) && name.trim() == name;
        let is_id = Uuid::try_parse(name).is_ok();
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !printable || is_id {
            return Err(IssuerError::BadName { limit: NAME_BYTES_MAX });
        }
        let apps = self.apps.iter().map(|app| &app.name);
        let users = self.users.iter().map(|user| &user.name);
        let groups = self.groups.iter().map(|group| &group.name);
        let taken = apps.chain(users).chain(groups).any(|known| same_name(known, name));
        if taken { Err(IssuerError::NameTaken { name: name.to_owned() }) } else { Ok(()) }
    }
}

// === impl Federation ===

impl Federation {
    fn new(issuer: String, subject: String) -> Result<Self, IssuerError> {
        let https = url::Url::parse(&issuer)
            .is_ok_and(|url| url.scheme() == "https" && url.has_host() && url.query().is_none());
        if !https || subject.is_empty() {
            return Err(IssuerError::BadFederation);
        }
        Ok(Self { issuer, subject })
    }
}

// === impl SecretHash ===

impl SecretHash {
    /// The hash of a secret.
    pub(crate) fn of(secret: &str) -> Self {
        Self(URL_SAFE_NO_PAD.encode(digest(&SHA256, secret.as_bytes())))
    }

    /// Compares in constant time.
    pub(crate) fn matches(&self, secret: &str) -> bool {
        Self::of(secret).0.as_bytes().ct_eq(self.0.as_bytes()).into()
    }
}

impl std::fmt::Debug for AppCreated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { app_id, object_id, secret: _ } = self;
        f.debug_struct("AppCreated")
            .field("app_id", app_id)
            .field("object_id", object_id)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for UserCreated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { object_id, secret: _ } = self;
        f.debug_struct("UserCreated").field("object_id", object_id).finish_non_exhaustive()
    }
}

fn check_room(kind: &'static str, count: usize) -> Result<(), IssuerError> {
    if count < ENTRIES_MAX { Ok(()) } else { Err(IssuerError::Full { kind, limit: ENTRIES_MAX }) }
}

fn is(wanted: &str, name: &str, object_id: Uuid) -> bool {
    same_name(wanted, name) || wanted.parse() == Ok(object_id)
}

fn same_name(one: &str, two: &str) -> bool {
    one.to_lowercase() == two.to_lowercase()
}
