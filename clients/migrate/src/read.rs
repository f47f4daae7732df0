//! Reading a source: keys with all their versions, rotation policies, roles, what is deleted.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::names::{below, is_name, of_kid};

/// The api-version that vaults and managed HSMs of Azure both take.
const API_VERSION: &str = "7.4";
/// Most keys of a source.
const KEYS_MAX: usize = 100_000;
/// Most versions of a key.
const VERSIONS_MAX: usize = 10_000;
/// Most pages of a list.
const PAGES_MAX: usize = 20_000;
/// How often a question is put again when the source is busy.
const TRIES_MAX: u32 = 6;
/// Longest time that a source may have us wait.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// What a source answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After`, in seconds.
    pub retry_after_s: Option<u64>,
    /// The body; null if it is no JSON.
    pub body: Value,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct AskFailure(pub Box<dyn std::error::Error + Send + Sync>);

/// Who asks the source.
pub trait Ask {
    /// Gets a path with its query.
    fn get(&self, path: &str) -> impl Future<Output = Result<Answer, AskFailure>>;

    /// Waits so long.
    fn wait(&self, time: Duration) -> impl Future<Output = ()>;

    /// Tells how far it is.
    fn tell(&self, keys: usize);
}

/// Why a source was not read.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// No answer.
    #[error("{path} got no answer; look at the address, the CA and the network")]
    NoAnswer {
        /// What was asked.
        path: String,
        /// Why.
        #[source]
        cause: AskFailure,
    },
    /// A refusal.
    #[error(
        "{path} was answered {status}: {text}; the plan needs a token that may list and read keys"
    )]
    Refused {
        /// What was asked.
        path: String,
        /// The status.
        status: u16,
        /// What was said.
        text: String,
    },
    /// Not the API.
    #[error("what {path} answered is not of the Key Vault API; give the address of a vault or HSM")]
    Foreign {
        /// What was asked.
        path: String,
    },
    /// A list that leads elsewhere.
    #[error("the source sent a link to another host, {0:?}; nothing is asked there")]
    Elsewhere(String),
    /// Too many.
    #[error("the source has more than {max} {what}, which one plan does not hold")]
    TooMany {
        /// What.
        what: &'static str,
        /// How many are held.
        max: usize,
    },
}

/// What a source holds.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Its address.
    pub source: String,
    /// Its keys, by name.
    pub keys: Vec<FoundKey>,
    /// Names of its deleted keys.
    pub deleted: Vec<String>,
    /// Role definitions that somebody wrote, as they were told.
    pub definitions: Vec<Value>,
    /// Role assignments, as they were told.
    pub assignments: Vec<Value>,
    /// Names of roles by their ids.
    pub roles: BTreeMap<String, String>,
    /// What could not be read, and why.
    pub not_read: Vec<(String, String)>,
}

/// A key.
#[derive(Clone, Debug, Default)]
pub struct FoundKey {
    /// Its name.
    pub name: String,
    /// Whether a certificate has it.
    pub managed: bool,
    /// Its versions, the newest first.
    pub versions: Vec<FoundVersion>,
    /// Its rotation policy, if it has one.
    pub rotation_policy: Option<Value>,
}

/// A version of a key: the bundle, as it was told.
#[derive(Clone, Debug, Default)]
pub struct FoundVersion {
    /// Its id.
    pub version: String,
    /// When it was made, in Unix seconds.
    pub created: i64,
    /// The bundle.
    pub bundle: Value,
}

/// Reads all that a plan needs.
///
/// # Errors
/// When keys cannot be listed or read. What else cannot be read is named in what is found.
pub async fn read<A: Ask>(ask: &A, source: &str) -> Result<Found, MigrateError> {
    let reader = Reader { ask, source: source.trim_end_matches('/') };
    let mut found = Found { source: reader.source.to_owned(), ..Found::default() };
    let mut keys: Vec<(String, bool)> = Vec::new();
    for item in reader.list("/keys", KEYS_MAX, "keys").await? {
        let kid = item["kid"].as_str().unwrap_or_default();
        let (name, _) = of_kid(reader.source, kid)
            .ok_or_else(|| MigrateError::Foreign { path: "/keys".to_owned() })?;
        keys.push((name.to_owned(), item["managed"].as_bool().unwrap_or_default()));
    }
    keys.sort();
    for (name, managed) in keys {
        let versions = reader.versions(&name).await?;
        let rotation_policy = reader.rotation_policy(&name, &mut found.not_read).await?;
        found.keys.push(FoundKey { name, managed, versions, rotation_policy });
        ask.tell(found.keys.len());
    }
    reader.deleted(&mut found).await?;
    reader.roles(&mut found).await?;
    Ok(found)
}

struct Reader<'a, A> {
    ask: &'a A,
    source: &'a str,
}

impl<A: Ask> Reader<'_, A> {
    async fn versions(&self, name: &str) -> Result<Vec<FoundVersion>, MigrateError> {
        let list = format!("/keys/{name}/versions");
        let mut versions = Vec::new();
        for item in self.list(&list, VERSIONS_MAX, "versions of one key").await? {
            let kid = item["kid"].as_str().unwrap_or_default();
            let Some((_, Some(version))) = of_kid(self.source, kid) else {
                return Err(MigrateError::Foreign { path: list });
            };
            let path = format!("/keys/{name}/{version}?api-version={API_VERSION}");
            let bundle = self.asked(&path).await?;
            let created = bundle["attributes"]["created"].as_i64().unwrap_or_default();
            versions.push(FoundVersion { version: version.to_owned(), created, bundle });
        }
        versions.sort_by_key(|version| std::cmp::Reverse(version.created));
        if versions.len() > 1 {
            let newest = self.newest(name).await?;
            // The times are whole seconds; which of two of one second is the newer is asked. One
            // that was made since the list is the newest too.
            versions.retain(|version| version.version != newest.version);
            versions.insert(0, newest);
        }
        Ok(versions)
    }

    async fn newest(&self, name: &str) -> Result<FoundVersion, MigrateError> {
        let path = format!("/keys/{name}");
        let bundle = self.asked(&format!("{path}?api-version={API_VERSION}")).await?;
        let kid = bundle["key"]["kid"].as_str().unwrap_or_default();
        let Some((_, Some(version))) = of_kid(self.source, kid) else {
            return Err(MigrateError::Foreign { path });
        };
        let created = bundle["attributes"]["created"].as_i64().unwrap_or_default();
        Ok(FoundVersion { version: version.to_owned(), created, bundle })
    }

    /// A source may have none, or not know of such.
    async fn rotation_policy(
        &self,
        name: &str,
        not_read: &mut Vec<(String, String)>,
    ) -> Result<Option<Value>, MigrateError> {
        let path = format!("/keys/{name}/rotationpolicy?api-version={API_VERSION}");
        match self.asked(&path).await {
            Ok(policy) => {
                let actions = policy["lifetimeActions"].as_array().map_or(0, Vec::len);
                let expires = policy["attributes"]["expiryTime"].is_string();
                Ok((actions > 0 || expires).then_some(policy))
            }
            Err(MigrateError::Refused { status: 400 | 404 | 405 | 501, .. }) => Ok(None),
            Err(MigrateError::Refused { status, .. }) => {
                not_read.push((format!("the rotation policy of {name}"), status.to_string()));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn deleted(&self, found: &mut Found) -> Result<(), MigrateError> {
        match self.list("/deletedkeys", KEYS_MAX, "deleted keys").await {
            Ok(items) => {
                let names = items.iter().filter_map(|item| item["recoveryId"].as_str());
                let names = names.filter_map(|id| id.rsplit('/').next());
                found.deleted = names.filter(|name| is_name(name)).map(str::to_owned).collect();
                found.deleted.sort();
            }
            Err(MigrateError::Refused { status, .. }) => {
                found.not_read.push(("deleted keys".to_owned(), status.to_string()));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Local roles are a managed HSM's; a vault's are Azure's own.
    async fn roles(&self, found: &mut Found) -> Result<(), MigrateError> {
        const ROLES: &str = "/providers/Microsoft.Authorization";
        for kind in ["roleDefinitions", "roleAssignments"] {
            match self.list(&format!("{ROLES}/{kind}"), KEYS_MAX, "roles").await {
                Ok(items) if kind == "roleDefinitions" => definitions(items, found),
                Ok(items) => found.assignments.extend(items),
                Err(MigrateError::Refused { status, .. }) => {
                    let why = match status {
                        400 | 404 | 405 => "the source has no local roles".to_owned(),
                        other => other.to_string(),
                    };
                    found.not_read.push((kind.to_owned(), why));
                }
                Err(error) => return Err(error),
            }
        }
        let mut below: Vec<String> = vec!["/keys".to_owned()];
        below.extend(found.keys.iter().map(|key| format!("/keys/{}", key.name)));
        let is_read = !found.not_read.iter().any(|(what, _)| what == "roleAssignments");
        for scope in below.iter().filter(|_| is_read) {
            let list = format!("{scope}{ROLES}/roleAssignments");
            match self.list(&list, KEYS_MAX, "roles").await {
                Ok(items) => found.assignments.extend(items),
                Err(MigrateError::Refused { status, .. }) => {
                    found
                        .not_read
                        .push((format!("roleAssignments at {scope}"), status.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        found.assignments.sort_by_key(|one| one["id"].as_str().unwrap_or_default().to_owned());
        found.assignments.dedup_by_key(|one| one["id"].as_str().unwrap_or_default().to_owned());
        Ok(())
    }

    /// All items of a list, page by page.
    async fn list(
        &self,
        list: &str,
        max: usize,
        what: &'static str,
    ) -> Result<Vec<Value>, MigrateError> {
        let mut path = format!("{list}?api-version={API_VERSION}");
        let mut items = Vec::new();
        for _ in 0..PAGES_MAX {
            let page = self.asked(&path).await?;
            let Some(value) = page["value"].as_array() else {
                return Err(MigrateError::Foreign { path: list.to_owned() });
            };
            items.extend(value.iter().cloned());
            if items.len() > max {
                return Err(MigrateError::TooMany { what, max });
            }
            match page["nextLink"].as_str().filter(|link| !link.is_empty()) {
                None => return Ok(items),
                Some(link) => {
                    let next = below(self.source, link);
                    path = next.ok_or_else(|| MigrateError::Elsewhere(link.to_owned()))?.to_owned();
                }
            }
        }
        Err(MigrateError::TooMany { what, max })
    }

    /// Asks until the source is not busy.
    async fn asked(&self, path: &str) -> Result<Value, MigrateError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let told = self.ask.get(path).await;
            let told =
                told.map_err(|cause| MigrateError::NoAnswer { path: path.to_owned(), cause })?;
            match told.status {
                200 if told.body.is_object() => return Ok(told.body),
                200 => return Err(MigrateError::Foreign { path: path.to_owned() }),
                429 | 503 if tries < TRIES_MAX => {
                    let usual = Duration::from_secs(1 << tries.min(5));
                    let asked = told.retry_after_s.map(Duration::from_secs);
                    self.ask.wait(asked.unwrap_or(usual).min(WAIT_MAX)).await;
                }
                status => {
                    let text = told.body["error"]["message"].as_str().unwrap_or_default();
                    let text = text.chars().take(300).collect();
                    return Err(MigrateError::Refused { path: path.to_owned(), status, text });
                }
            }
        }
    }
}

/// The names of all, and those that somebody wrote.
fn definitions(items: Vec<Value>, found: &mut Found) {
    for item in items {
        let id = item["name"].as_str().unwrap_or_default().to_owned();
        let properties = &item["properties"];
        let name = properties["roleName"].as_str().unwrap_or_default().to_owned();
        found.roles.insert(id, name);
        if properties["type"] == "CustomRole" {
            found.definitions.push(item);
        }
    }
}

#[cfg(test)]
mod tests;
